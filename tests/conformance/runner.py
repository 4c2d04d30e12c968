# SPDX-License-Identifier: Apache-2.0
"""Plays the scenarios of this directory with a client; README.md has their form.

    for scenario in scenarios():
        await Play(scenario, subject).run()

A subject is a client in a harness: tests/unit/client has two, the core without I/O and
the whole client on a socket and a clock that are made up.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).resolve().parent
# A deadline is met by whoever is late by so much.
TOLERANCE_SECONDS = 0.01
ACK_SECONDS = 1.0

Fields = dict[str, Any]

WELCOME: Fields = {
    "op": "welcome",
    "v": 1,
    "user": "alice",
    "device": "phone",
    "session": "s1",
    "epoch": "e1",
    "reason": None,
    "replay": 0,
    "behind": [],
    "heartbeat": 25000,
    "window": 256,
    "limits": {"in_flight": 32, "frame_bytes": 65536, "body_bytes": 32768},
    "features": [],
    "time": 1,
    "expires": 9007199254740991,
    "build": "0",
}


@dataclass(frozen=True)
class Scenario:
    """One of a file."""

    file: str
    name: str
    client: Fields
    steps: list[Fields]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def scenarios() -> list[Scenario]:
    """All of them."""
    found = []
    for path in sorted(HERE.glob("*.json")):
        for each in json.loads(path.read_text("utf-8"))["scenarios"]:
            given = each.get("client", {})
            found.append(Scenario(path.stem, each["name"], given, each["steps"]))
    return found


@dataclass(frozen=True)
class Outcome:
    """What came of something that the program asked for: one of these."""

    answer: Any = None
    refused: Fields | None = None
    lost: bool = False
    ended: int | None = None


class Subject(Protocol):
    """A client, and the program, the server and the clock around it."""

    async def start(self) -> None:
        """The program starts it."""

    async def close(self) -> None:
        """The program closes it."""

    async def kill(self) -> None:
        """The process is killed; its state file stays."""

    async def connect(self) -> float:
        """Let time pass until it connects, and accept; how many seconds that took."""

    async def refuse(self, status: int | None, code: str, retry_after: int) -> float:
        """The same, and refuse; without a status there is nobody."""

    def authorization(self) -> str:
        """The header of the last connection."""

    async def serve(self, text: str) -> None:
        """The server sends this."""

    async def end(self, code: int | None) -> None:
        """The server closes; without a code the connection is cut."""

    async def wait(self, seconds: float) -> None:
        """So much time passes."""

    async def frames(self) -> list[str]:
        """What the client has sent since the last time."""

    async def ask(self, name: str, what: Fields) -> None:
        """The program asks for something, and calls it *name*."""

    def outcome(self, name: str) -> Outcome | None:
        """What came of it."""

    async def next_event(self) -> Fields | None:
        """The program asks for the next event, if it does not already; none: none."""

    async def read_end(self) -> int | None:
        """The code with which reading has ended, after the last event."""

    def state(self) -> str:
        """Where the client is."""


class Mismatch(AssertionError):
    """The client does not do what the step says."""


@dataclass
class Play:
    """One run of a scenario."""

    scenario: Scenario
    subject: Subject
    names: Fields = field(default_factory=dict)
    sent: deque[Fields] = field(default_factory=deque)
    ack: Fields | None = None

    async def run(self) -> None:
        """
        Play it.

        Raises:
            Mismatch: The client has done something else.
        """
        for number, step in enumerate(self.scenario.steps, 1):
            kind = next(iter(step))
            try:
                await getattr(self, f"_{kind}")(step[kind], step)
            except Mismatch as wrong:
                raise Mismatch(f"{self.scenario}, step {number} {step}: {wrong}") from (
                    None
                )

    # The program.

    async def _app(self, what: Any, step: Fields) -> None:
        if what == "start":
            await self.subject.start()
        elif what == "close":
            await self.subject.close()
        else:
            await self.subject.ask(what["as"], what)

    async def _kill(self, _: object, __: Fields) -> None:
        await self.subject.kill()
        self._forget()

    async def _delivered(self, expected: Fields | None, _: Fields) -> None:
        event = await self.subject.next_event()
        if expected is None or event is None:
            if event is not expected:
                raise Mismatch(f"got {event}")
        else:
            self._match(expected, event)

    async def _ended(self, code: int, _: Fields) -> None:
        self._same(code, await self.subject.read_end())

    async def _waits(self, name: str, _: Fields) -> None:
        self._same(None, self.subject.outcome(name))

    async def _answered(self, name: str, step: Fields) -> None:
        outcome = self._outcome(name)
        if outcome.answer is None:
            raise Mismatch(f"there is no answer: {outcome}")
        if "with" in step:
            self._match(step["with"], outcome.answer)

    async def _refused(self, name: str, step: Fields) -> None:
        outcome = self._outcome(name)
        if outcome.refused is None:
            raise Mismatch(f"it was not refused: {outcome}")
        self._match(step["with"], outcome.refused)

    async def _lost(self, name: str, _: Fields) -> None:
        self._same(Outcome(lost=True), self._outcome(name))

    async def _fails(self, name: str, step: Fields) -> None:
        self._same(Outcome(ended=step["with"]), self._outcome(name))

    def _outcome(self, name: str) -> Outcome:
        outcome = self.subject.outcome(name)
        if outcome is None:
            raise Mismatch("it still waits")
        return outcome

    async def _state(self, expected: str, _: Fields) -> None:
        self._same(expected, self.subject.state())

    # The server.

    async def _connect(self, given: Fields, _: Fields) -> None:
        await self._read()
        took = await self.subject.connect()
        self._forget()
        self._check_time(given, took)
        if "authorization" in given:
            self._same(given["authorization"], self.subject.authorization())

    async def _refuse(self, given: Fields, _: Fields) -> None:
        took = await self.subject.refuse(
            given.get("status"), given.get("code", ""), given.get("retry_after", 0)
        )
        self._check_time(given, took)

    def _check_time(self, given: Fields, took: float) -> None:
        low, high = given.get("not_before", 0), given.get("within", 0)
        if not low - TOLERANCE_SECONDS <= took <= high + TOLERANCE_SECONDS:
            raise Mismatch(f"it connected after {took} s")

    async def _client(self, expected: Fields, step: Fields) -> None:
        await self._read()
        if not self.sent:
            raise Mismatch("it has sent nothing")
        frame = self.sent.popleft()
        self._match(expected, frame)
        wrong = [name for name in step.get("without", ()) if name in frame]
        if wrong:
            raise Mismatch(f"there is {wrong} in {frame}")

    async def _acked(self, expected: Fields | None, _: Fields) -> None:
        if expected is not None:
            await self._read()
            if self.ack is None or not self._matches(expected, self.ack):
                await self.subject.wait(ACK_SECONDS)
        await self._read()
        if expected is None:
            self._same(None, self.ack)
        elif self.ack is None:
            raise Mismatch("there was no ack")
        else:
            self._match(expected, self.ack)

    async def _silence(self, _: object, __: Fields) -> None:
        await self._read()
        self._same([], list(self.sent))

    async def _server(self, frame: Fields, _: Fields) -> None:
        await self.subject.serve(json.dumps(self._filled(frame)))

    async def _text(self, text: str, _: Fields) -> None:
        await self.subject.serve(text)

    async def _welcome(self, given: Fields, _: Fields) -> None:
        await self.subject.serve(json.dumps(WELCOME | {"id": self.hello} | given))

    async def _live(self, given: Fields, _: Fields) -> None:
        """A whole beginning."""
        groups = given.get("groups", {})
        welcome = {
            name: value
            for name, value in given.items()
            if name not in ("groups", "within")
        }
        convs = [
            {"conv": conv, "type": "group", "pos": pos, "ts": 1, "title": ""}
            | {"role": "member", "members": 2, "n": 0, "read": 0, "unread": 0}
            | {"mentions": 0}
            for conv, pos in groups.items()
        ]
        answer: Fields = {
            "op": "ok",
            "id": "$live-sync",
            "convs": convs,
            "cursor": None,
        }
        answer |= {"at": {"epoch": "e1", "seq": given["seq"]}}
        answer |= {"contacts": [], "blocks": []}
        await self._connect({"within": given.get("within", 0)}, {})
        await self._client({"op": "hello"}, {})
        await self._welcome({"resumed": False, "reason": "first"} | welcome, {})
        await self._server({"op": "live", "seq": given["seq"]}, {})
        await self._client({"op": "sync", "id": "$live-sync"}, {})
        await self._server(answer, {})
        await self._state("live", {})

    async def _cut(self, _: object, __: Fields) -> None:
        await self.subject.end(None)
        self._forget()

    async def _close(self, code: int, _: Fields) -> None:
        await self.subject.end(code)
        self._forget()

    async def _seconds(self, seconds: float, _: Fields) -> None:
        await self.subject.wait(seconds)

    # Frames.

    hello: Any = None

    async def _read(self) -> None:
        for text in await self.subject.frames():
            frame = json.loads(text)
            if frame["op"] == "ack":
                self.ack = frame
            else:
                self.sent.append(frame)
            if frame["op"] == "hello":
                self.hello = frame["id"]

    def _forget(self) -> None:
        self.sent.clear()
        self.ack = None

    def _same(self, expected: object, found: object) -> None:
        if expected != found:
            raise Mismatch(f"{found!r}, not {expected!r}")

    def _match(self, expected: Fields, found: Mapping[str, Any]) -> None:
        if not self._matches(expected, found):
            raise Mismatch(f"{found}, not {self._filled(expected)}")

    def _matches(self, expected: Any, found: Any) -> bool:
        """Whether all of *expected* is there; new names get their value."""
        if isinstance(expected, str) and expected.startswith("$"):
            return bool(self.names.setdefault(expected, found) == found)
        if isinstance(expected, dict) and isinstance(found, Mapping):
            return all(
                name in found and self._matches(value, found[name])
                for name, value in expected.items()
            )
        return bool(expected == found)

    def _filled(self, value: Any) -> Any:
        """*value* with the values of names."""
        if isinstance(value, dict):
            return {name: self._filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if isinstance(value, str):
            return self.names.get(value, value)
        return value
