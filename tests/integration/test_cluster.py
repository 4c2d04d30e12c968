# SPDX-License-Identifier: Apache-2.0
"""Two nodes over RabbitMQ: what is seen in the broker, and foreign AMQP peers."""

import asyncio
import json
from collections.abc import AsyncIterator

import aio_pika
import pika
import pytest

from tests.harness.node import DEADLINE_SECONDS, heard, say
from tests.harness.rabbitmq import PrivateRabbit
from tests.integration.conftest import Nodes, on_rabbit


@pytest.fixture
async def pair(rabbit: PrivateRabbit) -> AsyncIterator[Nodes]:
    """Two fresh, connected nodes."""
    async with on_rabbit(rabbit) as left, on_rabbit(rabbit) as right:
        await left.until_broker_is("connected")
        await right.until_broker_is("connected")
        yield Nodes(left, right)


def client_queues(rabbit: PrivateRabbit) -> list[str]:
    """The users' queues, as the management page shows them."""
    return [name for name in rabbit.queues() if name.startswith("cm.client.")]


async def test_one_queue_and_one_binding_per_client(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """Each client has a queue named after it, bound by its name, while it is there."""
    async with (
        pair.left.connect("alice"),
        pair.left.connect("alice"),
        pair.right.connect("böb"),
    ):
        queues = client_queues(rabbit)
        bound = rabbit.bindings("im_exchange")

        assert ["alice", "alice", "böb"] == [name.split(".")[2] for name in queues]
        assert ["alice", "alice", "böb"] == [key for key, _ in bound]
        assert queues == [queue for _, queue in bound]
        nodes = {name.split(".")[3] for name in queues}
        assert 2 == len(nodes)
        assert nodes == {
            name.split(".")[2] for name in rabbit.queues() if name[:8] == "cm.node."
        }

    async def all_gone() -> bool:
        return not await asyncio.to_thread(client_queues, rabbit)

    await pair.left.until(all_gone)
    assert [] == rabbit.bindings("im_exchange")


async def test_queues_are_of_a_kind_that_rabbitmq_4_allows(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """Every queue is exclusive; no argument that a later series has removed."""
    async with pair.left.connect("alice"):
        for queue in rabbit.api("queues/%2F"):
            assert queue["exclusive"] or queue["durable"]
            assert not queue["auto_delete"]
            known = {"x-max-length-bytes", "x-overflow", "x-single-active-consumer"}
            assert known >= set(queue["arguments"])
            assert "x-max-length-bytes" in queue["arguments"]
        exchange = rabbit.api("exchanges/%2F/im_exchange")
        assert ("direct", False, False) == (
            exchange["type"],
            exchange["durable"],
            exchange["auto_delete"],
        )


async def test_every_message_crosses_rabbitmq(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """Also between two users of one node: a queue bound to the name sees each."""
    connection = await aio_pika.connect(port=rabbit.port, host="127.0.0.1")
    async with connection, pair.left.connect("alice") as alice:
        async with pair.left.connect("bob") as bob:
            channel = await connection.channel()
            spy = await channel.declare_queue(exclusive=True)
            await spy.bind("im_exchange", "bob")
            texts = [await say(alice, "bob", n) for n in range(50)]

            assert list(range(50)) == await heard(bob, 50)
            async with asyncio.timeout(DEADLINE_SECONDS):
                seen = [await spy.get(no_ack=True) for _ in texts]
            assert texts == [message.body.decode() for message in seen]


async def test_pika_is_a_peer(pair: Nodes, rabbit: PrivateRabbit) -> None:
    """A program with pika sends to users and is sent to, by the exchange alone."""

    def exchange_messages() -> bytes | None:
        parameters = pika.ConnectionParameters("127.0.0.1", rabbit.port)
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.exchange_declare("im_exchange", "direct")
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "im_exchange", "robot")
        body = json.dumps({"destination": "alice", "content": "beep"})
        channel.basic_publish("im_exchange", "alice", body)
        for _, _, answer in channel.consume(queue, inactivity_timeout=DEADLINE_SECONDS):
            connection.close()
            return bytes(answer) if answer is not None else None
        return None

    async with pair.left.connect("alice") as alice:
        robot = asyncio.create_task(asyncio.to_thread(exchange_messages))
        assert ["beep"] == await heard(alice)
        text = await say(alice, "robot", "stop")
        assert text.encode() == await robot


async def test_aio_pika_is_a_peer(pair: Nodes, rabbit: PrivateRabbit) -> None:
    """A second AMQP library, with persistent messages and headers, is one as well."""
    connection = await aio_pika.connect(port=rabbit.port, host="127.0.0.1")
    async with connection, pair.right.connect("alice") as alice:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("im_exchange", "direct")
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "robot")
        message = aio_pika.Message(
            b'{"content": "beep"}',
            content_type="application/json",
            headers={"x": 1},
            message_id="1",
            delivery_mode=2,
        )
        await exchange.publish(message, routing_key="alice")

        assert ["beep"] == await heard(alice)
        text = await say(alice, "robot", "stop")
        async with asyncio.timeout(DEADLINE_SECONDS), queue.iterator() as received:
            async for each in received:
                assert text.encode() == each.body
                await each.ack()
                break


async def test_garbage_from_amqp_harms_nobody(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """A body that no text frame can carry is dropped and counted; the rest flows."""
    connection = await aio_pika.connect(port=rabbit.port, host="127.0.0.1")
    async with connection, pair.left.connect("alice") as alice:
        channel = await connection.channel()
        exchange = await channel.get_exchange("im_exchange")
        for body in (b"\xff\xfe", b"x" * 70_000, b"", b'{"content": "fine"}'):
            await exchange.publish(aio_pika.Message(body), routing_key="alice")

        async with asyncio.timeout(DEADLINE_SECONDS):
            assert "" == await alice.recv()
        assert ["fine"] == await heard(alice)
        dropped = "chatmotor_messages_dropped_total"
        assert 1 == await pair.left.metric(dropped + '{reason="not_text"}')
        assert 1 == await pair.left.metric(dropped + '{reason="too_large"}')


async def test_an_exchange_declared_otherwise_is_used_as_it_is(
    rabbit: PrivateRabbit,
) -> None:
    """An administrator's durable exchange is no reason not to start."""
    connection = await aio_pika.connect(port=rabbit.port, host="127.0.0.1")
    async with connection:
        channel = await connection.channel()
        await channel.declare_exchange("im_durable", "direct", durable=True)
    name = {"CM_INSTANT_MESSAGE_EXCHANGE_NAME": "im_durable"}
    async with on_rabbit(rabbit, **name) as node:
        await node.until_broker_is("connected")
        async with node.connect("alice") as alice:
            await say(alice, "alice", 1)
            assert [1] == await heard(alice)
        assert [] == rabbit.bindings("im_exchange")


async def test_workers_share_a_port(
    rabbit: PrivateRabbit, on_postgres: dict[str, str]
) -> None:
    """Clients of one port land on several processes and reach each other."""
    async with on_rabbit(rabbit, "--workers", "2", **on_postgres) as node:
        await node.until_broker_is("connected")

        async def two_nodes() -> bool:
            queues = await asyncio.to_thread(rabbit.queues)
            return len([name for name in queues if name[:8] == "cm.node."]) == 2

        await node.until(two_nodes)
        names = [f"u{n}" for n in range(24)]
        clients = [await node.connect(name) for name in names]
        serving = {name.split(".")[3] for name in client_queues(rabbit)}
        for name in names:
            await say(clients[0], name, name)

        for name, client in zip(names, clients, strict=True):
            assert [name] == await heard(client)
        assert 2 == len(serving)
        for client in clients:
            await client.close()
        assert 0 == await node.stop()
