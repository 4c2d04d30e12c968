# SPDX-License-Identifier: Apache-2.0
"""The presence of accounts, as the sessions of one node say it and are told it.

    sessions come, go, change --> own presence --GATHER_SECONDS--> table, other nodes
    watch --> is it known here? else ask the other nodes --> snapshot --> changes

    presence_table.py   what is known, and the grace before offline
    watchers.py         who is told what
    neighbours.py       the other nodes

A thousand clients that come back together are a few notices, and nothing for those who
watch them.  Rules for clients: docs/reference/protocol.md, "Presence".
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from chatmotor.metrics import Metrics
from chatmotor.node.neighbours import Neighbours
from chatmotor.node.presence_table import PresenceTable
from chatmotor.node.watchers import Watcher, Watchers
from chatmotor.ports.broker import Broker
from chatmotor.ports.store import StoreLife
from chatmotor.protocol.notices import NodesNotice
from chatmotor.protocol.presence import Presence, best
from chatmotor.protocol.replies import UserPresence

GATHER_SECONDS = 0.5
# A node that is silent for longer than the grace is gone, and there is none for it.
SILENT_AFTER_GRACE_SECONDS = 3.0
# Not as before, whatever it is: a node was told something in between.
_ANSWERED = Presence("online", "answered")


class Present(Protocol):
    """A socket of an account."""

    @property
    def presence(self) -> Presence | None:
        """How it stands; none: hidden."""


class Presences:
    """
    Args:
        node: This node's name, which no other has.
        grace_seconds: From the end of an account's last session to offline.
        watch_max: How many accounts a session may watch.
    """

    def __init__(
        self,
        broker: Broker,
        store: StoreLife,
        metrics: Metrics,
        *,
        node: str,
        grace_seconds: float,
        watch_max: int,
    ) -> None:
        self._metrics = metrics
        self._open = True
        self._table = PresenceTable(
            grace_seconds=grace_seconds, on_shown=self._on_shown
        )
        self._watchers = Watchers(
            self._table.shown,
            watch_max=watch_max,
            on_first=self._on_first,
            on_last=self._on_last,
        )
        self._neighbours = Neighbours(
            *(broker, store, self._table),
            answer=self._answer,
            node=node,
            silent_seconds=grace_seconds + SILENT_AFTER_GRACE_SECONDS,
        )
        # How those stood at first who have changed since the others were told.
        self._gathered: dict[str, Presence | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to hear of the other nodes."""
        await self._neighbours.start()

    def hello(self) -> None:
        """Other nodes can be reached, for the first time or again."""
        self._neighbours.hello()

    def stop(self) -> None:
        """This node ends; nobody is told anything more."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        self._neighbours.stop()
        self._watchers.stop()
        self._table.stop()

    def on_notice(self, notice: NodesNotice) -> None:
        """Of a node, also of this one."""
        self._neighbours.on_notice(notice)

    # How accounts stand here.

    def changed(self, username: str, sockets: Iterable[Present]) -> None:
        """These are the sockets of *username* on this node now."""
        own = self._table.own
        before, now = own.get(username), best(each.presence for each in sockets)
        if now == before or not self._open:
            return
        if now is None:
            del own[username]
        else:
            own[username] = now
        self._gathered.setdefault(username, before)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        gathered, self._gathered = self._gathered, {}
        changes = {}
        for username, before in gathered.items():
            now = self._table.own.get(username)
            if now != before:
                changes[username] = now
            # Also where it is as before: a snapshot may have said otherwise.
            if username in self._table:
                self._table.judge(username)
        self._neighbours.tell(changes)

    def _answer(self, username: str) -> Presence | None:
        """How it stands here, for another node that asks."""
        if username in self._gathered:
            self._gathered[username] = _ANSWERED
        return self._table.own.get(username)

    # Who is told.

    async def watch(
        self, watcher: Watcher, usernames: frozenset[str]
    ) -> list[UserPresence]:
        """
        How these stand; *watcher* is told what changes from now on.

        What the other nodes have not answered in time comes as a change.

        Raises:
            QuotaExceeded: It watches too many.
        """
        fresh = [each for each in usernames if each not in self._table]
        self._watchers.add(watcher, usernames)
        self._neighbours.ask(fresh)
        await self._neighbours.until_answered(usernames)
        for username in usernames & self._gathered.keys():
            if username in self._table:
                self._table.judge(username)
        return self._watchers.snapshot(watcher, usernames)

    def unwatch(self, watcher: Watcher, usernames: Iterable[str]) -> None:
        """*watcher* is not told of these any more."""
        self._watchers.remove(watcher, usernames)

    def discard(self, watcher: Watcher) -> None:
        """A session has ended.  Safe to repeat."""
        self._watchers.discard(watcher)

    def _on_first(self, username: str) -> None:
        self._table.follow(username)
        self._metrics.watched = len(self._table)

    def _on_shown(self, username: str) -> None:
        self._watchers.on_shown(username)

    def _on_last(self, username: str) -> None:
        self._table.forget(username)
        self._metrics.watched = len(self._table)
