# SPDX-License-Identifier: Apache-2.0
"""The store in an SQLite file: nothing to install, nothing to run, one process.

    writes --> sqlite_writer.py   one thread, group commit
    reads  --> a few threads, each with a connection of its own and a snapshot per read

WAL lets the readers read while the writer writes.  The promises: ports/store.py.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from chatmotor.adapters.sql_account_store import SqlAccounts
from chatmotor.adapters.sql_hook_store import SqlHooks
from chatmotor.adapters.sql_life import SqlLife
from chatmotor.adapters.sql_message_store import SqlMessages, settle
from chatmotor.adapters.sql_script import Script, run_on_sqlite
from chatmotor.adapters.sqlite_file import (
    FileLock,
    migrate,
    open_reader,
    open_writer,
    read_version,
)
from chatmotor.adapters.sqlite_writer import Writer
from chatmotor.adapters.store_schema import MIGRATIONS, read_migrations
from chatmotor.errors import OperatorError, StoreUnavailable
from chatmotor.ports.messages import NewMessage
from chatmotor.ports.store import Done

READERS = 4

T = TypeVar("T")

_log = logging.getLogger(__name__)


class SqliteStore(SqlMessages, SqlAccounts, SqlHooks, SqlLife):
    """
    See ``ports/store.py``.

    Args:
        path: The file, created when it is not there; its directory must be.
        migrations: Directory of numbered SQL files.
    """

    def __init__(self, path: Path, *, migrations: Path = MIGRATIONS / "sqlite") -> None:
        self._path = path
        self._migrations = migrations
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None
        # One for each thread of the readers; those that read now are not in it.
        self._free: list[sqlite3.Connection] = []
        self._lock: FileLock | None = None

    async def start(self) -> None:
        """See ``StoreLife.start``.  Migrates, after a safety copy."""
        connection = await asyncio.to_thread(self._open)
        self._writer = Writer(connection, asyncio.get_running_loop())
        self._writer.start()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        try:
            await asyncio.to_thread(self._open_readers)
            await self.ping()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See ``StoreLife.stop``."""
        writer, self._writer = self._writer, None
        readers, self._readers = self._readers, None
        if writer is not None:
            await asyncio.to_thread(writer.close)
        if readers is not None:
            await asyncio.to_thread(readers.shutdown)
        while self._free:
            self._free.pop().close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def schema(self) -> tuple[int, int]:
        """
        The version of the file's schema (0: there is none), and the one needed.

        It need not be started, and may be in use by another process.

        Raises:
            OperatorError: It is no database, or cannot be read.
        """
        return await asyncio.to_thread(self._schema)

    def send_soon(self, message: NewMessage, done: Done) -> None:
        """See ``MessageStore.send_soon``."""
        if self._writer is None:
            refused = StoreUnavailable("the store is closed")
            asyncio.get_running_loop().call_soon(done, refused)
        else:
            self._writer.put(lambda tables: tables.send(message), done)

    def _open(self) -> sqlite3.Connection:
        with ExitStack() as undo:
            try:
                lock = undo.enter_context(FileLock(self._path))
                connection = open_writer(self._path)
                undo.callback(connection.close)
                migrations = read_migrations(self._migrations)
                copy = migrate(connection, self._path, migrations)
            except (OSError, sqlite3.Error) as error:
                raise self._cannot_be_opened(error) from error
            if copy is not None:
                _log.info("the schema was upgraded; %s is from before", copy.name)
            undo.pop_all()
        self._lock = lock
        return connection

    def _schema(self) -> tuple[int, int]:
        needed = len(read_migrations(self._migrations))
        if not self._path.exists():
            return 0, needed
        try:
            with closing(open_reader(self._path)) as connection:
                return read_version(connection), needed
        except sqlite3.Error as error:
            raise self._cannot_be_opened(error) from error

    def _cannot_be_opened(self, error: Exception) -> OperatorError:
        return OperatorError(f"the store {self._path.name} cannot be opened: {error}")

    async def _transact(
        self,
        make: Callable[[], Script[T]],
        *,
        moves: Iterable[str] = (),
        again: bool = False,
    ) -> T:
        """See ``SqlMessages``.  A commit is never in doubt because of a connection."""
        if self._writer is None:
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(
            lambda tables: tables.run(make(), moves=moves), partial(settle, future)
        )
        return await future

    async def _look(self, make: Callable[[], Script[T]]) -> T:
        """See ``RunsScripts``."""
        if self._readers is None:
            raise StoreUnavailable("the store is closed")
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._readers, self._snapshot, make)

    def _snapshot(self, make: Callable[[], Script[T]]) -> T:
        """Run the script on a free connection; all it reads is of one moment."""
        connection = self._free.pop()
        try:
            connection.execute("BEGIN")
            try:
                return run_on_sqlite(connection, make())
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.error("the store cannot read: %r", error)  # no traceback per read
            raise StoreUnavailable("the store cannot read now; try again") from error
        finally:
            self._free.append(connection)

    def _open_readers(self) -> None:
        """All at once, with their files: what a node has open does not creep up."""
        for _ in range(READERS):
            self._free.append(open_reader(self._path))
            self._free[-1].execute("SELECT 1 FROM schema_version").fetchone()
