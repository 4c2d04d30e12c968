# SPDX-License-Identifier: Apache-2.0
"""Requests over AMQP while parts of the installation come, go, or are not allowed."""

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.harness.amqp_service import PASSWORD, Asking, Service, Vhost, readme_rights
from tests.harness.node import DEADLINE_SECONDS, ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.v1_client import Login, Refused, acall, newcomer
from tests.integration.amqp.conftest import Installation
from tests.integration.conftest import on_rabbit
from tests.integration.v1.conftest import QUICK, cluster_options

# As README had it before there were requests over AMQP.
OLD_RIGHTS = r"^(im_exchange|cm_nodes|cm\.(client|node)\..*)$"


def send(to: Login, cid: str) -> bytes:
    """A request."""
    fields = {"op": "send", "id": cid, "cid": cid, "to": to.username, "body": cid}
    return json.dumps(fields).encode()


async def publish_all(
    asking: Asking, to: Login, count: int
) -> "list[asyncio.Future[Any]]":
    """Numbered requests, without waiting for answers."""
    return [await asking.publish(send(to, f"{n}")) for n in range(count)]


async def all_of(answers: "list[asyncio.Future[Any]]") -> list[Any]:
    """Every answer; an ``ok``, with the ``id`` of its request."""
    async with asyncio.timeout(2 * DEADLINE_SECONDS):
        done = await asyncio.gather(*answers)
    assert [("ok", f"{n}") for n in range(len(done))] == [
        (each["op"], each["id"]) for each in done
    ]
    return done


async def stored(node: ChatmotorNode, reader: Login, conv: str) -> list[str]:
    """The bodies of a conversation, in order."""
    bodies: list[str] = []
    while True:
        asked = {"conv": conv, "after": len(bodies), "limit": 100}
        page = await acall(node, "/v1/rpc/history", asked, token=reader.token)
        bodies += [each["body"] for each in page["items"]]
        if not page["items"]:
            return bodies


async def test_an_installation_with_old_permissions_serves_on(vhost: Vhost) -> None:
    """
    The log says in one line what is missing; once it is there, requests are taken.
    """
    await vhost.add_user("old", (OLD_RIGHTS, OLD_RIGHTS, OLD_RIGHTS))
    options = QUICK | vhost.options
    options |= {"CM_RABBIT_USERID": "old", "CM_RABBIT_PASSWORD": PASSWORD}
    async with on_rabbit(vhost.rabbit, **options) as node:
        await node.until_broker_is("connected")

        async def told() -> bool:
            return "requests over AMQP are not taken: ACCESS_REFUSED" in node.log()

        await node.until(told)
        alice, bob = await newcomer(node, "alice"), await newcomer(node, "bob")
        async with alice.connect(node) as a, bob.connect(node) as b:
            await a.ask("send", cid="1", to="bob", body="still here")
            await b.messages(1)
        assert (await node.readiness())["ready"]
        assert "AMQP_API" in node.log()
        assert 1 == node.log().count("connected to RabbitMQ")

        await vhost.allow("old", readme_rights())
        service = await Service.of(vhost, "alice")
        await reconnect(vhost, "old")
        await node.until(lambda: exchange_exists(vhost))
        async with service.connect() as asking:
            assert "ok" == (await asking.raw(send(bob, "x")))["op"]


async def exchange_exists(vhost: Vhost) -> bool:
    """Whether a node has made what it needs."""
    found = await vhost.api("queues")
    return "cm.in" in [each["name"] for each in found]


async def reconnect(vhost: Vhost, user: str) -> None:
    """Have RabbitMQ close the connections of *user*."""
    command = ("close_all_user_connections", user, "for the test")
    await asyncio.to_thread(vhost.rabbit.ctl, *command)


async def test_answers_that_may_not_be_written_keep_requests_waiting(
    vhost: Vhost,
) -> None:
    """Nothing is taken that could not be answered, and would come again for ever."""
    configure, write, read = readme_rights()
    assert r"|amq\.default" in write
    muted = write.replace(r"|amq\.default", "")
    await vhost.add_user("mute", (configure, muted, read))
    options = QUICK | vhost.options
    options |= {"CM_RABBIT_USERID": "mute", "CM_RABBIT_PASSWORD": PASSWORD}
    async with on_rabbit(vhost.rabbit, **options) as node:
        await node.until_broker_is("connected")

        async def told() -> bool:
            return "are not taken: ACCESS_REFUSED - access to exchange 'a" in node.log()

        await node.until(told)


async def test_off_means_that_the_queue_is_left_alone(vhost: Vhost) -> None:
    """``AMQP_API = "off"`` neither declares nor consumes."""
    options = QUICK | vhost.options | {"CM_AMQP_API": "off"}
    async with on_rabbit(vhost.rabbit, **options) as node:
        await node.until_broker_is("connected")
        alice = await newcomer(node, "alice")
        async with alice.connect(node) as session:
            await session.ask("sync")

            assert not await exchange_exists(vhost)


async def test_a_queue_of_the_administrators_making_is_used(vhost: Vhost) -> None:
    """As a quorum queue, that RabbitMQ keeps on several of its nodes."""
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    body = {"durable": True, "arguments": arguments}
    await vhost.api("queues", "/cm.in", method="PUT", body=body)
    body = {"type": "fanout", "durable": True}
    await vhost.api("exchanges", "/cm.in", method="PUT", body=body)
    async with on_rabbit(vhost.rabbit, **QUICK, **vhost.options) as node:
        await node.until_broker_is("connected")
        alice, bob = await newcomer(node, "alice"), await newcomer(node, "bob")
        service = await Service.of(vhost, alice.username)
        async with service.connect() as asking:
            answers = await all_of([await asking.publish(send(bob, "0"))])

        assert [1] == [each["n"] for each in answers]
        assert "not taken" not in node.log()


async def test_a_deleted_queue_is_made_again(vhost: Vhost) -> None:
    """Whoever deletes it loses what waited in it, and no more."""
    async with on_rabbit(vhost.rabbit, **QUICK, **vhost.options) as node:
        await node.until_broker_is("connected")
        alice, bob = await newcomer(node, "alice"), await newcomer(node, "bob")
        service = await Service.of(vhost, alice.username)
        async with service.connect() as asking:
            await all_of([await asking.publish(send(bob, "0"))])
            await vhost.api("queues", "/cm.in", method="DELETE")

            async def answered() -> bool:
                again = await asking.publish(send(bob, "0"))
                done, _ = await asyncio.wait({again}, timeout=0.5)
                return bool(done) and bool(again.result()["dup"])

            await node.until(answered)


async def test_a_spent_allowance_is_answered_with_the_time_to_wait(
    vhost: Vhost,
) -> None:
    """As over HTTP; nobody else waits for it."""
    options = QUICK | vhost.options
    options |= {"CM_SENDS_PER_SECOND": "0.1", "CM_SENDS_BURST": "1"}
    async with on_rabbit(vhost.rabbit, **options) as node:
        await node.until_broker_is("connected")
        alice, bob = await newcomer(node, "alice"), await newcomer(node, "bob")
        one = await Service.of(vhost, alice.username)
        other = await Service.of(vhost, bob.username)
        async with one.connect() as asking, other.connect() as asking_too:
            await asking.ask("send", cid="1", to="bob", body="x")
            with pytest.raises(Refused) as refused:
                await asking.ask("send", cid="2", to="bob", body="x")
            await asking_too.ask("send", cid="1", to="alice", body="x")

        assert "rate_limited" == refused.value.code
        assert 0 < refused.value.error["retry_ms"] <= 10_000


async def test_a_drained_node_hands_over(cluster: Installation) -> None:
    """
    SIGTERM amid requests: what was begun is answered, the rest by the other node, and
    the order is kept.
    """
    _, service = await cluster.service("svc")
    alice = await cluster.newcomer("alice")
    async with service.connect() as asking:
        answers = await publish_all(asking, alice, 300)
        await asyncio.wait({answers[20]}, timeout=DEADLINE_SECONDS)
        cluster.left.signal(signal.SIGTERM)
        done = await all_of(answers)

        assert list(range(1, 301)) == [each["n"] for each in done]
        assert [] == [each for each in done if each["dup"]]
        assert 0 == await cluster.left.wait()
    assert 0 == await cluster.vhost.waiting()


async def test_rabbitmq_restarts(cluster: Installation) -> None:
    """
    Persistent requests outlive it, nodes take them again by themselves, and answers
    that were lost with it come again, as ``dup``.
    """
    _, service = await cluster.service("svc")
    alice = await cluster.newcomer("alice")
    rabbit = cluster.vhost.rabbit
    async with service.connect() as asking:
        conv = (await all_of(await publish_all(asking, alice, 1)))[0]["conv"]
        await publish_all(asking, alice, 200)
        await asyncio.to_thread(rabbit.kill)
    await asyncio.to_thread(rabbit.start)
    async with service.connect() as asking:
        done = await all_of(await publish_all(asking, alice, 200))

    assert list(range(1, 201)) == [each["n"] for each in done]
    assert [f"{n}" for n in range(200)] == await stored(cluster.right, alice, conv)
    assert 0 == await cluster.vhost.waiting()


async def test_while_the_database_is_away_requests_wait(
    vhost: Vhost, postgres: PrivatePostgres
) -> None:
    """None is answered with an error; each has its ``ok`` after the return."""
    options = await cluster_options(postgres) | vhost.options
    async with on_rabbit(vhost.rabbit, **options) as node:
        node.may_fail = True
        await node.until_broker_is("connected")
        alice, bob = await newcomer(node, "alice"), await newcomer(node, "bob")
        service = await Service.of(vhost, alice.username)
        async with service.connect() as asking:
            await asyncio.to_thread(postgres.kill)
            answers = await publish_all(asking, bob, 50)

            async def away() -> bool:
                return not (await node.readiness())["store"]["up"]

            await node.until(away)
            assert not any(each.done() for each in answers)
            await asyncio.to_thread(postgres.start)
            done = await all_of(answers)

        assert list(range(1, 51)) == [each["n"] for each in done]
        assert 0 == await vhost.waiting()
