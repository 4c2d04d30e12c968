# SPDX-License-Identifier: Apache-2.0
"""A clock that moves only when the test says so."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

START = 1_700_000_000.0


class Timer:
    """Something that is to happen."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """It does not happen."""
        self.is_cancelled = True

    def ring(self) -> None:
        """It happens, unless it was cancelled."""
        if not self.is_cancelled:
            self._callback()


class Clock:
    """
    For whatever takes a clock as an argument: ``Client``, ``Bot``.

    Args:
        start: Seconds since the Unix epoch.
    """

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Timer]] = []

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return self._now

    time = now

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call *callback* once the clock is moved to *when*, or beyond."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was moved so far."""
        woken = asyncio.Event()
        timer = self.call_at(self._now + seconds, woken.set)
        if seconds <= 0:
            timer.ring()
        try:
            await woken.wait()
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """
        Move on, by way of everything that is due meanwhile.  Who was asleep goes on in
        the next turn of the event loop.
        """
        if seconds < 0:
            raise ValueError("a clock does not go back")
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            timer.ring()
        self._now = end

    @property
    def waiting(self) -> int:
        """How much is to happen: a test can wait until a program has gone to sleep."""
        return sum(not timer.is_cancelled for _, _, timer in self._timers)
