# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the node that takes requests over AMQP, with requests in flight.

Services publish at once and never repeat: what the dead node had taken goes back to
the queue, the other node finds by its ``cid`` what was done, and every request has an
answer.
"""

import asyncio
import json
from typing import Any

from tests.harness.amqp_service import Asking, Service, Vhost
from tests.harness.node import DEADLINE_SECONDS, ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import Login, acall, newcomer
from tests.integration.conftest import on_rabbit
from tests.integration.v1.conftest import cluster_options

SERVICES = 4
REQUESTS = 150  # each
# When so many are answered, a node is killed: the first one, the other, the first.
KILL_AT = (60, 200, 400)


class Answered:
    """How many answers have come."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Condition()

    async def add(self, answer: "asyncio.Future[Any]") -> Any:
        """Await one, and count it."""
        result = await answer
        async with self._changed:
            self._count += 1
            self._changed.notify_all()
        return result

    async def until(self, count: int) -> None:
        """Return once there are *count*."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self._count >= count)


async def publish(asking: Asking, to: str) -> "list[asyncio.Future[Any]]":
    """Numbered messages, as fast as RabbitMQ confirms them."""
    answers = []
    for n in range(REQUESTS):
        fields = {"op": "send", "id": n, "cid": f"{n}", "to": to, "body": n}
        answers.append(await asking.publish(json.dumps(fields).encode()))
    return answers


async def serve(service: Service, alice: Login, answered: Answered) -> str:
    """One service, from its first request to its last answer; the conversation."""
    async with service.connect() as asking:
        answers = await publish(asking, alice.username)
        async with asyncio.timeout(2 * DEADLINE_SECONDS):
            done = await asyncio.gather(*map(answered.add, answers))
        again = asking.extra

    assert {"ok"} == {each["op"] for each in [*done, *again]}
    assert list(range(REQUESTS)) == [each["id"] for each in done]
    assert list(range(1, REQUESTS + 1)) == [each["n"] for each in done]
    assert all(each["dup"] for each in again)
    conv: str = done[0]["conv"]
    return conv


async def kill(nodes: list[ChatmotorNode], answered: Answered) -> None:
    """Kill one node after the other amid requests, and start it again."""
    for number, count in enumerate(KILL_AT):
        await answered.until(count)
        node = nodes[number % 2]
        await node.kill()
        await node.start_again()
        await node.until_broker_is("connected")


async def bodies(node: ChatmotorNode, reader: Login, conv: str) -> list[int]:
    """Of the messages of a conversation, in order."""
    found: list[int] = []
    while True:
        asked = {"conv": conv, "after": len(found), "limit": 100}
        page = await acall(node, "/v1/rpc/history", asked, token=reader.token)
        if not page["items"]:
            return found
        found += [each["body"] for each in page["items"]]


async def test_no_request_is_lost_or_done_twice(
    rabbit: PrivateRabbit, postgres: PrivatePostgres
) -> None:
    """Each is answered, each message is there once, in the order of its publisher."""
    vhost = await Vhost.new(rabbit)
    options = await cluster_options(postgres) | vhost.options
    async with on_rabbit(rabbit, **options) as left:
        await left.until_broker_is("connected")
        async with on_rabbit(rabbit, **options) as right:
            await right.until_broker_is("connected")
            alice = await newcomer(left, "alice")
            services = []
            for number in range(SERVICES):
                await newcomer(left, f"service{number}")
                services.append(await Service.of(vhost, f"service{number}"))
            answered = Answered()
            killing = asyncio.ensure_future(kill([left, right], answered))
            convs = await asyncio.gather(
                *(serve(each, alice, answered) for each in services)
            )
            await killing

            for conv in convs:
                assert list(range(REQUESTS)) == await bodies(right, alice, conv)
            assert 0 == await vhost.waiting()
