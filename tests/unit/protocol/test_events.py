# SPDX-License-Identifier: Apache-2.0
"""Events: encoded once, spliced into each reader's frame, and still JSON."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.ports.messages import Event, EventType, Message, NewMessage
from chatmotor.protocol import events
from chatmotor.protocol.replies import AnyFrame, Ev
from tests.harness.vectors import each_vector, vectors

read = msgspec.json.Decoder(AnyFrame).decode

TS = 1700000000000
DIRECT = Message("d.1.2", 7, "ann", "c1", TS, b'"hi"', raw=False)
RAW = Message(
    *("d.1.2", 8, "ann", "c2", TS),
    body=b'{"destination": "bob",  "payload": "\xc3\xa9"}',
    raw=True,
)
REPLY = Message(
    *("g.1", 3, "zo\u00eb", "c3", TS, b'{ "k" : 1.0, "k":2 }'), raw=False, reply_to=1
)
GUEST = Message(
    *("q.2.9d017e2681b7f317", 1, "Zoe", "", TS, b'{"destination":"bob"}'),
    raw=True,
    guest=True,
)


def event(t: EventType, conv: str | None, **detail: Any) -> events.Fragment:
    """An event that is no message."""
    text = json.dumps(detail, ensure_ascii=False) if detail else None
    return events.fragment_of(Event(0, t, conv, TS, detail=text))


# What is made for each vector of events.json.
MADE: dict[str, bytes] = {
    "message.new, to its recipient": events.mailbox_frame(
        12, events.message_fragment(DIRECT), "bob"
    ),
    "message.new, to its sender": events.mailbox_frame(
        3, events.message_fragment(DIRECT), "ann"
    ),
    "message.new of a classic text": events.mailbox_frame(
        13, events.message_fragment(RAW), "bob"
    ),
    "message.new of a guest": events.mailbox_frame(
        14, events.message_fragment(GUEST), "bob"
    ),
    "message.new in a group, a reply, the body as it was written": events.group_frame(
        9, events.message_fragment(REPLY), ""
    ),
    "message.new in a group, to its sender": events.group_frame(
        9, events.message_fragment(REPLY), "zo\u00eb"
    ),
    "conv.new": events.mailbox_frame(
        15,
        event(EventType.CONV_NEW, "g.1", actor="ann", title="\u00c9t\u00e9", since=1),
        "",
    ),
    "conv.member in the group's log": events.group_frame(
        2,
        event(EventType.CONV_MEMBER, "g.1", actor="ann", added=["cyd"], removed=[]),
        "",
    ),
    "conv.member in the mailbox of who was removed": events.mailbox_frame(
        16,
        event(EventType.CONV_MEMBER, "g.1", actor="ann", added=[], removed=["bob"]),
        "",
    ),
    "conv.read": events.mailbox_frame(17, event(EventType.CONV_READ, "d.1.2", n=7), ""),
    "profile.set": events.mailbox_frame(
        18, event(EventType.PROFILE_SET, None, display_name="Ann"), ""
    ),
    "device.new": events.mailbox_frame(
        19, event(EventType.DEVICE_NEW, None, device="phone"), ""
    ),
    "device.gone": events.mailbox_frame(
        20, event(EventType.DEVICE_GONE, None, device="phone"), ""
    ),
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)
messages = st.builds(
    Message,
    conv=st.sampled_from(["d.1.2", "g.1"]),
    n=st.integers(1, 2**53),
    sender=texts.filter(bool),
    cid=st.text('c\u00e9\U0001f600"\\', min_size=1, max_size=64),
    ts=st.integers(0, 2**53),
    body=json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode()),
    raw=st.booleans(),
    guest=st.booleans(),
    reply_to=st.none() | st.integers(1, 2**53),
)


@each_vector("events.json")
def test_event_is_made_as_the_vector_says(case: dict[str, Any]) -> None:
    """Byte for byte, so that a change of a frame is seen."""
    assert case["text"] == MADE[case["name"]].decode()


@each_vector("events.json")
def test_event_is_what_the_struct_says(case: dict[str, Any]) -> None:
    """It is of one log: of a mailbox with ``seq``, or of a group with ``pos``."""
    frame = read(case["text"])

    assert isinstance(frame, Ev)
    assert TS == frame.ts
    assert (frame.seq is msgspec.UNSET) != (frame.pos is msgspec.UNSET)


@each_vector("events.json")
def test_no_field_of_an_event_is_there_twice(case: dict[str, Any]) -> None:
    """Spliced from parts, it has each key once."""

    def judge(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        assert len(found) == len(pairs) or "k" in found  # a body's own
        return found

    json.loads(case["text"], object_pairs_hook=judge)


def test_every_type_of_event_has_its_vectors() -> None:
    """An event that is added is added to the vectors."""
    types = {json.loads(each["text"])["t"] for each in vectors("events.json")}

    assert set(EventType) == types


@given(messages, st.booleans())
def test_message_is_what_a_decoder_reads(message: Message, mine: bool) -> None:
    """Every field, and the ``cid`` for the sender's own devices alone."""
    expected: dict[str, Any] = {
        "op": "ev",
        "seq": 5,
        "t": "message.new",
        "ts": message.ts,
        "conv": message.conv,
        "n": message.n,
        "from": message.sender,
    }
    if message.raw:
        expected["raw"] = message.body.decode()
    else:
        expected["body"] = json.loads(message.body)
    if message.reply_to is not None:
        expected["reply_to"] = message.reply_to
    if message.guest:
        expected["from_guest"] = True
    elif mine:
        expected["cid"] = message.cid
    reader = message.sender if mine else message.sender + "x"

    text = events.mailbox_frame(5, events.message_fragment(message), reader)

    assert expected == json.loads(text)
    assert isinstance(read(text), Ev)


@given(messages)
def test_item_of_history_is_the_event_without_its_place(message: Message) -> None:
    """A message is the same, wherever one reads it."""
    frame = events.mailbox_frame(5, events.message_fragment(message), message.sender)
    expected = json.loads(frame)
    for key in ("op", "seq", "t"):
        del expected[key]

    assert expected == json.loads(bytes(events.message_item(message, message.sender)))


@given(messages)
def test_message_that_was_just_stored_is_the_one_that_is_read_later(
    message: Message,
) -> None:
    """What the broker brings and what the store has is the same event."""
    sent = NewMessage(
        *(message.sender, message.cid, message.body, message.ts),
        conv=message.conv,
        raw=message.raw,
        reply_to=message.reply_to,
    )
    read_later = Message(
        *(message.conv, 3, message.sender, message.cid, 99, message.body, message.raw),
        reply_to=message.reply_to,
    )

    assert events.new_message(sent, message.conv, 3, 99) == events.fragment_of(
        Event(8, EventType.MESSAGE_NEW, message.conv, 99, message=read_later)
    )


def test_body_passes_through_untouched() -> None:
    """Spaces, numbers and repeated keys are the clients' business."""
    frame = events.group_frame(9, events.message_fragment(REPLY), "bob")

    assert b'"body":{ "k" : 1.0, "k":2 }' in frame


@pytest.mark.parametrize("place", ["seq", "pos"])
def test_item_of_a_log_has_its_number_and_no_op(place: str) -> None:
    """As an element of the answer to ``events``."""
    fragment = events.message_fragment(DIRECT)

    found = json.loads(bytes(events.item(place, 4, fragment, "ann")))

    assert (4, "c1", False) == (found[place], found["cid"], "op" in found)


@pytest.mark.parametrize("detail", [None, "{}"])
def test_event_without_detail_has_nothing_more(detail: str | None) -> None:
    """No comma is left over."""
    fragment = events.fragment_of(
        Event(1, EventType.CONV_MEMBER, "g.1", TS, detail=detail)
    )

    assert {"t": "conv.member", "ts": TS, "conv": "g.1"} == fragment.fields()


@pytest.mark.parametrize("t", list(EventType))
def test_membership_and_messages_are_told_apart_by_their_first_bytes(
    t: EventType,
) -> None:
    """So that nothing else has to be decoded."""
    fragment = (
        events.message_fragment(DIRECT)
        if t is EventType.MESSAGE_NEW
        else event(t, "g.1", n=1)
    )

    assert (t in {EventType.CONV_NEW, EventType.CONV_MEMBER}) == (
        fragment.concerns_members
    )
    assert (t is EventType.MESSAGE_NEW) == events.is_message(fragment)
