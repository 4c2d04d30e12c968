# SPDX-License-Identifier: Apache-2.0
"""Keeps a session going: sockets, timers and the state file around the core.

    socket --text--> Session --frames--> socket
    timer  --tick--^    |
                        `--changes--> StateFile (a thread), then what waits for it

Nothing is decided here: what follows from what is in session.py.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from chatmotor.client.errors import ClientError, Refused, SessionEnded
from chatmotor.client.memory import Changes
from chatmotor.client.session import CLOSED_BY_US, FAILED, LOST, Session
from chatmotor.client.state_file import StateFile
from chatmotor.client.states import State
from chatmotor.client.transport import Connect, Socket, Unreachable, websocket_url
from chatmotor.protocol.session import BAD_TOKEN

logger = logging.getLogger(__name__)

GOODBYE_SECONDS = 2.0

Token = str | Callable[[], Awaitable[str]]


class Timer(Protocol):
    """Something that was to happen."""

    def cancel(self) -> None:
        """It does not happen."""


class Clock(Protocol):
    """What time it is, in seconds, and when it is later; an event loop is one."""

    def time(self) -> float:
        """The time; it never goes back."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """Call *callback* at *when*, or as soon as that is over."""


class Driver:
    """
    One session at work.

    Args:
        urls: Of servers, from ``base_url``: tried in turn.
        moved: Called with each state that the session comes to.
    """

    def __init__(
        self,
        session: Session,
        urls: Sequence[str],
        *,
        token: Token,
        connect: Connect,
        clock: Clock | None,
        file: StateFile | None,
        moved: Callable[[State], None],
    ) -> None:
        self.session = session
        self._urls = urls
        self._turn = 0
        self._token = token
        self._known_token = token if isinstance(token, str) else None
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._clock: Clock = clock or self._loop
        self._file = file
        self._thread = ThreadPoolExecutor(1, "chatmotor-state") if file else None
        self._writing: asyncio.Task[None] | None = None
        self._moved = moved
        self._socket: Socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._timer_at = float("inf")
        self._pumping = False
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._generation = 0
        self._gone: asyncio.Future[None] | None = None
        self._closed = False

    def now(self) -> float:
        """The time."""
        return self._clock.time()

    def start(self) -> None:
        """Begin to connect."""
        self.session.start()
        self.wake()

    # Whoever waits.

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once *condition*, asked after each change, holds."""
        while not condition():
            await asyncio.shield(self._changed)

    async def answer(self, ask: Callable[[Callable[[Any], None]], None]) -> Any:
        """
        Call *ask* with a callback; what that is called with.

        Raises:
            ClientError: It is called with one.
        """
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(answer: Any) -> None:
            if future.done():
                return
            if isinstance(answer, SessionEnded):
                answer = self.session.end_error()  # each has its own traceback
            if isinstance(answer, ClientError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        ask(done)
        self.wake()
        return await future

    def wake(self) -> None:
        """Something has changed: go on in a moment, with all that comes until then."""
        if not (self._pumping or self._closed):
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closed:
            return
        with self._guard():
            self._go_on()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """A defect of this client ends the session; nobody waits for ever."""
        try:
            yield
        except Exception:
            logger.exception("a defect of the client")
            self.session.end(FAILED, "a defect of the client")
            self.wake()

    def _go_on(self) -> None:
        session, now = self.session, self.now()
        session.advance(now)
        self._keep()
        if self._socket is not None:
            for frame in session.take_frames():
                self._socket.send(frame)
            if not session.has_socket:
                self._drop_socket()
        self._tell()
        if session.wants_socket and self._opening is None:
            self._opening = self._loop.create_task(self._open())
        self._set_timer(session.deadline(now))

    def _tell(self) -> None:
        moves, self.session.moves = self.session.moves, []
        for state in moves:
            if state is State.OFFLINE:
                logger.warning("disconnected: %s", self.session.trouble)
            self._moved(state)
        for cid, refused in self.session.outbox.take_unheard():
            self.session.counts["messages refused"] += 1
            logger.warning("the message %r was refused: %s", cid, refused.code)
        self._changed.set_result(None)
        self._changed = self._loop.create_future()

    def _set_timer(self, when: float) -> None:
        if when == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = None
        if when < float("inf"):
            self._timer = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        with self._guard():
            self.session.tick(self.now())
        self.wake()

    # The socket.

    async def _open(self) -> None:
        session = self.session
        try:
            token = await self._get_token()
            if token is None:
                return
            url = websocket_url(self._urls[self._turn % len(self._urls)])
            self._generation += 1
            generation = self._generation

            def receive(text: str | bytes | None) -> None:
                if generation == self._generation:
                    self._receive(text)

            headers = {"Authorization": f"Bearer {token}"}
            socket = await self._connect(url, headers, receive)
        except Unreachable as error:
            self._turn += 1
            if error.final:
                session.end(error.code, error.reason)
            else:
                session.lost(self.now(), error.code, error.reason, after=error.after)
        else:
            if session.wants_socket:
                self._socket = socket
                session.opened(self.now())
            else:
                socket.abort()
        finally:
            self._opening = None
            self.wake()

    async def _get_token(self) -> str | None:
        """The token; none, after the session has been told why there is none."""
        session = self.session
        if self._known_token is not None and not session.needs_token:
            return self._known_token
        assert not isinstance(self._token, str)
        try:
            self._known_token = await self._token()
        except Refused as refused:
            if refused.retry:
                session.lost(self.now(), LOST, f"no token: {refused.code}")
            else:
                session.end(BAD_TOKEN, f"no token: {refused}")
        except Exception as error:  # noqa: BLE001  # the program's own
            logger.warning("no token: %r", error)
            session.lost(self.now(), LOST, "no token")
        else:
            return self._known_token
        return None

    def _receive(self, text: str | bytes | None) -> None:
        now = self.now()
        if text is None:
            socket, self._socket = self._socket, None
            if self._gone is not None and not self._gone.done():
                self._gone.set_result(None)
            code = reason = None
            if socket is not None:
                code, reason = socket.close_code, socket.close_reason
                socket.abort()
            self._turn += 1
            self.session.lost(now, code or LOST, reason or "")
        else:
            with self._guard():
                self.session.receive(text, now)
        self.wake()

    def _drop_socket(self) -> None:
        """The session has done with it."""
        socket, self._socket = self._socket, None
        self._generation += 1
        self._turn += 1
        if socket is not None:
            socket.abort()

    # The file.

    def _keep(self) -> None:
        """Have the changes written; without a file, they are kept at once."""
        session = self.session
        if self._file is None:
            session.saved(session.take_changes())
            session.advance(self.now())
        elif self._writing is None:
            changes = session.take_changes()
            if changes:
                self._writing = self._loop.create_task(self._write(changes))

    async def _write(self, changes: Changes) -> None:
        assert self._file is not None
        try:
            await self._loop.run_in_executor(self._thread, self._file.write, changes)
        except sqlite3.Error as error:
            logger.exception("the state file cannot be written")
            self.session.end(FAILED, f"the state file cannot be written: {error}")
        else:
            self.session.saved(changes)
        finally:
            self._writing = None
            self.wake()

    @property
    def is_kept(self) -> bool:
        """Whether the file has all that there is to keep."""
        return self._writing is None and not self.session.has_changes

    # The end.

    async def close(self) -> None:
        """Say goodbye, write what is to be kept, and end."""
        session = self.session
        self._closed = True
        socket, self._socket = self._socket, None
        session.goodbye()
        if socket is not None:
            for frame in session.take_frames():
                socket.send(frame)
        session.end(CLOSED_BY_US, "the client was closed")
        self._tell()
        self._set_timer(float("inf"))
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if socket is not None:
            await self._close_socket(socket)
        await self._close_file()
        self._tell()

    async def _close_socket(self, socket: Socket) -> None:
        self._gone = self._loop.create_future()
        socket.close()
        await asyncio.wait([self._gone], timeout=GOODBYE_SECONDS)
        socket.abort()

    async def _close_file(self) -> None:
        if self._file is None:
            return
        while self._writing is not None:
            await asyncio.wait([self._writing])
        changes = self.session.take_changes()
        if changes:
            await self._write(changes)
        assert self._thread is not None
        self._thread.shutdown()
        self._file.close()
