# SPDX-License-Identifier: Apache-2.0
"""``MessageStore`` and ``LogStore`` by scripts, for both databases.

The hot path, ``send_soon``, is each store's own; the rest is here once.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from chatmotor.adapters.sql_account_store import RunsScripts
from chatmotor.adapters.sql_conversations import (
    read_conversation,
    read_conversations,
)
from chatmotor.adapters.sql_groups import change_members, create_group
from chatmotor.adapters.sql_pointers import mark_read, send_from_guest
from chatmotor.adapters.sql_reads import (
    Bounds,
    read_group_log,
    read_history,
    read_mailbox,
    read_members,
    read_receipts,
    read_standings,
    read_tops,
)
from chatmotor.adapters.sql_script import Script
from chatmotor.ports.messages import (
    ChangedGroup,
    Conversation,
    ConversationPage,
    EventPage,
    GroupLog,
    GuestMessage,
    Logged,
    Mailbox,
    Member,
    MemberChange,
    MessagePage,
    NewGroup,
    NewMessage,
    Standing,
    StoredMessage,
    Tops,
)
from chatmotor.ports.store import Done

T = TypeVar("T")


def settle(future: asyncio.Future[T], answer: T | Exception) -> None:
    """Give the answer to whoever waits for *future*, if anybody still does."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


class SqlMessages(RunsScripts):
    """The methods are those of ``MessageStore`` and ``LogStore``."""

    @abstractmethod
    async def _transact(
        self,
        make: Callable[[], Script[T]],
        *,
        moves: Iterable[str] = (),
        again: bool = False,
    ) -> T:
        """
        See ``RunsScripts``.

        Args:
            again: When the connection breaks during COMMIT, the script is run once
                more and nobody is told: it finds what it has written, or writes it.
        """

    @abstractmethod
    def send_soon(self, message: NewMessage, done: Done) -> None:
        """See ``MessageStore.send_soon``."""

    async def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore.send``."""
        future: asyncio.Future[StoredMessage] = (
            asyncio.get_running_loop().create_future()
        )
        self.send_soon(message, partial(settle, future))
        return await future

    async def send_from_guest(self, message: GuestMessage) -> StoredMessage:
        """See ``MessageStore.send_from_guest``."""
        # Nobody else writes to the conversation, so its counters are in no memory.
        return await self._transact(
            lambda: send_from_guest(message), moves=[message.to]
        )

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        """See ``MessageStore.create_group``."""
        moves = group.members | {group.creator, group.conv}
        return await self._transact(
            lambda: create_group(group), moves=moves, again=True
        )

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        """See ``MessageStore.change_members``."""
        moves = change.add | change.remove | {change.conv}
        return await self._transact(
            lambda: change_members(change), moves=moves, again=True
        )

    async def mark_read(
        self, username: str, conv: str, n: int, *, ts: int
    ) -> Logged | None:
        """See ``MessageStore.mark_read``."""
        return await self._transact(
            lambda: mark_read(username, conv, n, ts), moves=[username, conv], again=True
        )

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        """See ``LogStore.events``."""
        if isinstance(log, Mailbox):
            return await self._look(lambda: read_mailbox(log, since, limit))
        return await self._look(lambda: read_group_log(log, since, limit))

    async def history(
        self,
        conv: str,
        *,
        reader: str,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
    ) -> MessagePage:
        """See ``LogStore.history``."""
        bounds = Bounds(before, after, around)
        if sum(each is not None for each in bounds) > 1:
            raise ValueError("one of before, after and around, not both")
        return await self._look(lambda: read_history(conv, reader, bounds, limit))

    async def receipts(
        self, convs: Sequence[str]
    ) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        """See ``LogStore.receipts``."""
        found = await self._look(lambda: read_receipts(convs))
        return {conv: places for conv, places in found.items() if len(places) == 2}

    async def tops(self, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
        """See ``LogStore.tops``."""
        return await self._look(lambda: read_tops(usernames, convs))

    async def standings(self, username: str) -> tuple[Standing, ...]:
        """See ``LogStore.standings``."""
        return await self._look(lambda: read_standings(username))

    async def conversations(
        self, username: str, *, after: str, limit: int
    ) -> ConversationPage:
        """See ``LogStore.conversations``."""
        return await self._look(lambda: read_conversations(username, after, limit))

    async def conversation(self, conv: str, *, reader: str) -> Conversation:
        """See ``LogStore.conversation``."""
        return await self._look(lambda: read_conversation(conv, reader))

    async def members(
        self, conv: str, *, reader: str, after: str, limit: int
    ) -> tuple[Member, ...]:
        """See ``LogStore.members``."""
        return await self._look(lambda: read_members(conv, reader, after, limit))
