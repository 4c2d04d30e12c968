# SPDX-License-Identifier: Apache-2.0
"""Puts one event into the mailboxes of accounts, from within a script."""

from collections.abc import Iterable

from chatmotor.adapters.sql_script import Script
from chatmotor.ports.messages import Event, Logged

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
