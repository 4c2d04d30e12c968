# SPDX-License-Identifier: Apache-2.0
"""A loop whose turns and clock a test turns by hand, and a transport on paper.

loop.turn()        run what was scheduled for the next turn
loop.advance(10)   let ten seconds pass, timers in their order
loop.run(work)     the result of a coroutine that needs no time
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, cast

T = TypeVar("T")


class FakeLoop:
    """As much of asyncio.AbstractEventLoop as a node's connections use."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[Any]] = set()

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a handle; a cancelled timer is left out when its time comes."""

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, cast("Any", self), context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        when = self._now + delay
        handle = asyncio.TimerHandle(when, callback, args, cast("Any", self), context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=cast("Any", self))

    def create_task(
        self,
        work: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=cast("Any", self), name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of *work*; it must not have to wait for time to pass."""
        task = self.create_task(work)
        self.settle()
        return task.result()

    def end(self) -> None:
        """Cancel what still waits."""
        for task in tuple(self._tasks):
            task.cancel()
        self.settle()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback raised: so does the test."""
        raise context["exception"]

    def turn(self) -> None:
        """One turn: what it schedules itself waits for the next."""
        ready, self._ready = self._ready, []
        for handle in ready:
            if not handle.cancelled():
                handle._run()

    def settle(self) -> None:
        """Turns, until nothing is scheduled."""
        while self._ready:
            self.turn()

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass; each timer runs at its time."""
        until = self._now + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= until:
            self._now, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                handle._run()
            self.settle()
        self._now = until


class FakeTransport(asyncio.Transport):
    """
    Keeps what is written.

    Attributes:
        writes: The bytes of each write, one entry per call.
        stuck: Whether the client reads nothing: bytes stay in the buffer.
    """

    def __init__(self, protocol: asyncio.BaseProtocol | None = None) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stuck = False
        self.buffered = 0
        self.high = 0
        self.reading = True
        self.ended = False
        self.aborted = False
        self.closing = False
        self.protocol = protocol

    @property
    def written(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.writes)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.writes.append(bytes(data))
        if self.stuck:
            self.buffered += len(data)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        assert high is not None
        self.high = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closing or self.aborted

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            self.lose()

    def lose(self) -> None:
        """The socket is gone."""
        self.closing = True
        if self.protocol is not None:
            self.protocol.connection_lost(None)
