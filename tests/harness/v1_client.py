# SPDX-License-Identifier: Apache-2.0
"""A v1 client for tests: holds every frame against its definition, and keeps all.

alice = await sign_up(node, "alice")
async with alice.connect(node, resume=...) as session: ...
"""

import asyncio
import contextlib
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.harness.definitions import wrong_answer, wrong_frame, wrong_refusal
from tests.harness.node import DEADLINE_SECONDS

PASSWORD = "correct horse battery"
V1 = [Subprotocol("chatmotor.v1")]

Frame = dict[str, Any]

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Refused(Exception):
    """An ``error`` frame, or an HTTP answer that is one."""

    def __init__(self, error: Frame, status: int = 0) -> None:
        super().__init__(f"{status} {error}")
        self.code: str = error.get("code", "")
        self.error = error
        self.status = status


def call(
    node: "Reachable",
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Any:
    """An HTTP request; the decoded answer."""
    request = urllib.request.Request(node.url + path, method=method)
    request.add_header("Content-Type", "application/json")
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    data = None if body is None else json.dumps(body).encode()
    op = path.removeprefix("/v1/rpc/")
    try:
        with _direct.open(request, data, timeout=DEADLINE_SECONDS) as answer:
            text = answer.read()
            found = json.loads(text) if text else None
            wrong = None if op == path else wrong_answer(op, found or {})
    except urllib.error.HTTPError as refused:
        with refused:
            error = Refused(json.loads(refused.read()), refused.code)
        wrong = wrong_refusal(op, error.code) if op != path else None
        if wrong is None:
            raise error from None
    assert wrong is None, wrong
    return found


async def acall(*arguments: Any, **named: Any) -> Any:
    """``call``, off the event loop."""
    return await asyncio.to_thread(call, *arguments, **named)


class Reachable(Protocol):
    """A node, or something that has one."""

    url: str


@dataclass
class Login:
    """A token of an account's device."""

    username: str
    device: str
    token: str

    @asynccontextmanager
    async def connect(
        self, node: Reachable, *, greet: bool = True, **hello: Any
    ) -> AsyncIterator["V1Session"]:
        """A session of this device, welcomed unless *greet* is false."""
        url = node.url.replace("http", "ws", 1) + "/v1/ws"
        async with connect(
            url, subprotocols=V1, proxy=None, compression=None, max_size=None
        ) as socket:
            async with V1Session(socket) as session:
                if greet:
                    await session.hello(self.token, **hello)
                yield session


async def sign_up(node: Reachable, username: str) -> None:
    """Make an account."""
    await acall(node, "/v1/accounts", {"username": username, "password": PASSWORD})


async def log_in(node: Reachable, username: str, device: str = "phone") -> Login:
    """Log one of its devices in."""
    answer = await acall(
        node,
        "/v1/tokens",
        {"username": username, "password": PASSWORD, "device": device},
    )
    return Login(username, device, answer["token"])


async def newcomer(node: Reachable, username: str, device: str = "phone") -> Login:
    """A new account, logged in."""
    await sign_up(node, username)
    return await log_in(node, username, device)


@dataclass
class V1Session:
    """
    One socket.  Frames are sorted as they come.

    Attributes:
        events: The ``ev`` frames.
        ephemerals: The ``eph`` frames.
        others: Frames that belong to no request: live, behind, bye.
        ack_every: Acknowledge after so many events; 0: never.
    """

    socket: ClientConnection
    ack_every: int = 16
    events: list[Frame] = field(default_factory=list)
    ephemerals: list[Frame] = field(default_factory=list)
    others: list[Frame] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    welcome: Frame = field(default_factory=dict)
    close_code: int | None = None

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._answers: dict[Any, asyncio.Future[Frame]] = {}
        self._asked: dict[Any, str | None] = {}
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None]
        self.wrong: list[str] = []

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        assert self.wrong == [], self.wrong

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                await self._take(text)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self.socket.close_code
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(ConnectionError("closed"))
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, text: str | bytes) -> None:
        frame = json.loads(text)
        op = frame["op"]
        wrong = wrong_frame(frame, self._asked.get(frame.get("id")))
        if wrong is not None:
            self.wrong.append(f"{wrong}: {text!r}")
        self.order.append(op)
        if op == "ev":
            self.events.append(frame)
            if self.ack_every and len(self.events) % self.ack_every == 0:
                await self.ack()
        elif op == "eph":
            self.ephemerals.append(frame)
        elif op in ("ok", "error", "welcome", "pong") and frame.get("id") in (
            self._answers
        ):
            future = self._answers.pop(frame["id"])
            if not future.done():
                future.set_result(frame)
        else:
            self.others.append(frame)
        async with self._changed:
            self._changed.notify_all()

    async def ack(self) -> None:
        """All that has come, and up to where the mailbox has."""
        await self.send_frame(op="ack", h=len(self.events), seq=self.seq)

    @property
    def seq(self) -> int:
        """The mailbox cursor that the events amount to."""
        seqs = [each["seq"] for each in self.events if "seq" in each]
        return max(seqs, default=self.start)

    @property
    def start(self) -> int:
        """Where the session began."""
        if not self.welcome:
            return 0
        start: int = self.welcome["seq"] - self.welcome["replay"]
        return start

    async def send_frame(self, **frame: Any) -> None:
        """Send anything."""
        self._asked[frame.get("id")] = frame.get("op")
        await self.socket.send(json.dumps(frame))

    def ask_soon(self, op: str, **fields: Any) -> "asyncio.Future[Frame]":
        """Send a request; its answer will come."""
        identifier = next(self._ids)
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[identifier] = future
        self._asked[identifier] = op
        text = json.dumps({"op": op, "id": identifier} | fields)
        self._sending = asyncio.ensure_future(self.socket.send(text))
        return future

    async def ask(self, op: str, **fields: Any) -> Frame:
        """Send a request and await its answer; an ``error`` is raised."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            answer = await self.ask_soon(op, **fields)
        if answer["op"] == "error":
            raise Refused(answer)
        return answer

    async def hello(self, token: str | None, **fields: Any) -> Frame:
        """Say hello; the welcome."""
        if token is not None:
            fields["token"] = token
        self.welcome = await self.ask("hello", v=1, **fields)
        return self.welcome

    async def until(self, condition: Callable[[], Any]) -> None:
        """Await *condition*, asked after each frame, or fail at the deadline."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            async with self._changed:
                await self._changed.wait_for(
                    lambda: condition() or self.close_code is not None
                )
        assert condition(), f"closed with {self.close_code}: {self.others}"

    async def messages(self, count: int) -> list[Frame]:
        """The first *count* ``message.new``."""

        def found() -> list[Frame]:
            return [each for each in self.events if each["t"] == "message.new"]

        await self.until(lambda: len(found()) >= count)
        return found()[:count]

    async def until_event(self, t: str) -> Frame:
        """The first event of this type."""

        def found() -> list[Frame]:
            return [each for each in self.events if each["t"] == t]

        await self.until(found)
        return found()[0]

    async def live(self) -> Frame:
        """The ``live`` frame."""

        def found() -> list[Frame]:
            return [each for each in self.others if each["op"] == "live"]

        await self.until(found)
        return found()[0]

    async def until_closed(self) -> int:
        """The close code."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            async with self._changed:
                await self._changed.wait_for(lambda: self.close_code is not None)
        assert self.close_code is not None
        return self.close_code
