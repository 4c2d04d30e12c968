# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608  # what is put into these statements are constants
"""Conversations as one of their accounts sees them, as scripts."""

from chatmotor.adapters.sql_reads import account_of, place_of
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.store_rows import (
    FITS,
    MESSAGE_COLUMNS,
    MESSAGE_JOINS,
    Row,
    message_of,
)
from chatmotor.ports.messages import Conversation, ConversationPage, Role

# conversation c, the account's own row k of a group, the other account p
_COLUMNS = """
c.conv, c.ts, c.n, c.pos, c.title, c.members, c.guest, k.role, p.username,
CASE WHEN c.one IS NULL THEN k.read WHEN c.one = $1 THEN c.one_read ELSE c.other_read
END
"""
_JOINS = """
LEFT JOIN member k ON k.conv = c.conv AND k.account = $1
LEFT JOIN account p ON p.id = CASE WHEN c.one = $1 THEN c.other ELSE c.one END
"""
_ONE = f"SELECT {_COLUMNS} FROM conversation c {_JOINS} WHERE c.conv = $2"
_SOME = f"""
SELECT x.found, {_COLUMNS}, {MESSAGE_COLUMNS} FROM (
    SELECT conv, size, SUM(size) OVER (ORDER BY conv) AS total,
        COUNT(*) OVER () AS found
    FROM (
        SELECT c.conv, COALESCE(length(m.body), 0) AS size FROM conversation c
        LEFT JOIN message m ON m.conv = c.conv AND m.n = c.n WHERE c.conv IN (
            SELECT conv FROM conversation WHERE one = $1 AND n > 0 AND conv > $2
            UNION
            SELECT conv FROM conversation WHERE other = $1 AND n > 0 AND conv > $2
            UNION
            SELECT conv FROM member WHERE account = $1 AND active = 1 AND conv > $2
        ) ORDER BY c.conv LIMIT $3
    ) k
) x CROSS JOIN conversation c {_JOINS}
LEFT JOIN message m ON m.conv = c.conv AND m.n = c.n {MESSAGE_JOINS}
WHERE c.conv = x.conv AND {FITS} ORDER BY x.conv
"""
_WIDTH = 10


def read_conversation(conv: str, reader: str) -> Script[Conversation]:
    """See ``LogStore.conversation``."""
    place = yield from place_of(conv, reader)
    rows = yield _ONE, place.reader, conv
    return _conversation(rows[0])


def read_conversations(
    username: str, after: str, limit: int
) -> Script[ConversationPage]:
    """See ``LogStore.conversations``."""
    account, seq, _ = yield from account_of(username)
    rows = yield _SOME, account, after, limit + 1
    page = tuple(_conversation(row[1:]) for row in rows[:limit])
    more = bool(rows) and rows[0][0] > len(page)
    return ConversationPage(page, more, seq)


def _conversation(row: Row) -> Conversation:
    conv, ts, n, pos, title, members, guest, role, peer, read = row[:_WIDTH]
    last = row[_WIDTH:]
    return Conversation(
        *(conv, ts, n, pos, read),
        peer=peer if guest is None else guest,
        guest=guest is not None,
        title=title,
        role=None if role is None else Role(role),
        members=members,
        last=message_of(last) if last and last[0] is not None else None,
    )
