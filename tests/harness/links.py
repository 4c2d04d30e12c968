# SPDX-License-Identifier: Apache-2.0
"""One v1 socket of a device under test, and what is noted about all of them.

Every frame is held against its definition.  What a server must not do is noted as a
finding where it is seen.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.harness.definitions import wrong_frame
from tests.harness.ledger import Attempt, Place
from tests.harness.node import DEADLINE_SECONDS
from tests.harness.v1_client import Refused

Frame = dict[str, Any]


@dataclass
class Notes:
    """What all devices of a run write down."""

    attempts: list[Attempt] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    pushed: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def find(self, what: str) -> None:
        """Something that must not be."""
        self.counts["findings"] += 1
        if len(self.findings) < 50:
            self.findings.append(what)


class Link:
    """
    One socket: answers go to who asked, everything else waits in order in ``frames``.

    Attributes:
        place: Of its events, the last ``seq`` that was pushed.
        read: Events that the device has taken from ``frames``.
        ended: The close code, once there is one.
        ours: Whether the device closes it.
        pushed: Where its account's events of groups are noted.
    """

    def __init__(self, socket: ClientConnection, notes: Notes, name: str) -> None:
        self.socket = socket
        self.name = name
        self.pushed = notes.pushed[name.partition("/")[0]]
        self.frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self.ended: int | None = None
        self.ours = False
        self.place = 0
        self.read = 0
        self.mailbox_read = 0
        self.welcome: Frame = {}
        self._notes = notes
        self._ids = itertools.count(1)
        self._orders = itertools.count()
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._asked: dict[Any, str] = {}
        self._sends: dict[Any, str] = {}
        self._early: set[str] = set()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                self._take(text)
        self.ended = self.socket.close_code or 1006
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ConnectionError("closed"))
                future.exception()  # nobody may be left to ask for it
        self.frames.put_nowait(None)

    def _take(self, text: str | bytes) -> None:
        frame = json.loads(text)
        wrong = wrong_frame(frame, self._asked.get(frame.get("id")))
        if wrong is not None:
            self._notes.find(f"no frame: {wrong}: {text!r}")
        if frame["op"] in ("ok", "error", "welcome", "pong"):
            future = self._answers.pop(frame.get("id"), None)
            self._judge_order(frame)
            if future is None:
                self._notes.find(f"an answer to nothing: {frame}")
            elif not future.done():
                future.set_result(frame)
            return
        if frame["op"] == "ev":
            if frame.get("cid") in self._sends.values():
                self._early.add(frame["cid"])
            if "pos" in frame:
                now = time.time_ns() // 1_000_000
                self.pushed.append((frame["conv"], frame["pos"], now))
        self.frames.put_nowait(frame)

    def _judge_order(self, answer: Frame) -> None:
        """The ``ok`` to a send comes before the event of its message."""
        cid = self._sends.pop(answer.get("id"), None)
        if cid in self._early and answer.get("dup") is False:
            self._notes.find(f"an own event came before its ok: {answer}")
        if cid not in self._sends.values():
            self._early.discard(cid or "")

    async def ask(self, op: str, **fields: Any) -> Frame:
        """
        Send a request and await its answer.

        Raises:
            Refused: It is an ``error``.
            ConnectionError: The socket ends before there is one.
        """
        identifier = next(self._ids)
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        if self.ended is not None:
            raise ConnectionError("closed")
        self._answers[identifier] = future
        self._asked[identifier] = op
        if op == "send":
            self._sends[identifier] = fields["cid"]
        await self.say(op=op, id=identifier, **fields)
        async with asyncio.timeout(DEADLINE_SECONDS):
            answer = await future
        if answer["op"] == "error":
            raise Refused(answer)
        return answer

    async def send(self, attempt: Attempt, fields: Frame) -> None:
        """Make *attempt*, whose fields these are, and note what comes of it."""
        attempt.socket, attempt.order = self.name, next(self._orders)
        attempt.began = time.monotonic()
        try:
            answer = await self.ask("send", **fields)
        except Refused as refused:
            attempt.refusal = refused.code
        except (ConnectionError, ConnectionClosed):
            return
        else:
            settle(attempt, answer)
        attempt.ended = time.monotonic()

    async def say(self, **frame: Any) -> None:
        """
        Send a frame.

        Raises:
            ConnectionError: The socket has ended.
        """
        try:
            await self.socket.send(json.dumps(frame))
        except ConnectionClosed:
            raise ConnectionError("closed") from None

    async def close(self, *, abruptly: bool) -> None:
        """With a close handshake, or without a word."""
        self.ours = True
        if abruptly:
            self.socket.transport.abort()
        else:
            await self.socket.close()
        await self._reader


def settle(attempt: Attempt, answer: Frame) -> None:
    """The ``ok`` to *attempt*."""
    attempt.place = Place(answer["conv"], answer["n"], answer["ts"], answer.get("seq"))
    attempt.dup = answer["dup"]
