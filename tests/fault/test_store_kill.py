# SPDX-License-Identifier: Apache-2.0
"""Nothing that was acknowledged is lost or doubled, whatever is killed.

A crash of a process is what these tests make; the loss of power is not: the page cache
of the kernel survives a kill.
"""

import asyncio
import random
import sys
from itertools import count
from pathlib import Path

import pytest

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.errors import OutcomeUnknown, StoreUnavailable
from chatmotor.ports.messages import GroupLog, Mailbox
from chatmotor.ports.store import Store
from tests.fault.send_until_killed import (
    GROUP,
    USERS,
    message,
    open_store,
    prepare,
)
from tests.harness.postgres import PrivatePostgres
from tests.harness.stores import whole

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60.0

# "user/cid" --> (conv, n)
Acked = dict[str, tuple[str, int]]


async def check(store: Store, acked: Acked) -> int:
    """Compare *acked* with every log of *store*; how many messages there are."""
    found: Acked = {}
    events = list(await whole(store, GroupLog(GROUP, None)))
    for username in USERS:
        mailbox = await whole(store, Mailbox(username))
        assert list(range(1, len(mailbox) + 1)) == [event.at for event in mailbox]
        events += mailbox
    copies: dict[str, int] = {}
    for event in events:
        if event.message is not None:
            name = f"{event.message.sender}/{event.message.cid}"
            place = (event.message.conv, event.message.n)
            assert place == found.setdefault(name, place)
            copies[name] = copies.get(name, 0) + 1
    for name, (conv, _) in found.items():
        assert (1 if conv == GROUP else 2) == copies[name]
    assert {} == dict(acked.items() - found.items())
    for conv in {conv for conv, _ in found.values()}:
        numbers = sorted(n for other, n in found.values() if other == conv)
        assert list(range(1, len(numbers) + 1)) == numbers
    return len(found)


async def kill_while_sending(kind: str, where: str, acks: int) -> Acked:
    """Start a sender, SIGKILL it after *acks* answers; all the answers it printed."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fault.send_until_killed", kind, where),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    acked: Acked = {}
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while line := await child.stdout.readline():
                if line.endswith(b"\n"):
                    name, conv, n = line.decode().split()
                    acked[name] = (conv, int(n))
                if len(acked) == acks:
                    child.kill()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    return acked


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_killed_node_loses_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """SIGKILL at a random moment, five times, on the same store."""
    if kind == "sqlite":
        where = str(tmp_path / "chat.db")
    else:
        server: PrivatePostgres = request.getfixturevalue("postgres")
        where = await server.create_database()
        await PostgresStore(where).upgrade()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acked: Acked = {}
    for _ in range(5):
        acks = chance.randint(1, 1500)
        again = await kill_while_sending(kind, where, acks)
        assert acks <= len(again)
        # The same cids as before got the same answers.
        assert {} == {x: y for x, y in again.items() if acked.get(x, y) != y}
        acked |= again
        store = open_store(kind, where)
        await store.start()
        assert len(acked) <= await check(store, acked)
        await store.stop()


async def test_a_killed_database_loses_nothing(postgres: PrivatePostgres) -> None:
    """
    SIGKILL of PostgreSQL under load: the store waits for it and goes on by itself,
    and what was acknowledged, before and after, is there once.
    """
    store = PostgresStore(await postgres.create_database(), patience_seconds=2)
    await store.upgrade()
    await store.start()
    await prepare(store)
    acked: Acked = {}
    enough, one_more = asyncio.Event(), asyncio.Event()

    async def send(user: int) -> None:
        for number in count():
            if enough.is_set():
                return
            while True:
                try:
                    stored = await store.send(message(user, number))
                except (StoreUnavailable, OutcomeUnknown):
                    continue  # with the same cid
                break
            acked[f"{USERS[user]}/{number}"] = (stored.conv, stored.n)
            one_more.set()

    async def acks(more: int) -> None:
        goal = len(acked) + more
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(acked) < goal:
                one_more.clear()
                await one_more.wait()

    senders = asyncio.gather(*(send(user) for user in range(len(USERS))))
    for _ in range(3):
        await acks(random.randint(50, 500))
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
    await acks(200)
    enough.set()
    await senders

    assert len(acked) == await check(store, acked)
    await store.stop()


async def test_without_a_database_the_answer_is_honest(
    postgres: PrivatePostgres,
) -> None:
    """While PostgreSQL is away writes and reads end with StoreUnavailable, in time."""
    store = PostgresStore(await postgres.create_database(), patience_seconds=0.5)
    await store.upgrade()
    await store.start()
    await prepare(store)
    await asyncio.to_thread(postgres.kill)

    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailable):
            await store.send(message(0, 1))
        with pytest.raises(StoreUnavailable):
            await store.tops(["user0"], [])

    await asyncio.to_thread(postgres.start)
    assert 1 == (await store.send(message(0, 1))).n
    await store.stop()
