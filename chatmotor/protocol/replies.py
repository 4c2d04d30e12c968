# SPDX-License-Identifier: Apache-2.0
"""The v1 frames of the server.  Each is one struct, which is its definition.

The two that a message costs, its ``ok`` and its ``ev``, are put together from bytes
(``sent``, protocol/events.py) and not from their structs; tests hold the bytes against
the structs.  Wire reference: docs/reference/protocol.md.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from chatmotor.errors import RequestRefused
from chatmotor.protocol.commands import Id

encode: Final = msgspec.json.Encoder().encode


class Frame(msgspec.Struct, kw_only=True, tag_field="op", omit_defaults=True):
    """What all frames have: ``op``."""


class Behind(msgspec.Struct, kw_only=True):
    """A group that has moved on; the client pulls what it wants."""

    conv: str
    pos: int
    n: int
    unread: int
    mentions: int = 0


class Welcome(Frame, kw_only=True, tag="welcome", omit_defaults=False):
    """The answer to ``hello``: who one is, and what follows."""

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
    """The replay is done; what follows is new."""

    seq: int


class Ok(Frame, kw_only=True, tag="ok"):
    """A command was done; further fields depend on it."""

    id: Id | None


class Error(Frame, kw_only=True, tag="error", omit_defaults=False):
    """A command was refused and has changed nothing."""

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
    """The server closes the connection, with this close code."""

    code: int
    reason: str
    reconnect: bool
    after_ms: int


AnyFrame = Welcome | Live | Ok | Error | Ev | MovedOn | Pong | Bye


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


def error(reply_to: Id | None, refused: RequestRefused) -> bytes:
    """The ``error`` that says why a command was refused."""
    return encode({"op": "error", "id": reply_to} | refused.to_wire())
