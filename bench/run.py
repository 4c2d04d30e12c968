# SPDX-License-Identifier: Apache-2.0
"""Chatmotor beside the baseline, interleaved, in one run on one machine.

    private RabbitMQ; for ``durable`` a private PostgreSQL, too
      `- round 1..N
           `- 1 and 20 in flight
                `- baseline, Chatmotor on RabbitMQ, Chatmotor embedded
                     = a fresh server process and a fresh generator process

Rounds are interleaved so that a machine that slows down slows everyone down; what
is compared is always of the same round.  RabbitMQ is one for all rounds, without
plugins, since collecting statistics would cost it time.

A measurement counts only when its ledger balances (generator.py) and, on RabbitMQ,
when RabbitMQ's own counters say that it received and delivered exactly the
messages that the clients sent and got, and of ``durable`` no more receipts beside
them than there may be: nothing took a short cut.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.generator import client_names
from bench.report import (
    DURABLE,
    EMBEDDED,
    RABBITMQ,
    RELAY,
    Measurement,
    summary,
    table,
)
from bench.subjects import ROOT, Servers, end, started
from tests.harness.postgres import PrivatePostgres, connected
from tests.harness.rabbitmq import PrivateRabbit

CLIENTS = 100
IN_FLIGHT = (1, 20)
WORKLOADS = {
    "classic": (RELAY, RABBITMQ, EMBEDDED),
    "durable": (RELAY, *DURABLE.values()),
}
# Connecting, warm-up and drain, at their slowest.
GENERATOR_EXTRA_SECONDS = 60.0
LIBRARIES = ("tornado", "picows", "pika", "msgspec", "asyncpg", "uvloop")


async def measure(
    subject: str, servers: Servers, in_flight: int, seconds: float, number: int
) -> Measurement:
    """One fresh server under one load, and whatever makes it invalid."""
    async with started(subject, servers, client_names(CLIENTS)) as gateway:
        before, began = await _counters(servers.rabbit), time.monotonic()
        load = await _generate(
            *(gateway.url, f"--clients={CLIENTS}", f"--in-flight={in_flight}"),
            f"--seconds={seconds}",
            f"--protocol={'v1' if gateway.tokens else 'classic'}",
            *(f"--cpu={name}={pid}" for name, pid in gateway.processes.items()),
            tokens="\n".join(gateway.tokens),
            timeout=seconds + GENERATOR_EXTRA_SECONDS,
        )
        after, elapsed = await _counters(servers.rabbit), time.monotonic() - began
    crossed = {name: after[name] - before[name] for name in after}
    # A durable message is published once, and its sender gets a copy, too.
    expected = {
        "received": load["sent"],
        "delivered": load["received"] + load["echoed"],
    }
    if "rabbitmq" not in gateway.processes:
        expected = {"received": 0, "delivered": 0}
    wrong = list(load["void"])
    # A receipt for each account and second, some of them for nobody any more.
    receipts = int(CLIENTS * (elapsed + 2)) if gateway.tokens else 0
    if "rabbitmq" not in gateway.processes:
        receipts = 0
    if not all(0 <= crossed[name] - expected[name] <= receipts for name in expected):
        wrong.append(
            f"RabbitMQ counted {crossed}, and not {expected} and {receipts} receipts"
        )
    return Measurement(subject, in_flight, number, load, crossed, wrong)


async def _generate(
    *arguments: str,
    tokens: str,
    timeout: float,  # noqa: ASYNC109
) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.generator", *arguments),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate(tokens.encode())
    finally:
        await end(process)
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


async def _machine(servers: Servers) -> dict[str, Any]:
    """What the numbers depend on."""
    brokers = {"rabbitmq": servers.rabbit.ctl("version").strip()}
    if servers.postgres is not None:
        async with connected(servers.postgres.dsn()) as connection:
            found = await connection.fetchval("SHOW server_version")
        brokers["postgresql"] = found.partition(" ")[0]
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_average_before": os.getloadavg(),
        "python": platform.python_version(),
        **brokers,
    } | {name: version(name) for name in LIBRARIES}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds; the result as it is written with --json."""
    measured: list[Measurement] = []
    subjects = WORKLOADS[options.workload]
    with ExitStack() as stack:
        rabbit = stack.enter_context(PrivateRabbit(management=False))
        postgres = None
        if DURABLE[RABBITMQ] in subjects:
            postgres = stack.enter_context(PrivatePostgres())
        servers = Servers(rabbit, postgres)
        machine = await _machine(servers)
        for number in range(options.rounds):
            # Another one begins each round.
            first = number % len(subjects)
            order = subjects[first:] + subjects[:first]
            for in_flight in IN_FLIGHT:
                for subject in order:
                    one = await measure(
                        subject, servers, in_flight, options.seconds, number + 1
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
    parser.add_argument("workload", nargs="?", choices=[*WORKLOADS], default="classic")
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
