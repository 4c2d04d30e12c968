# SPDX-License-Identifier: Apache-2.0
"""Chatmotor beside the baseline, interleaved, in one run on one machine.

    private RabbitMQ
      `- round 1..N
           `- 1 and 20 in flight
                `- baseline, Chatmotor on RabbitMQ, Chatmotor embedded
                     = a fresh server process and a fresh generator process

Rounds are interleaved so that a machine that slows down slows everyone down; what
is compared is always of the same round.  RabbitMQ is one for all rounds, without
plugins, since collecting statistics would cost it time.

A measurement counts only when its ledger balances (generator.py) and, on RabbitMQ,
when RabbitMQ's own counters say that it received and delivered exactly the
messages that the clients sent and got: nothing took a short cut.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.report import EMBEDDED, RABBITMQ, RELAY, Measurement, summary, table
from tests.harness.node import ChatmotorNode
from tests.harness.ports import free_port
from tests.harness.rabbitmq import PrivateRabbit

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 100
IN_FLIGHT = (1, 20)
SUBJECTS = (RELAY, RABBITMQ, EMBEDDED)
START_SECONDS = 20.0
STOP_SECONDS = 10.0
# Connecting, warm-up and drain, at their slowest.
GENERATOR_EXTRA_SECONDS = 60.0
LIBRARIES = ("tornado", "picows", "pika", "msgspec", "uvloop")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running server: where, and which process."""

    url: str
    pid: int


@asynccontextmanager
async def relay(rabbit: PrivateRabbit) -> AsyncIterator[Gateway]:
    """The baseline; it listens once it is connected to RabbitMQ."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.baseline.relay", str(port), str(rabbit.port)),
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError("the baseline did not start")
                await asyncio.sleep(0.05)
        yield Gateway(f"ws://127.0.0.1:{port}", process.pid)
    finally:
        await _end(process)


@asynccontextmanager
async def chatmotor(**options: str) -> AsyncIterator[Gateway]:
    """Chatmotor as an operator starts it, but for *options*."""
    async with ChatmotorNode(**options) as node:
        await node.until_broker_is("connected")
        yield Gateway(node.url.replace("http", "ws", 1), node.pid)


async def measure(
    subject: str, rabbit: PrivateRabbit, in_flight: int, seconds: float, number: int
) -> Measurement:
    """One fresh server under one load, and whatever makes it invalid."""
    async with AsyncExitStack() as stack:
        cpu = []
        if subject == RELAY:
            gateway = await stack.enter_async_context(relay(rabbit))
        elif subject == RABBITMQ:
            gateway = await stack.enter_async_context(
                chatmotor(CM_BROKER="rabbitmq", CM_RABBIT_PORT=str(rabbit.port))
            )
        else:
            gateway = await stack.enter_async_context(chatmotor(CM_BROKER="embedded"))
        if subject != EMBEDDED:
            cpu = [f"--cpu=rabbitmq={rabbit.beam_pid()}"]
        before = await _counters(rabbit)
        load = await _generate(
            *(gateway.url, f"--clients={CLIENTS}", f"--in-flight={in_flight}"),
            *(f"--seconds={seconds}", f"--cpu=gateway={gateway.pid}", *cpu),
            timeout=seconds + GENERATOR_EXTRA_SECONDS,
        )
        after = await _counters(rabbit)
    crossed = {name: after[name] - before[name] for name in after}
    expected = {"received": load["sent"], "delivered": load["received"]}
    if subject == EMBEDDED:
        expected = {"received": 0, "delivered": 0}
    wrong = list(load["void"])
    if crossed != expected:
        wrong.append(f"RabbitMQ counted {crossed}, and not {expected}")
    return Measurement(subject, in_flight, number, load, crossed, wrong)


async def _generate(*arguments: str, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.generator", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    finally:
        await _end(process)
    if not output:
        raise RuntimeError("the generator reported nothing")
    load: dict[str, Any] = json.loads(output)
    return load


async def _counters(rabbit: PrivateRabbit) -> dict[str, int]:
    """
    Messages that RabbitMQ has received from publishers and delivered to consumers
    since its start: its global counters, which are exact at any time, unlike the
    management API's, which are sampled.
    """
    text = await asyncio.to_thread(
        rabbit.ctl, "eval", "rabbit_global_counters:overview()."
    )

    def total(name: str) -> int:
        return sum(int(n) for n in re.findall(rf"\b{name}\s*=>\s*(\d+)", text))

    return {
        "received": total("messages_received_total"),
        "delivered": total("messages_delivered_total"),
    }


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, then SIGKILL; nothing is left running."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _machine(rabbit: PrivateRabbit) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_average_before": os.getloadavg(),
        "python": platform.python_version(),
        "rabbitmq": rabbit.ctl("version").strip(),
    } | {name: version(name) for name in LIBRARIES}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds; the result as it is written with --json."""
    measured: list[Measurement] = []
    with PrivateRabbit(management=False) as rabbit:
        machine = _machine(rabbit)
        for number in range(options.rounds):
            # Another one begins each round.
            first = number % len(SUBJECTS)
            order = SUBJECTS[first:] + SUBJECTS[:first]
            for in_flight in IN_FLIGHT:
                for subject in order:
                    one = await measure(
                        subject, rabbit, in_flight, options.seconds, number + 1
                    )
                    measured.append(one)
                    print(one.line(), file=sys.stderr, flush=True)
    return {
        "workload": options.workload,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "clients": CLIENTS,
        "message_bytes": measured[0].load["message_bytes"],
        "machine": machine,
        "summary": summary(measured),
        "measurements": [one.as_dict() for one in measured],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description="Measure Chatmotor."
    )
    parser.add_argument("workload", nargs="?", choices=["classic"], default="classic")
    parser.add_argument("--seconds", type=float, default=5, help="measured, per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the whole result here")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("at least one round, and some time")
    try:
        result = asyncio.run(run(options))
    except FileNotFoundError as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    return 1 if any(each["wrong"] for each in result["measurements"]) else 0


if __name__ == "__main__":
    sys.exit(main())
