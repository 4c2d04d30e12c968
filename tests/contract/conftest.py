# SPDX-License-Identifier: Apache-2.0
"""The stores of the contract suite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.ports.store import Store
from tests.fakes.memory_store import MemoryStore
from tests.harness.postgres import PrivatePostgres
from tests.harness.stores import Nodes, add_account


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    """Started stores of each kind."""
    left: Store
    right: Store
    if request.param == "memory":
        left = right = MemoryStore()
    elif request.param == "sqlite":
        left = right = SqliteStore(tmp_path / "chat.db")
    else:
        server: PrivatePostgres = request.getfixturevalue("postgres")
        dsn = await server.create_database()
        left, right = PostgresStore(dsn), PostgresStore(dsn)
        await left.upgrade()
    both = Nodes(left, right)
    for node in dict.fromkeys((left, right)):
        await node.start()
    for username in ("ann", "bob", "cyd"):
        await add_account(left, username)
    yield both
    for node in dict.fromkeys((left, right)):
        await node.stop()
