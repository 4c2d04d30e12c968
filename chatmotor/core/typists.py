# SPDX-License-Identifier: Apache-2.0
"""Who writes in which conversation: told to the others, and forgotten by itself.

    on --is it a member? not told just now?--> the others are told
    off, the last session ends, or nothing for EXPIRES_SECONDS --> they are told
    a message of the same account there --> nothing: its event says so

The node that took ``on`` sees to its end.  Nothing of this is kept for longer than
EXPIRES_SECONDS, and nothing is told twice.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from chatmotor.core.announcer import Announcer
from chatmotor.ports.store import LogStore
from chatmotor.protocol.replies import TypingNow

EXPIRES_SECONDS = 6.0
# An account is said to write in a conversation once in this time.
QUIET_SECONDS = 3.0


@dataclass(slots=True)
class _Typist:
    """
    Args:
        at: When the others were told ``on``.
        peer: The other one of a direct conversation; none in a group.
        writes: Whether they have not been told of its end.
    """

    at: float
    peer: str | None
    writes: bool = True


class Typists:
    """
    Those who have written a moment ago, on this node.

    Args:
        clock: Seconds that never go back, as those of the event loop.
    """

    def __init__(
        self, store: LogStore, announcer: Announcer, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._announcer = announcer
        self._clock = clock
        # By (username, conv), in the order of ``at``.
        self._typists: dict[tuple[str, str], _Typist] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self, username: str, conv: str) -> None:
        """
        *username* writes.  In notes to oneself, to a guest, and soon after the last
        time nobody is told.

        Raises:
            NoSuchConv, NotMember, StoreUnavailable: See ``LogStore.conversation``.
        """
        if self._was_told(username, conv):
            return
        found = await self._store.conversation(conv, reader=username)
        if found.guest or found.peer == username or self._was_told(username, conv):
            return
        self._typists.pop((username, conv), None)  # to the end of the order
        self._typists[username, conv] = _Typist(self._clock(), found.peer)
        self._tell(username, conv, "on")
        if self._timer is None:
            self._wake_in(EXPIRES_SECONDS)

    def end(self, username: str, conv: str) -> None:
        """It has stopped; nothing happens unless the others believe otherwise."""
        typist = self._typists.get((username, conv))
        if typist is not None and typist.writes:
            typist.writes = False
            self._tell(username, conv, "off")

    def wrote(self, username: str, conv: str) -> None:
        """A message of it was stored there: whoever reads that knows."""
        if self._typists:
            self._typists.pop((username, conv), None)

    def left(self, username: str) -> None:
        """Its last session on this node has ended."""
        for name, conv in tuple(self._typists):
            if name == username:
                self.end(name, conv)

    def stop(self) -> None:
        """This node ends; the others forget by themselves."""
        if self._timer is not None:
            self._timer.cancel()

    def _was_told(self, username: str, conv: str) -> bool:
        typist = self._typists.get((username, conv))
        return typist is not None and self._clock() - typist.at < QUIET_SECONDS

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock()
        for (username, conv), typist in tuple(self._typists.items()):
            wait = typist.at + EXPIRES_SECONDS - now
            if wait > 0:
                self._wake_in(wait)
                return
            self.end(username, conv)
            del self._typists[username, conv]

    def _tell(self, username: str, conv: str, state: Literal["on", "off"]) -> None:
        told = TypingNow(conv=conv, sender=username, state=state)
        peer = self._typists[username, conv].peer
        if peer is None:
            self._announcer.ephemeral_in_group(conv, told, username)
        else:
            self._announcer.ephemeral(peer, told)
