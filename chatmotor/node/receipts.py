# SPDX-License-Identifier: Apache-2.0
"""Delivered and read, told to the other side of direct conversations.

    events that were sent (DirectEvents) --ack--> cursor saved --> conversations
    read pointers that moved                                   --> conversations
    once a second: one look into the store for all of them --> what is new is told

What is told is what the store says, so it is never ahead of it.  A node tells nothing
twice as long as it remembers; clients take the maximum of what they are told.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable

from chatmotor.core.announcer import Announcer
from chatmotor.errors import NoSuchUser, StoreUnavailable, Trimmed
from chatmotor.ports.messages import DIRECT_PREFIX, Mailbox
from chatmotor.ports.store import LogStore
from chatmotor.protocol.events import Fragment
from chatmotor.protocol.replies import Receipt

# Conversations in one look into the store; the others wait for the next second.
AT_ONCE = 500
# Conversations that may wait; the others are told of with their next change.
WAITING = 20_000
# What was told last is remembered of so many.
KEPT = 20_000
# Conversations of a session with events that are not acknowledged.
UNACKNOWLEDGED = 256
# Events between a place in the store and the one that a client says it has.
_RESUMED = 200
_CONV = b'"conv":"'
_DIRECT = _CONV + DIRECT_PREFIX.encode()
_HEAD_BYTES = 64  # type and time stand before the conversation


class DirectEvents:
    """The direct conversations of a session's events that are not acknowledged yet."""

    __slots__ = ("_highest",)

    def __init__(self) -> None:
        # By conversation, the last event's place in the mailbox.
        self._highest: dict[bytes, int] = {}

    def add(self, seq: int, fragment: Fragment) -> None:
        """An event is sent."""
        text = fragment.text
        at = text.find(_DIRECT, 0, _HEAD_BYTES)
        if at < 0:
            return
        begin = at + len(_CONV)
        conv = text[begin : text.index(b'"', begin)]
        if len(self._highest) < UNACKNOWLEDGED or conv in self._highest:
            self._highest[conv] = seq

    def up_to(self, seq: int) -> set[str]:
        """The conversations of which the device may have more now."""
        highest = self._highest
        convs = {conv.decode() for conv in highest}
        for conv in [conv for conv, last in highest.items() if last <= seq]:
            del highest[conv]
        return convs


class Receipts:
    """The conversations of one node in which something was delivered or read."""

    def __init__(self, store: LogStore, announcer: Announcer) -> None:
        self._store = store
        self._announcer = announcer
        self._touched: dict[str, None] = {}
        self._told: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def touch(self, conv: str) -> None:
        """A read pointer or a cursor has moved, and it is in the store."""
        if conv.startswith(DIRECT_PREFIX) and len(self._touched) < WAITING:
            self._touched[conv] = None

    def touch_all(self, convs: Iterable[str]) -> None:
        """The same of each."""
        for conv in convs:
            self.touch(conv)

    async def between(self, username: str, since: int, to: int) -> set[str]:
        """
        The direct conversations of events since < seq <= to of a mailbox: a client has
        resumed from beyond its device's cursor.  Only the first of very many.
        """
        try:
            page = await self._store.events(
                Mailbox(username), since=since, limit=min(to - since, _RESUMED)
            )
        except (Trimmed, NoSuchUser, StoreUnavailable):
            return set()
        return {
            each.conv
            for each in page.events
            if each.conv is not None and each.conv.startswith(DIRECT_PREFIX)
        }

    async def tell(self) -> None:
        """
        Tell what is new.

        Raises:
            StoreUnavailable: Nothing was told; it is the next time.
        """
        convs = list(itertools.islice(self._touched, AT_ONCE))
        if not convs:
            return
        for conv in convs:
            del self._touched[conv]
        try:
            found = await self._store.receipts(convs)
        except (StoreUnavailable, asyncio.CancelledError):
            self._touched |= dict.fromkeys(convs)
            raise
        for conv, places in found.items():
            for username, other in itertools.permutations(places, 2):
                self._tell(conv, username, other, places[username])

    def _tell(
        self, conv: str, username: str, other: str, place: tuple[int, int]
    ) -> None:
        key = (conv, username)
        if place == (0, 0) or self._told.get(key) == place:
            return
        self._told[key] = place
        self._told.move_to_end(key)
        if len(self._told) > KEPT:
            self._told.popitem(last=False)
        delivered, read = place
        self._announcer.ephemeral(
            other, Receipt(conv=conv, user=username, delivered=delivered, read=read)
        )
