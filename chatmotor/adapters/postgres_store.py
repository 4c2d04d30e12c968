# SPDX-License-Identifier: Apache-2.0
"""The store in PostgreSQL: the same truth for every node.

    sends                  --> postgres_writer.py   one connection, group commit
    reads, other writes    --> postgres_pool.py     a few connections

It needs asyncpg: ``pip install chatmotor[postgres]``.  The promises: ports/store.py.
Tables, locks and what durable means: docs/explanation/store.md.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from chatmotor.adapters.postgres_accounts import Accounts
from chatmotor.adapters.postgres_link import AWAY, connect
from chatmotor.adapters.postgres_pool import Pool
from chatmotor.adapters.postgres_writer import PATIENCE_SECONDS, Writer
from chatmotor.adapters.sql_account_store import SqlAccounts
from chatmotor.adapters.sql_hook_store import SqlHooks
from chatmotor.adapters.sql_life import SqlLife
from chatmotor.adapters.sql_message_store import SqlMessages
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.store_schema import (
    CREATE_VERSION,
    MIGRATIONS,
    READ_VERSION,
    due,
    read_migrations,
)
from chatmotor.errors import OperatorError, StoreUnavailable
from chatmotor.ports.messages import NewMessage
from chatmotor.ports.store import Done

# Two nodes that upgrade at once: one waits.  Any number that is nobody else's.
_UPGRADE_LOCK = 0x63686D74

T = TypeVar("T")


class PostgresStore(SqlMessages, SqlAccounts, SqlHooks, SqlLife):
    """
    See ``ports/store.py``.

    Args:
        dsn: ``postgresql://user:password@host:port/database``.
        migrations: Directory of numbered SQL files.
        patience_seconds: How long a call waits for a server that is away.
    """

    def __init__(
        self,
        dsn: str,
        *,
        migrations: Path = MIGRATIONS / "postgres",
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._migrations = migrations
        self._patience_seconds = patience_seconds
        self._writer: Writer | None = None
        self._pool: Pool | None = None

    async def start(self) -> None:
        """See ``StoreLife.start``.  An old schema is refused: see ``upgrade``."""
        found, needed = await self.schema()
        due(read_migrations(self._migrations), found)
        if found < needed:
            raise OperatorError(
                f"the schema of the PostgreSQL database is {found}, and this"
                f" Chatmotor needs {needed}; make a backup, then run"
                " chatmotor db upgrade"
            )
        patience = self._patience_seconds
        self._pool = Pool(self._dsn, patience_seconds=patience)
        try:
            await self.ping()
        except BaseException:
            await self.stop()
            raise
        self._writer = Writer(self._dsn, Accounts(), patience_seconds=patience)
        self._writer.start()

    async def schema(self) -> tuple[int, int]:
        """
        The version of the database's schema (0: there is none), and the one needed.

        It need not be started.

        Raises:
            OperatorError: The server cannot be reached, or must not be used.
        """
        connection = await self._connect_in_words()
        try:
            found = 0
            if await connection.fetchval("SELECT to_regclass('schema_version')"):
                found = await connection.fetchval(READ_VERSION)
        finally:
            await connection.close()
        return found, len(read_migrations(self._migrations))

    async def upgrade(self) -> int:
        """
        Bring the schema up to date, in one transaction; a backup is the operator's.

        Returns:
            The number of the schema now.  Safe to repeat, and on two nodes at once.

        Raises:
            OperatorError: The schema is newer than this program.
        """
        connection = await self._connect_in_words()
        try:
            async with connection.transaction():
                await connection.execute(
                    f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"
                )
                await connection.execute(CREATE_VERSION)
                version: int = await connection.fetchval(READ_VERSION)
                for step in due(read_migrations(self._migrations), version):
                    await connection.execute(step.sql)
                    await connection.execute(
                        "INSERT INTO schema_version VALUES ($1)", step.number
                    )
                    version = step.number
                return version
        finally:
            await connection.close()

    async def stop(self) -> None:
        """See ``StoreLife.stop``."""
        writer, self._writer = self._writer, None
        pool, self._pool = self._pool, None
        if writer is not None:
            await writer.close()
        if pool is not None:
            await pool.close()

    def send_soon(self, message: NewMessage, done: Done) -> None:
        """See ``MessageStore.send_soon``."""
        if self._writer is None:
            refused = StoreUnavailable("the store is closed")
            asyncio.get_running_loop().call_soon(done, refused)
        else:
            self._writer.put(message, done)

    async def _transact(
        self,
        make: Callable[[], Script[T]],
        *,
        moves: Iterable[str] = (),
        again: bool = False,
    ) -> T:
        """See ``SqlMessages``.  Nothing is kept in memory that *moves*."""
        return await self._open_pool().transact(make, again=again)

    async def _look(self, make: Callable[[], Script[T]]) -> T:
        """See ``RunsScripts``."""
        return await self._open_pool().look(make)

    def _open_pool(self) -> Pool:
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        return self._pool

    async def _connect_in_words(self) -> Any:
        try:
            return await connect(self._dsn)
        except (*AWAY, asyncpg.PostgresError) as error:
            raise OperatorError(
                f"PostgreSQL cannot be reached: {error or 'no answer in time'}"
            ) from error
