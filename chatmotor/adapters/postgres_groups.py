# SPDX-License-Identifier: Apache-2.0
"""Changes of who is in a group, each in a transaction of its own.

The conversation's row is locked before anything is decided, as for sends
(postgres_sends.py), so a change and the sends of its group follow one another.
"""

from dataclasses import dataclass
from typing import Any

from chatmotor.adapters.postgres_accounts import Accounts
from chatmotor.adapters.postgres_sends import LOCK_CONVERSATIONS
from chatmotor.adapters.store_rows import (
    ANSWER_COLUMNS,
    change_request_row,
    changed_before,
    membership_detail,
    no_such_conv,
    refuse_reader,
)
from chatmotor.errors import Conflict
from chatmotor.ports.store import ChangedGroup, EventType, MemberChange, NewGroup

_REQUEST = f"SELECT {ANSWER_COLUMNS} FROM request WHERE account = $1 AND cid = $2"  # noqa: S608  # constants
_CREATE = """
INSERT INTO conversation (conv, n, pos, revision, ts) VALUES ($1, 0, 0, 0, $2)
ON CONFLICT DO NOTHING
"""
_SET_MEMBERS = """
INSERT INTO member (conv, account, active)
SELECT $1, account, active FROM unnest($2::bigint[], $3::boolean[])
    AS x (account, active)
ORDER BY account
ON CONFLICT (conv, account) DO UPDATE SET active = excluded.active
"""
_LOG = """
INSERT INTO group_log (conv, pos, t, actor, detail, ts) VALUES ($1, $2, $3, $4, $5, $6)
"""
_MOVE = "UPDATE conversation SET pos = $2, revision = $3 WHERE conv = $1"
_REMEMBER = """
INSERT INTO request (account, cid, digest, conv, n, seq, peer, peer_seq, pos, revision,
    ts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""


@dataclass(frozen=True, slots=True)
class _Change:
    """A change that has been checked: usernames, and what it started from."""

    conv: str
    actor: int
    cid: str
    digest: bytes
    ts: int
    pos: int
    revision: int
    add: frozenset[str]
    remove: frozenset[str]


async def create_group(
    connection: Any, accounts: Accounts, group: NewGroup
) -> ChangedGroup:
    """See ``MessageStore.create_group``; between BEGIN and COMMIT."""
    members = group.members | {group.creator}
    await accounts.learn(connection, members)
    creator, digest = accounts.id(group.creator), group.digest()
    before = await connection.fetchrow(_REQUEST, creator, group.cid)
    if before is not None:
        return changed_before(before, digest)
    for username in sorted(members):
        accounts.id(username)
    if await connection.execute(_CREATE, group.conv, group.ts) == "INSERT 0 0":
        raise Conflict("another conversation has this id", field="conv")
    return await _apply(
        connection,
        accounts,
        _Change(
            *(group.conv, creator, group.cid, digest, group.ts),
            *(0, 0, members, frozenset()),
        ),
    )


async def change_members(
    connection: Any, accounts: Accounts, change: MemberChange
) -> ChangedGroup:
    """See ``MessageStore.change_members``; between BEGIN and COMMIT."""
    await accounts.learn(connection, {change.actor} | change.add | change.remove)
    actor, digest = accounts.id(change.actor), change.digest()
    group = await connection.fetchrow(LOCK_CONVERSATIONS, [change.conv])
    before = await connection.fetchrow(_REQUEST, actor, change.cid)
    if before is not None:
        return changed_before(before, digest)
    if group is None or group["one"] is not None:
        raise no_such_conv()
    named = [accounts.find(each) for each in change.add | change.remove]
    rows = await connection.fetch(
        "SELECT account, active FROM member"
        " WHERE conv = $1 AND account = ANY($2::bigint[])",
        change.conv,
        [actor, *(each for each in named if each is not None)],
    )
    active: dict[int, bool] = dict(rows)
    refuse_reader(active=active.get(actor))
    ids = {each: accounts.id(each) for each in sorted(change.add)}
    ids |= {each: accounts.id(each) for each in sorted(change.remove)}
    add = frozenset(each for each in change.add if not active.get(ids[each]))
    remove = frozenset(each for each in change.remove if active.get(ids[each]))
    return await _apply(
        connection,
        accounts,
        _Change(
            *(change.conv, actor, change.cid, digest, change.ts),
            *(group["pos"], group["revision"], add, remove),
        ),
    )


async def _apply(connection: Any, accounts: Accounts, change: _Change) -> ChangedGroup:
    answer = ChangedGroup(change.conv, change.pos, change.revision)
    if change.add or change.remove:
        answer = ChangedGroup(change.conv, change.pos + 1, change.revision + 1)
        states = [(accounts.id(each), True) for each in change.add]
        states += [(accounts.id(each), False) for each in change.remove]
        ids, active = zip(*states, strict=True)
        await connection.execute(_SET_MEMBERS, change.conv, list(ids), list(active))
        detail = membership_detail(change.add, change.remove)
        await connection.execute(
            *(_LOG, change.conv, answer.pos, EventType.CONV_MEMBER.value),
            *(change.actor, detail, change.ts),
        )
        await connection.execute(_MOVE, change.conv, answer.pos, answer.revision)
    row = change_request_row(change.actor, change.cid, change.digest, answer, change.ts)
    await connection.execute(_REMEMBER, *row)
    return answer
