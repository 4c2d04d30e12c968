# SPDX-License-Identifier: Apache-2.0
"""A client on a clock and a wire that are made up, and the server's words for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from types import TracebackType
from typing import Any, Self

from chatmotor.client import Client
from tests.conformance.runner import WELCOME
from tests.unit.client.fakes import FakeClock, FakeServer, FakeSocket

Frame = dict[str, Any]


class Rig:
    """
    async with Rig() as rig: the client is live, without groups.

    Attributes:
        frames: What the client has sent, but for hello, the first sync and acks.
        hello: Its last one.
    """

    def __init__(
        self, *, live: bool = True, url: Any = "http://chat.test", **arguments: Any
    ) -> None:
        self.clock = FakeClock()
        self.server = FakeServer()
        self.frames: list[Frame] = []
        self.hello: Frame = {}
        self._live = live
        self.client = Client(
            url,
            connect=self.server,
            clock=self.clock,
            random=Random(1),
            **{"token": "cm_secret"} | arguments,
        )

    async def __aenter__(self) -> Self:
        await self.client.start()
        await self.settle()
        if self._live:
            await self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.client.__aexit__(kind, error, trace)

    @property
    def socket(self) -> FakeSocket:
        return self.server.sockets[-1]

    async def settle(self) -> None:
        """Let the client do what it can do now."""
        driver = self.client._driver
        for _ in range(8):
            await asyncio.sleep(0)
            if driver._writing is not None:
                await asyncio.wait([driver._writing])
        if self.server.sockets:
            sent, self.socket.sent = self.socket.sent, []
            frames = [json.loads(each) for each in sent]
            self.frames += [each for each in frames if each["op"] != "ack"]

    async def begin(self, **welcome: Any) -> None:
        """Accept the connection, and bring the client to where it is live."""
        self.server.accept()
        await self.settle()
        self.hello = self.frames.pop()
        fields = {"seq": 3, "resumed": "resume" in self.hello, "reason": None}
        await self.say(**WELCOME | fields | {"id": self.hello["id"]} | welcome)
        await self.say(op="live", seq=3)
        for each in [each for each in self.frames if each["op"] == "sync"]:
            self.frames.remove(each)
            await self.say(op="ok", id=each["id"], convs=[], cursor=None)

    async def say(self, **frame: Any) -> None:
        """A frame of the server."""
        self.socket.receive(json.dumps(frame))
        await self.settle()

    async def event(self, seq: int, body: object = "hi") -> None:
        """A message of bob."""
        fields = {"conv": "d.1", "n": seq, "from": "bob", "body": body}
        await self.say(op="ev", seq=seq, t="message.new", ts=1, **fields)

    async def cut(self) -> None:
        """The wire is cut."""
        self.socket.end(None)
        await self.settle()

    async def again(self) -> None:
        """Let time pass until the client connects again."""
        while not self.server.waiting:
            await self.clock.move(self.clock.next_at(), self.settle)
            await self.settle()

    async def answer(
        self, asked: Awaitable[Any], *answers: Callable[[Frame], Frame] | Frame
    ) -> Any:
        """What comes of *asked*, whose commands get these answers, in turn."""
        task = asyncio.ensure_future(asked)
        for each in answers:
            await self.settle()
            frame = self.frames.pop(0)
            fields = each(frame) if callable(each) else each
            await self.say(**{"op": "ok", "id": frame["id"]} | fields)
        return await task
