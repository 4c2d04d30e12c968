# SPDX-License-Identifier: Apache-2.0
"""A clock and a wire that are made up."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chatmotor.client.transport import Receive, Socket


class Timer:
    """Something that is to happen."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._count), timer))
        return timer

    def next_at(self) -> float:
        """When the next timer is due."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else float("inf")

    async def move(self, to: float, settle: Callable[[], object]) -> None:
        """Let the time come, and everything that is due until then."""
        while self.next_at() <= to:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            assert timer.callback is not None
            timer.callback()
            found = settle()
            if asyncio.iscoroutine(found):
                await found
        self.now = max(self.now, to)


@dataclass
class FakeSocket:
    """The client's end of a wire that ends in a list."""

    receive: Receive
    sent: list[bytes] = field(default_factory=list)
    close_code: int | None = None
    close_reason: str | None = None
    ended: bool = False

    def send(self, text: bytes) -> None:
        if not self.ended:
            self.sent.append(text)

    def close(self) -> None:
        self.end(1000)

    def abort(self) -> None:
        self.end(None)

    def end(self, code: int | None) -> None:
        """It has ended, with a close frame if there is a code."""
        if not self.ended:
            self.ended = True
            self.close_code = code
            self.receive(None)


@dataclass
class FakeServer:
    """
    Whom the client connects to.  Each attempt waits for ``accept`` or ``refuse``.

    Attributes:
        sockets: Those that were opened.
    """

    sockets: list[FakeSocket] = field(default_factory=list)
    waiting: list[tuple[str, Mapping[str, str], Receive, "asyncio.Future[Socket]"]] = (
        field(default_factory=list)
    )
    headers: Mapping[str, str] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)

    async def __call__(
        self, url: str, headers: Mapping[str, str], receive: Receive
    ) -> Socket:
        self.urls.append(url)
        future: asyncio.Future[Socket] = asyncio.get_running_loop().create_future()
        self.waiting.append((url, headers, receive, future))
        return await future

    def accept(self) -> FakeSocket:
        """Open the socket that is asked for."""
        _, self.headers, receive, future = self.waiting.pop()
        socket = FakeSocket(receive)
        self.sockets.append(socket)
        future.set_result(socket)
        return socket

    def refuse(self, error: Exception) -> None:
        """Open none."""
        _, self.headers, _, future = self.waiting.pop()
        future.set_exception(error)
