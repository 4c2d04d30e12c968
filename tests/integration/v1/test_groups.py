# SPDX-License-Identifier: Apache-2.0
"""Groups over v1: one log for all members, whoever is there and whoever is not."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.ports.accounts import NewAccount
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import Login, Refused, V1Session, newcomer
from tests.integration.conftest import Nodes, on_rabbit
from tests.integration.v1.conftest import QUICK

Name = Callable[[str], str]


def positions(session: V1Session, conv: str) -> list[int]:
    """The group events that a session has seen, in its order."""
    return [
        each["pos"] for each in session.events if each["conv"] == conv and "pos" in each
    ]


async def reached(session: V1Session, conv: str, pos: int) -> None:
    """Return once the session has seen this event of the group."""
    await session.until(lambda: pos in positions(session, conv))


async def make_group(session: V1Session, *members: str, cid: str = "g") -> str:
    """A group of the session's account with *members*."""
    made = await session.ask("conv.create", cid=cid, members=members, title="Tea")
    conv: str = made["conv"]["conv"]
    return conv


async def test_members_on_all_nodes_see_one_log(nodes: Nodes, name: Name) -> None:
    """Invited while online, each member gets every event after that, in order."""
    ann, bob, cyd = [await newcomer(nodes.left, name(each)) for each in "abc"]
    async with (
        ann.connect(nodes.left) as a,
        bob.connect(nodes.right) as b,
        cyd.connect(nodes.left) as c,
    ):
        conv = await make_group(a, bob.username)
        again = await make_group(a, bob.username)
        assert conv == again
        await b.until_event("conv.new")
        await a.ask("conv.invite", conv=conv, users=[cyd.username])
        await c.until_event("conv.new")
        joined = next(each for each in c.events if each["t"] == "conv.new")
        assert (conv, ann.username, "Tea") == (
            joined["conv"],
            joined["actor"],
            joined["title"],
        )
        await asyncio.gather(
            *(
                each.ask("send", cid=f"m{n}", conv=conv, body=n)
                for n in range(50)
                for each in (a, b, c)
            )
        )
        for session in (a, b, c):
            await reached(session, conv, 152)

        for session in (a, b, c):
            seen = positions(session, conv)
            assert list(range(seen[0], 153)) == seen
        pulled = await c.ask("events", since=0, conv=conv, limit=500)
        assert list(range(1, 153)) == [each["pos"] for each in pulled["events"]]
        assert ["conv.member"] * 2 == [each["t"] for each in pulled["events"][:2]]
        assert a.events[-1].keys() - b.events[-1].keys() <= {"cid"}


async def test_whoever_was_away_finds_the_group_behind(
    nodes: Nodes, name: Name
) -> None:
    """``welcome.behind`` names what moved on; ``events`` brings it."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in "ab"]
    async with ann.connect(nodes.left) as a:
        conv = await make_group(a, bob.username)
        async with bob.connect(nodes.right) as b:
            start = b.welcome
        for n in range(7):
            await a.ask("send", cid=str(n), conv=conv, body=n)
    resume = {"epoch": start["epoch"], "seq": start["seq"], "groups": {conv: 1}}
    async with bob.connect(nodes.right, resume=resume) as b:
        behind = {"conv": conv, "pos": 8, "n": 7, "unread": 7, "mentions": 0}

        assert [behind] == b.welcome["behind"]
        pulled = await b.ask("events", since=1, conv=conv)
        assert list(range(2, 9)) == [each["pos"] for each in pulled["events"]]
        await b.ask("read", conv=conv, n=7)
    async with bob.connect(nodes.left, resume="device") as b:
        assert [] == b.welcome["behind"]


async def test_a_removed_member_reads_nothing_more(nodes: Nodes, name: Name) -> None:
    """It is told in its mailbox, and refused on every node from then on."""
    ann, bob, cyd = [await newcomer(nodes.left, name(each)) for each in "abc"]
    async with (
        ann.connect(nodes.left) as a,
        bob.connect(nodes.right) as b,
        cyd.connect(nodes.right) as c,
    ):
        conv = await make_group(a, bob.username, cyd.username)
        await b.until_event("conv.new")
        with pytest.raises(Refused, match="forbidden"):
            await b.ask("conv.remove", conv=conv, users=[cyd.username])
        await a.ask("conv.remove", conv=conv, users=[bob.username])
        await b.until_event("conv.member")
        await a.ask("send", cid="secret", conv=conv, body="not for bob")
        await reached(c, conv, 3)

        for op, fields in (
            ("events", {"since": 0, "conv": conv}),
            ("history", {"conv": conv}),
            ("conv.get", {"conv": conv}),
            ("send", {"conv": conv, "cid": "x", "body": 1}),
            ("read", {"conv": conv, "n": 1}),
        ):
            with pytest.raises(Refused, match="not_member"):
                await b.ask(op, **fields)
        assert 3 not in positions(b, conv)
        assert [] == (await b.ask("sync"))["convs"]
        await c.ask("conv.leave", conv=conv)
        with pytest.raises(Refused, match="not_member"):
            await c.ask("history", conv=conv)


async def test_what_one_is_not_in_does_not_exist(nodes: Nodes, name: Name) -> None:
    """A foreign conversation and one that is not there are one answer."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in "ab"]
    async with ann.connect(nodes.left) as a, bob.connect(nodes.right) as b:
        conv = await make_group(a)
        note = await a.ask("send", cid="1", to=ann.username, body="note")
        answers: list[Any] = []
        for each in (conv, note["conv"], "g.0000000000000000", "d.999.1000", "\u00e9"):
            for op, fields in (
                ("events", {"since": 0}),
                ("history", {}),
                ("conv.get", {}),
                ("conv.invite", {"users": [bob.username]}),
                ("conv.leave", {}),
                ("send", {"cid": "x", "body": 1}),
                ("read", {"n": 1}),
            ):
                with pytest.raises(Refused) as refused:
                    await b.ask(op, conv=each, **fields)
                refused.value.error.pop("id")
                answers.append(refused.value.error)

        assert all(answers[0] == each for each in answers)
        assert "no_such_conv" == answers[0]["code"]


MEMBERS = 2000
ONLINE = 20
SENDS = 8


async def test_a_group_of_2000_costs_one_row_and_one_publish(
    rabbit: PrivateRabbit, postgres: PrivatePostgres
) -> None:
    """Counted in the database and in RabbitMQ; each member online gets it once."""
    dsn = await postgres.create_database()
    store = PostgresStore(dsn)
    await store.upgrade()
    options = QUICK | {"CM_STORE": "postgres", "CM_POSTGRES_DSN": dsn}
    options["CM_PRESENCE_GRACE_SECONDS"] = "600"  # so the nodes' beats are far apart
    async with on_rabbit(rabbit, **options) as left, on_rabbit(rabbit, **options) as it:
        await left.until_broker_is("connected")
        await it.until_broker_is("connected")
        people = [await newcomer(left, f"p{n}") for n in range(ONLINE)]
        await store.start()
        others = [f"q{n}" for n in range(MEMBERS - ONLINE)]
        for begin in range(0, len(others), 100):
            await asyncio.gather(
                *(
                    store.create_account(NewAccount(each, 1))
                    for each in others[begin : begin + 100]
                )
            )
        await store.stop()
        members = [each.username for each in people] + others
        async with AsyncExitStack() as stack:
            sessions = [
                await stack.enter_async_context(each.connect(left if index % 2 else it))
                for index, each in enumerate(people)
            ]
            conv = await make_group(sessions[0], *members)
            for each in sessions:
                await each.until_event("conv.new")
            costs: list[tuple[int, int]] = []
            # Nodes of other tests, on the same RabbitMQ, beat now and then: one send
            # that none of them falls into shows what it costs.
            while (1, 2) not in costs and len(costs) < SENDS:
                costs.append(await cost_of_a_send(rabbit, sessions, conv, len(costs)))
            for each in sessions:
                await each.ask("ping")
            places = list(range(2, 2 + len(costs)))

            assert [places] * ONLINE == [positions(each, conv) for each in sessions]
            assert (1, 2) == min(costs)
            database = await asyncpg.connect(dsn)
            rows = await database.fetchval(
                "SELECT count(*) FROM group_log WHERE conv = $1 AND n IS NOT NULL", conv
            )
            await database.close()
            assert len(costs) == rows
        absent = people[5]
        await finds_it_behind(absent, it, conv, [1, *places])


async def cost_of_a_send(
    rabbit: PrivateRabbit, sessions: list[V1Session], conv: str, earlier: int
) -> tuple[int, int]:
    """What RabbitMQ has received and delivered while one message reached everybody."""
    await settled(rabbit)
    before = rabbit.message_counters()
    cid = str(earlier)
    sent = await sessions[3].ask("send", cid=cid, conv=conv, body="to all")
    assert earlier + 1 == sent["n"]
    for each in sessions:
        await reached(each, conv, earlier + 2)
    await settled(rabbit)
    after = rabbit.message_counters()
    return (
        after["received"] - before["received"],
        after["delivered"] - before["delivered"],
    )


async def settled(rabbit: PrivateRabbit) -> None:
    """RabbitMQ counts what it has done a moment later."""
    last: dict[str, int] = {}
    async with asyncio.timeout(20):
        while (now := await asyncio.to_thread(rabbit.message_counters)) != last:
            last = now
            await asyncio.sleep(0.3)


async def finds_it_behind(
    login: Login, node: Any, conv: str, places: list[int]
) -> None:
    """A member that comes later sees that there is something, and pulls it."""
    async with login.connect(node, resume="device") as session:
        behind = [each["conv"] for each in session.welcome["behind"]]
        pulled = await session.ask("events", since=0, conv=conv)

        assert [conv] == behind
        assert places == [each["pos"] for each in pulled["events"]]
