# SPDX-License-Identifier: Apache-2.0
"""The v1 frames of the server.  Each is one struct, which is its definition.

The two that a message costs, its ``ok`` and its ``ev``, are put together from bytes
(``sent``, protocol/events.py) and not from their structs; tests hold the bytes against
the structs.  Wire reference: docs/reference/protocol.md.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from chatmotor.errors import RequestRefused
from chatmotor.protocol.commands import Id

PresenceState = Literal["online", "away", "dnd", "offline"]

encode: Final = msgspec.json.Encoder().encode


class Frame(msgspec.Struct, kw_only=True, tag_field="op", omit_defaults=True):
    """What all frames have: ``op``."""


class Behind(msgspec.Struct, kw_only=True):
    """
    A group that has moved on; the client pulls what it wants.

    Args:
        pos: The last event of its log.
        n: Its last message.
    """

    conv: str
    pos: int
    n: int
    unread: int
    mentions: int = 0


class Welcome(Frame, kw_only=True, tag="welcome", omit_defaults=False):
    """
    The answer to ``hello``: who one is, and what follows.

    Args:
        v: 1.
        device: As it was named at log-in.
        session: A name for this connection, for logs.
        seq: The last event of the mailbox.
        resumed: Whether the session goes on where the client was.
        reason: Why not: first, epoch or trimmed; else null.
        replay: How many events of the mailbox follow before ``live``.
        behind: Groups that have moved on.
        heartbeat: Milliseconds of silence after which a WebSocket ping is sent.
        window: Events that may be under way to the client.
        limits: What this server allows, by name.
        features: What it has beyond sending.
        time: Its clock: milliseconds since the Unix epoch, UTC.
        build: Its version.
    """

    id: Id
    v: int
    user: str
    device: str
    session: str
    epoch: str
    seq: int
    resumed: bool
    reason: str | None
    replay: int
    behind: list[Behind]
    heartbeat: int
    window: int
    limits: dict[str, int | float]
    features: list[str]
    time: int
    expires: int
    build: str


class Live(Frame, kw_only=True, tag="live"):
    """
    The replay is done; what follows is new.

    Args:
        seq: The last event of the mailbox that was sent.
    """

    seq: int


class Ok(Frame, kw_only=True, tag="ok"):
    """A command was done; further fields depend on it."""

    id: Id | None


class Error(Frame, kw_only=True, tag="error", omit_defaults=False):
    """
    A command was refused and has changed nothing.

    Args:
        id: Of the command; null: it had none that can be used.
        msg: The same for people.
        retry: Whether the same command can work later.
        retry_ms: When.
        field: What is wrong, if it is one field.
    """

    id: Id | None
    code: str
    msg: str
    retry: bool
    retry_ms: int | UnsetType = UNSET
    field: str | UnsetType = UNSET


class Ev(Frame, kw_only=True, tag="ev"):
    """An event of a log: of the mailbox with ``seq``, of a group with ``pos``."""

    t: str
    ts: int
    seq: int | UnsetType = UNSET
    pos: int | UnsetType = UNSET
    conv: str | UnsetType = UNSET


class MovedOn(Frame, kw_only=True, tag="behind"):
    """A group moved on while the session's window was full."""

    conv: str
    pos: int


class Pong(Frame, kw_only=True, tag="pong"):
    """The answer to ``ping``."""

    id: Id | UnsetType = UNSET


class Bye(Frame, kw_only=True, tag="bye", omit_defaults=False):
    """
    The server closes the connection, with this close code.

    Args:
        code: The close code.
        reason: The same for people.
        reconnect: Whether to come back.
        after_ms: How long to wait before that.
    """

    code: int
    reason: str
    reconnect: bool
    after_ms: int


class UserPresence(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How an account stands; the best of all its sessions."""

    user: str
    state: PresenceState
    text: str = ""


class Ephemeral(msgspec.Struct, kw_only=True, tag_field="t", omit_defaults=True):
    """What ``eph`` carries: of no log, without a place, and lost now and then."""


class TypingNow(Ephemeral, kw_only=True, tag="typing"):
    """``from`` writes in a conversation, or has stopped."""

    conv: str
    sender: str = msgspec.field(name="from")
    state: Literal["on", "off"]


class PresenceNow(Ephemeral, kw_only=True, tag="presence"):
    """Those of the watched who stand otherwise than was said last."""

    users: list[UserPresence]


class Receipt(Ephemeral, kw_only=True, tag="receipt", omit_defaults=False):
    """
    How far the other one of a direct conversation is.

    Args:
        delivered: A device of it has the messages up to this ``n``.
        read: It has read up to this ``n``.
    """

    conv: str
    user: str
    delivered: int
    read: int


class SignalNow(Ephemeral, kw_only=True, tag="signal"):
    """A ``signal`` of a device of the account ``from``."""

    sender: str = msgspec.field(name="from")
    device: str
    # The server passes it on as ``msgspec.Raw``, the bytes that it got.
    body: Any


AnyEphemeral = TypingNow | PresenceNow | Receipt | SignalNow


class Eph(Frame, kw_only=True, tag="eph"):
    """Something of now, of type ``t``; the fields are those of its type."""

    t: str


AnyFrame = Welcome | Live | Ok | Error | Ev | MovedOn | Eph | Pong | Bye


def ok(reply_to: Id | None, fields: dict[str, Any]) -> bytes:
    """An ``ok`` with further fields."""
    return encode({"op": "ok", "id": reply_to} | fields)


def sent(
    reply_to: Id, conv: str, n: int, ts: int, *, seq: int | None, dup: bool
) -> bytes:
    """The ``ok`` to a ``send``; *conv* is an id of ours, plain ASCII."""
    return b'{"op":"ok","id":%b,"conv":"%b","n":%d,%b"ts":%d,"dup":%b}' % (
        encode(reply_to),
        conv.encode(),
        n,
        b"" if seq is None else b'"seq":%d,' % seq,
        ts,
        b"true" if dup else b"false",
    )


def eph(what: AnyEphemeral) -> bytes:
    """The ``eph`` of something of now."""
    return b'{"op":"eph",' + encode(what)[1:]


def error(reply_to: Id | None, refused: RequestRefused) -> bytes:
    """The ``error`` that says why a command was refused."""
    return encode({"op": "error", "id": reply_to} | refused.to_wire())
