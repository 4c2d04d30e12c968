# SPDX-License-Identifier: Apache-2.0
"""Dropping old mailbox events, as scripts, a bounded part at a time.

    find_old (a read)  -->  drop (a write of at most about CHUNK events)  -->  find_old

What is found stays true until it is dropped: nobody changes an event, and floors rise.
"""

from typing import NamedTuple

from chatmotor.adapters.sql_script import Many, Script

# Events dropped in one transaction: some milliseconds, in which sends wait.
CHUNK = 2000
# Accounts looked at in one read.
ACCOUNTS_AT_ONCE = 200

# The first event that stays, if it is among the next CHUNK.
_OLD = """
SELECT a.id, a.floor, a.seq, (
    SELECT e.seq FROM mailbox e
    WHERE e.account = a.id AND e.seq > a.floor AND e.seq <= a.floor + $3 AND e.ts >= $2
    ORDER BY e.seq LIMIT 1
) FROM account a WHERE a.id > $1 AND a.floor < a.seq ORDER BY a.id LIMIT $4
"""
_LOCK_FLOORS = """
SELECT id, floor FROM account
WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""
_DROP = "DELETE FROM mailbox WHERE account = $1 AND seq <= $2"
_RAISE = "UPDATE account SET floor = $2 WHERE id = $1"


class Found(NamedTuple):
    """
    New floors by account, and the account after which to look on; none at the end.
    """

    floors: dict[int, int]
    after: int | None


def find_old(after: int, before: int) -> Script[Found]:
    """Mailboxes of accounts above id *after* that have events older than *before*."""
    rows = yield _OLD, after, before, CHUNK, ACCOUNTS_AT_ONCE
    floors: dict[int, int] = {}
    events = 0
    for account, floor, top, stays in rows:
        new = min(floor + CHUNK, top) if stays is None else stays - 1
        if new > floor:
            floors[account] = new
            events += new - floor
        if stays is None and new < top:
            return Found(floors, account - 1)  # there may be more of this one
        if events >= CHUNK:
            return Found(floors, account)
    return Found(floors, rows[-1][0] if len(rows) == ACCOUNTS_AT_ONCE else None)


def drop(floors: dict[int, int]) -> Script[int]:
    """Drop the events up to the new floors; how many."""
    rows = yield _LOCK_FLOORS, list(floors)
    rises = [(account, floors[account], old) for account, old in rows]
    rises = [each for each in rises if each[1] > each[2]]
    if rises:  # another node may have been here
        yield Many(_DROP, [each[:2] for each in rises])
        yield Many(_RAISE, [each[:2] for each in rises])
    return sum(new - old for _, new, old in rises)
