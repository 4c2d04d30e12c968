# SPDX-License-Identifier: Apache-2.0
"""How accounts stand, here and on the other nodes, and what of it is shown.

    own        all accounts of this node
    elsewhere  of those who are watched here: how they stand, as each other node says
    shown      of them: what both amount to; but offline only GRACE after it is so

A client that comes back within the grace, on any node, was never away for those who
watch it.  It knows neither sessions nor sockets.
"""

import asyncio
from collections.abc import Callable, Iterator

from chatmotor.protocol.presence import Presence, best


class PresenceTable:
    """
    What one node knows.

    Args:
        grace_seconds: From the end of the last session to offline.
        on_shown: Called with an account when another presence of it is shown.

    Attributes:
        own: How the accounts of this node stand here; no entry: they do not.
    """

    def __init__(
        self, *, grace_seconds: float, on_shown: Callable[[str], None]
    ) -> None:
        self.own: dict[str, Presence] = {}
        self._grace_seconds = grace_seconds
        self._on_shown = on_shown
        self._elsewhere: dict[str, dict[str, Presence]] = {}
        self._shown: dict[str, Presence] = {}
        # When they are offline unless they come back; the earliest first.
        self._leaving: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, username: str) -> bool:
        """Whether it is watched here."""
        return username in self._elsewhere

    def __iter__(self) -> Iterator[str]:
        """Those who are watched here."""
        return iter(self._elsewhere)

    def __len__(self) -> int:
        return len(self._elsewhere)

    def follow(self, username: str) -> None:
        """It is watched from now on; nothing is known yet from the other nodes."""
        self._elsewhere[username] = {}
        own = self.own.get(username)
        if own is not None:
            self._shown[username] = own

    def forget(self, username: str) -> None:
        """It is not watched any more."""
        for table in (self._elsewhere, self._shown, self._leaving):
            table.pop(username, None)

    def shown(self, username: str) -> Presence | None:
        """How it stands for those who watch it; none: offline."""
        return self._shown.get(username)

    def hear(self, node: str, username: str, presence: Presence | None) -> None:
        """How *node* says that an account stands there, which may be watched here."""
        there = self._elsewhere.get(username)
        if there is None or there.get(node) == presence:
            return
        if presence is None:
            del there[node]
        else:
            there[node] = presence
        self.judge(username)

    def lose(self, node: str, *, grace: bool) -> None:
        """
        A node is gone.

        Args:
            grace: Whether its accounts have a moment to come back elsewhere; not when
                it has been silent for longer than that.
        """
        for username, there in tuple(self._elsewhere.items()):
            if there.pop(node, None) is not None:
                self.judge(username, grace=grace)

    def judge(self, username: str, *, grace: bool = True) -> None:
        """Something of *username*, who is watched, has changed: show what is so now."""
        presence = best((self.own.get(username), *self._elsewhere[username].values()))
        if presence is None and username in self._shown and grace:
            if username not in self._leaving:
                self._leave(username)
            return
        self._leaving.pop(username, None)
        self._show(username, presence)

    def stop(self) -> None:
        """Nobody is shown as offline any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _show(self, username: str, presence: Presence | None) -> None:
        if self._shown.get(username) == presence:
            return
        if presence is None:
            del self._shown[username]
        else:
            self._shown[username] = presence
        self._on_shown(username)

    def _leave(self, username: str) -> None:
        loop = asyncio.get_running_loop()
        self._leaving[username] = loop.time() + self._grace_seconds
        if self._timer is None:
            self._timer = loop.call_later(self._grace_seconds, self._end_grace)

    def _end_grace(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for username, ends in tuple(self._leaving.items()):
            if ends > loop.time():
                self._timer = loop.call_later(ends - loop.time(), self._end_grace)
                return
            del self._leaving[username]
            self._show(username, None)
