# SPDX-License-Identifier: Apache-2.0
"""v1 while RabbitMQ is away, and tokens that end: on two nodes over PostgreSQL."""

import asyncio
import time
from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus

from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import (
    PASSWORD,
    Refused,
    V1Session,
    acall,
    log_in,
    newcomer,
)
from tests.integration.conftest import Nodes, on_rabbit
from tests.integration.v1.conftest import cluster_options

Name = Callable[[str], str]


def bodies(session: V1Session) -> list[object]:
    """What the session has seen of messages, in its order."""
    return [each["body"] for each in session.events if each["t"] == "message.new"]


async def test_without_rabbitmq_sends_are_acknowledged_and_nothing_is_lost(
    cluster: Nodes, rabbit: PrivateRabbit, name: Name
) -> None:
    """The same node at once; the other one seconds after RabbitMQ's return."""
    alice = await newcomer(cluster.left, name("alice"))
    bob = await newcomer(cluster.left, name("bob"))
    other = await log_in(cluster.left, bob.username, "other")
    async with (
        alice.connect(cluster.left) as a,
        bob.connect(cluster.left) as near,
        other.connect(cluster.right) as far,
    ):
        made = await a.ask("conv.create", cid="g", members=[bob.username])
        conv = made["conv"]["conv"]
        for each in (near, far):
            await each.until_event("conv.new")
        await asyncio.to_thread(rabbit.stop)
        await cluster.left.until_broker_is("disconnected")
        await cluster.right.until_broker_is("disconnected")
        for n in range(20):
            await a.ask("send", cid=f"d{n}", to=bob.username, body=["d", n])
            await a.ask("send", cid=f"g{n}", conv=conv, body=["g", n])
        await near.messages(40)

        assert [] == bodies(far)
        await asyncio.to_thread(rabbit.start)
        returned = time.monotonic()
        await far.messages(40)
        took = time.monotonic() - returned

        assert took < 15, took
        for kind in ("d", "g"):
            mine = [body for body in bodies(far) if body[0] == kind]  # type: ignore[index]
            assert [[kind, n] for n in range(20)] == mine
        await cluster.right.until_broker_is("connected")
        await a.ask("send", cid="after", to=bob.username, body="after")
        await far.messages(41)
        assert "after" == bodies(far)[-1]


async def test_the_position_check_finds_what_the_broker_lost(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """Queues deleted under their consumers, with messages in between: all arrive."""
    options = await cluster_options(postgres)
    options["CM_POSITION_CHECK_SECONDS"] = "0.5"
    async with on_rabbit(rabbit, **options) as left, on_rabbit(rabbit, **options) as it:
        await left.until_broker_is("connected")
        await it.until_broker_is("connected")
        alice, bob = await newcomer(left, name("a")), await newcomer(left, name("b"))
        async with alice.connect(left) as a, bob.connect(it) as b:
            made = await a.ask("conv.create", cid="g", members=[bob.username])
            conv = made["conv"]["conv"]
            await b.until(lambda: b.events)
            sends = [
                a.ask("send", cid=f"{kind}{n}", body=[kind, n], **where)
                for n in range(60)
                for kind, where in (("d", {"to": bob.username}), ("g", {"conv": conv}))
            ]
            running = asyncio.gather(*sends)
            for queue in await asyncio.to_thread(rabbit.queues):
                await asyncio.to_thread(rabbit.ctl, "delete_queue", queue)
            await running
            await b.messages(120)

            for kind in ("d", "g"):
                mine = [body for body in bodies(b) if body[0] == kind]  # type: ignore[index]
                assert [[kind, n] for n in range(60)] == mine


async def test_a_revoked_device_is_closed_on_every_node_within_2_s(
    cluster: Nodes, name: Name
) -> None:
    """Log-out, revocation, another password, deactivation: 4502, or 4504."""
    alice = await newcomer(cluster.left, name("alice"), "keeps")
    phone = await log_in(cluster.left, alice.username, "phone")
    tablet = await log_in(cluster.left, alice.username, "tablet")
    async with (
        alice.connect(cluster.left) as kept,
        phone.connect(cluster.right) as first,
        tablet.connect(cluster.right) as second,
    ):
        began = time.monotonic()
        await kept.ask("device.revoke", device="phone")
        assert 4502 == await first.until_closed()
        await acall(
            cluster.left, "/v1/tokens/current", token=tablet.token, method="DELETE"
        )
        assert 4502 == await second.until_closed()
        assert time.monotonic() - began < 4
        with pytest.raises(Refused, match="401"):
            await acall(cluster.left, "/v1/rpc/sync", {}, token=phone.token)

        laptop = await log_in(cluster.left, alice.username, "laptop")
        async with laptop.connect(cluster.right) as third:
            await acall(
                cluster.left,
                "/v1/password",
                {"password": PASSWORD, "new_password": PASSWORD + "!"},
                token=alice.token,
            )
            assert 4502 == await third.until_closed()
        await kept.ask("ping")


async def test_a_revocation_holds_without_a_broker(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """The position check re-reads the tokens; here it comes every second."""
    options = await cluster_options(postgres)
    options["CM_POSITION_CHECK_SECONDS"] = "1"
    async with on_rabbit(rabbit, **options) as left, on_rabbit(rabbit, **options) as it:
        await left.until_broker_is("connected")
        await it.until_broker_is("connected")
        alice = await newcomer(left, name("alice"), "keeps")
        phone = await log_in(left, alice.username, "phone")
        async with alice.connect(left) as kept, phone.connect(it) as far:
            await asyncio.to_thread(rabbit.stop)
            await left.until_broker_is("disconnected")
            await kept.ask("device.revoke", device="phone")

            assert 4502 == await far.until_closed()
        await asyncio.to_thread(rabbit.start)


async def test_while_the_store_is_away_sends_are_refused_or_undecided(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """Unavailable or 4006, never a wrong answer; afterwards everything goes on."""
    options = await cluster_options(postgres)
    async with on_rabbit(rabbit, **options) as node:
        node.may_fail = True
        alice = await newcomer(node, name("alice"))
        async with alice.connect(node) as session:
            await session.ask("send", cid="0", to=alice.username, body=0)
            postgres.kill()
            with pytest.raises((Refused, ConnectionError)) as refused:
                await session.ask("send", cid="1", to=alice.username, body=1)
            if isinstance(refused.value, Refused):
                assert ("unavailable", True) == (
                    refused.value.code,
                    refused.value.error["retry"],
                )
            else:
                assert 4006 == session.close_code
            status, _ = await node.get("/readyz")
            assert 503 == status
            await asyncio.to_thread(postgres.start)

        async def works() -> bool:
            try:
                async with alice.connect(node, resume="device") as again:
                    answer = await again.ask("send", cid="1", to=alice.username, body=1)
                    await again.messages(2)
                    assert [0, 1] == bodies(again)
                    return bool(answer["n"] == 2)
            except (Refused, ConnectionError, InvalidStatus):
                return False

        await node.until(works)
