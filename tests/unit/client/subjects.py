# SPDX-License-Identifier: Apache-2.0
"""Two subjects of the scenarios: the core alone, and the whole client."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from chatmotor.client import (
    Client,
    Disconnected,
    Refused,
    Reset,
    SessionEnded,
    UnknownEvent,
)
from chatmotor.client.log_follower import Held
from chatmotor.client.memory import Changes, KeptMessage, Memory
from chatmotor.client.reader import EventReader
from chatmotor.client.requests import ONCE
from chatmotor.client.session import Session
from chatmotor.client.transport import Unreachable, refusal
from tests.conformance.runner import Fields, Outcome, Scenario
from tests.unit.client.fakes import FakeClock, FakeServer, FakeSocket


def shown(event: object) -> Fields:
    """An event as a scenario has it."""
    if isinstance(event, Reset):
        return {"reset": event.reason}
    fields: Fields = msgspec.to_builtins(event)
    if isinstance(event, UnknownEvent):
        return fields | {"unknown": event.t}
    return fields


def outcome_of(answer: object) -> Outcome:
    """What came of something."""
    if isinstance(answer, Refused):
        return Outcome(refused=vars(answer))
    if isinstance(answer, Disconnected):
        return Outcome(lost=True)
    if isinstance(answer, SessionEnded):
        return Outcome(ended=answer.code)
    return Outcome(answer=msgspec.to_builtins(answer))


def unreachable(status: int | None, code: str, retry_after: int) -> Unreachable:
    """What a refused upgrade is."""
    if status is None:
        return Unreachable("nobody is there")
    return refusal(status, {"code": code}, retry_after or None)


def keep(memory: Memory, changes: Changes) -> None:
    """What a state file does."""
    memory.user = changes.user or memory.user
    if changes.replaced is not None:
        memory.places = changes.replaced
    if changes.seq is not None:
        assert memory.places is not None
        memory.places.seq = changes.seq
    if memory.places is not None:
        memory.places.groups.update(changes.groups)
    memory.messages += changes.put
    memory.messages = [
        each for each in memory.messages if each.number not in changes.dropped
    ]


class CoreSubject:
    """The session core, without a loop, a socket or a file."""

    def __init__(self, scenario: Scenario) -> None:
        given = scenario.client
        self._tokens = given.get("tokens", ["t1"])
        self._renewable = "tokens" in given
        self._first = given.get("first", "new")
        self._window = given.get("window", 256)
        self._ephemeral = given.get("ephemeral", False)
        self._memory = Memory()
        self.now = 1000.0
        self.outcomes: dict[str, Outcome] = {}
        self._sent: list[bytes] = []

    async def start(self) -> None:
        kept = self._memory
        copy = msgspec.convert(msgspec.to_builtins(kept), Memory)
        self.session = Session(
            copy,
            window=self._window,
            first=self._first,
            renewable=self._renewable,
            random=Random(1),
        )
        self.session.inbox.takes_ephemeral = self._ephemeral
        self._last: Held | None = None
        self._asks = False
        self._token = 0
        self.session.start()
        self._settle()

    async def close(self) -> None:
        if self._last is not None:
            self.session.handled(self._last, self.now)
            self._last = None
        self.session.goodbye()
        self._sent += self.session.take_frames()
        self.session.end(1000, "closed")
        self._settle()

    async def kill(self) -> None:
        self.session.end(1000, "killed")
        self.session.take_changes()

    def _settle(self) -> None:
        session = self.session
        session.advance(self.now)
        changes = session.take_changes()
        keep(self._memory, changes)
        session.saved(changes)
        session.advance(self.now)
        self._sent += session.take_frames()

    async def _until_wanted(self) -> float:
        began = self.now
        while not self.session.wants_socket:
            self._settle()
            deadline = self.session.deadline(self.now)
            assert deadline < float("inf"), "it never connects"
            self.now = max(self.now, deadline)
            self.session.tick(self.now)
        if self.session.needs_token:
            self._token += 1
        return self.now - began

    async def connect(self) -> float:
        took = await self._until_wanted()
        self._sent.clear()
        self.session.opened(self.now)
        self._settle()
        return took

    async def refuse(self, status: int | None, code: str, retry_after: int) -> float:
        took = await self._until_wanted()
        error = unreachable(status, code, retry_after)
        if error.final:
            self.session.end(error.code, error.reason)
        else:
            self.session.lost(self.now, error.code, error.reason, after=error.after)
        self._settle()
        return took

    def authorization(self) -> str:
        return f"Bearer {self._tokens[self._token]}"

    async def serve(self, text: str) -> None:
        self.session.receive(text, self.now)
        self._settle()

    async def end(self, code: int | None) -> None:
        self.session.lost(self.now, code or 1006)
        self._settle()

    async def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.session.deadline(self.now)) <= end:
            self.now = max(self.now, deadline)
            self.session.tick(self.now)
            self._settle()
        self.now = end

    async def frames(self) -> list[str]:
        sent, self._sent = self._sent, []
        return [each.decode() for each in sent]

    async def ask(self, name: str, what: Fields) -> None:
        def done(answer: Any) -> None:
            self.outcomes[name] = outcome_of(answer)

        session = self.session
        if "send" in what:
            fields = {"cid": f"made-{name}"} | what["send"]
            try:
                session.put(fields["cid"], msgspec.json.encode(fields), done)
            except Refused as refused:
                done(refused)
        elif "call" in what:
            op = what["call"]
            session.ask(op, what["fields"], done, repeat=op not in ONCE)
        elif "presence" in what:
            session.standing.presence = what["presence"]
            session.ask("presence", what["presence"], done, repeat=False)
        else:
            session.standing.watch(what["watch"])
            session.ask("watch", {"users": what["watch"]}, done, repeat=True)
        self._settle()

    def outcome(self, name: str) -> Outcome | None:
        return self.outcomes.get(name)

    async def next_event(self) -> Fields | None:
        if self._last is not None:
            self.session.handled(self._last, self.now)
            self._last = None
            self._settle()
        held = self.session.inbox.next_event()
        if held is None:
            return None
        self._last = held
        return shown(held.event)

    async def read_end(self) -> int | None:
        return None if self.session.ended is None else self.session.ended.code

    def state(self) -> str:
        return self.session.state.value


class ClientSubject:
    """The client as programs have it, on a clock and a wire that are made up."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        given = scenario.client
        self._given = given
        self._tokens = iter(given.get("tokens", ["t1"]))
        self._file = directory / "state.db" if given.get("state") else None
        self.clock = FakeClock()
        self.server = FakeServer()
        self.client: Client
        self._socket: FakeSocket
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._next: asyncio.Task[Any] | None = None

    async def _token(self) -> str:
        token: str = next(self._tokens)
        return token

    async def start(self) -> None:
        self.client = Client(
            "http://chat.test/prefix/",
            token=self._token if "tokens" in self._given else "t1",
            state=self._file,
            window=self._given.get("window", 256),
            first=self._given.get("first", "new"),
            connect=self.server,
            clock=self.clock,
            random=Random(1),
        )
        await self.client.start()
        self._reader: EventReader[Any] = self.client.events(
            ephemeral=self._given.get("ephemeral", False)
        )
        await self._settle()

    async def close(self) -> None:
        await self.client.close()

    async def kill(self) -> None:
        """As near as a process comes to it that goes on."""
        await self._settle()
        driver = self.client._driver
        driver._set_timer(float("inf"))
        for task in (*self._tasks.values(), self._next):
            if task is not None:
                task.cancel()
        self._next = None
        if driver._socket is not None:
            driver._generation += 1
            driver._socket.abort()
        if driver._file is not None:
            driver._file.close()
            driver._file = None

    async def finish(self) -> None:
        """After the scenario."""
        await self.client.close()
        tasks = [each for each in (*self._tasks.values(), self._next) if each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self) -> None:
        driver = self.client._driver
        for _ in range(8):
            await asyncio.sleep(0)
            if driver._writing is not None:
                await asyncio.wait([driver._writing])

    async def _until_wanted(self) -> float:
        began = self.clock.now
        await self._settle()
        while not self.server.waiting:
            when = self.clock.next_at()
            assert when < float("inf"), "it never connects"
            await self.clock.move(when, self._settle)
            await self._settle()
        return self.clock.now - began

    async def connect(self) -> float:
        took = await self._until_wanted()
        self._socket = self.server.accept()
        await self._settle()
        return took

    async def refuse(self, status: int | None, code: str, retry_after: int) -> float:
        took = await self._until_wanted()
        self.server.refuse(unreachable(status, code, retry_after))
        await self._settle()
        return took

    def authorization(self) -> str:
        return self.server.headers["Authorization"]

    async def serve(self, text: str) -> None:
        self._socket.receive(text)
        await self._settle()

    async def end(self, code: int | None) -> None:
        self._socket.end(code)
        await self._settle()

    async def wait(self, seconds: float) -> None:
        await self.clock.move(self.clock.now + seconds, self._settle)
        await self._settle()

    async def frames(self) -> list[str]:
        if not self.server.sockets:
            return []
        await self._settle()
        sent, self._socket.sent = self._socket.sent, []
        return [each.decode() for each in sent]

    async def ask(self, name: str, what: Fields) -> None:
        client = self.client
        asked: Coroutine[Any, Any, Any]
        if "send" in what:
            fields = dict(what["send"])
            where = client.conversation(
                fields.pop("conv", None), to=fields.pop("to", None)
            )
            asked = where.send(**fields)
        elif "call" in what:
            asked = client.call(what["call"], **what["fields"])
        elif "presence" in what:
            asked = client.presence(**what["presence"])
        else:
            asked = client.watch(what["watch"])
        self._tasks[name] = asyncio.ensure_future(asked)
        await self._settle()

    def outcome(self, name: str) -> Outcome | None:
        task = self._tasks[name]
        if not task.done():
            return None
        return outcome_of(task.exception() or task.result())

    async def next_event(self) -> Fields | None:
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._reader))
        await self._settle()
        if not self._next.done():
            return None
        task, self._next = self._next, None
        return shown(task.result())

    async def read_end(self) -> int | None:
        try:
            event = await self.next_event()
        except SessionEnded as ended:
            return ended.code
        except StopAsyncIteration:
            return 1000
        raise AssertionError(f"it goes on: {event}")

    def state(self) -> str:
        return self.client.state.value


__all__ = ["ClientSubject", "CoreSubject", "KeptMessage"]
