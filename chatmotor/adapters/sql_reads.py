# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608  # what is put into these statements are constants
"""The reads, as scripts; whoever runs one sees to it that all of it is of one moment.

A conversation between two begins with its first message: PostgreSQL may have the row
earlier, with n = 0, which nobody sees.

Pages are cut to ``PAGE_BYTES`` here, so that no more than that is read:

    keys and sizes, at most limit --> those that fit --> their bodies

CROSS JOIN is for SQLite, which keeps to that order then.
"""

from collections.abc import Sequence
from typing import NamedTuple

from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.store_rows import (
    FITS,
    MESSAGE_COLUMNS,
    MESSAGE_JOINS,
    event_of,
    message_of,
    no_such_conv,
    no_such_user,
    refuse_reader,
)
from chatmotor.errors import Trimmed
from chatmotor.ports.messages import (
    EventPage,
    GroupLog,
    Mailbox,
    Member,
    MessagePage,
    Role,
    Standing,
    Tops,
)

_ACCOUNT = "SELECT id, seq, floor FROM account WHERE username = $1"
_SIZE = "COALESCE(length(m.body), octet_length(e.detail), 0)"
_SO_FAR = "ROWS UNBOUNDED PRECEDING"
_MAILBOX = f"""
SELECT e.seq, e.t, e.conv, e.detail, e.ts, {MESSAGE_COLUMNS} FROM mailbox e
LEFT JOIN message m ON m.conv = e.conv AND m.n = e.n {MESSAGE_JOINS}
WHERE e.account = $1 AND e.seq > $2 AND e.seq <= (
    SELECT MAX(seq) FROM (
        SELECT seq, size, SUM(size) OVER (ORDER BY seq {_SO_FAR}) AS total FROM (
            SELECT e.seq, {_SIZE} AS size FROM mailbox e
            LEFT JOIN message m ON m.conv = e.conv AND m.n = e.n
            WHERE e.account = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3
        ) k
    ) x WHERE {FITS}
) ORDER BY e.seq
"""
_GROUP_TOP = "SELECT pos FROM conversation WHERE conv = $1 AND one IS NULL"
_GROUP_LOG = f"""
SELECT e.pos, e.t, e.conv, e.detail, e.ts, {MESSAGE_COLUMNS} FROM group_log e
LEFT JOIN message m ON m.conv = e.conv AND m.n = e.n {MESSAGE_JOINS}
WHERE e.conv = $1 AND e.pos > $2 AND e.pos <= (
    SELECT MAX(pos) FROM (
        SELECT pos, size, SUM(size) OVER (ORDER BY pos {_SO_FAR}) AS total FROM (
            SELECT e.pos, {_SIZE} AS size FROM group_log e
            LEFT JOIN message m ON m.conv = e.conv AND m.n = e.n
            WHERE e.conv = $1 AND e.pos > $2 ORDER BY e.pos LIMIT $3
        ) k
    ) x WHERE {FITS}
) ORDER BY e.pos
"""
_READER = """
SELECT a.id, c.conv, c.one, c.other, c.n, m.active FROM account a
LEFT JOIN conversation c ON c.conv = $2 AND (c.one IS NULL OR c.n > 0)
LEFT JOIN member m ON m.conv = c.conv AND m.account = a.id
WHERE a.username = $1
"""
# The nearest to n = $4 first.
_MESSAGES = f"""
SELECT {MESSAGE_COLUMNS} FROM (
    SELECT MIN(n) AS first, MAX(n) AS last FROM (
        SELECT n, size,
            SUM(size) OVER (ORDER BY ABS(n - $4), n {_SO_FAR}) AS total
        FROM (
            SELECT m.n, length(m.body) AS size FROM message m
            WHERE m.conv = $1 AND m.n > $2 AND m.n <= $3
        ) k
    ) x WHERE {FITS}
) y CROSS JOIN message m {MESSAGE_JOINS}
WHERE m.conv = $1 AND m.n >= y.first AND m.n <= y.last ORDER BY m.n
"""
# What one has read, or what is not above the highest cursor of one's devices.  All that
# is not read is of the other one, since an own message moves the pointer; its places
# rise, so when the first has not arrived, none has.  From the last message down, so it
# ends at the first that has arrived.
_RECEIPTS = """
SELECT r.conv, r.username, CASE WHEN EXISTS (
    SELECT 1 FROM message f
    WHERE f.conv = r.conv AND f.n = r.read + 1 AND f.peer_seq <= r.cursor
) THEN (
    SELECT m.n FROM message m
    WHERE m.conv = r.conv AND m.n > r.read AND m.peer_seq <= r.cursor
    ORDER BY m.n DESC LIMIT 1
) ELSE r.read END, r.read
FROM (
    SELECT c.conv, a.username,
        CASE WHEN a.id = c.one THEN c.one_read ELSE c.other_read END AS read,
        (SELECT MAX(d.cursor) FROM device d WHERE d.account = a.id) AS cursor
    FROM conversation c JOIN account a ON a.id IN (c.one, c.other)
    WHERE c.conv = ANY($1::text[]) AND c.n > 0
) r
"""
_SEQS = "SELECT username, seq FROM account WHERE username = ANY($1::text[])"
_POSITIONS = """
SELECT conv, pos FROM conversation WHERE one IS NULL AND conv = ANY($1::text[])
"""
_STANDINGS = """
SELECT c.conv, c.pos, c.n, m.read FROM account a
JOIN member m ON m.account = a.id AND m.active = 1
JOIN conversation c ON c.conv = m.conv
WHERE a.username = $1 ORDER BY c.conv
"""
_MEMBERS = """
SELECT a.username, m.role FROM member m JOIN account a ON a.id = m.account
WHERE m.conv = $1 AND m.active = 1 AND a.username > $2 ORDER BY a.username LIMIT $3
"""


class Place(NamedTuple):
    """A conversation that a reader may read."""

    reader: int
    conv: str
    one: int | None
    other: int | None
    n: int


class Bounds(NamedTuple):
    """Which part of a conversation is asked for; at most one is given."""

    before: int | None
    after: int | None
    around: int | None

    def cut(self, top: int, limit: int) -> tuple[int, int, int]:
        """The messages low < n <= high, and the n to which the nearest count most."""
        if self.after is not None:
            low = max(self.after, 0)
            return low, min(low + limit, top), low
        if self.around is not None:
            earlier = limit // 2
            middle = max(self.around - 1, 0)
            low = max(min(middle, top) - earlier, 0)
            return low, min(middle + limit - earlier, top), self.around
        high = top if self.before is None else max(min(self.before - 1, top), 0)
        return max(high - limit, 0), high, high

    def more(self, low: int, high: int, top: int) -> bool:
        """Whether more lie beyond, when the messages low < n <= high were found."""
        if self.after is None and self.around is None:
            return low > 0
        return high < top


def account_of(username: str) -> Script[tuple[int, int, int]]:
    """The id of an account, the top of its mailbox and its floor."""
    rows = yield _ACCOUNT, username
    if not rows:
        raise no_such_user(username)
    account, seq, floor = rows[0]
    return account, seq, floor


def place_of(conv: str, reader: str) -> Script[Place]:
    """
    The conversation, if the reader may read it.

    Raises:
        NoSuchUser, NoSuchConv, NotMember: See ``LogStore``.
    """
    rows = yield _READER, reader, conv
    if not rows:
        raise no_such_user(reader)
    place, active = Place(*rows[0][:5]), rows[0][5]
    if place.conv is None:
        raise no_such_conv()
    if place.one is None:
        refuse_reader(active=active)
    elif place.reader not in {place.one, place.other}:
        raise no_such_conv()
    return place


def read_mailbox(log: Mailbox, since: int, limit: int) -> Script[EventPage]:
    """See ``LogStore.events``."""
    account, top, floor = yield from account_of(log.username)
    if since < floor:
        raise Trimmed("events this old are not kept; sync, and go on from there")
    rows = yield _MAILBOX, account, since, limit
    return EventPage(tuple(event_of(row) for row in rows), top)


def read_group_log(log: GroupLog, since: int, limit: int) -> Script[EventPage]:
    """See ``LogStore.events``."""
    if log.reader is not None:
        yield from place_of(log.conv, log.reader)
    tops = yield _GROUP_TOP, log.conv
    if not tops:
        raise no_such_conv()
    rows = yield _GROUP_LOG, log.conv, since, limit
    return EventPage(tuple(event_of(row) for row in rows), tops[0][0])


def read_history(
    conv: str, reader: str, bounds: Bounds, limit: int
) -> Script[MessagePage]:
    """See ``LogStore.history``."""
    place = yield from place_of(conv, reader)
    low, high, near = bounds.cut(place.n, limit)
    rows = yield _MESSAGES, conv, low, high, near
    page = tuple(message_of(row) for row in rows)
    if page:
        low, high = page[0].n - 1, page[-1].n
    more = bounds.more(low, high, place.n)
    receipts = {}
    if place.one is not None and place.other is not None:
        found = yield from read_receipts([conv])
        receipts = found.get(conv, {})
    return MessagePage(page, more, receipts)


def read_receipts(
    convs: Sequence[str],
) -> Script[dict[str, dict[str, tuple[int, int]]]]:
    """By conversation and username; of notes to oneself, too."""
    rows = yield _RECEIPTS, list(convs)
    receipts: dict[str, dict[str, tuple[int, int]]] = {}
    for conv, username, delivered, read in rows:
        receipts.setdefault(conv, {})[username] = (delivered, read)
    return receipts


def read_tops(usernames: Sequence[str], convs: Sequence[str]) -> Script[Tops]:
    """See ``LogStore.tops``."""
    seqs = yield _SEQS, list(usernames)
    positions = yield _POSITIONS, list(convs)
    return Tops(dict(tuple(row) for row in seqs), dict(tuple(x) for x in positions))


def read_standings(username: str) -> Script[tuple[Standing, ...]]:
    """See ``LogStore.standings``."""
    rows = yield _STANDINGS, username
    return tuple(Standing(*row) for row in rows)


def read_members(
    conv: str, reader: str, after: str, limit: int
) -> Script[tuple[Member, ...]]:
    """See ``LogStore.members``."""
    place = yield from place_of(conv, reader)
    if place.one is not None:
        raise no_such_conv()
    rows = yield _MEMBERS, conv, after, limit
    return tuple(Member(username, Role(role)) for username, role in rows)
