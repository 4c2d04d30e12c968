# SPDX-License-Identifier: Apache-2.0
"""Accounts, as scripts for both databases.  The promises: ``AccountStore``."""

from chatmotor.adapters.sql_account_rows import (
    ACCOUNT_COLUMNS,
    account_of,
    find_account,
)
from chatmotor.adapters.sql_gates import lock_link, spend_link
from chatmotor.adapters.sql_incoming import end_of
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.sql_tokens import end_devices, log_own
from chatmotor.adapters.store_rows import detail_of
from chatmotor.errors import Conflict
from chatmotor.ports.accounts import Account, AccountChange, LinkKind, NewAccount
from chatmotor.ports.messages import EventType, Logged

_INSERT = """
INSERT INTO account (username, display_name, password, admin, closed, seq, floor, ts)
VALUES ($1, $2, $3, $4, 0, 0, 0, $5) ON CONFLICT (username) DO NOTHING RETURNING id
"""
_PAGE = f"""
SELECT {ACCOUNT_COLUMNS} FROM account a
WHERE a.username > $1 ORDER BY a.username LIMIT $2
"""  # noqa: S608  # constants
_CHANGE = """
UPDATE account SET display_name = COALESCE($2::text, display_name),
    password = COALESCE($3::text, password),
    admin = COALESCE($4::smallint, admin), closed = COALESCE($5::smallint, closed)
WHERE id = $1
"""
_DEVICES = "SELECT name FROM device WHERE account = $1"


def create_account(new: NewAccount) -> Script[Account]:
    """See ``AccountStore.create_account``."""
    if new.link is not None:
        # Before the username: without a link nobody learns which ones are taken.
        kind = LinkKind.SETUP if new.admin else LinkKind.INVITE
        yield from lock_link(new.link, kind, now=new.ts)
    profile = (new.username, new.display_name, new.password)
    rows = yield _INSERT, *profile, int(new.admin), new.ts
    if not rows:  # and nothing is written: somebody has it, or has just got it
        raise Conflict("this username is taken; choose another one", field="username")
    if new.link is not None:
        yield from spend_link(new.link)
    return Account(
        rows[0][0],
        new.username,
        seq=0,
        ts=new.ts,
        display_name=new.display_name,
        password=new.password,
        admin=new.admin,
    )


def accounts(after: str, limit: int) -> Script[tuple[Account, ...]]:
    """See ``AccountStore.accounts``."""
    rows = yield _PAGE, after, limit
    return tuple(account_of(row) for row in rows)


def change_account(change: AccountChange) -> Script[tuple[Logged, ...]]:
    """See ``AccountStore.change_account``."""
    before = yield from find_account(change.username, lock=True)
    if change.link is not None:
        reset = (LinkKind.RESET, change.username)
        yield from lock_link(change.link, *reset, now=change.ts)
        yield from spend_link(change.link)
    flags = (_flag(change.admin), _flag(change.closed))
    yield _CHANGE, before.id, change.display_name, change.password, *flags
    if change.closed:
        yield end_of(before.id)
    logged: tuple[Logged, ...] = ()
    name = change.display_name
    if name is not None and name != before.display_name:
        detail = detail_of(display_name=name)
        logged += yield from log_own(
            before.id, EventType.PROFILE_SET, detail, change.ts
        )
    if change.end_tokens:
        rows = yield _DEVICES, before.id
        ending = {name for (name,) in rows} - {change.keep}
        logged += yield from end_devices(before.id, ending, ts=change.ts)
    return logged


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)
