# SPDX-License-Identifier: Apache-2.0
"""The store in PostgreSQL: the same truth for every node.

    writes --> postgres_writer.py   one connection, group commit
    reads  --> a few connections

It needs asyncpg: ``pip install chatmotor[postgres]``.  The promises: ports/store.py.
Tables, locks and what durable means: docs/explanation/store.md.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg

from chatmotor.adapters.postgres_accounts import Accounts
from chatmotor.adapters.postgres_link import AWAY, COMMAND_SECONDS, connect
from chatmotor.adapters.postgres_reads import (
    read_group_log,
    read_history,
    read_mailbox,
    read_tops,
)
from chatmotor.adapters.postgres_writer import PATIENCE_SECONDS, Writer
from chatmotor.adapters.store_schema import (
    CREATE_VERSION,
    MIGRATIONS,
    READ_VERSION,
    due,
    read_migrations,
)
from chatmotor.errors import (
    OperatorError,
    OutcomeUnknown,
    RequestRefused,
    StoreUnavailable,
)
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
_PAUSE_SECONDS = 0.1
# Two nodes that upgrade at once: one waits.  Any number that is nobody else's.
_UPGRADE_LOCK = 0x63686D74

T = TypeVar("T")

_log = logging.getLogger(__name__)


class PostgresStore:
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
        # The connections for reading: those that are free, and a place for each.
        self._free: list[Any] = []
        self._places = asyncio.Semaphore(READERS)

    async def start(self) -> None:
        """See ``MessageStore.start``.  An old schema is refused: see ``upgrade``."""
        connection = await self._connect_in_words()
        try:
            version = 0
            if await connection.fetchval("SELECT to_regclass('schema_version')"):
                version = await connection.fetchval(READ_VERSION)
            steps = due(read_migrations(self._migrations), version)
        finally:
            await connection.close()
        if steps:
            raise OperatorError(
                f"the schema of the PostgreSQL database is {version}, and this"
                f" Chatmotor needs {steps[-1].number}; make a backup, then upgrade it"
            )
        self._writer = Writer(
            self._dsn, Accounts(), patience_seconds=self._patience_seconds
        )
        self._writer.start()

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
        """See ``MessageStore.stop``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
        while self._free:
            self._free.pop().terminate()

    async def add_account(self, username: str, *, ts: int) -> Account:
        """See ``AccountStore.add_account``."""

        async def add(own: Any) -> Account:
            await own.execute(
                "INSERT INTO account (username, seq, ts) VALUES ($1, 0, $2)"
                " ON CONFLICT DO NOTHING",
                *(username, ts),
            )
            return Account(
                *await own.fetchrow(
                    "SELECT id, username, seq FROM account WHERE username = $1",
                    username,
                )
            )

        try:
            return await self._read(add)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, AWAY):
                raise OutcomeUnknown("the connection broke") from error
            raise

    async def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore.send``."""
        return cast("StoredMessage", await self._open_writer().put(message))

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        """See ``MessageStore.create_group``."""
        return cast("ChangedGroup", await self._open_writer().put(group))

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        """See ``MessageStore.change_members``."""
        return cast("ChangedGroup", await self._open_writer().put(change))

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

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise StoreUnavailable("the store is closed")
        return self._writer

    async def _connect_in_words(self) -> Any:
        try:
            return await connect(self._dsn)
        except (*AWAY, asyncpg.PostgresError) as error:
            raise OperatorError(
                f"PostgreSQL cannot be reached: {error or 'no answer in time'}"
            ) from error

    async def _read(self, query: Callable[[Any], Awaitable[T]]) -> T:
        """Run *query* on a connection, and again on a new one when it broke."""
        self._open_writer()
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience_seconds
        while True:
            try:
                async with asyncio.timeout(COMMAND_SECONDS), self._places:
                    return await self._on_a_connection(query)
            except (*AWAY, OperatorError, asyncpg.QueryCanceledError) as error:
                if clock() >= deadline:
                    _log.warning("PostgreSQL does not answer: %r", error)
                    raise StoreUnavailable(
                        "the store does not answer; try again"
                    ) from error
            await asyncio.sleep(_PAUSE_SECONDS * random.random())  # noqa: S311  # jitter

    async def _on_a_connection(self, query: Callable[[Any], Awaitable[T]]) -> T:
        own = self._free.pop() if self._free else await connect(self._dsn)
        try:
            result = await query(own)
        except BaseException as error:
            # A refusal leaves the connection as it was; anything else may not.
            self._let_go(own, sane=isinstance(error, RequestRefused))
            raise
        self._let_go(own, sane=True)
        return result

    def _let_go(self, own: Any, *, sane: bool) -> None:
        if sane and self._writer is not None:
            self._free.append(own)
        else:
            own.terminate()
