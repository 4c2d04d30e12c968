# SPDX-License-Identifier: Apache-2.0
"""A bot without a server: what it would say, as lists.  No sockets, no waiting.

    rehearsal = bot.rehearse()
    await rehearsal.say("alice", "/remind 10 tea")      -> ["In 10 minutes, then."]
    await rehearsal.advance(600)                        -> ["alice: tea"]

The clock moves by ``advance`` only.  What a handler raises comes out, as an error of
the test.  Whatever needs a server (``context.client``, tasks) is for
``chatmotor.testing``.
"""

from typing import Any, Final

from msgspec import UNSET

from chatmotor.bot.desk import Desk, Manners
from chatmotor.bot.registry import Registry
from chatmotor.bot.storage import Storage
from chatmotor.client import MessageNew, Sent

_START: Final = 1_700_000_000.0


class Rehearsal:
    """
    One bot and those who write to it, in memory.

    Attributes:
        storage: What the bot remembers.
        said: All that it has said: pairs of a conversation, or ``@`` and a username,
            and the body.
    """

    def __init__(self, registry: Registry, manners: Manners, *, user: str) -> None:
        self.storage = Storage()
        self.said: list[tuple[str, Any]] = []
        self.user = user
        self._now = _START
        self._counts: dict[str, int] = {}
        self._desk = Desk(
            registry,
            manners,
            speaker=_Stage(self),
            storage=self.storage,
            now=lambda: self._now,
            raises=True,
        )

    async def say(self, user: str, body: Any, *, group: str | None = None) -> list[Any]:
        """
        *user* writes *body* to the bot, or into *group*; what the bot says thereupon.
        """
        conv = group or f"d.{user}"
        place = self._next("mailbox" if group is None else conv)
        event = MessageNew(
            ts=int(self._now * 1000),
            seq=UNSET if group else place,
            pos=place if group else UNSET,
            conv=conv,
            n=self._next(f"{conv}/n"),
            sender=user,
            body=body,
        )
        return await self.happen(event)

    async def happen(self, event: Any) -> list[Any]:
        """Any event, of ``chatmotor.client``; what the bot says thereupon."""
        before = len(self.said)
        await self._desk.handle(event)
        return [body for _, body in self.said[before:]]

    async def advance(self, seconds: float) -> list[Any]:
        """Time passes, and timers ring; what the bot says thereupon."""
        before = len(self.said)
        end = self._now + seconds
        while (due := self.storage.timers(1)) and due[0].due <= end:
            self._now = max(self._now, due[0].due)
            await self._desk.ring(due[0])
        self._now = end
        return [body for _, body in self.said[before:]]

    def take(self, where: str, body: Any) -> Sent:
        """What a server would do with a message."""
        place = self._next(f"{where}/n")
        self.said.append((where, body))
        return Sent(conv=where, n=place, ts=int(self._now * 1000), dup=False, seq=place)

    def _next(self, counter: str) -> int:
        self._counts[counter] = self._counts.get(counter, 0) + 1
        return self._counts[counter]


class _Stage:
    """What takes the client's place."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal

    @property
    def user(self) -> str:
        return self._rehearsal.user

    def conversation(
        self, conv: str | None = None, *, to: str | None = None
    ) -> "_Talk":
        return _Talk(self._rehearsal, conv or f"@{to}")


class _Talk:
    """A conversation on the stage."""

    def __init__(self, rehearsal: Rehearsal, where: str) -> None:
        self._rehearsal = rehearsal
        self._where = where

    async def send(
        self, body: Any = None, *, reply_to: int | None = None, cid: str | None = None
    ) -> Sent:
        return self._rehearsal.take(self._where, body)
