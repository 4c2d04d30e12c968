# SPDX-License-Identifier: Apache-2.0
"""What nodes tell each other over the broker about durable events.

    0xFF  one of the structs below, in MessagePack

0xFF begins no UTF-8 text, so a notice is never taken for a classic text, nor a text for
a notice.  A notice only saves its reader a look into the store: it may be lost,
repeated or late.  It names the store's epoch, so that nodes which share RabbitMQ and
not the store do not take each other's numbers.  Docs: docs/reference/broker.md.
"""

from functools import lru_cache

import msgspec

from chatmotor.protocol.events import Fragment

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


Notice = MailboxNotice | GroupNotice | RecheckNotice


class _Shape(msgspec.Struct):
    """What readers count on, of the fields of any event."""

    t: str
    ts: int
    conv: str = ""
    sender: str = msgspec.field(name="from", default="")
    removed: list[str] = []
    since: int = 0


_check = msgspec.json.Decoder(_Shape).decode
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
        if not isinstance(notice, RecheckNotice):
            if epoch is not None and notice.epoch != epoch:
                return None
            _check_text(notice.fragment.text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return notice


def _check_text(text: bytes) -> None:
    """
    It goes into frames as it is, so it must be JSON, and UTF-8 everywhere.

    Raises:
        ValueError, msgspec.MsgspecError, RecursionError: It is not.
    """
    if not text.startswith(b'"t":"'):
        raise ValueError("an event begins with its type")
    if not text.isascii():
        text.decode()
    _check(b"{%b}" % text)
