# SPDX-License-Identifier: Apache-2.0
"""A store that an earlier Chatmotor filled goes on under this one."""

import shutil
from pathlib import Path

import pytest

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.adapters.store_schema import MIGRATIONS
from chatmotor.errors import OperatorError
from chatmotor.ports.hooks import HookKind, NewHook
from chatmotor.ports.messages import Mailbox
from chatmotor.ports.store import Store
from tests.harness.postgres import PrivatePostgres
from tests.harness.stores import add_account, direct, in_group, new_group, whole


def first_schema(dialect: str, directory: Path) -> Path:
    """The migrations as they were before there were hooks."""
    copied = directory / "first"
    copied.mkdir()
    shutil.copy(MIGRATIONS / dialect / "0001_messages.sql", copied)
    return copied


async def fill(store: Store) -> None:
    """Accounts, a group, and messages."""
    for username in ("ann", "bob"):
        await add_account(store, username)
    await store.create_group(new_group("bob"))
    await store.send(direct("ann", "bob", "1"))
    await store.send(in_group("bob", "2"))


async def check(store: Store) -> None:
    """All is there, and a hook can be made of it."""
    assert 2 == len(await whole(store, Mailbox("ann")))
    assert "bob" == (await store.account("bob")).username
    again = await store.send(direct("ann", "bob", "1"))
    assert (1, True) == (again.n, again.dup)

    hook = await store.add_hook(NewHook("h1", "ann", HookKind.WEBHOOK, 7))

    assert (2, 0) == (hook.seq, hook.behind)


async def test_sqlite_upgrades_itself(tmp_path: Path) -> None:
    """With a copy from before, on which the earlier Chatmotor could go on."""
    path = tmp_path / "chat.db"
    migrations = first_schema("sqlite", tmp_path)
    earlier = SqliteStore(path, migrations=migrations)
    await earlier.start()
    await fill(earlier)
    await earlier.stop()
    store = SqliteStore(path)
    assert (1, 2) == await store.schema()

    await store.start()
    await check(store)
    await store.stop()

    assert (2, 2) == await store.schema()
    copy = SqliteStore(tmp_path / "chat.db.schema-1", migrations=migrations)
    await copy.start()
    assert 2 == len(await whole(copy, Mailbox("ann")))
    await copy.stop()


async def test_postgres_is_upgraded_by_its_operator(
    postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """Until then it is refused in words."""
    dsn = await postgres.create_database()
    earlier = PostgresStore(dsn, migrations=first_schema("postgres", tmp_path))
    assert 1 == await earlier.upgrade()
    await earlier.start()
    await fill(earlier)
    await earlier.stop()
    store = PostgresStore(dsn)
    assert (1, 2) == await store.schema()
    with pytest.raises(OperatorError, match="is 1, and this Chatmotor needs 2"):
        await store.start()

    assert 2 == await store.upgrade()
    await store.start()
    await check(store)
    await store.stop()
