# SPDX-License-Identifier: Apache-2.0
"""What only the SQLite store does: its file, its lock, its migrations."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatmotor.adapters import sql_account_rows
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.adapters.store_schema import MIGRATIONS
from chatmotor.errors import Forbidden, OperatorError, StoreUnavailable
from chatmotor.ports.messages import NewMessage, StoredMessage
from tests.harness.stores import add_account


def _modes(directory: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in directory.iterdir()}


async def test_a_second_store_on_one_file_is_refused(tmp_path: Path) -> None:
    """Two writers would give one number twice; the first one goes on."""
    first, second = (SqliteStore(tmp_path / "chat.db") for _ in range(2))
    await first.start()

    with pytest.raises(OperatorError, match="in use by another Chatmotor"):
        await second.start()

    assert 1 == (await add_account(first, "ann")).id
    await first.stop()
    await second.start()
    assert 1 == (await add_account(second, "ann")).id
    await second.stop()


async def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    """The database and its companions have mode 0600."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    await add_account(store, "ann")

    modes = _modes(tmp_path)

    assert {"chat.db", "chat.db-wal", "chat.db-shm", "chat.db.lock"} == set(modes)
    assert {0o600} == set(modes.values())
    await store.stop()


async def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    """An older Chatmotor does not touch what a newer one wrote, and lets it go."""
    path = tmp_path / "chat.db"
    store = SqliteStore(path)
    await store.start()
    await store.stop()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("INSERT INTO schema_version VALUES (99)")

    for _ in range(2):
        with pytest.raises(OperatorError, match="newer Chatmotor: its schema is 99"):
            await store.start()


async def test_an_upgrade_keeps_a_copy_from_before(tmp_path: Path) -> None:
    """The new step is applied, all is still there, and the copy is the old schema."""
    path, newer = tmp_path / "chat.db", tmp_path / "migrations"
    store = SqliteStore(path)
    await store.start()
    await add_account(store, "ann")
    await store.send(NewMessage("ann", "1", b"1", 1, to="ann"))
    await store.stop()
    shutil.copytree(MIGRATIONS / "sqlite", newer)
    (newer / "0003_more.sql").write_text("CREATE TABLE more (id INTEGER);")

    upgraded = SqliteStore(path, migrations=newer)
    await upgraded.start()
    assert 1 == (await add_account(upgraded, "ann")).seq
    await upgraded.stop()

    for file, tables in ((path, 1), (tmp_path / "chat.db.schema-2", 0)):
        with closing(sqlite3.connect(file)) as read:
            more = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'more'"
            assert tables == read.execute(more).fetchone()[0]
            assert 1 == read.execute("SELECT COUNT(*) FROM message").fetchone()[0]


async def test_a_failed_upgrade_changes_nothing(tmp_path: Path) -> None:
    """A step that fails half way is undone, and the operator is told."""
    path, newer = tmp_path / "chat.db", tmp_path / "migrations"
    store = SqliteStore(path)
    await store.start()
    await store.stop()
    shutil.copytree(MIGRATIONS / "sqlite", newer)
    (newer / "0003_bad.sql").write_text("CREATE TABLE more (id INTEGER); NONSENSE;")

    with pytest.raises(OperatorError, match="cannot be opened"):
        await SqliteStore(path, migrations=newer).start()

    await store.start()
    await store.stop()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Something else at the path is not overwritten."""
    path = tmp_path / "chat.db"
    path.write_bytes(b"something else " * 1000)

    with pytest.raises(OperatorError, match="cannot be opened"):
        await SqliteStore(path).start()

    assert path.read_bytes().startswith(b"something else")


async def test_a_full_disk_refuses_only_what_does_not_fit(tmp_path: Path) -> None:
    """What has no room is unavailable and leaves no hole; with room it is stored."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    await add_account(store, "ann")
    assert store._writer is not None
    file = store._writer._connection  # idle now
    (pages,) = file.execute("PRAGMA page_count").fetchone()
    file.execute(f"PRAGMA max_page_count = {pages + 2}")
    large = NewMessage("ann", "2", b"1" * 100_000, 1, to="ann")
    small = [NewMessage("ann", cid, b"1", 1, to="ann") for cid in ("1", "3")]

    first, refused, third = await asyncio.gather(
        *(store.send(each) for each in (small[0], large, small[1])),
        return_exceptions=True,
    )

    assert isinstance(refused, StoreUnavailable)
    assert isinstance(first, StoredMessage)
    assert isinstance(third, StoredMessage)
    assert [1, 2] == [first.n, third.n]
    file.execute("PRAGMA max_page_count = 1000000")
    assert (3, False) == ((again := await store.send(large)).n, again.dup)
    await store.stop()


async def test_a_refused_script_leaves_no_trace(tmp_path: Path) -> None:
    """
    Also when it has written before it refused; the sends beside it are stored, and
    what is in memory is true.
    """
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    await add_account(store, "ann")

    def write_and_refuse() -> Script[None]:
        yield ("UPDATE account SET seq = seq + 1",)
        raise Forbidden("no")

    first, refused, second = await asyncio.gather(
        store.send(NewMessage("ann", "1", b"1", 1, to="ann")),
        store._transact(write_and_refuse, moves=["ann"]),
        store.send(NewMessage("ann", "2", b"1", 1, to="ann")),
        return_exceptions=True,
    )

    assert isinstance(refused, Forbidden)
    assert isinstance(first, StoredMessage)
    assert isinstance(second, StoredMessage)
    assert [1, 2] == [first.seq, second.seq]
    assert 2 == (await store.account("ann")).seq
    await store.stop()


async def test_a_change_of_some_keeps_what_is_known_of_others(tmp_path: Path) -> None:
    """A pointer that moves does not make the next send read all counters again."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    for username in ("ann", "bob", "cyd"):
        await add_account(store, username)
    sent = await store.send(NewMessage("ann", "1", b"1", 1, to="bob"))
    other = await store.send(NewMessage("ann", "2", b"1", 1, to="cyd"))
    assert store._writer is not None
    tables = store._writer._tables

    await store.mark_read("bob", sent.conv, 1, ts=1)

    assert {"ann", "cyd"} == tables._accounts.keys()
    assert {other.conv} == tables._conversations.keys()
    again = await store.send(NewMessage("bob", "1", b"1", 1, to="ann"))
    assert (2, 3) == (again.n, again.seq)
    await store.stop()


async def test_an_admin_is_found_by_an_index(tmp_path: Path) -> None:
    """Whether there is one is asked before anybody has logged in."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    with closing(sqlite3.connect(tmp_path / "chat.db")) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN {sql_account_rows._OPEN_ADMIN}")
        assert "account_admin" in str(plan.fetchall())
    await store.stop()


async def test_the_schema_can_be_asked_for_at_any_time(tmp_path: Path) -> None:
    """Before the file exists, which does not make it, and while it is in use."""
    path = tmp_path / "chat.db"
    store, other = SqliteStore(path), SqliteStore(path)
    assert (0, 2) == await store.schema()
    assert not path.exists()

    await store.start()

    assert (2, 2) == await other.schema()
    await store.stop()
    path.write_bytes(b"something else " * 1000)
    with pytest.raises(OperatorError, match="cannot be opened"):
        await other.schema()
