# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608  # what is put into these statements are constants and numbers
"""What is read from SQLite; each function runs in one transaction, a snapshot."""

from collections.abc import Sequence
from sqlite3 import Connection

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

# Below the number of parameters that SQLite takes in one statement.
_AT_ONCE = 30_000


def read_mailbox(own: Connection, log: Mailbox, since: int, limit: int) -> EventPage:
    """See ``MessageStore.events``."""
    account, top = _account(own, log.username)
    rows = own.execute(
        f"SELECT e.seq, e.t, {MESSAGE_COLUMNS} FROM mailbox e"
        " JOIN message m ON m.conv = e.conv AND m.n = e.n"
        " JOIN account s ON s.id = m.sender"
        " WHERE e.account = ? AND e.seq > ? ORDER BY e.seq LIMIT ?",
        (account, since, limit),
    )
    return EventPage(tuple(mailbox_event(row) for row in rows), top)


def read_group_log(own: Connection, log: GroupLog, since: int, limit: int) -> EventPage:
    """See ``MessageStore.events``."""
    if log.reader is not None:
        _check_reader(own, log.conv, log.reader)
    group = own.execute(
        "SELECT pos FROM conversation WHERE conv = ? AND one IS NULL", (log.conv,)
    ).fetchone()
    if group is None:
        raise no_such_conv()
    rows = own.execute(
        f"SELECT e.pos, e.t, e.ts, a.username, e.detail, {MESSAGE_COLUMNS}"
        " FROM group_log e LEFT JOIN account a ON a.id = e.actor"
        " LEFT JOIN message m ON m.conv = e.conv AND m.n = e.n"
        " LEFT JOIN account s ON s.id = m.sender"
        " WHERE e.conv = ? AND e.pos > ? ORDER BY e.pos LIMIT ?",
        (log.conv, since, limit),
    )
    return EventPage(tuple(group_event(log.conv, row) for row in rows), group[0])


def read_history(
    own: Connection,
    conv: str,
    reader: str,
    *,
    limit: int,
    before: int | None,
    after: int | None,
) -> MessagePage:
    """See ``MessageStore.history``."""
    _check_reader(own, conv, reader)
    where, order, bound = "m.n > ?", "ASC", after
    if bound is None:
        bound = 0
        order = "DESC"
        if before is not None:
            where, bound = "m.n < ?", before
    rows = own.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM message m JOIN account s ON s.id = m.sender"
        f" WHERE m.conv = ? AND {where} ORDER BY m.n {order} LIMIT ?",
        (conv, bound, limit + 1),
    ).fetchall()
    messages = [message_of(row) for row in rows[:limit]]
    if order == "DESC":
        messages.reverse()
    return MessagePage(tuple(messages), more=len(rows) > limit)


def read_tops(own: Connection, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
    """See ``MessageStore.tops``."""
    return Tops(
        _pairs(own, "SELECT username, seq FROM account WHERE username IN", usernames),
        _pairs(
            own,
            "SELECT conv, pos FROM conversation WHERE one IS NULL AND conv IN",
            convs,
        ),
    )


def _pairs(own: Connection, query: str, keys: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for begin in range(0, len(keys), _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        marks = ",".join("?" * len(some))
        found.update(own.execute(f"{query} ({marks})", some).fetchall())
    return found


def _account(own: Connection, username: str) -> tuple[int, int]:
    row: tuple[int, int] | None = own.execute(
        "SELECT id, seq FROM account WHERE username = ?", (username,)
    ).fetchone()
    if row is None:
        raise no_such_user(username)
    return row


def _check_reader(own: Connection, conv: str, reader: str) -> None:
    account, _ = _account(own, reader)
    row = own.execute(
        "SELECT c.one, c.other, m.active FROM conversation c"
        " LEFT JOIN member m ON m.conv = c.conv AND m.account = ?"
        " WHERE c.conv = ?",
        (account, conv),
    ).fetchone()
    if row is None:
        raise no_such_conv()
    one, other, active = row
    refuse_reader(active=active if one is None else (account in (one, other)) or None)
