# SPDX-License-Identifier: Apache-2.0
"""Read pointers and what guests leave, as scripts.

In a direct conversation the pointers are in its row, which is locked; in a group they
are in the members' rows.  There the account's row is the lock: ten thousand readers of
a group do not queue up for the one row that its sends need.
"""

from chatmotor.adapters.sql_mailbox import LOCK_ACCOUNTS, log_in_mailboxes
from chatmotor.adapters.sql_reads import Place, place_of
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.store_rows import (
    cannot_be_written_to,
    detail_of,
    no_such_user,
)
from chatmotor.ports.messages import (
    Event,
    EventType,
    GuestMessage,
    Logged,
    StoredMessage,
    guest_conv,
)

_LOCK_POINTERS = """
SELECT one_read, other_read FROM conversation WHERE conv = $1 FOR NO KEY UPDATE
"""
_MOVE_ONE = "UPDATE conversation SET one_read = $2 WHERE conv = $1"
_MOVE_OTHER = "UPDATE conversation SET other_read = $2 WHERE conv = $1"
# One statement: a send of the same member may move the pointer meanwhile.
_MOVE_MEMBER = """
UPDATE member SET read = $3
WHERE conv = $1 AND account = $2 AND active = 1 AND read < $3 RETURNING read
"""

_RECIPIENT = "SELECT id, closed FROM account WHERE username = $1"
_CREATE = """
INSERT INTO conversation
    (conv, one, guest, title, n, one_read, other_read, pos, revision, members, ts)
VALUES ($1, $2, $3, '', 0, 0, 0, 0, 0, 0, $4) ON CONFLICT DO NOTHING
"""
_LOCK_CONVERSATION = """
SELECT n FROM conversation WHERE conv = $1 FOR NO KEY UPDATE
"""
_COUNT = "UPDATE conversation SET n = $2 WHERE conv = $1"
_INSERT = """
INSERT INTO message (conv, n, cid, ts, peer_seq, raw, body)
VALUES ($1, $2, '', $3, $4, $5, $6)
"""
_SET_TOP = "UPDATE account SET seq = $2 WHERE id = $1"
_DELIVER = """
INSERT INTO mailbox (account, seq, t, conv, n, ts) VALUES ($1, $2, $3, $4, $5, $6)
"""


def mark_read(username: str, conv: str, n: int, ts: int) -> Script[Logged | None]:
    """See ``MessageStore.mark_read``."""
    place = yield from place_of(conv, username)
    goal = min(n, place.n)
    if place.one is None:
        moved = yield from _move_in_group(place, goal)
    else:
        moved = yield from _move_in_direct(place, goal)
    if not moved:
        return None
    event = Event(0, EventType.CONV_READ, conv, ts, detail=detail_of(n=goal))
    return (yield from log_in_mailboxes([place.reader], event))


def _move_in_group(place: Place, goal: int) -> Script[bool]:
    yield LOCK_ACCOUNTS, [place.reader]
    rows = yield _MOVE_MEMBER, place.conv, place.reader, goal
    return bool(rows)


def _move_in_direct(place: Place, goal: int) -> Script[bool]:
    rows = yield _LOCK_POINTERS, place.conv
    is_one = place.reader == place.one
    if rows[0][0 if is_one else 1] >= goal:
        return False
    yield _MOVE_ONE if is_one else _MOVE_OTHER, place.conv, goal
    return True


def send_from_guest(message: GuestMessage) -> Script[StoredMessage]:
    """See ``MessageStore.send_from_guest``."""
    rows = yield _RECIPIENT, message.to
    if not rows:
        raise no_such_user(message.to)
    account, closed = rows[0]
    if closed:
        raise cannot_be_written_to()
    conv, ts = guest_conv(account, message.guest), message.ts
    yield _CREATE, conv, account, message.guest, ts
    rows = yield _LOCK_CONVERSATION, conv
    n = rows[0][0] + 1
    rows = yield LOCK_ACCOUNTS, [account]
    seq = rows[0][2] + 1
    yield _COUNT, conv, n
    yield _SET_TOP, account, seq
    yield _INSERT, conv, n, ts, seq, True, message.body
    yield _DELIVER, account, seq, EventType.MESSAGE_NEW.value, conv, n, ts
    return StoredMessage(conv, n, ts, peer=message.to, peer_seq=seq)
