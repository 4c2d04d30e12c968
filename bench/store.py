# SPDX-License-Identifier: Apache-2.0
"""How many sends per second the store takes: no sockets, no broker.

    python -m bench.store [--seconds 5]

100 senders in pairs, each with 1 or 20 sends under way; every send is durable when it
is counted.  The senders share the process, and so the cores, with the store.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from time import perf_counter

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.ports.messages import Mailbox, NewMessage
from chatmotor.ports.store import Store
from tests.harness.postgres import PrivatePostgres
from tests.harness.stores import add_account

SENDERS = 100
IN_FLIGHT = (1, 20)
BODY = b'"%s"' % (b"x" * 88)
WARM_UP_SECONDS = 1.0


async def measure(store: Store, in_flight: int, seconds: float) -> tuple[float, ...]:
    """Sends per second, and the median and 99th percentile of their time in ms."""
    users = [f"{in_flight}.{each}" for each in range(SENDERS)]
    for user in users:
        await add_account(store, user)
    took: list[float] = []
    sent = 0
    begin = perf_counter() + WARM_UP_SECONDS
    end = begin + seconds

    async def send(user: int, lane: int) -> None:
        nonlocal sent
        for number in count(lane, in_flight):
            before = perf_counter()
            if before >= end:
                return
            await store.send(
                NewMessage(users[user], str(number), BODY, 0, to=users[user ^ 1])
            )
            sent += 1
            after = perf_counter()
            if begin <= after <= end:
                took.append(after - before)

    lanes = [(user, lane) for user in range(SENDERS) for lane in range(in_flight)]
    await asyncio.gather(*(send(*each) for each in lanes))
    tops = await store.tops(users, [])
    if 2 * sent != sum(tops.seqs.values()):
        raise RuntimeError("the mailboxes do not hold what was sent")
    page = await store.events(Mailbox(users[0]), since=tops.seqs[users[0]], limit=1)
    assert not page.events
    took.sort()
    p50, p99 = statistics.median(took), took[int(len(took) * 0.99)]
    return len(took) / seconds, p50 * 1000, p99 * 1000


async def run(seconds: float) -> None:
    print(
        f"{SENDERS} senders in pairs, {len(BODY)} bytes; load {os.getloadavg()[0]:.1f}"
    )
    print("| store | in flight | sends/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(PrivatePostgres())
        postgres = PostgresStore(await server.create_database())
        await postgres.upgrade()
        stores: dict[str, Store] = {
            "SQLite": SqliteStore(Path(directory) / "chat.db"),
            "PostgreSQL": postgres,
        }
        for name, store in stores.items():
            await store.start()
            stack.push_async_callback(store.stop)
            for in_flight in IN_FLIGHT:
                rate, p50, p99 = await measure(store, in_flight, seconds)
                print(f"| {name} | {in_flight} | {rate:,.0f} | {p50:.1f} | {p99:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.store")
    parser.add_argument("--seconds", type=float, default=5, help="measured, per line")
    asyncio.run(run(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
