# SPDX-License-Identifier: Apache-2.0
"""The frames of the server: what is put together from bytes is what the structs say."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor import errors
from chatmotor.protocol import presence, replies
from tests.harness.vectors import each_vector, vectors

read = msgspec.json.Decoder(replies.AnyFrame).decode
read_ephemeral = msgspec.json.Decoder(replies.AnyEphemeral).decode

ids = st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=32)
numbers = st.integers(0, 2**53 - 1)

WELCOME = replies.Welcome(
    id=1,
    v=1,
    user="ann",
    device="phone",
    session="5f0c2a9be1d34077",
    epoch="1b4e28ba2fa111d2883f0016d3cca427",
    seq=12,
    resumed=True,
    reason=None,
    replay=2,
    behind=[replies.Behind(conv="g.1", pos=9, n=7, unread=3)],
    heartbeat=25000,
    window=256,
    limits={"frame": 65536, "body": 32768},
    features=["history", "sync"],
    time=1700000000000,
    expires=1702592000000,
    build="0.1.0",
)

# What is made for each vector of frames.json.
MADE: dict[str, bytes] = {
    "welcome: the session goes on where the client was": replies.encode(WELCOME),
    "welcome: a new client": replies.encode(
        msgspec.structs.replace(
            WELCOME, resumed=False, reason="first", replay=0, behind=[]
        )
    ),
    "live": replies.encode(replies.Live(seq=12)),
    "ok to a command without fields": replies.ok(1, {}),
    "ok to auth": replies.ok("a", {"expires": 1702592000000}),
    "ok to read over the WebSocket, with an id": replies.ok(7, {}),
    "ok to a direct message": replies.sent(
        *(1, "d.1.2", 7, 1700000000000), seq=12, dup=False
    ),
    "ok to a group message": replies.sent(
        *("s1", "g.1", 7, 1700000000000), seq=None, dup=False
    ),
    "ok to a message that was stored before": replies.sent(
        *(1, "d.1.2", 7, 1700000000000), seq=12, dup=True
    ),
    "error without a field": replies.error(
        1, errors.NoSuchConv("there is no such conversation")
    ),
    "error that names a field": replies.error(
        1, errors.RequestRefused("a message has either to or conv", field="to")
    ),
    "error to a text without an id": replies.error(
        None, errors.BadJson("a frame must be one JSON object")
    ),
    "error that can be tried again": replies.error(
        "x", errors.RateLimited("too many messages; wait a moment", retry_ms=51)
    ),
    "ok to watch": replies.ok(
        1,
        {
            "snapshot": [
                presence.told("bob", presence.Presence("away", "lunch")),
                presence.told("cyd", None),
            ]
        },
    ),
    "eph: somebody writes": replies.eph(
        replies.TypingNow(conv="d.1.2", sender="bob", state="on")
    ),
    "eph: somebody has stopped": replies.eph(
        replies.TypingNow(conv="g.1", sender="bob", state="off")
    ),
    "eph: how accounts stand now": replies.eph(
        replies.PresenceNow(
            users=[
                presence.told("bob", presence.Presence("dnd", "at work")),
                presence.told("cyd", presence.ONLINE),
                presence.told("dan", None),
            ]
        )
    ),
    "eph: delivered and read": replies.eph(
        replies.Receipt(conv="d.1.2", user="bob", delivered=7, read=5)
    ),
    "eph: nothing was read yet": replies.eph(
        replies.Receipt(conv="d.1.2", user="bob", delivered=1, read=0)
    ),
    "eph: a signal, the body as it was written": replies.eph(
        replies.SignalNow(
            sender="bob", device="phone", body=msgspec.Raw(b'{ "k" : 1.0 }')
        )
    ),
    "behind": replies.encode(replies.MovedOn(conv="g.1", pos=9)),
    "pong to a ping without an id": replies.encode(replies.Pong()),
    "pong": replies.encode(replies.Pong(id="p")),
    "bye: connect again": replies.encode(
        replies.Bye(
            code=4001,
            reason="this node is shutting down",
            reconnect=True,
            after_ms=1234,
        )
    ),
    "bye: stay away": replies.encode(
        replies.Bye(
            code=4502, reason="the token was revoked", reconnect=False, after_ms=0
        )
    ),
}


@each_vector("frames.json")
def test_frame_is_made_as_the_vector_says(case: dict[str, Any]) -> None:
    """Byte for byte, so that a change of a frame is seen."""
    assert case["text"] == MADE[case["name"]].decode()


@each_vector("frames.json")
def test_frame_is_what_its_struct_says(case: dict[str, Any]) -> None:
    """A frame that is decoded and encoded again has lost nothing that is defined."""
    frame = json.loads(case["text"])
    defined = json.loads(msgspec.json.encode(read(case["text"])))
    if frame["op"] == "eph":
        ephemeral = read_ephemeral(case["text"])
        defined |= json.loads(msgspec.json.encode(ephemeral))

    assert defined == {name: frame[name] for name in defined}
    if frame["op"] != "ok":  # its further fields depend on the command
        assert frame == defined


def test_every_frame_has_its_vectors() -> None:
    """A frame that is added is added to the vectors."""
    ops = {json.loads(each["text"])["op"] for each in vectors("frames.json")}
    kinds = {each.__struct_config__.tag for each in replies.AnyFrame.__args__}

    assert kinds - {"ev"} == ops  # events.json has those


def test_every_ephemeral_has_its_vectors() -> None:
    """So does a type of ``eph``."""
    frames = [json.loads(each["text"]) for each in vectors("frames.json")]
    types = {each.__struct_config__.tag for each in replies.AnyEphemeral.__args__}

    assert types == {each["t"] for each in frames if each["op"] == "eph"}


@given(ids, numbers, numbers, st.none() | numbers, st.booleans())
def test_ok_to_a_send_is_what_a_decoder_reads(
    reply_to: int | str, n: int, ts: int, seq: int | None, dup: bool
) -> None:
    """Put together from bytes, it is still JSON, whatever the id."""
    fields: dict[str, Any] = {"op": "ok", "id": reply_to, "conv": "g.1", "n": n}
    if seq is not None:
        fields["seq"] = seq

    text = replies.sent(reply_to, "g.1", n, ts, seq=seq, dup=dup)

    assert fields | {"ts": ts, "dup": dup} == json.loads(text)
    assert replies.Ok(id=reply_to) == read(text)


def _all_errors(kind: type[Any] = errors.RequestRefused) -> list[type[Any]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _all_errors(sub))]


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: kind.__name__)
def test_every_refusal_is_an_error_frame(kind: type[Any]) -> None:
    """Its code, its words, and whether the same request can work later."""
    if kind is errors.CidConflict:
        refused = kind()
    elif kind is errors.RateLimited:
        refused = kind("wait", retry_ms=5)
    else:
        refused = kind("wait")

    frame = read(replies.error(3, refused))

    assert isinstance(frame, replies.Error)
    assert (3, kind.code, kind.temporary) == (frame.id, frame.code, frame.retry)
    assert (refused.retry_ms is None) == (frame.retry_ms is msgspec.UNSET)
    assert (refused.field is None) == (frame.field is msgspec.UNSET)
