# SPDX-License-Identifier: Apache-2.0
"""docs/reference/amqp.md: commands by AMQP, with a real RabbitMQ and real nodes."""

import asyncio
import json
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pika
import pytest
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelPreconditionFailed,
)

from chatmotor.protocol.commands import CALLED
from tests.harness.amqp_service import REPLY_TO, Service
from tests.harness.node import DEADLINE_SECONDS
from tests.harness.v1_client import Refused, acall
from tests.integration.amqp.conftest import Installation


async def history(node: Any, token: str, conv: str) -> list[Any]:
    """All messages of a short conversation."""
    asked = {"conv": conv, "limit": 100}
    found = await acall(node, "/v1/rpc/history", asked, token=token)
    items: list[Any] = found["items"]
    return items


async def test_one_cid_is_one_message_on_every_way_in(place: Installation) -> None:
    """AMQP, HTTP and the socket give one answer, the first one without ``dup``."""
    login, service = await place.service("billing")
    alice = await place.newcomer("alice")
    message = {"cid": "order-17", "to": alice.username, "body": {"order": 17}}
    async with service.connect() as asking, login.connect(place.right) as session:
        first = await asking.ask("send", id="a", **message)
        again = await asking.ask("send", id=2, **message)
        over_http = await acall(place.right, "/v1/rpc/send", message, token=login.token)
        by_socket = await session.ask("send", **message)

    assert ("a", False) == (first.pop("id"), first.pop("dup"))
    assert (2, True) == (again.pop("id"), again.pop("dup"))
    assert over_http.pop("dup")
    assert by_socket.pop("dup")
    assert (first, over_http) == (again, {k: first[k] for k in over_http})
    assert first["n"] == by_socket["n"]
    (item,) = await history(place.left, alice.token, first["conv"])
    assert (login.username, {"order": 17}) == (item["from"], item["body"])


async def test_every_command_that_can_be_called_is_served(place: Installation) -> None:
    """Without fields each is refused for one that is missing, or done."""
    _, service = await place.service("svc")
    async with service.connect() as asking:
        for op in CALLED:
            answer = await asking.raw(json.dumps({"op": op, "id": op}).encode())

            assert op == answer["id"], answer
            assert answer["op"] == "ok" or answer["code"] == "bad_request", answer
        for op in ("hello", "ack", "auth", "ping", "watch", "nonsense"):
            with pytest.raises(Refused) as refused:
                await asking.ask(op)
            assert "unknown_op" == refused.value.code


async def test_the_ways_in_need_no_routing_key(place: Installation) -> None:
    """Through the exchange any key will do, and answers to a queue of one's own."""
    _, service = await place.service("svc")
    async with service.connect() as asking:
        for key in ("", "cm.in", "anything"):
            assert "ok" == (await asking.raw(b'{"op":"sync"}', key=key))["op"]
    async with trusted(place) as channel:
        mine = await channel.declare_queue(exclusive=True)
        user = {"user_id": "guest", "reply_to": mine.name, "correlation_id": "c-1"}
        message = aio_pika.Message(b'{"op":"sync","id":1}', **user)
        await channel.default_exchange.publish(message, "cm.in")
        async with mine.iterator(timeout=DEADLINE_SECONDS) as answers:
            answer = await anext(answers)

        assert "c-1" == answer.correlation_id
        assert "unauthenticated" == json.loads(answer.body)["code"]


@asynccontextmanager
async def trusted(place: Installation) -> AsyncIterator[Any]:
    """A channel of RabbitMQ's own administrator."""
    port = place.vhost.rabbit.port
    url = f"amqp://guest:guest@127.0.0.1:{port}/{place.vhost.name}"
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def test_nobody_without_a_user_id_is_served(place: Installation) -> None:
    """RabbitMQ vouches for it; without it, or without an account, nothing is done."""
    _, service = await place.service("svc")
    stranger = await Service.of(place.vhost, "stranger")
    async with service.connect() as asking:
        answer = await asking.raw(b'{"op":"sync","id":4}', user_id=None)
        assert (4, "unauthenticated") == (answer["id"], answer["code"])
        assert "user_id" in answer["msg"]
    async with stranger.connect() as asking:
        answer = await asking.raw(b'{"op":"sync"}')
        assert "unauthenticated" == answer["code"]
        assert "'stranger'" in answer["msg"]


async def test_nobody_passes_for_another(place: Installation) -> None:
    """RabbitMQ closes the channel of a publisher with another user's name."""
    _, service = await place.service("svc")
    other = await place.newcomer("other")
    async with service.connect() as asking:
        with pytest.raises(ChannelPreconditionFailed, match="user_id"):
            await asking.raw(b'{"op":"sync"}', user_id=other.username)


async def test_a_deactivated_account_is_refused(place: Installation) -> None:
    """From the next request on."""
    login, service = await place.service("svc")
    async with service.connect() as asking:
        await asking.ask("sync")
        await place.left.operate("user", "deactivate", login.username)

        with pytest.raises(Refused) as refused:
            await asking.ask("sync")
        assert "suspended" == refused.value.code


async def test_a_service_can_do_nothing_else(place: Installation) -> None:
    """
    With the least rights it reads no other queue, publishes nowhere else, and makes,
    binds and deletes nothing.
    """
    login, service = await place.service("svc")
    events = f"cm.events.{login.username}"
    async with trusted(place) as channel:
        for name in (events, "cm.events.somebody"):
            queue = await channel.declare_queue(name, durable=True)
    attempts: list[Callable[[Any], Any]] = [
        lambda ch: ch.basic_consume("cm.in", print),
        lambda ch: ch.basic_get("cm.in"),
        lambda ch: ch.basic_consume("cm.events.somebody", print),
        lambda ch: ch.queue_declare("mine", exclusive=True),
        lambda ch: ch.queue_declare("", exclusive=True),
        lambda ch: ch.queue_bind(events, "im_exchange", "alice"),
        lambda ch: ch.queue_delete(events),
        lambda ch: ch.queue_purge("cm.in"),
        lambda ch: ch.exchange_delete("cm.in"),
        lambda ch: ch.exchange_declare("mine", exchange_type="direct"),
        lambda ch: ch.basic_publish(b"x", exchange="im_exchange", routing_key="a"),
        lambda ch: ch.basic_publish(b"x", exchange="cm_nodes", routing_key="a"),
        lambda ch: ch.basic_publish(b"x", exchange="", routing_key="cm.in"),
    ]
    async with await aio_pika.connect(service.url) as connection:
        for attempt in attempts:
            channel = await connection.channel()
            underlay = await channel.get_underlay_channel()
            with pytest.raises(ChannelAccessRefused):
                await attempt(underlay)
        channel = await connection.channel()
        queue = await channel.get_queue(events, ensure=False)
        assert None is await queue.get(fail=False)


async def test_an_answer_that_nobody_may_have_is_dropped(place: Installation) -> None:
    """It is done, nothing of ours is written to, and the next one is served."""
    _, service = await place.service("svc")
    hostile = ["cm.in", "cm.events.x", "cm.", "gone", f"{REPLY_TO}.no", "x" * 255]
    async with service.connect() as asking:
        for reply_to in hostile * 2:
            await asking.publish(b'{"op":"sync"}', reply_to=reply_to)
        assert "ok" == (await asking.ask("sync"))["op"]
    sample = 'chatmotor_messages_dropped_total{reason="no_answer"}'
    counted = {await node.metric(sample) for node in (place.left, place.right)}

    assert 6 in counted
    assert 0 == await place.vhost.waiting()


async def test_no_answer_is_made_where_none_is_wanted(place: Installation) -> None:
    """Without ``reply_to`` a message is sent all the same."""
    login, service = await place.service("svc")
    alice = await place.newcomer("alice")
    message = {"op": "send", "cid": "1", "to": alice.username, "body": "psst"}
    async with service.connect() as asking, alice.connect(place.right) as session:
        await asking.publish(json.dumps(message).encode(), reply_to=None)
        (event,) = await session.messages(1)

        assert (login.username, "psst") == (event["from"], event["body"])
        assert [] == asking.extra


def hostile_bodies(count: int) -> list[bytes]:
    """JSON that is nearly right, and bytes that are not."""
    random.seed(4)
    good = json.dumps(
        {"op": "send", "id": 1, "cid": "c", "to": "nobody-at-all", "body": {"a": [1]}}
    ).encode()
    bodies = [b"", b"null", b"[" * 60_000, b'{"op":' * 9_000, b"x" * 70_000]
    bodies += [b'{"op":"send","op":"sync"}', b'{"id":1e999,"op":"sync"}']
    while len(bodies) < count:
        text = bytearray(good)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text))
            text[at : at + random.randint(0, 5)] = random.randbytes(
                random.randint(0, 3)
            )
        bodies.append(bytes(text))
    return bodies


async def test_every_body_has_an_answer(place: Installation) -> None:
    """Whatever it is: it is answered with an error, and does not come again."""
    _, service = await place.service("svc")
    async with service.connect() as asking:
        answers = await asyncio.gather(
            *(asking.raw(body) for body in hostile_bodies(300))
        )

        assert {"error"} == {each["op"] for each in answers}
        codes = {each["code"] for each in answers}
        assert {"bad_json", "bad_request", "too_large", "no_such_user"} <= codes
        assert "internal" not in codes
        assert [] == asking.extra
    assert 0 == await place.vhost.waiting()


def nested(depth: int) -> bytes:
    """A table in a table in a table."""
    table = b""
    for _ in range(depth):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return b"F" + struct.pack(">I", len(table)) + table


@pytest.mark.parametrize(
    "value",
    [
        b"T" + struct.pack(">Q", 2**62),
        nested(5000),
    ],
    ids=["a time after the year 9999", "tables in tables"],
)
async def test_properties_that_cannot_be_read_do_no_harm(
    place: Installation, value: bytes
) -> None:
    """The request is dropped, as one without a user, and the node stays connected."""
    _, service = await place.service("svc")

    def publish() -> None:
        class Raw(pika.BasicProperties):  # type: ignore[misc]  # pika is not typed
            def encode(self) -> list[bytes]:
                table = b"\x01k" + value
                return [
                    struct.pack(">H", 1 << 13),
                    struct.pack(">I", len(table)),
                    table,
                ]

        connection = pika.BlockingConnection(pika.URLParameters(service.url))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("cm.in", "", b'{"op":"sync"}', Raw())
        connection.close()

    nodes = (place.left, place.right)
    before = [node.log().count("connected to RabbitMQ") for node in nodes]
    await asyncio.to_thread(publish)
    async with service.connect() as asking:
        await asking.ask("sync")
    after = [node.log().count("connected to RabbitMQ") for node in nodes]

    assert before == after
    assert 0 == await place.vhost.waiting()


async def test_the_order_of_a_publisher_is_kept(place: Installation) -> None:
    """Also when it waits for no answer."""
    _, service = await place.service("svc")
    alice = await place.newcomer("alice")
    async with service.connect() as asking:
        answers = []
        for n in range(100):
            message = {"op": "send", "cid": f"{n}", "to": alice.username, "body": n}
            answers.append(await asking.publish(json.dumps(message).encode()))
        async with asyncio.timeout(DEADLINE_SECONDS):
            done = await asyncio.gather(*answers)

    assert list(range(1, 101)) == [each["n"] for each in done]
