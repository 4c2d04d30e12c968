# SPDX-License-Identifier: Apache-2.0
"""G1 to G5 under random use: lost, duplicated, reordered, missing, divergent are 0.

    some accounts, each with devices on both nodes; each device does one random thing
    after the other, all at once: send, repeat, acknowledge late, vanish, come back from
    some older position, invite, remove ...
        | now and then a lull: whoever is there must soon have everything, with no
        | later event that would make it look
    heal; wait until all is quiet; read everything through both nodes, and hold it
    against what was answered and what each device has presented

The crowd: tests/harness/crowd.py and devices.py.  The judges: truth.py and ledger.py.
``CHATMOTOR_TEST_SECONDS`` is the time of each run.  ``CHATMOTOR_TEST_SEED``, which is
printed, brings back what each device does, and not when exactly it does it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness.crowd import World, heal, until_quiet, use, watcher
from tests.harness.links import Notes
from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.truth import judge, read_all
from tests.harness.v1_client import sign_up
from tests.integration.conftest import Nodes, on_rabbit
from tests.integration.v1.conftest import QUICK, cluster_options

SECONDS = float(os.environ.get("CHATMOTOR_TEST_SECONDS", "20"))
SEED = int(os.environ.get("CHATMOTOR_TEST_SEED", "0")) or time.time_ns() % 10**9
# Longer than a run: what is not told at once must not be found by the check, but where
# RabbitMQ fails.
NEVER = {"CM_POSITION_CHECK_SECONDS": "600"}
OFTEN = {"CM_POSITION_CHECK_SECONDS": "1"}


async def prove(
    nodes: Nodes,
    nemesis: Callable[[Random, Notes], Coroutine[Any, Any, None]],
    seconds: float = SECONDS,
) -> None:
    """A run, and its judgement."""
    print(f"CHATMOTOR_TEST_SEED={SEED}")
    random = Random(SEED)
    world = World(nodes.left, nodes.right, random, seconds)
    await sign_up(nodes.left, "keeper")  # of each group, so that somebody can read it
    began = time.monotonic()
    await use(world, lambda: nemesis(random, world.notes))
    for node in dict.fromkeys((nodes.left, nodes.right)):
        await node.until_broker_is("connected")
    await heal(world)
    async with watcher(world, "keeper") as ask:
        await until_quiet(world, ask)
    world.devices["keeper"] = []
    truth = await read_all(world)
    found = judge(world, truth)
    for device in world.every:
        await device.disconnect(abruptly=False)
    attempts = world.notes.attempts
    report = dict(sorted(world.notes.counts.items())) | {
        "seconds": round(time.monotonic() - began),
        "sends": len(attempts),
        "ok": sum(each.place is not None for each in attempts),
        "dup": sum(each.dup for each in attempts),
        "refused": sum(each.refusal is not None for each in attempts),
        "messages": sum(len(log) for log in truth.logs.values()),
        "groups": len(truth.groups),
    }
    print(report)
    for each in found:
        print(each[:300])
    closes = {name for name in report if name.startswith("closed")}

    assert [] == found
    assert set() == closes
    assert report["steps"] > 50 * seconds


async def no_faults(_: Random, __: Notes) -> None:
    """Nothing fails but the clients."""


async def test_embedded() -> None:
    """One node on SQLite: nothing is lost, doubled, reordered, missing or told late."""
    async with ChatmotorNode(CM_BROKER="embedded", **QUICK, **NEVER) as node:
        await prove(Nodes(node, node), no_faults)


@asynccontextmanager
async def cluster_of(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, **more: str
) -> AsyncIterator[Nodes]:
    """Two nodes on PostgreSQL and RabbitMQ, connected."""
    options = await cluster_options(postgres) | more
    async with on_rabbit(rabbit, **options) as left, on_rabbit(rabbit, **options) as it:
        await left.until_broker_is("connected")
        await it.until_broker_is("connected")
        yield Nodes(left, it)


async def test_cluster(rabbit: PrivateRabbit, postgres: PrivatePostgres) -> None:
    """The same on two nodes, with the devices of an account on both."""
    async with cluster_of(rabbit, postgres, **NEVER) as nodes:
        await prove(nodes, no_faults)


@pytest.mark.parametrize("fault", ["connections", "queues"])
async def test_cluster_while_rabbitmq_fails(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, fault: str
) -> None:
    """AMQP connections are cut, or queues deleted, again and again."""

    async def nemesis(random: Random, notes: Notes) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.5, 2))
            if fault == "connections":
                every = await asyncio.to_thread(rabbit.api, "connections")
                chosen = [each["name"] for each in every if random.random() < 0.5]
                for name in chosen:
                    await asyncio.to_thread(cut, rabbit, name)
            else:
                every = await asyncio.to_thread(rabbit.queues)
                for name in random.sample(every, k=min(2, len(every))):
                    with contextlib.suppress(Exception):
                        await asyncio.to_thread(rabbit.ctl, "delete_queue", name)
            notes.counts[f"faults: {fault}"] += 1

    async with cluster_of(rabbit, postgres, **OFTEN) as nodes:
        await prove(nodes, nemesis, SECONDS * 0.7)


def cut(rabbit: PrivateRabbit, name: str) -> None:
    """Close an AMQP connection, if it is still there."""
    with contextlib.suppress(OSError):
        rabbit.api(f"connections/{quote(name, safe='')}", method="DELETE")
