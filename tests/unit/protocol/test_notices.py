# SPDX-License-Identifier: Apache-2.0
"""Notices between nodes: whole, or not at all; and never taken for a text."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.protocol.events import Fragment
from chatmotor.protocol.notices import (
    TAG,
    AskNotice,
    EphemeralNotice,
    GroupNotice,
    MailboxNotice,
    NodeNotice,
    Notice,
    PresenceNotice,
    RecheckNotice,
    decode_notice,
    encode_notice,
    ephemeral_frame,
    ephemeral_notice,
)
from chatmotor.protocol.presence import Presence
from chatmotor.protocol.replies import Receipt, SignalNow, TypingNow, eph

EPOCH = "epoch0"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
fragments = st.builds(
    Fragment,
    st.dictionaries(texts, texts, max_size=3).map(
        lambda fields: b'"t":"x","ts":1,"x":' + json.dumps(fields).encode()
    ),
    texts,
    texts,
)
numbers = st.integers(0, 2**63 - 1)
presences = st.builds(Presence, st.sampled_from(["online", "away", "dnd"]), texts)
ephemerals = (
    st.builds(TypingNow, conv=texts, sender=texts, state=st.sampled_from(["on", "off"]))
    | st.builds(Receipt, conv=texts, user=texts, delivered=numbers, read=numbers)
    | st.builds(
        SignalNow,
        sender=texts,
        device=texts,
        body=texts.map(lambda text: msgspec.Raw(json.dumps(text).encode())),
    )
)
notices = (
    st.builds(
        MailboxNotice,
        st.just(EPOCH),
        st.dictionaries(texts, numbers, max_size=3),
        fragments,
    )
    | st.builds(GroupNotice, st.just(EPOCH), texts, numbers, fragments)
    | st.builds(RecheckNotice, texts)
    | st.builds(
        ephemeral_notice, st.just(EPOCH), ephemerals, author=texts, device=texts
    )
    | st.builds(
        NodeNotice,
        st.just(EPOCH),
        texts,
        st.sampled_from(["hello", "beat", "bye"]),
        st.booleans(),
    )
    | st.builds(AskNotice, st.just(EPOCH), texts, numbers, st.lists(texts, max_size=3))
    | st.builds(
        PresenceNotice,
        st.just(EPOCH),
        texts,
        st.dictionaries(texts, st.none() | presences, max_size=3),
        numbers,
    )
)


@given(notices)
def test_notice_arrives_as_it_was_sent(notice: Notice) -> None:
    """A round trip changes nothing."""
    assert notice == decode_notice(encode_notice(notice), EPOCH)


@given(notices)
def test_notice_is_no_text(notice: Notice) -> None:
    """No UTF-8 text begins with the tag, so a classic client never gets one."""
    with pytest.raises(UnicodeDecodeError):
        encode_notice(notice).decode()


@given(st.text().map(lambda text: text.encode("utf-8", "replace")))
def test_text_is_no_notice(text: bytes) -> None:
    """Whatever somebody writes to somebody."""
    assert decode_notice(text, EPOCH) is None


@given(st.binary(max_size=200))
def test_garbage_is_no_notice(garbage: bytes) -> None:
    """Anyone may publish: what is not understood is dropped, and nothing is raised."""
    found = decode_notice(TAG + garbage, EPOCH)

    assert found is None or found == decode_notice(encode_notice(found), EPOCH)


@given(notices, st.data())
def test_cut_notice_is_none(notice: Notice, data: st.DataObject) -> None:
    """A part of a notice says nothing."""
    body = encode_notice(notice)

    assert (
        decode_notice(body[: data.draw(st.integers(0, len(body) - 1))], EPOCH) is None
    )


@pytest.mark.parametrize(
    "content",
    [
        [],
        [9, "ann"],
        [3],
        [3, 5],
        [3, "ann", "and more"][:1],
        [1, EPOCH, {"ann": "1"}, [b'"t":"x"', "", ""]],
        [1, EPOCH, ["ann"], [b'"t":"x"', "", ""]],
        [1, EPOCH, {"ann": 1}, ['"t":"x"', "", ""]],
        [1, EPOCH, {"ann": 1}, []],
        [1, EPOCH, {"ann": 1}, [b"", "", ""]],
        [1, EPOCH, {"ann": 1}, [b'"ts":1', "", ""]],
        [1, EPOCH, {"ann": 1}, [b'"ts":1,"t":"x"', "", ""]],
        [2, EPOCH, "g.1", 1.5, [b'"t":"x"', "", ""]],
        [2, EPOCH, None, 1, [b'"t":"x"', "", ""]],
        {"1": "ann"},
        "ann",
        None,
    ],
)
def test_notice_of_another_shape_is_none(content: object) -> None:
    """Each field has its type, and the fragment begins as an event does."""
    assert decode_notice(TAG + msgspec.msgpack.encode(content), EPOCH) is None


@pytest.mark.parametrize("body", [b"", TAG, TAG * 2, b"\xfe" + TAG])
def test_next_to_nothing_is_none(body: bytes) -> None:
    """An empty body is a text, a bare tag is nothing."""
    assert decode_notice(body, EPOCH) is None


def test_username_that_is_not_utf8_is_none() -> None:
    """A broken text within MessagePack is garbage like any other."""
    assert decode_notice(TAG + b"\x92\x03\xa2\xff\xff", EPOCH) is None


@pytest.mark.parametrize(
    "text",
    [
        b'"t":"conv.new"',
        b'"t":"conv.new","ts":"1"',
        b'"t":"conv.new","ts":1,',
        b'"t":"conv.new","ts":1}',
        b'"t":"conv.new","ts":1},{"x":2',
        b'"t":"conv.new","ts":1,"x":"\xff"',
        b'"t":"conv.new","ts":1,"\xff":1',
        b'"t":"conv.new","ts":1,"x":"\\ud800"',
        b'"t":"conv.new","ts":1,"x":NaN',
        b'"t":"conv.new","ts":1,"x":"\n"',
        b'"t":"conv.new","ts":1,"conv":5',
        b'"t":"conv.new","ts":1,"conv":["g.1"]',
        b'"t":"conv.new","ts":1,"conv":"g.1","since":"1"',
        b'"t":"conv.member","ts":1,"conv":"g.1","removed":5',
        b'"t":"conv.member","ts":1,"conv":"g.1","removed":[["bob"]]',
        b'"t":"message.new","ts":1,"conv":"d.1.2","from":null,"body":1',
        b'"t":"message.new","ts":1,"conv":"d.1.2","from":["ann"],"body":1',
        b'"t":"message.new","ts":1,"x":' + b"[" * 5000 + b"]" * 5000,
    ],
)
def test_event_that_would_trouble_its_readers_is_none(text: bytes) -> None:
    """It is spliced into frames: JSON, UTF-8, and of the types that are counted on."""
    body = TAG + msgspec.msgpack.encode([1, EPOCH, {"ann": 1}, [text, "", ""]])

    assert decode_notice(body, EPOCH) is None


def test_notice_of_another_epoch_is_none() -> None:
    """Nodes that share a broker but not a store do not take each other's numbers."""
    fragment = Fragment(b'"t":"x","ts":1')
    notices: list[Notice] = [
        MailboxNotice("epoch1", {"ann": 1}, fragment),
        GroupNotice("epoch1", "g.1", 1, fragment),
    ]

    assert [None, None] == [decode_notice(encode_notice(x), EPOCH) for x in notices]


def test_recheck_is_heeded_whatever_the_epoch() -> None:
    """It has no number, and costs a look into the store."""
    notice = RecheckNotice("ann")

    assert notice == decode_notice(encode_notice(notice), "any")


@given(ephemerals)
def test_ephemeral_is_told_as_it_was_said(
    ephemeral: TypingNow | Receipt | SignalNow,
) -> None:
    """The frame that a session gets is that of what was published."""
    assert eph(ephemeral) == ephemeral_frame(ephemeral_notice(EPOCH, ephemeral))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON",
        b'"t":"typing","conv":"d.1.2","from":"ann","state":"on"}, {',
        b'"t":"typing","conv":"d.1.2","from":"ann"',
        b'"conv":"d.1.2","t":"typing","from":"ann","state":"on"',
        b'"t":"typing","conv":"d.1.2","from":"ann","state":"perhaps"',
        b'"t":"receipt","conv":"d.1.2","user":"ann","delivered":"many","read":1',
        b'"t":"signal","from":"ann","device":"x","body":\xff',
        b'"t":"signal","from":"ann","device":"x","body":"\xff"',
        b'"t":"unheard of"',
    ],
)
def test_ephemeral_that_a_client_could_not_read_is_none(text: bytes) -> None:
    """It would go into frames as it is."""
    body = encode_notice(EphemeralNotice(EPOCH, text))

    assert decode_notice(body, EPOCH) is None


@pytest.mark.parametrize(
    "users",
    [{"ann": ("offline",)}, {"ann": ("online", "x" * 141)}, {"ann": 1}, ["ann"]],
)
def test_presence_that_nobody_can_have_is_none(users: object) -> None:
    """A text without bound would go to all who watch."""
    body = TAG + msgspec.msgpack.encode([7, EPOCH, "node", users, 0])

    assert decode_notice(body, EPOCH) is None
