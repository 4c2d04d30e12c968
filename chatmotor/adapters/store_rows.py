# SPDX-License-Identifier: Apache-2.0
"""What the two SQL stores have in common: rows and answers, made from each other.

Both select the columns in the order that these functions take them, so a row of
either database becomes the same value.
"""

import json
from collections.abc import Sequence
from typing import Any

from chatmotor.errors import (
    CidConflict,
    Forbidden,
    NoSuchConv,
    NoSuchUser,
    NotMember,
    Suspended,
)
from chatmotor.ports.messages import (
    PAGE_BYTES,
    ChangedGroup,
    Event,
    EventType,
    Message,
    StoredMessage,
)

# message m, and by the joins its sender s or the guest g of its conversation
MESSAGE_COLUMNS = (
    "m.conv, m.n, COALESCE(s.username, g.guest), m.cid, m.ts, m.body, m.raw,"
    " m.sender IS NULL, m.reply_to"
)
MESSAGE_JOINS = (
    "LEFT JOIN account s ON s.id = m.sender"
    " LEFT JOIN conversation g ON g.conv = m.conv AND m.sender IS NULL"
)
# Of rows with their size, and the total so far: those that a page has room for, and the
# first one.  The size of a body is known without reading it.
FITS = f"(x.total <= {PAGE_BYTES} OR x.total = x.size)"
# the first answer to a cid
ANSWER_COLUMNS = "digest, conv, n, seq, peer, peer_seq, pos, revision, ts"

Row = Sequence[Any]


def message_of(row: Row) -> Message:
    """A message from ``MESSAGE_COLUMNS``."""
    conv, n, sender, cid, ts, body, raw, guest, reply_to = row
    return Message(
        *(conv, n, sender, cid, ts, body, bool(raw)),
        guest=bool(guest),
        reply_to=reply_to,
    )


def event_of(row: Row) -> Event:
    """An event from (at, t, conv, detail, ts, ``MESSAGE_COLUMNS``)."""
    at, t, conv, detail, ts = row[:5]
    if t == EventType.MESSAGE_NEW:
        return Event(at, EventType.MESSAGE_NEW, conv, ts, message=message_of(row[5:]))
    return Event(at, EventType(t), conv, ts, detail=detail)


def detail_of(**fields: Any) -> str:
    """The fields of an event that is not of a message."""
    return json.dumps(fields, ensure_ascii=False)


def request_row(
    account: int, cid: str, digest: bytes, answer: StoredMessage
) -> tuple[Any, ...]:
    """The row of ``request`` that remembers the answer to a send."""
    where = (answer.conv, answer.n, answer.seq, answer.peer, answer.peer_seq)
    return (account, cid, digest, *where, answer.pos, None, answer.ts)


def change_request_row(
    account: int, cid: str, digest: bytes, answer: ChangedGroup, ts: int
) -> tuple[Any, ...]:
    """The row of ``request`` that remembers the answer to a change of a group."""
    where = (answer.conv, None, None, None, None, answer.pos, answer.revision)
    return (account, cid, digest, *where, ts)


def stored_before(row: Row, digest: bytes) -> StoredMessage:
    """
    The answer to a repeated send, from ``ANSWER_COLUMNS``.

    Raises:
        CidConflict: It is no repetition.
    """
    first, conv, n, seq, peer, peer_seq, pos, _, ts = row
    if bytes(first) != digest:
        raise CidConflict
    return StoredMessage(conv, n, ts, seq, peer, peer_seq, pos, dup=True)


def changed_before(row: Row, digest: bytes) -> ChangedGroup:
    """
    The answer to a repeated change, from ``ANSWER_COLUMNS``.

    Raises:
        CidConflict: It is no repetition.
    """
    if bytes(row[0]) != digest:
        raise CidConflict
    return ChangedGroup(row[1], pos=row[6], revision=row[7], dup=True)


def no_such_user(username: str) -> NoSuchUser:
    """The refusal, in words."""
    return NoSuchUser(f"nobody here is called {username!r}", field="user")


def no_such_conv() -> NoSuchConv:
    """The refusal, in words."""
    return NoSuchConv("there is no such conversation", field="conv")


def suspended() -> Suspended:
    """The refusal, in words."""
    return Suspended("this account is deactivated")


def cannot_be_written_to() -> Forbidden:
    """The refusal, in the same words for every cause."""
    return Forbidden("this user does not take messages", field="to")


def guests_cannot_be_answered() -> Forbidden:
    """The refusal, in words."""
    return Forbidden("a guest has no mailbox; nobody can answer here", field="conv")


def refuse_reader(*, active: bool | None) -> None:
    """
    Refuse who is not in a conversation.

    Args:
        active: Of the member's row; none when there is no row.
    """
    if active is None:
        raise no_such_conv()
    if not active:
        raise NotMember("you are not in this group any more", field="conv")
