# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a node under load: every ``ok`` is in the logs, exactly once.

Senders write at a set rate, keep what was acknowledged, and send again under the same
cid what was not, on the node that is left or on the same one once it is back.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.harness.node import ChatmotorNode
from tests.harness.v1_client import Login, Refused, V1Session, newcomer
from tests.integration.conftest import Nodes
from tests.integration.v1.conftest import new_nodes

SENDERS = 10
PER_SECOND = 50  # each
SECONDS = 4.0


@pytest.fixture(params=["embedded", "cluster"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """One node on SQLite, or two on PostgreSQL and RabbitMQ; to be killed."""
    async with new_nodes(request) as started:
        yield started


@dataclass
class Sender:
    """One account that writes to another, and what it knows of it."""

    login: Login
    to: str
    acknowledged: dict[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    async def send(self, session: V1Session, cid: str) -> None:
        """One message; an answer is remembered, a lost connection is not."""
        try:
            answer = await session.ask("send", cid=cid, to=self.to, body=cid)
        except Refused:
            self.refused.add(cid)
        except (ConnectionError, ConnectionClosed):
            return
        else:
            self.acknowledged[cid] = answer

    async def work(self, nodes: list[ChatmotorNode], stop: asyncio.Event) -> None:
        """Write at the rate; connect again wherever one can, and repeat."""
        numbers = itertools.count()
        open_cids: list[str] = []
        for node in itertools.cycle(nodes):
            if stop.is_set():
                return
            try:
                async with self.login.connect(node) as session:
                    for cid in open_cids:
                        await self.send(session, cid)
                    open_cids.clear()
                    while not stop.is_set():
                        cid = str(next(numbers))
                        await self.send(session, cid)
                        if cid not in self.acknowledged and cid not in self.refused:
                            open_cids.append(cid)
                            break
                        await asyncio.sleep(1 / PER_SECOND)
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                await asyncio.sleep(0.05)


async def test_every_ok_is_in_the_logs_exactly_once(nodes: Nodes) -> None:
    """Also on the other node, in history and in the recipients' mailboxes."""
    people = [await newcomer(nodes.right, f"p{n}") for n in range(SENDERS)]
    senders = [
        Sender(each, people[(index + 1) % SENDERS].username)
        for index, each in enumerate(people)
    ]
    stop = asyncio.Event()
    places = list(dict.fromkeys((nodes.left, nodes.right)))
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.work(places, stop))
        await asyncio.sleep(SECONDS / 2)
        before = sum(len(each.acknowledged) for each in senders)
        await nodes.left.kill()
        if nodes.left is nodes.right:
            await nodes.left.start_again()
        await asyncio.sleep(SECONDS / 2)
        stop.set()

    assert before > SENDERS * PER_SECOND * SECONDS / 8
    for sender in senders:
        assert len(sender.acknowledged) > PER_SECOND * SECONDS / 8
        await check(sender, nodes.right)


async def check(sender: Sender, node: ChatmotorNode) -> None:
    """Hold what was acknowledged against the conversation and the mailbox."""
    async with sender.login.connect(node) as session:
        conv = next(iter(sender.acknowledged.values()))["conv"]
        items: list[Any] = []
        while True:
            page = await session.ask("history", conv=conv, after=len(items), limit=100)
            items += page["items"]
            if not page["more"]:
                break
        events: list[Any] = []
        while True:
            since = events[-1]["seq"] if events else 0
            pull = await session.ask("events", since=since, limit=500)
            events += pull["events"]
            if not pull["more"]:
                break
    assert list(range(1, len(items) + 1)) == [each["n"] for each in items]
    assert list(range(1, len(events) + 1)) == [each["seq"] for each in events]
    mine = {each["cid"]: each for each in items if "cid" in each}
    counts = Counter(each["cid"] for each in items if "cid" in each)
    assert {1} == set(counts.values())
    assert set() == sender.refused & set(counts)
    logged = {
        each["seq"]: each.get("cid") for each in events if each["t"] == "message.new"
    }
    for cid, answer in sender.acknowledged.items():
        assert (answer["n"], answer["ts"]) == (mine[cid]["n"], mine[cid]["ts"])
        assert cid == mine[cid]["body"] == logged[answer["seq"]]
