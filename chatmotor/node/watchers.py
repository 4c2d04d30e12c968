# SPDX-License-Identifier: Apache-2.0
"""Which session watches whom, and what each was told last.

    shown presence changes --> the sessions that watch it --every BATCH_SECONDS--> eph

A session gets what differs from what it was told last, in one frame; what has changed
and changed back within the time is never told.  Whoever reads too slowly is told later,
and then how it is by then.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from chatmotor.errors import QuotaExceeded
from chatmotor.protocol.presence import Presence, told
from chatmotor.protocol.replies import PresenceNow, UserPresence, eph

BATCH_SECONDS = 2.0
# In one frame; the rest follows in others.
IN_A_FRAME = 500
# Comparisons in one turn of the event loop.
_IN_A_TURN = 5000
# Watched, but the answer to ``watch`` has not gone yet.
_UNTOLD = Presence("online", "not told")

Shown = Callable[[str], Presence | None]


class Watcher(Protocol):
    """A session that watches."""

    @property
    def reads(self) -> bool:
        """Whether it takes frames now."""

    def take_ephemeral(self, text: bytes) -> None:
        """A frame for it."""


class Watchers:
    """
    The sessions of one node that watch somebody.

    Args:
        shown: How an account stands for those who watch it.
        watch_max: How many a session may watch.
        on_first: Called with an account when it is watched, and was not before.
        on_last: Called when nobody watches it any more.
    """

    def __init__(
        self,
        shown: Shown,
        *,
        watch_max: int,
        on_first: Callable[[str], None],
        on_last: Callable[[str], None],
    ) -> None:
        self._shown = shown
        self._watch_max = watch_max
        self._on_first = on_first
        self._on_last = on_last
        self._of: dict[str, set[Watcher]] = {}
        self._told: dict[Watcher, dict[str, Presence | None]] = {}
        self._changed: dict[Watcher, set[str]] = {}
        self._due: deque[tuple[Watcher, set[str]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, watcher: Watcher, usernames: frozenset[str]) -> None:
        """
        *watcher* watches these, too; it is told of changes once it has a snapshot.

        Raises:
            QuotaExceeded: That would be too many.
        """
        mine = self._told.get(watcher, {})
        if len(mine.keys() | usernames) > self._watch_max:
            raise QuotaExceeded(
                f"a session may watch {self._watch_max} accounts", field="users"
            )
        self._told[watcher] = mine
        for username in usernames - mine.keys():
            mine[username] = _UNTOLD
            if username not in self._of:
                self._of[username] = set()
                self._on_first(username)
            self._of[username].add(watcher)

    def snapshot(
        self, watcher: Watcher, usernames: Iterable[str]
    ) -> list[UserPresence]:
        """How those of *usernames* stand that it watches; it is told so now."""
        mine, found = self._told.get(watcher, {}), []
        for username in sorted(usernames):
            if username in mine:
                mine[username] = self._shown(username)
                found.append(told(username, mine[username]))
        return found

    def remove(self, watcher: Watcher, usernames: Iterable[str]) -> None:
        """*watcher* does not watch these any more, if it did."""
        mine = self._told.get(watcher, {})
        for username in usernames:
            if username not in mine:
                continue
            del mine[username]
            theirs = self._of[username]
            theirs.discard(watcher)
            if not theirs:
                del self._of[username]
                self._on_last(username)
        if not mine:
            self._told.pop(watcher, None)
            self._changed.pop(watcher, None)

    def discard(self, watcher: Watcher) -> None:
        """A session has ended.  Safe to repeat."""
        self.remove(watcher, tuple(self._told.get(watcher, ())))

    def on_shown(self, username: str) -> None:
        """Another presence of *username* is shown."""
        for watcher in self._of.get(username, ()):
            self._changed.setdefault(watcher, set()).add(username)
        if self._changed and self._timer is None:
            self._tell_later()

    def stop(self) -> None:
        """Tell nobody anything more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(BATCH_SECONDS, self._tell)

    def _tell(self) -> None:
        changed, self._changed = self._changed, {}
        self._due.extend(changed.items())
        self._tell_due()

    def _tell_due(self) -> None:
        self._timer = None
        left = _IN_A_TURN
        while self._due and left > 0:
            watcher, usernames = self._due.popleft()
            if watcher.reads:
                self._tell_one(watcher, usernames)
            elif watcher in self._told:
                self._changed.setdefault(watcher, set()).update(usernames)
            left -= len(usernames)
        if self._due:
            self._timer = asyncio.get_running_loop().call_later(0, self._tell_due)
        elif self._changed:
            self._tell_later()

    def _tell_one(self, watcher: Watcher, usernames: set[str]) -> None:
        mine = self._told.get(watcher, {})
        changes = []
        for username in usernames:
            before = mine.get(username, _UNTOLD)
            now = self._shown(username)
            if before is not _UNTOLD and before != now:
                mine[username] = now
                changes.append(told(username, now))
        for begin in range(0, len(changes), IN_A_FRAME):
            users = changes[begin : begin + IN_A_FRAME]
            watcher.take_ephemeral(eph(PresenceNow(users=users)))
