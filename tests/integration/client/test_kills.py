# SPDX-License-Identifier: Apache-2.0
"""The client while nodes are killed and wires are cut: no loss, no double, in order.

Two programs exchange numbered messages, direct and in a group, and never mention a
reconnect.  A third one dies with its state file and starts again.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatmotor.client import Client, Conversation, MessageNew, Sent, State
from tests.harness.v1_client import Login, newcomer
from tests.integration.conftest import Nodes
from tests.integration.v1.conftest import new_nodes

SECONDS = 4.0
DEADLINE_SECONDS = 30.0


@pytest.fixture(params=["embedded", "cluster"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """One node on SQLite, or two on PostgreSQL and RabbitMQ; to be killed."""
    async with new_nodes(request) as started:
        yield started


@dataclass
class Ledger:
    """
    What a program knows.

    Attributes:
        stored: By cid, what ``send`` has returned.
        events: Each event that it has handled, by log.
        moves: The states of its client.
    """

    stored: dict[str, Sent] = field(default_factory=dict)
    events: dict[str, list[Any]] = field(default_factory=dict)
    moves: Counter[State] = field(default_factory=Counter)

    def note(self, state: State) -> None:
        self.moves[state] += 1

    @property
    def cids(self) -> list[str]:
        """The bodies of all messages, which are the cids of their senders."""
        logs = self.events.values()
        return [e.body for log in logs for e in log if isinstance(e, MessageNew)]


class Program:
    """An account's program, and what it remembers of its own."""

    def __init__(self, login: Login, urls: list[str], file: Path | None) -> None:
        self.login = login
        self.urls = urls
        self.file = file
        self.ledger = Ledger()
        self.client: Client
        self._reading: asyncio.Task[None]

    async def start(self) -> None:
        self.client = Client(
            self.urls,
            token=self.login.token,
            state=self.file,
            window=32,
            on_state=self.ledger.note,
        )
        await self.client.start()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.client.events():
            pos, conv = getattr(event, "pos", None), getattr(event, "conv", "")
            conv = conv if isinstance(pos, int) else "mailbox"
            self.ledger.events.setdefault(conv, []).append(event)

    async def write(self, where: list[Conversation], stop: asyncio.Event) -> None:
        """Numbered messages, one after the other, here and there."""
        number = 0
        while not stop.is_set():
            number += 1
            cid = f"{self.login.username}-{number}"
            conversation = where[number % len(where)]
            self.ledger.stored[cid] = await conversation.send(cid, cid=cid)

    def cut(self) -> None:
        """The wire of its client is cut, if there is one now."""
        socket = self.client._driver._socket
        if socket is not None:
            socket.abort()

    async def die(self) -> None:
        """As by an error: what was taken last does not count as handled."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.client._close(handled=False)

    async def close(self) -> None:
        await self.client.close()
        await self._reading


async def worry(nodes: Nodes, programs: list[Program], random: Random) -> None:
    """Cut wires and kill nodes for a while."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS
    killed = iter((nodes.left, nodes.right))
    kill_at = loop.time() + SECONDS / 4
    while loop.time() < end:
        await asyncio.sleep(0.1 + 0.2 * random.random())  # the time between two faults
        random.choice(programs).cut()
        if loop.time() >= kill_at and (node := next(killed, None)) is not None:
            await node.kill()
            await node.start_again()
            kill_at = loop.time() + SECONDS / 4


async def test_nothing_is_lost_and_nothing_comes_twice(
    nodes: Nodes, tmp_path: Path
) -> None:
    """Every log of every program is the store's, and every ``send`` is in it once."""
    nodes.left.may_fail = nodes.right.may_fail = True
    urls = [nodes.left.url, nodes.right.url]
    logins = [await newcomer(nodes.right, name) for name in ("ann", "ben", "cid")]
    ann, ben, cid = (
        Program(login, urls[::sign], file)
        for login, sign, file in zip(
            logins, (1, -1, 1), (None, None, tmp_path / "cid.db"), strict=True
        )
    )
    programs = [ann, ben, cid]
    for each in programs:
        await each.start()
        await each.client.until_live()
    group = await ann.client.create_group("all", ["ben", "cid"])
    assert group.conv is not None
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for one, other in ((ann, "ben"), (ben, "ann")):
            client = one.client
            where = [client.conversation(to=other), client.conversation(group.conv)]
            tasks.create_task(one.write(where, stop))
        tasks.create_task(restarts(cid, group.conv, stop))
        await worry(nodes, [ann, ben, cid], Random(4))
        stop.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        for each in programs:
            await each.client.drain()
        sent = {key for each in programs for key in each.ledger.stored}
        in_group = {key for each in programs for key in of_group(each, group.conv)}
        for each, theirs in ((ann, sent), (ben, sent), (cid, in_group)):
            await until_read(each, theirs)
    await judge(programs, group.conv)
    for each in programs:
        await each.close()

    assert len(sent) > 100, len(sent)
    assert 3 < ann.ledger.moves[State.OFFLINE]


def of_group(program: Program, conv: str) -> set[str]:
    """What a program has written into the group."""
    stored = program.ledger.stored
    return {cid for cid, sent in stored.items() if sent.conv == conv}


async def restarts(program: Program, conv: str, stop: asyncio.Event) -> None:
    """A program that writes a little, dies, and starts again with its file."""
    number = 0
    while not stop.is_set():
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not program.ledger.events.get(conv):
                await asyncio.sleep(0.01)
        number += 1
        cid = f"cid-{number}"
        program.client.conversation(conv).post(cid, cid=cid)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not program.client._driver.is_kept:
                await asyncio.sleep(0)
        await program.die()
        await program.start()
        # It need not know whether the last one was sent: it says the same again.
        again = program.client.conversation(conv)
        program.ledger.stored[cid] = await again.send(cid, cid=cid)


async def until_read(program: Program, cids: set[str]) -> None:
    """Return once it has read all of *cids*."""
    while not cids <= set(program.ledger.cids):
        await asyncio.sleep(0.02)


async def judge(programs: list[Program], conv: str) -> None:
    """Hold what each program has handled against the logs as the store has them."""
    for program in programs:
        name, ledger = program.login.username, program.ledger
        for log, events in ledger.events.items():
            where = {} if log == "mailbox" else {"conv": log}
            theirs = await pulled(program.client, where)
            place = "seq" if log == "mailbox" else "pos"
            mine = [getattr(each, place) for each in events]
            # Whole, in order, and each once; a program that has died may have handled
            # an event of which the file did not know yet.
            once = mine if program.file is None else list(dict.fromkeys(mine))
            assert list(range(once[0], theirs[-1][place] + 1)) == once, (name, log)
            assert len(mine) - len(once) <= 2 * ledger.moves[State.CLOSED], (name, log)
            for event in events:
                if isinstance(event, MessageNew):
                    same = theirs[getattr(event, place) - 1]
                    assert (same["n"], same["body"]) == (event.n, event.body)
        # What was acknowledged is where the answer says, and nowhere else.
        counts = Counter(ledger.cids)
        own = [each for each in counts if each.startswith(name + "-")]
        assert set(ledger.stored) == set(own)
        at = {
            event.body: (event.conv, event.n)
            for log in ledger.events.values()
            for event in log
            if isinstance(event, MessageNew)
        }
        for cid, sent in ledger.stored.items():
            assert (sent.conv, sent.n) == at[cid]
        for direct in {sent.conv for sent in ledger.stored.values()}:
            mine = [sent.n for sent in ledger.stored.values() if sent.conv == direct]
            assert sorted(mine) == mine, (name, direct)


async def pulled(client: Client, where: dict[str, str]) -> list[dict[str, Any]]:
    """A log from its beginning, as the server has it."""
    found: list[dict[str, Any]] = []
    while True:
        page = await client.call("events", since=len(found), limit=500, **where)
        found += page.events
        if not page.more:
            return found
