# SPDX-License-Identifier: Apache-2.0
"""The load: clients in pairs, each with a fixed number of messages in flight.

    connect --all can be reached--> warm-up --1 s--> window --T s--> drain --> report

It is a closed loop: every message that arrives has one sent in return, so the
server decides the speed, and a slow server is never buried.  Whoever receives a
message holds it against the ledger: the text must be whole and from the partner, and
its number one more than the last.  At the end sending stops, and what is in flight
must arrive.  A run whose ledger does not balance is void, however fast it was.

What a client says and checks: client.py, classic_client.py, durable_client.py.

Prints one line of JSON.  Exit status: 0, or 1 when the run is void.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop
from picows import ws_connect

from bench.classic_client import ClassicClient
from bench.client import Client, Times
from bench.cpu import busy_seconds, cpu_seconds
from bench.durable_client import DurableClient

CONNECT_SECONDS = 30.0
WARM_UP_SECONDS = 1.0
DRAIN_SECONDS = 15.0
# After the last message that is due: would a second copy of one still come?
LISTEN_SECONDS = 0.2


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """One run, from the first connection to the last."""
    times = Times()
    clients = await _connect(options, times)
    processes = dict(each.split("=") for each in options.cpu)
    gc.freeze()
    gc.disable()  # nothing here makes cycles; a pause would count as latency

    for client in clients:
        for _ in range(options.in_flight):
            client.send()
    await asyncio.sleep(WARM_UP_SECONDS)

    cpu_before = _cpu(processes)
    began = time.perf_counter()
    times.delivered.clear()
    times.answered.clear()
    await asyncio.sleep(options.seconds)
    delivered, answered = len(times.delivered), len(times.answered)
    seconds = time.perf_counter() - began
    cpu_after = _cpu(processes)

    complaints = await _drain(clients)
    of_delivery = sorted(times.delivered[:delivered])
    of_ok = sorted(times.answered[:answered])
    return {
        "clients": options.clients,
        "in_flight": options.in_flight,
        "delivered": delivered,
        "seconds": round(seconds, 3),
        "messages_per_second": round(delivered / seconds, 1),
        "p50_ms": _percentile(of_delivery, 0.5),
        "p99_ms": _percentile(of_delivery, 0.99),
        "ok_p50_ms": _percentile(of_ok, 0.5),
        "ok_p99_ms": _percentile(of_ok, 0.99),
        "cpu_seconds": _spent(cpu_before, cpu_after),
        "sent": sum(client.sent for client in clients),
        "received": sum(client.received for client in clients),
        "echoed": sum(client.echoed for client in clients),
        "message_bytes": clients[0].message_bytes,
        "void": complaints,
    }


async def _connect(options: argparse.Namespace, times: Times) -> Sequence[Client]:
    """Everyone connected, and where others can reach it."""
    clients = _clients(options, times)
    async with asyncio.timeout(CONNECT_SECONDS):
        await asyncio.gather(
            *(
                ws_connect(
                    lambda client=client: client,
                    options.url + client.path,
                    enable_auto_ping=False,
                    extra_headers=client.headers,
                )
                for client in clients
            )
        )
        await asyncio.gather(*(client.ready for client in clients))
    await asyncio.sleep(clients[0].settle_seconds)
    return clients


def _clients(options: argparse.Namespace, times: Times) -> Sequence[Client]:
    names = client_names(options.clients)
    pairs = [(name, names[number ^ 1]) for number, name in enumerate(names)]
    if options.protocol == "classic":
        return [ClassicClient(*pair, times) for pair in pairs]
    tokens = sys.stdin.read().split()
    return [
        DurableClient(*pair, times, token=token)
        for pair, token in zip(pairs, tokens, strict=True)
    ]


def client_names(count: int) -> list[str]:
    """Neighbours are partners."""
    return [f"u{number}" for number in range(count)]


async def _drain(clients: Sequence[Client]) -> list[str]:
    """Stop sending, wait for what is in flight; everything that is not as it must."""
    for client in clients:
        client.stop_sending()

    def missing() -> list[str]:
        return [
            each
            for number, client in enumerate(clients)
            for each in client.missing(clients[number ^ 1])
        ]

    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        if not missing():
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(LISTEN_SECONDS)
    complaints = [complaint for client in clients for complaint in client.complaints]
    complaints += missing()
    for client in clients:
        client.disconnect()
    return complaints


def _cpu(processes: dict[str, str]) -> dict[str, float | None]:
    used = {name: cpu_seconds(int(pid)) for name, pid in processes.items()}
    return used | {"generator": time.process_time(), "machine": busy_seconds()}


def _spent(
    before: dict[str, float | None], after: dict[str, float | None]
) -> dict[str, float | None]:
    """Seconds between two readings; ``others`` is what nobody we know has used."""
    spent = {
        name: None if used is None else round(used - (before[name] or 0.0), 3)
        for name, used in after.items()
    }
    machine = spent.pop("machine")
    known = sum(used or 0.0 for used in spent.values())
    others = None if machine is None else round(max(0.0, machine - known), 3)
    return spent | {"others": others}


def _percentile(ordered: list[int], part: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[int(len(ordered) * part)] / 1e6, 3)


def main() -> int:
    parser = argparse.ArgumentParser(description="Load for one server.")
    parser.add_argument("url", help="as ws://127.0.0.1:8888")
    parser.add_argument(
        "--protocol",
        choices=["classic", "v1"],
        default="classic",
        help="v1: a token for each client is read from standard input",
    )
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=20, help="of each client")
    parser.add_argument("--seconds", type=float, default=5, help="measured")
    parser.add_argument(
        "--cpu",
        action="append",
        default=[],
        metavar="NAME=PID",
        help="report the CPU time of this process and of its children too",
    )
    options = parser.parse_args()
    if options.clients % 2:
        parser.error("clients come in pairs")
    measured = uvloop.run(run(options))
    print(json.dumps(measured), flush=True)
    return 1 if measured["void"] else 0


if __name__ == "__main__":
    sys.exit(main())
