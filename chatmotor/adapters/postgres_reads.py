# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608  # what is put into these statements are constants
"""What is read from PostgreSQL.  Each page is one statement, and so of one moment."""

from collections.abc import Sequence
from typing import Any

from chatmotor.adapters.store_rows import (
    MESSAGE_COLUMNS,
    group_event,
    mailbox_event,
    message_of,
    no_such_conv,
    no_such_user,
    refuse_reader,
)
from chatmotor.ports.store import EventPage, GroupLog, Mailbox, MessagePage, Tops

_MAILBOX = f"""
SELECT b.seq AS top, e.seq, e.t, {MESSAGE_COLUMNS}
FROM account b
LEFT JOIN LATERAL (
    SELECT seq, t, conv, n FROM mailbox
    WHERE account = b.id AND seq > $2 ORDER BY seq LIMIT $3
) e ON TRUE
LEFT JOIN message m ON m.conv = e.conv AND m.n = e.n
LEFT JOIN account s ON s.id = m.sender
WHERE b.username = $1 ORDER BY e.seq
"""
_GROUP_LOG = f"""
SELECT c.pos AS top, e.pos, e.t, e.ts, a.username, e.detail, {MESSAGE_COLUMNS}
FROM conversation c
LEFT JOIN LATERAL (
    SELECT pos, t, n, actor, detail, ts FROM group_log
    WHERE conv = c.conv AND pos > $2 ORDER BY pos LIMIT $3
) e ON TRUE
LEFT JOIN account a ON a.id = e.actor
LEFT JOIN message m ON m.conv = c.conv AND m.n = e.n
LEFT JOIN account s ON s.id = m.sender
WHERE c.conv = $1 AND c.one IS NULL ORDER BY e.pos
"""
_READER = """
SELECT a.id, c.conv, c.one, c.other, m.active FROM account a
LEFT JOIN conversation c ON c.conv = $2 AND (c.one IS NULL OR c.n > 0)
LEFT JOIN member m ON m.conv = c.conv AND m.account = a.id
WHERE a.username = $1
"""


async def read_mailbox(own: Any, log: Mailbox, since: int, limit: int) -> EventPage:
    """See ``MessageStore.events``."""
    rows = await own.fetch(_MAILBOX, log.username, since, limit)
    if not rows:
        raise no_such_user(log.username)
    events = tuple(mailbox_event(row[1:]) for row in rows if row[1] is not None)
    return EventPage(events, rows[0][0])


async def read_group_log(own: Any, log: GroupLog, since: int, limit: int) -> EventPage:
    """See ``MessageStore.events``."""
    if log.reader is not None:
        await _check_reader(own, log.conv, log.reader)
    rows = await own.fetch(_GROUP_LOG, log.conv, since, limit)
    if not rows:
        raise no_such_conv()
    events = tuple(group_event(log.conv, row[1:]) for row in rows if row[1] is not None)
    return EventPage(events, rows[0][0])


async def read_history(
    own: Any,
    conv: str,
    reader: str,
    *,
    limit: int,
    before: int | None,
    after: int | None,
) -> MessagePage:
    """See ``MessageStore.history``."""
    await _check_reader(own, conv, reader)
    where, order, bound = "m.n > $2", "ASC", after
    if bound is None:
        bound = 0
        order = "DESC"
        if before is not None:
            where, bound = "m.n < $2", before
    rows = await own.fetch(
        f"SELECT {MESSAGE_COLUMNS} FROM message m JOIN account s ON s.id = m.sender"
        f" WHERE m.conv = $1 AND {where} ORDER BY m.n {order} LIMIT $3",
        *(conv, bound, limit + 1),
    )
    messages = [message_of(row) for row in rows[:limit]]
    if order == "DESC":
        messages.reverse()
    return MessagePage(tuple(messages), more=len(rows) > limit)


async def read_tops(own: Any, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
    """See ``MessageStore.tops``."""
    seqs = await own.fetch(
        "SELECT username, seq FROM account WHERE username = ANY($1::text[])",
        list(usernames),
    )
    positions = await own.fetch(
        "SELECT conv, pos FROM conversation"
        " WHERE one IS NULL AND conv = ANY($1::text[])",
        list(convs),
    )
    return Tops(dict(seqs), dict(positions))


async def _check_reader(own: Any, conv: str, reader: str) -> None:
    row = await own.fetchrow(_READER, reader, conv)
    if row is None:
        raise no_such_user(reader)
    if row["conv"] is None:
        raise no_such_conv()
    if row["one"] is None:
        refuse_reader(active=row["active"])
    elif row["id"] not in {row["one"], row["other"]}:
        raise no_such_conv()
