# SPDX-License-Identifier: Apache-2.0
"""One reader's place in a log: what comes next, and from where.

    broker --offer--> next: take it | old: drop it | gap: read the store
    store  --events after the last taken--> take

A socket reads the mailbox of its account; a node, for all members who are there, the
log of a group.  Events are taken in the order of their numbers, each once.  The backlog
stays in the store: no more is read than the reader has room for.  Of what the broker
brings while the store is read, a bounded number is kept; the rest is in the store.
"""

import asyncio
import logging
import random
from typing import Protocol

from chatmotor.errors import NoSuchConv, NoSuchUser, StoreUnavailable, Trimmed
from chatmotor.ports.messages import GroupLog, Mailbox
from chatmotor.ports.store import LogStore
from chatmotor.protocol.events import Fragment, fragment_of

logger = logging.getLogger(__name__)

PAGE_EVENTS = 200
EARLY_EVENTS = 256
RETRY_SECONDS = 1.0


class Reader(Protocol):
    """Who takes the events."""

    @property
    def room(self) -> int:
        """How many events it takes now."""

    def take(self, at: int, fragment: Fragment) -> None:
        """The next event.  Must not raise."""

    def lose_position(self, reason: str) -> None:
        """The store does not have the next event any more."""


class Feed:
    """
    The cursor of one reader.

    Args:
        since: Number of the last event that the reader has.
        top: Number of the last event that is known to exist.
    """

    __slots__ = (
        "_early",
        "_filling",
        "_log",
        "_logs",
        "_open",
        "_reader",
        "sent",
        "top",
    )

    def __init__(
        self,
        logs: LogStore,
        log: Mailbox | GroupLog,
        reader: Reader,
        *,
        since: int,
        top: int,
    ) -> None:
        self._logs = logs
        self._log = log
        self._reader = reader
        self.sent = since
        self.top = top
        self._early: dict[int, Fragment] = {}
        self._filling: asyncio.Task[None] | None = None
        self._open = True

    def offer(self, seq: int, fragment: Fragment) -> None:
        """An event that the broker has brought."""
        self.top = max(self.top, seq)
        if seq <= self.sent or not self._open:
            return
        if seq == self.sent + 1 and self._filling is None and self._reader.room > 0:
            self._take(seq, fragment)
            if self._early:
                self._take_early()
        else:
            if len(self._early) < EARLY_EVENTS and self._reader.room > 0:
                self._early[seq] = fragment
            self.pull()

    def look(self, top: int) -> None:
        """The log is known to reach *top*."""
        self.top = max(self.top, top)
        self.pull()

    def pull(self) -> None:
        """Go on, if there is anything to take and room for it."""
        if (
            self.sent < self.top
            and self._filling is None
            and self._open
            and self._reader.room > 0
        ):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    def stop(self) -> None:
        """Take nothing more."""
        self._open = False
        self._early.clear()
        if self._filling is not None:
            self._filling.cancel()

    def _take(self, seq: int, fragment: Fragment) -> None:
        self.sent = seq
        self._reader.take(seq, fragment)

    def _take_early(self) -> None:
        """Take what was kept and follows now; forget what was taken since."""
        early = self._early
        while self._reader.room > 0 and self._open:
            fragment = early.pop(self.sent + 1, None)
            if fragment is None:
                break
            self._take(self.sent + 1, fragment)
        if early and min(early) <= self.sent:
            self._early = {seq: each for seq, each in early.items() if seq > self.sent}

    async def _fill(self) -> None:
        """Take from the store until there is nothing left to take, or no room."""
        try:
            while self._open and self.sent < self.top and self._reader.room > 0:
                self._take_early()
                if self.sent >= self.top or self._reader.room <= 0:
                    break
                try:
                    await self._read()
                except StoreUnavailable:
                    # The session stays: its client has nothing to do about it.
                    await asyncio.sleep(RETRY_SECONDS * (0.5 + random.random()))  # noqa: S311  # jitter
        except (Trimmed, NoSuchUser, NoSuchConv):
            self._reader.lose_position("the next events are no longer kept")
        except Exception:
            logger.exception("a log could not be read")
            self._reader.lose_position("the events could not be read")
        finally:
            self._filling = None

    async def _read(self) -> None:
        claimed = self.top
        limit = min(self._reader.room, PAGE_EVENTS)
        page = await self._logs.events(self._log, since=self.sent, limit=limit)
        if page.events:
            self.top = max(self.top, page.top)
        elif self.top == claimed:  # whoever said so was wrong, or lied
            self.top = self.sent
            self._early.clear()
        for event in page.events:
            if self._reader.room <= 0 or not self._open:
                return
            if event.at == self.sent + 1:
                self._take(event.at, fragment_of(event))
