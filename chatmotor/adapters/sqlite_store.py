# SPDX-License-Identifier: Apache-2.0
"""The store in an SQLite file: nothing to install, nothing to run, one process.

    writes --> sqlite_writer.py   one thread, group commit
    reads  --> a few threads, each with a connection of its own and a snapshot per read

WAL lets the readers read while the writer writes.  The promises: ports/store.py.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

from chatmotor.adapters.sqlite_file import FileLock, migrate, open_reader, open_writer
from chatmotor.adapters.sqlite_reads import (
    read_group_log,
    read_history,
    read_mailbox,
    read_tops,
)
from chatmotor.adapters.sqlite_tables import Tables
from chatmotor.adapters.sqlite_writer import Writer
from chatmotor.adapters.store_schema import MIGRATIONS, read_migrations
from chatmotor.errors import OperatorError, StoreUnavailable
from chatmotor.ports.store import (
    Account,
    ChangedGroup,
    EventPage,
    GroupLog,
    Mailbox,
    MemberChange,
    MessagePage,
    NewGroup,
    NewMessage,
    StoredMessage,
    Tops,
)

READERS = 4

T = TypeVar("T")

_log = logging.getLogger(__name__)


class SqliteStore:
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
        self._own = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock: FileLock | None = None

    async def start(self) -> None:
        """See ``MessageStore.start``.  Migrates, after a safety copy."""
        connection = await asyncio.to_thread(self._open)
        self._writer = Writer(connection, asyncio.get_running_loop())
        self._writer.start()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")

    async def stop(self) -> None:
        """See ``MessageStore.stop``."""
        writer, self._writer = self._writer, None
        readers, self._readers = self._readers, None
        if writer is not None:
            await asyncio.to_thread(writer.close)
        if readers is not None:
            await asyncio.to_thread(readers.shutdown)
        while self._opened:
            self._opened.pop().close()
        self._own = threading.local()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def add_account(self, username: str, *, ts: int) -> Account:
        """See ``AccountStore.add_account``."""
        return await self._write(lambda tables: tables.add_account(username, ts))

    async def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore.send``."""
        return await self._write(lambda tables: tables.send(message))

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        """See ``MessageStore.create_group``."""
        return await self._write(lambda tables: tables.create_group(group))

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        """See ``MessageStore.change_members``."""
        return await self._write(lambda tables: tables.change_members(change))

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        """See ``MessageStore.events``."""
        if isinstance(log, Mailbox):
            return await self._read(lambda own: read_mailbox(own, log, since, limit))
        return await self._read(lambda own: read_group_log(own, log, since, limit))

    async def history(
        self,
        conv: str,
        *,
        reader: str,
        limit: int,
        before: int | None = None,
        after: int | None = None,
    ) -> MessagePage:
        """See ``MessageStore.history``."""
        if before is not None and after is not None:
            raise ValueError("before or after, not both")
        return await self._read(
            lambda own: read_history(
                own, conv, reader, limit=limit, before=before, after=after
            )
        )

    async def tops(self, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
        """See ``MessageStore.tops``."""
        return await self._read(lambda own: read_tops(own, usernames, convs))

    def _open(self) -> sqlite3.Connection:
        with ExitStack() as undo:
            try:
                lock = undo.enter_context(FileLock(self._path))
                connection = open_writer(self._path)
                undo.callback(connection.close)
                migrations = read_migrations(self._migrations)
                copy = migrate(connection, self._path, migrations)
            except (OSError, sqlite3.Error) as error:
                raise OperatorError(
                    f"the store {self._path.name} cannot be opened: {error}"
                ) from error
            if copy is not None:
                _log.info("the schema was upgraded; %s is from before", copy.name)
            undo.pop_all()
        self._lock = lock
        return connection

    async def _write(self, apply: Callable[[Tables], T]) -> T:
        if self._writer is None:
            raise StoreUnavailable("the store is closed")
        return cast("T", await self._writer.put(apply))

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise StoreUnavailable("the store is closed")
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._readers, self._snapshot, query)

    def _snapshot(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run *query* on this thread's connection; all it reads is of one moment."""
        try:
            connection: sqlite3.Connection | None = getattr(self._own, "it", None)
            if connection is None:
                connection = self._own.it = open_reader(self._path)
                self._opened.append(connection)
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.error("the store cannot read: %r", error)  # no traceback per read
            raise StoreUnavailable("the store cannot read now; try again") from error
