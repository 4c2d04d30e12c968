# SPDX-License-Identifier: Apache-2.0
"""What only the SQLite store does: its file, its lock, its migrations."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.adapters.store_schema import MIGRATIONS
from chatmotor.errors import OperatorError, StoreUnavailable
from chatmotor.ports.store import NewMessage, StoredMessage


def _modes(directory: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in directory.iterdir()}


async def test_a_second_store_on_one_file_is_refused(tmp_path: Path) -> None:
    """Two writers would give one number twice; the first one goes on."""
    first, second = (SqliteStore(tmp_path / "chat.db") for _ in range(2))
    await first.start()

    with pytest.raises(OperatorError, match="in use by another Chatmotor"):
        await second.start()

    assert 1 == (await first.add_account("ann", ts=1)).id
    await first.stop()
    await second.start()
    assert 1 == (await second.add_account("ann", ts=1)).id
    await second.stop()


async def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    """The database and its companions have mode 0600."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    await store.add_account("ann", ts=1)

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
    await store.add_account("ann", ts=1)
    await store.send(NewMessage("ann", "1", b"1", 1, to="ann"))
    await store.stop()
    shutil.copytree(MIGRATIONS / "sqlite", newer)
    (newer / "0002_more.sql").write_text("CREATE TABLE more (id INTEGER);")

    upgraded = SqliteStore(path, migrations=newer)
    await upgraded.start()
    assert 1 == (await upgraded.add_account("ann", ts=1)).seq
    await upgraded.stop()

    for file, tables in ((path, 1), (tmp_path / "chat.db.schema-1", 0)):
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
    (newer / "0002_bad.sql").write_text("CREATE TABLE more (id INTEGER); NONSENSE;")

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
    await store.add_account("ann", ts=1)
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
