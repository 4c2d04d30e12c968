# SPDX-License-Identifier: Apache-2.0
"""Stores for tests: one or two nodes, what is sent to them, and whole logs."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.adapters.sql_message_store import SqlMessages
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.errors import Conflict
from chatmotor.ports.accounts import Account, AccountChange, AccountStore, NewAccount
from chatmotor.ports.messages import (
    Event,
    GroupLog,
    Mailbox,
    MemberChange,
    NewGroup,
    NewMessage,
    Role,
)
from chatmotor.ports.store import Store
from tests.fakes.memory_store import MemoryStore
from tests.harness.postgres import PrivatePostgres

DEADLINE_SECONDS = 30.0
GROUP = "g1"
_SET_ROLE = """
UPDATE member SET role = $3
WHERE conv = $1 AND account = (SELECT id FROM account WHERE username = $2)
"""


@dataclass
class Nodes:
    """Two nodes' stores; ann, bob and cyd have accounts."""

    left: Store
    right: Store

    async def restart(self) -> None:
        """Stop both, and start them again."""
        for node in dict.fromkeys((self.left, self.right)):
            await node.stop()
            await node.start()


async def add_account(store: AccountStore, username: str) -> Account:
    """A new account, or the one that is there."""
    try:
        return await store.create_account(NewAccount(username, ts=1))
    except Conflict:
        return await store.account(username)


async def close_account(store: AccountStore, username: str) -> None:
    """Deactivate it."""
    await store.change_account(AccountChange(username, ts=4, closed=True))


async def set_role(
    store: Store, username: str, role: Role, *, conv: str = GROUP
) -> None:
    """In a group, if it is, or was, there; no command does this yet."""

    def write() -> Script[None]:
        yield _SET_ROLE, conv, username, role.value

    if isinstance(store, SqlMessages):
        await store._transact(write)
    elif isinstance(store, MemoryStore):
        talk = store._talks.get(conv)
        if talk is not None and username in talk.members:
            talk.members[username].role = role


def direct(
    sender: str, to: str, cid: str, body: bytes = b'"hello"', ts: int = 5
) -> NewMessage:
    """A message from one account to another."""
    return NewMessage(sender, cid, body, ts, to=to)


def in_group(sender: str, cid: str, conv: str = GROUP) -> NewMessage:
    """A message to a group."""
    return NewMessage(sender, cid, b'"all"', 5, conv=conv)


def new_group(*members: str, cid: str = "create", conv: str = GROUP) -> NewGroup:
    """Of ann."""
    return NewGroup(conv, "ann", cid, 2, frozenset(members))


def change(
    cid: str,
    *,
    actor: str = "ann",
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    ts: int = 3,
) -> MemberChange:
    """A change of the group, by ann."""
    return MemberChange(GROUP, actor, cid, ts, frozenset(add), frozenset(remove))


async def gather(writes: Sequence[Awaitable[Any]]) -> list[Any]:
    """All at once; errors are among the results."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await asyncio.gather(*writes, return_exceptions=True)


async def whole(store: Store, log: Mailbox | GroupLog) -> tuple[Event, ...]:
    """A log from its beginning, pulled in small pages."""
    events: tuple[Event, ...] = ()
    while True:
        page = await store.events(log, since=len(events), limit=7)
        events += page.events
        if not page.more:
            assert page.top == len(events)
            return events


class SqliteSubject:
    """A new file for each run of the machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self.loop = loop
        self._directory = directory
        self._count = 0
        self._store: SqliteStore | None = None

    def fresh(self) -> Sequence[Store]:
        self._count += 1
        self._store = SqliteStore(self._directory / f"{self._count}.db")
        self.loop.run_until_complete(self._store.start())
        return [self._store]

    def end(self) -> None:
        assert self._store is not None
        self.loop.run_until_complete(self._store.stop())


class PostgresSubject:
    """A new database, with two nodes, for each run of the machine."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server: PrivatePostgres
    ) -> None:
        self.loop = loop
        self._server = server
        self._stores: list[PostgresStore] = []

    def fresh(self) -> Sequence[Store]:
        self._stores = self.loop.run_until_complete(self._open())
        return self._stores

    async def _open(self) -> list[PostgresStore]:
        dsn = await self._server.create_database()
        stores = [PostgresStore(dsn), PostgresStore(dsn)]
        await stores[0].upgrade()
        for store in stores:
            await store.start()
        return stores

    def end(self) -> None:
        for store in self._stores:
            self.loop.run_until_complete(store.stop())
