# SPDX-License-Identifier: Apache-2.0
"""Puts events into the mailboxes of accounts, from within a script."""

from collections.abc import Iterable
from dataclasses import replace

from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.store_rows import detail_of
from chatmotor.ports.messages import Event, EventType, Logged

LOCK_ACCOUNTS = """
SELECT id, username, seq FROM account
WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""
_MOVE = "UPDATE account SET seq = seq + 1 WHERE id = ANY($1::bigint[])"
# What they have moved to.
_APPEND = """
INSERT INTO mailbox (account, seq, t, conv, detail, ts)
SELECT id, seq, $2::text, $3::text, $4::text, $5::bigint FROM account
WHERE id = ANY($1::bigint[])
"""
# The detail is $4, the account's username as JSON, and $5.
_APPEND_REMOVAL = """
INSERT INTO mailbox (account, seq, t, conv, detail, ts)
SELECT id, seq, $2::text, $3::text, $4::text || to_json(username)::text || $5::text,
    $6::bigint
FROM account WHERE id = ANY($1::bigint[])
"""


def log_in_mailboxes(accounts: Iterable[int], event: Event) -> Script[Logged]:
    """
    Append *event* (not of a message) to the mailbox of each account, by id.

    The accounts' rows are locked in the order of their ids; whoever locks
    conversations, too, has done so before (docs/explanation/store.md).
    """
    ids = sorted(accounts)
    rows = yield LOCK_ACCOUNTS, ids
    yield _MOVE, ids
    yield _APPEND, ids, event.t.value, event.conv, event.detail, event.ts
    return Logged(event, {username: seq + 1 for _, username, seq in rows})


def log_removals(
    accounts: Iterable[int], conv: str, actor: str, ts: int
) -> Script[tuple[Logged, ...]]:
    """
    Tell each account, in its mailbox, that it is not in the group any more.

    Each is told of itself only, so the events differ; the statements are as many as
    for one.  Locks: as ``log_in_mailboxes``.
    """
    ids = sorted(accounts)
    rows = yield LOCK_ACCOUNTS, ids
    yield _MOVE, ids
    begin = detail_of(actor=actor, added=[], removed=[]).removesuffix("]}")
    event = Event(0, EventType.CONV_MEMBER, conv, ts)
    yield _APPEND_REMOVAL, ids, event.t.value, conv, begin, "]}", ts
    return tuple(
        Logged(
            replace(event, detail=detail_of(actor=actor, added=[], removed=[username])),
            {username: seq + 1},
        )
        for _, username, seq in rows
    )
