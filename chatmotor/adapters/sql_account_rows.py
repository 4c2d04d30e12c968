# SPDX-License-Identifier: Apache-2.0
"""Rows of accounts, and the locks that come first, for the scripts about them.

On PostgreSQL a script takes its locks in this order, so no two wait in a circle:

    an account --> its devices, by name --> a link

Set-up links and attempts are locked on their own (sql_gates.py).
"""

from chatmotor.adapters.sql_script import Row, Script
from chatmotor.adapters.store_rows import no_such_user
from chatmotor.ports.accounts import Account

# of account a, in the order that ``account_of`` takes them
ACCOUNT_COLUMNS = (
    "a.id, a.username, a.seq, a.ts, a.floor, a.display_name, a.password,"
    " a.admin, a.closed"
)
COLUMNS = 9

_FIND = f"SELECT {ACCOUNT_COLUMNS} FROM account a WHERE a.username = $1"  # noqa: S608  # constants
_LOCK = f"{_FIND} FOR NO KEY UPDATE"
_OPEN_ADMIN = "SELECT id FROM account WHERE admin = 1 AND closed = 0 LIMIT 1"


def account_of(row: Row) -> Account:
    """An account from ``ACCOUNT_COLUMNS``."""
    account, username, seq, ts, floor, display_name, password, admin, closed = row
    return Account(
        *(account, username, seq, ts, floor),
        *(display_name, password, bool(admin), bool(closed)),
    )


def find_account(username: str, *, lock: bool = False) -> Script[Account]:
    """
    The account.

    Args:
        lock: Keep others from changing it, its mailbox, and which devices it has.

    Raises:
        NoSuchUser: There is none.
    """
    rows = yield _LOCK if lock else _FIND, username
    if not rows:
        raise no_such_user(username)
    return account_of(rows[0])


def has_admin() -> Script[bool]:
    """See ``AccountStore.has_admin``."""
    rows = yield (_OPEN_ADMIN,)
    return bool(rows)
