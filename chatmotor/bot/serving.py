# SPDX-License-Identifier: Apache-2.0
"""A bot at work: events, timers and tasks beside each other, and an end in order.

    reader   client.events() --> desk.handle          one after another
    bell     the next timer, when it is due --> desk.ring
    tasks    whatever the bot has of its own, such as an HTTP endpoint

The first of them that raises ends the others, and its error comes out.  On a stop the
handler at work may finish; an event that was not begun comes again at the next start.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from chatmotor.bot.desk import Desk, Manners
from chatmotor.bot.registry import Registry
from chatmotor.bot.storage import Storage, Timer
from chatmotor.client import Client, Reset

# Timers that do not ring alone, at a time.
BESIDE_MAX: Final = 16
# The wall clock may be set while we wait.
_LOOK_SECONDS: Final = 60.0


class Call(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """It does not happen."""


class Clock(Protocol):
    """The time of day."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""

    def call_at(self, when: float, callback: Callable[[], object], /) -> Call:
        """Call *callback* at *when*, or soon if that is over."""


class WallClock:
    """The machine's."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def call_at(self, when: float, callback: Callable[[], object], /) -> Call:
        """Call *callback* at *when*, or soon if that is over."""
        return asyncio.get_running_loop().call_later(when - time.time(), callback)


class Serving:
    """
    One run of a bot over one client.

    Args:
        drain_seconds: How long a handler at work may still take after a stop.
    """

    def __init__(
        self,
        registry: Registry,
        manners: Manners,
        *,
        client: Client,
        storage: Storage,
        clock: Clock,
        drain_seconds: float = 10.0,
    ) -> None:
        self._client = client
        self._storage = storage
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._tasks = registry.tasks
        self._wake = asyncio.Event()
        self._ringing: dict[str, asyncio.Task[None]] = {}
        self._busy: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.desk = Desk(
            registry,
            manners,
            speaker=client,
            storage=storage,
            now=clock.now,
            on_timer=self._wake.set,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """
        Serve until *stop* is set, or until something raises.

        Raises:
            SessionEnded: The server will not have this bot any more.
            TimeoutError: A handler did not finish in time after the stop.  Leave the
                client's ``async with`` by this error, and its event comes again.
        """
        reader = asyncio.ensure_future(self._read())
        bell = asyncio.ensure_future(self._ring())
        stopped = asyncio.ensure_future(stop.wait())
        tasks = [
            asyncio.ensure_future(task(self.desk.outside())) for task in self._tasks
        ]
        waiting = {reader, bell, stopped, *tasks}
        try:
            while not (reader.done() or stopped.done()):
                done, waiting = await asyncio.wait(
                    waiting, return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    each.result()
            await self._drain(reader, bell)
        finally:
            await _end([reader, bell, stopped, *tasks, *self._ringing.values()])

    async def _drain(self, *loops: "asyncio.Task[None]") -> None:
        """Let what is at work finish.  An event that was taken is at work."""
        self._stopping = True
        for loop in loops:
            if loop not in self._busy:
                loop.cancel()
        done, late = await asyncio.wait(
            {*loops, *self._ringing.values()}, timeout=self._drain_seconds
        )
        for each in done:
            if not each.cancelled():
                each.result()
        if late:
            raise TimeoutError("a handler takes too long; its event will come again")

    @contextlib.contextmanager
    def _work(self) -> Iterator[None]:
        """The loop that is in here is not to be cancelled at once."""
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            yield
        finally:
            self._busy.discard(task)

    async def _read(self) -> None:
        async for event in self._client.events():
            if isinstance(event, Reset):
                self._storage.forget_places()
            with self._work():
                await self.desk.handle(event)
            if self._stopping:
                return

    async def _ring(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._reap()
            timer = self._next_timer()
            now = self._clock.now()
            if timer is None or timer.due > now:
                look = now + _LOOK_SECONDS
                when = look if timer is None else min(timer.due, look)
                call = self._clock.call_at(when, self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    call.cancel()
            elif self.desk.is_alone(timer):
                with self._work():
                    await self.desk.ring(timer)
            else:
                await self._ring_beside(timer)

    def _next_timer(self) -> Timer | None:
        """The one that is due next, of those that do not ring already."""
        found = self._storage.timers(BESIDE_MAX + 1)
        return next((each for each in found if each.origin not in self._ringing), None)

    async def _ring_beside(self, timer: Timer) -> None:
        if len(self._ringing) >= BESIDE_MAX:
            await asyncio.wait(
                self._ringing.values(), return_when=asyncio.FIRST_COMPLETED
            )
            self._reap()
        ringing = asyncio.ensure_future(self.desk.ring(timer))
        ringing.add_done_callback(lambda _: self._wake.set())
        self._ringing[timer.origin] = ringing

    def _reap(self) -> None:
        for origin, task in list(self._ringing.items()):
            if task.done():
                del self._ringing[origin]
                task.result()


async def _end(tasks: list[Any]) -> None:
    """Cancel *tasks* and wait for them, whatever they say."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
