# SPDX-License-Identifier: Apache-2.0
"""What the two SQL stores have in common: rows and answers, made from each other.

Both select the columns in the order that these functions take them, so a row of
either database becomes the same value.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from chatmotor.errors import CidConflict, NoSuchConv, NoSuchUser, NotMember
from chatmotor.ports.store import (
    ChangedGroup,
    Event,
    EventType,
    Membership,
    Message,
    StoredMessage,
)

# conversation c, message m, its sender s
MESSAGE_COLUMNS = "m.conv, m.n, s.username, m.cid, m.ts, m.body, m.raw"
# the first answer to a cid
ANSWER_COLUMNS = "digest, conv, n, seq, peer, peer_seq, pos, revision, ts"

Row = Sequence[Any]


def message_of(row: Row) -> Message:
    """A message from ``MESSAGE_COLUMNS``."""
    conv, n, sender, cid, ts, body, raw = row
    return Message(conv, n, sender, cid, ts, body, bool(raw))


def mailbox_event(row: Row) -> Event:
    """An event from (seq, t, ``MESSAGE_COLUMNS``)."""
    message = message_of(row[2:])
    return Event(row[0], EventType(row[1]), message.conv, message.ts, message)


def group_event(conv: str, row: Row) -> Event:
    """An event from (pos, t, ts, actor, detail, ``MESSAGE_COLUMNS``)."""
    pos, t, ts, actor, detail = row[:5]
    if t == EventType.MESSAGE_NEW:
        return Event(pos, EventType.MESSAGE_NEW, conv, ts, message=message_of(row[5:]))
    change = json.loads(detail)
    membership = Membership(actor, tuple(change["added"]), tuple(change["removed"]))
    return Event(pos, EventType(t), conv, ts, membership=membership)


def membership_detail(added: Iterable[str], removed: Iterable[str]) -> str:
    """What ``group_event`` reads."""
    return json.dumps({"added": sorted(added), "removed": sorted(removed)})


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
