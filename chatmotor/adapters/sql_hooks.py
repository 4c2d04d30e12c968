# SPDX-License-Identifier: Apache-2.0
"""Outgoing hooks, as scripts for both databases.

The promises: ``HookStore`` and ``ForwardingStore``.  The row of a hook is locked before
its places are written; whoever locks an account, too, does so before.
"""

import json
from collections.abc import Collection, Mapping

from chatmotor.adapters.sql_account_rows import find_account
from chatmotor.adapters.sql_reads import place_of
from chatmotor.adapters.sql_script import Many, Row, Script
from chatmotor.errors import Conflict, NoSuchHook
from chatmotor.ports.hooks import Hook, HookChange, HookKind, NewHook, Progress

# What is before a hook: in the mailbox, and in those groups that it has a place in and
# its account is in.
_BEHIND = """
a.seq - h.seq + COALESCE((
    SELECT SUM(c.pos - p.pos) FROM hook_place p
    JOIN member m ON m.conv = p.conv AND m.account = h.account AND m.active = 1
    JOIN conversation c ON c.conv = p.conv WHERE p.hook = h.id
), 0)
"""
_COLUMNS = """
h.id, a.username, a.closed, h.kind, h.ts, h.url, h.secret, h.old_secret, h.old_until,
h.types, h.conv, h.active, h.revision, h.seq, h.failures, h.failing_since, h.next_try,
h.error
"""
_FROM = "FROM hook h JOIN account a ON a.id = h.account"
_ONE = f"SELECT {_COLUMNS}, {_BEHIND} {_FROM} WHERE h.id = $1"
_PAGE = f"SELECT {_COLUMNS}, {_BEHIND} {_FROM} WHERE h.id > $1 ORDER BY h.id LIMIT $2"
_LEASED = f"SELECT {_COLUMNS}, 0 {_FROM} WHERE h.id = ANY($1::text[]) ORDER BY h.id"
_INSERT = """
INSERT INTO hook (id, account, kind, ts, url, secret, old_secret, old_until, types,
    conv, active, revision, seq, failures, failing_since, next_try, error, owner, lease)
VALUES ($1, $2, $3, $4, $5, $6, '', 0, $7, $8, 1, 1, $9, 0, NULL, 0, '', '', 0)
"""
_INSERT_PLACES = """
INSERT INTO hook_place (hook, conv, pos)
SELECT $1::text, c.conv, c.pos FROM member m JOIN conversation c ON c.conv = m.conv
WHERE m.account = $2 AND m.active = 1 AND ($3::text IS NULL OR c.conv = $3::text)
"""
_SAME_KIND = "SELECT id FROM hook WHERE account = $1 AND kind = $2"
_LOCK = "SELECT secret FROM hook WHERE id = $1 FOR NO KEY UPDATE"
_RESUME = """
UPDATE hook SET active = 1, failures = 0, failing_since = NULL, next_try = 0, error = ''
WHERE id = $1
"""
_ROTATE = "UPDATE hook SET secret = $2, old_secret = $3, old_until = $4 WHERE id = $1"
_REVISE = "UPDATE hook SET revision = revision + 1 WHERE id = $1"
_DELETE = "DELETE FROM hook WHERE id = $1 RETURNING id"  # and its places
_FREE = """
SELECT h.id FROM hook h
WHERE h.active = 1 AND h.kind = ANY($3::text[]) AND (h.owner = $1 OR h.lease <= $2)
AND NOT EXISTS (SELECT 1 FROM account a WHERE a.id = h.account AND a.closed = 1)
ORDER BY h.id FOR NO KEY UPDATE
"""
_LEASE = "UPDATE hook SET owner = $2, lease = $3 WHERE id = ANY($1::text[])"
_LOCK_OWN = "SELECT id FROM hook WHERE owner = $1 ORDER BY id FOR NO KEY UPDATE"
_RELEASE = "UPDATE hook SET owner = '', lease = 0 WHERE owner = $1"
_POSITIONS = "SELECT conv, pos FROM hook_place WHERE hook = $1"
_LOCK_LEASED = """
SELECT id FROM hook WHERE id = $1 AND owner = $2 AND active = 1 FOR NO KEY UPDATE
"""
_SAVE = """
UPDATE hook SET seq = $2, active = $3, failures = $4, failing_since = $5, next_try = $6,
    error = $7
WHERE id = $1
"""
_SAVE_PLACE = """
INSERT INTO hook_place (hook, conv, pos) VALUES ($1, $2, $3)
ON CONFLICT (hook, conv) DO UPDATE SET pos = excluded.pos
"""


def add_hook(new: NewHook) -> Script[Hook]:
    """See ``HookStore.add_hook``."""
    account = yield from find_account(new.username, lock=True)
    if new.conv is not None:
        yield from place_of(new.conv, new.username)
    if new.kind is HookKind.AMQP and (yield _SAME_KIND, account.id, new.kind.value):
        raise Conflict("the account has a hook of this kind", field="kind")
    what = (account.id, new.kind.value, new.ts, new.url, new.secret)
    types = json.dumps(new.types)
    yield _INSERT, new.id, *what, types, new.conv, account.seq
    yield _INSERT_PLACES, new.id, account.id, new.conv
    return (yield from find_hook(new.id))


def find_hook(id_: str) -> Script[Hook]:
    """See ``HookStore.hook``."""
    rows = yield _ONE, id_
    if not rows:
        raise no_such_hook()
    return _hook_of(rows[0])


def read_hooks(after: str, limit: int) -> Script[tuple[Hook, ...]]:
    """See ``HookStore.hooks``."""
    rows = yield _PAGE, after, limit
    return tuple(_hook_of(row) for row in rows)


def change_hook(change: HookChange) -> Script[Hook]:
    """See ``HookStore.change_hook``."""
    rows = yield _LOCK, change.id
    if not rows:
        raise no_such_hook()
    if change.resume:
        yield _RESUME, change.id
    if change.secret is not None:
        yield _ROTATE, change.id, change.secret, rows[0][0], change.old_until
    yield _REVISE, change.id
    return (yield from find_hook(change.id))


def remove_hook(id_: str) -> Script[None]:
    """See ``HookStore.remove_hook``."""
    if not (yield _DELETE, id_):
        raise no_such_hook()


def lease_hooks(
    owner: str, kinds: Collection[HookKind], *, now: int, until: int
) -> Script[tuple[Hook, ...]]:
    """See ``ForwardingStore.lease_hooks``."""
    rows = yield _FREE, owner, now, [each.value for each in kinds]
    if not rows:
        return ()
    ids = [row[0] for row in rows]
    yield _LEASE, ids, owner, until
    found = yield _LEASED, ids
    return tuple(_hook_of(row) for row in found)


def release_hooks(owner: str) -> Script[None]:
    """See ``ForwardingStore.release_hooks``."""
    if (yield _LOCK_OWN, owner):
        yield _RELEASE, owner


def hook_positions(id_: str) -> Script[Mapping[str, int]]:
    """See ``ForwardingStore.hook_positions``."""
    rows = yield _POSITIONS, id_
    return dict(rows)


def save_progress(progress: Progress) -> Script[bool]:
    """See ``ForwardingStore.save_progress``."""
    if not (yield _LOCK_LEASED, progress.id, progress.owner):
        return False
    state = (progress.failures, progress.failing_since, progress.next_try)
    on = int(progress.on)
    yield _SAVE, progress.id, progress.seq, on, *state, progress.error
    if progress.positions:
        places = progress.positions.items()
        yield Many(_SAVE_PLACE, [(progress.id, *place) for place in places])
    return True


def no_such_hook() -> NoSuchHook:
    """The refusal, in words."""
    return NoSuchHook("there is no such hook", field="hook")


def _hook_of(row: Row) -> Hook:
    """A hook from ``_COLUMNS`` and how many events it has before it."""
    id_, username, closed, kind, ts, url, secret, old_secret, old_until = row[:9]
    types, conv, on, revision, seq, failures, failing_since, next_try, error = row[9:18]
    return Hook(
        *(id_, username, bool(closed), HookKind(kind), ts, url),
        *(secret, old_secret, old_until, tuple(json.loads(types)), conv),
        *(bool(on), revision, seq, int(row[18])),
        *(failures, failing_since, next_try, error),
    )
