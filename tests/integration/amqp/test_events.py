# SPDX-License-Identifier: Apache-2.0
"""An account's events in a durable queue, from the operator's command to a service."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.amqp_service import Service
from tests.harness.node import DEADLINE_SECONDS
from tests.integration.amqp.conftest import Installation
from tests.integration.amqp.test_examples import command


@asynccontextmanager
async def following(
    program: str, service: Service, directory: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example *program*, which prints events until it is killed."""
    follow = await asyncio.to_thread(command, program, directory)
    process = await asyncio.create_subprocess_exec(
        *follow, service.url, stdout=asyncio.subprocess.PIPE
    )
    yield process
    process.kill()
    await process.wait()


async def printed(process: asyncio.subprocess.Process, count: int) -> list[Any]:
    """The next messages."""
    assert process.stdout is not None
    found: list[Any] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(found) < count:
            line = await process.stdout.readline()
            assert line, "the program has ended"
            event = json.loads(line)
            if event["t"] == "message.new":
                found.append(event)
    return found


@pytest.mark.parametrize("program", ["follow.py", "follow.mjs"])
async def test_a_service_follows_its_account(
    place: Installation, program: str, tmp_path: Path
) -> None:
    """
    It gets what is sent to the account and to its groups from then on; what was not
    acknowledged when it was killed comes again, and nothing is missing.
    """
    login, service = await place.service("billing")
    alice = await place.newcomer("alice")
    async with alice.connect(place.right) as session:
        await session.ask("send", cid="before", to=login.username, body="before")
        await place.left.operate("hook", "add", login.username, "--amqp")
        made = await session.ask("conv.create", cid="g", members=[login.username])
        group = made["conv"]["conv"]
        await session.ask("send", cid="a", to=login.username, body=0)
        await queue_exists(place, login.username)
        async with following(program, service, tmp_path) as process:
            (event,) = await printed(process, 1)
            assert (0, alice.username) == (event["body"], event["from"])
        for n in range(1, 20):
            await session.ask("send", cid=f"{n}", to=login.username, body=n)
            await session.ask("send", cid=f"g{n}", conv=group, body=n)
        async with following(program, service, tmp_path) as process:
            direct: list[int] = []
            grouped: list[int] = []
            while [*direct, *grouped].count(19) < 2:
                (event,) = await printed(process, 1)
                (direct if "seq" in event else grouped).append(event["body"])

    assert list(range(1, 20)) == [n for n in dict.fromkeys(direct) if n]
    assert list(range(1, 20)) == list(dict.fromkeys(grouped))


async def queue_exists(place: Installation, username: str) -> None:
    """Return once the first event has made the queue."""

    async def is_so() -> bool:
        found = await place.vhost.api("queues")
        return f"cm.events.{username}" in [each["name"] for each in found]

    await place.left.until(is_so)


async def test_events_outlive_the_node_that_forwards_them(
    cluster: Installation, tmp_path: Path
) -> None:
    """A node ends amid events: the other one goes on, and the order is kept."""
    login, service = await cluster.service("billing")
    alice = await cluster.newcomer("alice")
    await cluster.left.operate("hook", "add", login.username, "--amqp")
    async with alice.connect(cluster.right) as session:
        for n in range(50):
            await session.ask("send", cid=f"{n}", to=login.username, body=n)
        await queue_exists(cluster, login.username)
        assert 0 == await cluster.left.stop()
        for n in range(50, 100):
            await session.ask("send", cid=f"{n}", to=login.username, body=n)
    async with following("follow.py", service, tmp_path) as process:
        bodies: list[int] = []
        while 99 not in bodies:
            bodies += [each["body"] for each in await printed(process, 1)]

    assert list(range(100)) == list(dict.fromkeys(bodies))
