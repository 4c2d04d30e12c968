# SPDX-License-Identifier: Apache-2.0
"""Incoming hooks, as scripts for both databases.  The promises: ``IncomingStore``.

They come and go under the lock of their conversation, as members do, so nobody who is
leaving keeps one.  Who leaves takes them along: ``end_in`` and ``end_of`` are part of
the scripts that change members and accounts.
"""

from collections.abc import Collection

from chatmotor.adapters.sql_account_rows import (
    ACCOUNT_COLUMNS,
    COLUMNS,
    account_of,
    find_account,
)
from chatmotor.adapters.sql_hooks import no_such_hook
from chatmotor.adapters.sql_reads import place_of
from chatmotor.adapters.sql_script import Script, Statement
from chatmotor.adapters.store_rows import guests_cannot_be_answered
from chatmotor.errors import Forbidden, NoSuchConv, NotMember, QuotaExceeded
from chatmotor.ports.accounts import Account
from chatmotor.ports.hooks import MAX_INCOMING, Incoming, NewIncoming
from chatmotor.ports.messages import Role

_COLUMNS = "i.id, a.username, i.conv, i.name, i.ts"
_FROM = "FROM incoming_hook i JOIN account a ON a.id = i.account"
_OF_CONV = f"SELECT {_COLUMNS} {_FROM} WHERE i.conv = $1 ORDER BY i.id"
_BY_CODE = f"SELECT {_COLUMNS}, {ACCOUNT_COLUMNS} {_FROM} WHERE i.code = $1"
_CONV = "SELECT conv FROM incoming_hook WHERE id = $1"
_COUNT = "SELECT COUNT(*) FROM incoming_hook WHERE conv = $1"
_INSERT = """
INSERT INTO incoming_hook (id, code, account, conv, name, ts)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_DELETE = "DELETE FROM incoming_hook WHERE id = $1 RETURNING id"
_GUEST = "SELECT guest FROM conversation WHERE conv = $1"
_LOCK = f"{_GUEST} FOR NO KEY UPDATE"
_ROLE = """
SELECT m.role FROM member m JOIN account a ON a.id = m.account
WHERE m.conv = $1 AND a.username = $2 AND m.active = 1
"""
_END_IN = """
DELETE FROM incoming_hook WHERE conv = $1 AND account = ANY($2::bigint[])
"""
_END_OF = "DELETE FROM incoming_hook WHERE account = $1"


def add_incoming(new: NewIncoming) -> Script[Incoming]:
    """See ``IncomingStore.add_incoming``."""
    account = yield from find_account(new.username)
    yield from _check(new.conv, new.username, lock=True)
    rows = yield _COUNT, new.conv
    if rows[0][0] >= MAX_INCOMING:
        raise QuotaExceeded(f"a conversation has at most {MAX_INCOMING} hooks")
    row = (new.id, new.code.hex(), account.id, new.conv, new.name, new.ts)
    yield _INSERT, *row
    return Incoming(new.id, new.username, new.conv, new.name, new.ts)


def read_incoming(conv: str, reader: str) -> Script[tuple[Incoming, ...]]:
    """See ``IncomingStore.incoming``."""
    yield from _check(conv, reader)
    rows = yield _OF_CONV, conv
    return tuple(Incoming(*row) for row in rows)


def remove_incoming(id_: str, actor: str) -> Script[None]:
    """See ``IncomingStore.remove_incoming``."""
    rows = yield _CONV, id_
    if not rows:
        raise no_such_hook()
    try:
        yield from _check(rows[0][0], actor, lock=True)
    except (NoSuchConv, NotMember):
        raise no_such_hook() from None
    if not (yield _DELETE, id_):
        raise no_such_hook()


def incoming_by_code(code: bytes) -> Script[tuple[Incoming, Account] | None]:
    """See ``IncomingStore.incoming_by_code``."""
    rows = yield _BY_CODE, code.hex()
    if not rows:
        return None
    row = rows[0]
    return Incoming(*row[:-COLUMNS]), account_of(row[-COLUMNS:])


def end_in(conv: str, accounts: Collection[int]) -> Statement:
    """What ends those of accounts that leave a conversation, which is locked."""
    return _END_IN, conv, list(accounts)


def end_of(account: int) -> Statement:
    """What ends those of an account that is closed, and locked."""
    return _END_OF, account


def _check(conv: str, username: str, *, lock: bool = False) -> Script[None]:
    """
    Refuse those who may not have hooks in a conversation.

    Args:
        lock: Keep it as it is.

    Raises:
        NoSuchUser, NoSuchConv, NotMember, Forbidden: See ``IncomingStore``.
    """
    guests = yield _LOCK if lock else _GUEST, conv
    place = yield from place_of(conv, username)
    if place.one is not None:
        if guests[0][0] is not None:
            raise guests_cannot_be_answered()
        return
    rows = yield _ROLE, conv, username
    if not rows or Role(rows[0][0]) is Role.MEMBER:
        raise Forbidden("only the owner and admins of a group may do this")
