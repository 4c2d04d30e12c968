# SPDX-License-Identifier: Apache-2.0
"""A process that sends as fast as it can and prints what was acknowledged.

    python -m tests.fault.send_until_killed sqlite <path> | postgres <dsn>

One line for each answer: cid, conv, n.  It ends by being killed.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.ports.messages import NewGroup, NewMessage
from chatmotor.ports.store import Store
from tests.harness.stores import add_account

USERS = tuple(f"user{each}" for each in range(20))
GROUP = "crowd"


def open_store(kind: str, where: str) -> Store:
    """The adapter of *kind*."""
    return SqliteStore(Path(where)) if kind == "sqlite" else PostgresStore(where)


async def prepare(store: Store) -> None:
    """Accounts for all, and a group of all."""
    for username in USERS:
        await add_account(store, username)
    group = NewGroup(GROUP, USERS[0], "create", 1, frozenset(USERS))
    await store.create_group(group)


def message(user: int, number: int) -> NewMessage:
    """Mostly to the partner, who also sends; every fifth to the group."""
    sender, cid, body = USERS[user], str(number), b'{"number": %d}' % number
    if number % 5 == 0:
        return NewMessage(sender, cid, body, 1, conv=GROUP)
    return NewMessage(sender, cid, body, 1, to=USERS[user ^ 1])


async def _send(store: Store, user: int, lane: int) -> None:
    for number in count(lane, 3):
        stored = await store.send(message(user, number))
        line = f"{USERS[user]}/{number} {stored.conv} {stored.n}\n"
        sys.stdout.write(line)
        sys.stdout.flush()


async def _main(kind: str, where: str) -> None:
    store = open_store(kind, where)
    await store.start()
    await prepare(store)
    lanes = ((user, lane) for user in range(len(USERS)) for lane in range(3))
    await asyncio.gather(*(_send(store, user, lane) for user, lane in lanes))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
