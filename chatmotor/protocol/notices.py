# SPDX-License-Identifier: Apache-2.0
"""What nodes tell each other over the broker.

    0xFF  one of the structs below, in MessagePack

0xFF begins no UTF-8 text, so a notice is never taken for a classic text, nor a text for
a notice.  One about an event only saves its reader a look into the store; the others
are of now, and worth nothing a moment later: all of them may be lost, repeated or late.
They name the store's epoch, so that nodes which share RabbitMQ and not the store do not
take each other's numbers and accounts.  Docs: docs/reference/broker.md.
"""

from functools import lru_cache
from typing import Literal

import msgspec

from chatmotor.protocol.events import Fragment
from chatmotor.protocol.presence import Presence
from chatmotor.protocol.replies import AnyEphemeral, encode

TAG = b"\xff"


class MailboxNotice(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """An event of mailboxes: its ``seq`` in each, by username."""

    epoch: str
    seqs: dict[str, int]
    fragment: Fragment


class GroupNotice(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """An event of a group's log."""

    epoch: str
    conv: str
    pos: int
    fragment: Fragment


class RecheckNotice(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """The tokens of this account may have ended: ask the store."""

    username: str


class EphemeralNotice(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """
    Something of now, for the sessions of accounts or of a group's members.

    Args:
        text: The JSON fields of ``eph``, without braces.
        author: In a group, the account that is not told.
        device: With *author*, elsewhere: only this device of it is not told.
    """

    epoch: str
    text: bytes
    author: str = ""
    device: str = ""


class NodeNotice(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """
    A node is there.

    Args:
        what: ``hello``: it may have missed what the others said; ``bye``: it ends.
        watches: Whether it wants to know how accounts stand.
    """

    epoch: str
    node: str
    what: Literal["hello", "beat", "bye"]
    watches: bool


class AskNotice(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """*node* asks how these accounts stand on the others."""

    epoch: str
    node: str
    number: int
    users: list[str]


class PresenceNotice(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """
    How accounts stand on *node* now; none: they are not there.

    Args:
        answer: The number of the question that this answers; 0: nobody has asked.
    """

    epoch: str
    node: str
    users: dict[str, Presence | None]
    answer: int = 0


NodesNotice = NodeNotice | AskNotice | PresenceNotice
Notice = MailboxNotice | GroupNotice | RecheckNotice | EphemeralNotice | NodesNotice
_OF_EVENTS = (MailboxNotice, GroupNotice)


class _Shape(msgspec.Struct):
    """What readers count on, of the fields of any event."""

    t: str
    ts: int
    conv: str = ""
    sender: str = msgspec.field(name="from", default="")
    removed: list[str] = []
    since: int = 0


_check = msgspec.json.Decoder(_Shape).decode
_check_ephemeral = msgspec.json.Decoder(AnyEphemeral).decode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode


def encode_notice(notice: Notice) -> bytes:
    """The body of an AMQP message."""
    return TAG + _encode(notice)


@lru_cache(1)  # all readers of one message, one after the other
def decode_notice(body: bytes, epoch: str | None) -> Notice | None:
    """
    The notice that *body*, which anyone may have published, is; none, if it is none,
    or one about the numbers of another *epoch*, if it matters.
    """
    if body[:1] != TAG:
        return None
    try:
        notice: Notice = _decode(memoryview(body)[1:])
        if isinstance(notice, RecheckNotice):
            return notice
        if epoch is not None and notice.epoch != epoch:
            return None
        if isinstance(notice, _OF_EVENTS):
            _check(_checked(notice.fragment.text))
        elif isinstance(notice, EphemeralNotice):
            _check_ephemeral(_checked(notice.text))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return notice


def ephemeral_notice(
    epoch: str, ephemeral: AnyEphemeral, *, author: str = "", device: str = ""
) -> EphemeralNotice:
    """The notice that carries *ephemeral*."""
    return EphemeralNotice(epoch, encode(ephemeral)[1:-1], author, device)


def ephemeral_frame(notice: EphemeralNotice) -> bytes:
    """The ``eph`` that a session is told."""
    return b'{"op":"eph",%b}' % notice.text


def _checked(text: bytes) -> bytes:
    """
    *text* with its braces.  It goes into frames as it is, so it must be UTF-8
    everywhere; whoever calls sees to it that it is JSON.

    Raises:
        ValueError: It is not.
    """
    if not text.startswith(b'"t":"'):
        raise ValueError("an event begins with its type")
    if not text.isascii():
        text.decode()
    return b"{%b}" % text
