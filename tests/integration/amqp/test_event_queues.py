# SPDX-License-Identifier: Apache-2.0
"""``Target`` on a real RabbitMQ: what a durable queue of events promises."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest

from chatmotor.adapters import rabbitmq_events
from chatmotor.adapters.rabbitmq_events import EventQueues
from chatmotor.adapters.rabbitmq_link import Link, RabbitAddress
from chatmotor.ports.hooks import Outgoing, TargetFailed
from tests.harness.amqp_service import PASSWORD, Service, Vhost, readme_rights
from tests.harness.node import DEADLINE_SECONDS

QUEUE = "cm.events.billing"


def event(n: int) -> Outgoing:
    """The event *n* of a mailbox."""
    body = {"seq": n, "t": "message.new", "ts": 1_700_000_000_999, "n": n}
    return Outgoing(f"e-{n}", "message.new", None, n, json.dumps(body).encode())


def events(first: int, last: int) -> list[Outgoing]:
    """Several."""
    return [event(n) for n in range(first, last + 1)]


async def open_link(vhost: Vhost) -> Link:
    """As a node has it, with the rights of Chatmotor's own user."""
    await vhost.add_user("server", readme_rights())
    address = RabbitAddress(
        *("127.0.0.1", vhost.rabbit.port, vhost.name, "server", PASSWORD),
        heartbeat_seconds=30,
    )
    return await Link.open(
        address,
        node="test",
        exchanges=("im_exchange", "cm_nodes"),
        on_confirm=lambda _: None,
        on_blocked=lambda _: None,
        on_lost=lambda _: None,
    )


@pytest.fixture
async def queues(vhost: Vhost) -> AsyncIterator[EventQueues]:
    """The queues of a node."""
    link = await open_link(vhost)
    queues = EventQueues()
    queues.use(link)
    yield queues
    await link.close()


@asynccontextmanager
async def consuming(vhost: Vhost) -> AsyncIterator[Any]:
    """The queue, as the service consumes it with the least rights."""
    service = await Service.of(vhost, "billing")
    async with await aio_pika.connect(service.url) as connection:
        channel = await connection.channel()
        yield await channel.get_queue(QUEUE, ensure=False)


async def consumed(vhost: Vhost, count: int) -> list[Any]:
    """The next messages, acknowledged."""
    async with consuming(vhost) as queue:
        async with asyncio.timeout(DEADLINE_SECONDS), queue.iterator() as messages:
            found = []
            async for message in messages:
                await message.ack()
                found.append(message)
                if len(found) == count:
                    return found
    raise AssertionError


async def test_an_event_is_a_persistent_message(
    queues: EventQueues, vhost: Vhost
) -> None:
    """Its id, type and time are properties; its body is the JSON of the event."""
    await queues.target("billing").deliver(events(1, 2))

    first, second = await consumed(vhost, 2)
    assert ("e-1", "message.new", "chatmotor", "application/json") == (
        first.message_id,
        first.type,
        first.app_id,
        first.content_type,
    )
    assert aio_pika.DeliveryMode.PERSISTENT == first.delivery_mode
    assert 1_700_000_000 == first.timestamp.timestamp()
    assert [event(1).body, event(2).body] == [first.body, second.body]


async def test_what_was_delivered_outlives_rabbitmq(
    queues: EventQueues, vhost: Vhost
) -> None:
    """A kill right after it."""
    await queues.target("billing").deliver(events(1, 50))
    await asyncio.to_thread(vhost.rabbit.kill)
    await asyncio.to_thread(vhost.rabbit.start)

    found = await consumed(vhost, 50)
    assert [f"e-{n}" for n in range(1, 51)] == [each.message_id for each in found]


async def test_a_full_queue_refuses_and_order_is_kept(
    queues: EventQueues, vhost: Vhost
) -> None:
    """
    With room for few, and a consumer that takes one at a time: a batch comes through
    all the same, once, and in order.
    """
    arguments = {"x-max-length": 3, "x-overflow": "reject-publish"}
    body = {"durable": True, "arguments": arguments}
    await vhost.api("queues", f"/{QUEUE}", method="PUT", body=body)
    target = queues.target("billing")
    seen: list[int] = []
    refused = 0
    async with consuming(vhost) as queue:
        while True:
            try:
                await target.deliver(events(1, 10))
                break
            except TargetFailed as failed:
                refused += failed.full
                message = await queue.get()
                await message.ack()
                seen.append(json.loads(message.body)["seq"])
    seen += [json.loads(each.body)["seq"] for each in await consumed(vhost, 3)]

    assert 7 == refused
    assert list(range(1, 11)) == seen


async def test_a_deleted_queue_is_made_again(queues: EventQueues, vhost: Vhost) -> None:
    """The batch that found none is to be repeated."""
    target = queues.target("billing")
    await target.deliver(events(1, 1))
    await vhost.api("queues", f"/{QUEUE}", method="DELETE")
    with pytest.raises(TargetFailed, match="deleted"):
        await target.deliver(events(2, 2))

    await target.deliver(events(2, 2))
    (found,) = await consumed(vhost, 1)
    assert "e-2" == found.message_id


async def test_without_rabbitmq_nothing_is_delivered(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so after a while; a link that comes meanwhile is used at once."""
    monkeypatch.setattr(rabbitmq_events, "DELIVER_SECONDS", 0.2)
    queues = EventQueues()
    target = queues.target("billing")
    with pytest.raises(TargetFailed):
        await target.deliver(events(1, 1))
    monkeypatch.undo()
    delivering = asyncio.ensure_future(target.deliver(events(1, 1)))
    link = await open_link(vhost)
    queues.use(link)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await delivering
    await target.close()
    await link.close()


async def test_a_name_that_no_queue_can_have_switches_the_hook_off(
    queues: EventQueues,
) -> None:
    """AMQP's names have at most 255 bytes."""
    with pytest.raises(TargetFailed) as failed:
        await queues.target("\U00010330" * 64).deliver(events(1, 1))

    assert failed.value.gone
