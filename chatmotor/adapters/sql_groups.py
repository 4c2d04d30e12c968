# SPDX-License-Identifier: Apache-2.0
"""Groups, as scripts: who is in one, and who may change that.

    decide (nothing is written yet; may refuse) --> lock mailboxes --> write

A change locks the conversation before it decides, as a send does, so a change and the
sends of its group follow one another.  Then come the accounts, by id, then the rest:
the order of docs/explanation/store.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from chatmotor.adapters.sql_incoming import end_in
from chatmotor.adapters.sql_mailbox import LOCK_ACCOUNTS, log_in_mailboxes, log_removals
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.store_rows import (
    ANSWER_COLUMNS,
    Row,
    change_request_row,
    changed_before,
    detail_of,
    no_such_conv,
    no_such_user,
    refuse_reader,
    suspended,
)
from chatmotor.errors import Conflict, Forbidden, QuotaExceeded
from chatmotor.ports.messages import (
    ChangedGroup,
    Event,
    EventType,
    Logged,
    MemberChange,
    NewGroup,
    Role,
)

_ACCOUNTS = """
SELECT username, id, closed FROM account WHERE username = ANY($1::text[])
"""
_ANSWER = f"SELECT {ANSWER_COLUMNS} FROM request WHERE account = $1 AND cid = $2"  # noqa: S608  # constants
_CREATE = """
INSERT INTO conversation
    (conv, title, n, one_read, other_read, pos, revision, members, ts)
VALUES ($1, $2, 0, 0, 0, 0, 0, 0, $3)
ON CONFLICT DO NOTHING RETURNING conv
"""
_LOCK_GROUP = """
SELECT one, title, n, pos, revision, members FROM conversation
WHERE conv = $1 FOR NO KEY UPDATE
"""
_STATES = """
SELECT account, active, role FROM member
WHERE conv = $1 AND account = ANY($2::bigint[])
"""
_JOIN = """
INSERT INTO member (conv, account, active, role, read, ts)
SELECT $1::text, id, 1, $2::text, $3::bigint, $4::bigint FROM account
WHERE id = ANY($5::bigint[])
ON CONFLICT (conv, account) DO UPDATE SET active = 1, role = excluded.role,
    read = excluded.read, ts = excluded.ts
"""
_LEAVE = """
UPDATE member SET active = 0 WHERE conv = $1 AND account = ANY($2::bigint[])
"""
_HEIR = """
SELECT a.id, a.username FROM member m JOIN account a ON a.id = m.account
WHERE m.conv = $1 AND m.active = 1 AND a.closed = 0
ORDER BY CASE m.role WHEN 'admin' THEN 0 ELSE 1 END, m.ts, a.id LIMIT 1
"""
_SET_ROLE = "UPDATE member SET role = $3 WHERE conv = $1 AND account = $2"
_LOG = """
INSERT INTO group_log (conv, pos, t, detail, ts) VALUES ($1, $2, $3, $4, $5)
"""
_MOVE = """
UPDATE conversation SET pos = $2, revision = $3, members = $4 WHERE conv = $1
"""
_REMEMBER = """
INSERT INTO request (account, cid, digest, conv, n, seq, peer, peer_seq, pos, revision,
    ts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""


class _Account(NamedTuple):
    id: int
    closed: int


@dataclass(frozen=True, slots=True)
class _Group:
    """A locked row, and what it becomes."""

    conv: str
    title: str
    n: int
    pos: int
    revision: int
    members: int


@dataclass(frozen=True, slots=True)
class _Change:
    """A change that has been checked: ids by username of those whose state changes."""

    actor: str
    add: Mapping[str, int]
    remove: Mapping[str, int]
    ts: int
    # The owner is among those who leave, or there is none yet.
    owner_goes: bool = False
    creates: bool = False


def create_group(group: NewGroup) -> Script[ChangedGroup]:
    """See ``MessageStore.create_group``."""
    usernames = group.members | {group.creator}
    accounts = yield from _find(usernames)
    creator, digest = _known(accounts, group.creator), group.digest()
    before = yield _ANSWER, creator.id, group.cid
    if before:
        return changed_before(before[0], digest)
    ids = {each: _open(accounts, each) for each in sorted(usernames)}
    _check_size(len(ids), group.max_members)
    created = yield _CREATE, group.conv, group.title, group.ts
    if not created:
        # It may be of this very request, on another node: that one has ended now.
        before = yield _ANSWER, creator.id, group.cid
        if before:
            return changed_before(before[0], digest)
        raise Conflict("another conversation has this id", field="conv")
    answer = yield from _apply(
        _Group(group.conv, group.title, n=0, pos=0, revision=0, members=0),
        _Change(group.creator, ids, {}, group.ts, creates=True),
    )
    yield (
        _REMEMBER,
        *change_request_row(creator.id, group.cid, digest, answer, group.ts),
    )
    return answer


def change_members(change: MemberChange) -> Script[ChangedGroup]:
    """See ``MessageStore.change_members``."""
    accounts = yield from _find({change.actor} | change.add | change.remove)
    actor, digest = _known(accounts, change.actor), change.digest()
    rows = yield _LOCK_GROUP, change.conv
    before = yield _ANSWER, actor.id, change.cid
    if before:
        return changed_before(before[0], digest)
    if not rows or rows[0][0] is not None:
        raise no_such_conv()
    group = _Group(change.conv, *rows[0][1:])
    states = yield _STATES, change.conv, [each.id for each in accounts.values()]
    active = {account: bool(here) for account, here, _ in states}
    roles = {account: Role(role) for account, here, role in states if here}
    refuse_reader(active=active.get(actor.id))
    if actor.closed:
        raise suspended()
    add = {each: _open(accounts, each) for each in sorted(change.add)}
    remove = {each: _known(accounts, each).id for each in sorted(change.remove)}
    checked = _Change(
        change.actor,
        {name: account for name, account in add.items() if account not in roles},
        {name: account for name, account in remove.items() if account in roles},
        change.ts,
        owner_goes=any(roles.get(each) is Role.OWNER for each in remove.values()),
    )
    _check_roles(checked, actor.id, roles)
    if checked.add:
        size = group.members + len(checked.add) - len(checked.remove)
        _check_size(size, change.max_members)
    answer = ChangedGroup(group.conv, group.pos, group.revision)
    if checked.add or checked.remove:
        answer = yield from _apply(group, checked)
    row = change_request_row(actor.id, change.cid, digest, answer, change.ts)
    yield _REMEMBER, *row
    return answer


def _find(usernames: Iterable[str]) -> Script[dict[str, _Account]]:
    rows = yield _ACCOUNTS, list(usernames)
    return {username: _Account(*row) for username, *row in rows}


def _known(accounts: Mapping[str, _Account], username: str) -> _Account:
    found = accounts.get(username)
    if found is None:
        raise no_such_user(username)
    return found


def _open(accounts: Mapping[str, _Account], username: str) -> int:
    """The id of an account that can be a member."""
    found = _known(accounts, username)
    if found.closed:
        raise no_such_user(username)
    return found.id


def _check_size(members: int, max_members: int) -> None:
    if members > max_members:
        raise QuotaExceeded(f"a group has at most {max_members} members")


def _check_roles(change: _Change, actor: int, roles: Mapping[int, Role]) -> None:
    """Whether the actor may remove those who would go."""
    may_remove = {
        Role.OWNER: {Role.ADMIN, Role.MEMBER},
        Role.ADMIN: {Role.MEMBER},
        Role.MEMBER: set[Role](),
    }[roles[actor]]
    for account in change.remove.values():
        if account != actor and roles[account] not in may_remove:
            raise Forbidden("your role does not allow this", field="remove")


def _apply(group: _Group, change: _Change) -> Script[ChangedGroup]:
    """Write a change that changes something."""
    conv = group.conv
    yield LOCK_ACCOUNTS, sorted([*change.add.values(), *change.remove.values()])
    if change.add:
        yield (
            *(_JOIN, conv, Role.MEMBER.value, group.n, change.ts),
            list(change.add.values()),
        )
    if change.remove:
        yield _LEAVE, conv, list(change.remove.values())
        yield end_in(conv, change.remove.values())
    detail: dict[str, Any] = {
        "actor": change.actor,
        "added": sorted(change.add),
        "removed": sorted(change.remove),
    }
    if change.creates:
        yield _SET_ROLE, conv, change.add[change.actor], Role.OWNER.value
    elif change.owner_goes:
        detail |= yield from _succeed(conv)
    after = replace(
        group,
        pos=group.pos + 1,
        revision=group.revision + 1,
        members=group.members + len(change.add) - len(change.remove),
    )
    event = Event(0, EventType.CONV_MEMBER, conv, change.ts, detail=detail_of(**detail))
    logged = yield from _log(after, change, event)
    yield _MOVE, conv, after.pos, after.revision, after.members
    return ChangedGroup(conv, after.pos, after.revision, logged)


def _succeed(conv: str) -> Script[dict[str, str]]:
    """Give the group an owner again, if anybody is left; what the event says of it."""
    heirs = yield _HEIR, conv
    if not heirs:
        return {}
    heir: Row = heirs[0]
    yield _SET_ROLE, conv, heir[0], Role.OWNER.value
    return {"owner": heir[1]}


def _log(group: _Group, change: _Change, event: Event) -> Script[tuple[Logged, ...]]:
    """Tell the group, those who came and those who went."""
    yield _LOG, group.conv, group.pos, event.t.value, event.detail, event.ts
    logged = [Logged(event, pos=group.pos)]
    if change.add:
        detail = detail_of(actor=change.actor, title=group.title, since=group.pos)
        new = Event(0, EventType.CONV_NEW, group.conv, change.ts, detail=detail)
        logged.append((yield from log_in_mailboxes(change.add.values(), new)))
    if change.remove:
        gone = change.remove.values()
        logged += yield from log_removals(gone, group.conv, change.actor, change.ts)
    return tuple(logged)
