# SPDX-License-Identifier: Apache-2.0
"""chatmotor/adapters/sql_*.py about accounts: what their callers cannot see.

The scripts run on an SQLite database in memory; what they promise to callers is in
tests/contract/test_account_store.py and its neighbors.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from chatmotor.adapters import sql_accounts, sql_gates, sql_tokens
from chatmotor.adapters.sql_script import Many, Script, run_on_sqlite
from chatmotor.adapters.store_schema import MIGRATIONS
from chatmotor.errors import RequestRefused
from chatmotor.ports.accounts import (
    AccountChange,
    LinkKind,
    NewAccount,
    NewLink,
    NewToken,
    hash_secret,
)

INVITE = hash_secret("invite")
PHONE = hash_secret("phone")
DAY_MS = 24 * 3600 * 1000

REFUSED: dict[str, Callable[[], Script[Any]]] = {
    "no link": lambda: sql_accounts.create_account(
        NewAccount("eve", ts=5, link=hash_secret("guessed"))
    ),
    "taken, with a link": lambda: sql_accounts.create_account(
        NewAccount("ann", ts=5, link=INVITE)
    ),
    "a link for something else": lambda: sql_accounts.change_account(
        AccountChange("ann", ts=5, display_name="Eve", end_tokens=True, link=INVITE)
    ),
    "one device too many": lambda: sql_tokens.add_token(
        NewToken("ann", "tv", hash_secret("tv"), 5, 99, max_devices=1)
    ),
    "an expired token": lambda: sql_tokens.replace_token(
        PHONE, hash_secret("new"), expires=999, old_expires=99, now=99
    ),
    "no such device": lambda: sql_tokens.end_device("ann", "tv", ts=5),
    "a link for nobody": lambda: sql_gates.add_link(
        NewLink(LinkKind.RESET, hash_secret("reset"), 99, username="nobody")
    ),
    "an exhausted key": lambda: sql_gates.take_attempts(
        {"a new key": (1, 9), "spent": (1, 9), "z": (1, 9)}, now=5
    ),
}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """There is ann, with a phone, an invitation, and a key that is exhausted."""
    sql = (MIGRATIONS / "sqlite" / "0001_messages.sql").read_text("utf-8")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as it:
        it.executescript(sql)
        it.execute("PRAGMA foreign_keys = ON")
        run_on_sqlite(it, sql_accounts.create_account(NewAccount("ann", ts=1)))
        run_on_sqlite(it, sql_tokens.add_token(NewToken("ann", "phone", PHONE, 1, 99)))
        run_on_sqlite(it, sql_gates.add_link(NewLink(LinkKind.INVITE, INVITE, 99)))
        run_on_sqlite(it, sql_gates.take_attempts({"spent": (1, 9)}, now=4))
        yield it


@pytest.mark.parametrize("name", REFUSED)
def test_a_script_that_refuses_has_written_nothing(
    connection: sqlite3.Connection, name: str
) -> None:
    """In a transaction with its neighbors it need not be rolled back."""
    before = connection.total_changes

    with pytest.raises(RequestRefused):
        run_on_sqlite(connection, REFUSED[name]())

    assert before == connection.total_changes


def test_a_grant_is_one_statement() -> None:
    """It is on the path of each connection."""
    script = sql_tokens.grant(PHONE, now=5)
    row = (1, "ann", 0, 1, 0, "", None, 0, 0, "phone", 99, 0)
    next(script)

    with pytest.raises(StopIteration):
        script.send([row])


@pytest.mark.parametrize(
    ("kept", "at", "left"),
    [
        (sql_gates.KEPT[0], 98, ["phone"]),
        (sql_gates.KEPT[0], 99, []),
        (sql_gates.KEPT[1], 98, ["invite"]),
        (sql_gates.KEPT[1], 99, []),
        (sql_gates.KEPT[2], 12, ["spent"]),
        (sql_gates.KEPT[2], 13, []),
    ],
)
def test_rows_that_are_over_are_found_and_deleted(
    connection: sqlite3.Connection, kept: sql_gates.Kept, at: int, left: list[str]
) -> None:
    """At the very time, and no sooner, by the name of the row in the test."""
    keys = run_on_sqlite(connection, sql_gates.find_over(kept, at=at, after=""))
    run_on_sqlite(connection, sql_gates.delete_over(kept, keys, at=at))

    rest = run_on_sqlite(connection, sql_gates.find_over(kept, at=DAY_MS, after=""))
    names = {PHONE.hex(): "phone", INVITE.hex(): "invite"}
    assert left == [names.get(key, key) for key in rest]


def test_a_link_with_no_use_left_is_over(connection: sqlite3.Connection) -> None:
    """Long before it expires."""
    new = NewAccount("dan", ts=5, link=INVITE)
    run_on_sqlite(connection, sql_accounts.create_account(new))

    keys = run_on_sqlite(
        connection, sql_gates.find_over(sql_gates.KEPT[1], at=5, after="")
    )

    assert [INVITE.hex()] == keys


def test_a_key_that_counts_again_is_not_deleted(
    connection: sqlite3.Connection,
) -> None:
    """Between finding and deleting somebody may have tried."""
    kept = sql_gates.KEPT[2]
    keys = run_on_sqlite(connection, sql_gates.find_over(kept, at=13, after=""))
    run_on_sqlite(connection, sql_gates.take_attempts({"spent": (1, 9)}, now=13))

    run_on_sqlite(connection, sql_gates.delete_over(kept, keys, at=13))

    rows = connection.execute("SELECT key, count, expires FROM attempt").fetchall()
    assert (["spent"], [("spent", 1, 22)]) == (keys, rows)


def test_an_attempt_that_is_crossed_counts_nothing() -> None:
    """
    Another node was the first under one of two new keys: what was inserted for the
    other is taken back, and the caller tries again.
    """
    script = sql_gates.take_attempts({"a": (1, 9), "b": (1, 9)}, now=5)
    statements = [next(script), script.send([]), script.send([("a",)])]

    taken_back = script.send([])
    with pytest.raises(StopIteration) as end:
        script.send([])

    assert [("a", 14), ("b", 14)] == [each[1:] for each in statements[1:]]
    assert isinstance(taken_back, Many)
    assert [("a",)] == taken_back.rows
    assert end.value.value is False


def test_cursors_are_saved_in_the_order_of_their_devices() -> None:
    """So that two nodes lock rows in one order; in chunks."""
    cursors = {("ann", f"d{number}"): number for number in range(1100)}

    chunks = list(sql_tokens.cursor_chunks(cursors, now=9))

    assert [500, 500, 100] == [len(each) for each in chunks]
    rows = [row for chunk in chunks for row in chunk]
    assert sorted(("ann", f"d{x}", x, 9) for x in range(1100)) == rows
