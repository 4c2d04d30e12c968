# SPDX-License-Identifier: Apache-2.0
"""What is measured, started: the baseline, and Chatmotor on each broker and store.

The workload ``classic`` needs no store.  For ``durable`` there are accounts, one for
each client, in a store that begins empty; what protects a node from floods is raised,
since one client here sends as much as a thousand people.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from bench.report import DURABLE, RABBITMQ, RELAY
from chatmotor.adapters.postgres_store import PostgresStore
from tests.harness.node import ChatmotorNode
from tests.harness.ports import free_port
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import acall

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0
STOP_SECONDS = 10.0
# A host application's tokens: its users need no password, and so no slow hash.
JWT_SECRET = "of the benchmark, and no secret at all"
TOKEN_SECONDS = 3600
# What RabbitMQ counts is compared with what the clients have sent.
FEW_BEATS = {"CM_PRESENCE_GRACE_SECONDS": "600"}
LIMITS = {
    "CM_SENDS_PER_SECOND": "1000000",
    "CM_SENDS_BURST": "1000000",
    "CM_COMMANDS_IN_FLIGHT": "64",
}


@dataclass(frozen=True, slots=True)
class Servers:
    """What runs for the whole time; PostgreSQL only where a workload needs it."""

    rabbit: PrivateRabbit
    postgres: PrivatePostgres | None


@dataclass(frozen=True, slots=True)
class Gateway:
    """
    A running server.

    Attributes:
        processes: Whose CPU time counts, by name.
        tokens: One for each client, where clients need one.
    """

    url: str
    processes: dict[str, int]
    tokens: list[str] = field(default_factory=list)


@asynccontextmanager
async def started(
    subject: str, servers: Servers, names: Sequence[str]
) -> AsyncIterator[Gateway]:
    """A fresh process of *subject*, for clients of these *names*."""
    if subject == RELAY:
        async with relay(servers.rabbit) as gateway:
            yield gateway
        return
    options, processes = {"CM_BROKER": "embedded"}, {}
    if subject in (RABBITMQ, DURABLE[RABBITMQ]):
        options = {"CM_BROKER": "rabbitmq", "CM_RABBIT_PORT": str(servers.rabbit.port)}
        processes["rabbitmq"] = servers.rabbit.beam_pid()
    if subject == DURABLE[RABBITMQ]:
        assert servers.postgres is not None
        dsn = await servers.postgres.create_database()
        await PostgresStore(dsn).upgrade()
        options |= {"CM_STORE": "postgres", "CM_POSTGRES_DSN": dsn}
        processes["postgresql"] = servers.postgres.pid
    if subject in DURABLE.values():
        options |= LIMITS | {"CM_JWT_SECRET": JWT_SECRET}
    options |= FEW_BEATS
    async with ChatmotorNode(**options) as node:
        await node.until_broker_is("connected")
        tokens = await enrol(node, names) if subject in DURABLE.values() else []
        url = node.url.replace("http", "ws", 1)
        yield Gateway(url, {"gateway": node.pid} | processes, tokens)


async def enrol(node: ChatmotorNode, names: Sequence[str]) -> list[str]:
    """A token for each of *names*; its first use has made the account."""
    expires = int(time.time()) + TOKEN_SECONDS
    tokens = [
        jwt.encode({"sub": name, "exp": expires}, JWT_SECRET, "HS256") for name in names
    ]
    await asyncio.gather(
        *(acall(node, "/v1/rpc/device.list", {}, token=token) for token in tokens)
    )
    return tokens


@asynccontextmanager
async def relay(rabbit: PrivateRabbit) -> AsyncIterator[Gateway]:
    """The baseline; it listens once it is connected to RabbitMQ."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.baseline.relay", str(port), str(rabbit.port)),
        cwd=ROOT,
    )
    processes = {"gateway": process.pid, "rabbitmq": rabbit.beam_pid()}
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError("the baseline did not start")
                await asyncio.sleep(0.05)
        yield Gateway(f"ws://127.0.0.1:{port}", processes)
    finally:
        await end(process)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, then SIGKILL; nothing is left running."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
