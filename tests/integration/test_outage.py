# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ goes away and returns, nodes die: docs/explanation/broker-outage.md."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection

from tests.harness.node import DEADLINE_SECONDS, ChatmotorNode, heard, say
from tests.harness.rabbitmq import PrivateRabbit
from tests.integration.conftest import Nodes, on_rabbit


@pytest.fixture
async def pair(rabbit: PrivateRabbit) -> AsyncIterator[Nodes]:
    """Two fresh, connected nodes."""
    async with on_rabbit(rabbit) as left, on_rabbit(rabbit) as right:
        await left.until_broker_is("connected")
        await right.until_broker_is("connected")
        yield Nodes(left, right)


class Talk:
    """One client sends numbers to another, all the time; both ends keep a book."""

    def __init__(self, sender: ClientConnection, receiver: ClientConnection) -> None:
        self.sent: list[tuple[float, int]] = []
        self.received: list[tuple[float, int]] = []
        self._sender = sender
        self._receiver = receiver
        self._name = f"talk{id(self)}"
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, destination: str) -> None:
        """Begin to send to *destination*, 200 a second."""
        self._tasks = [
            asyncio.create_task(self._send(destination)),
            asyncio.create_task(self._receive()),
        ]

    async def _send(self, destination: str) -> None:
        for n in itertools.count():
            self.sent.append((time.monotonic(), n))
            await say(self._sender, destination, n)
            await asyncio.sleep(0.005)

    async def _receive(self) -> None:
        async for text in self._receiver:
            self.received.append((time.monotonic(), json.loads(text)["content"]))

    async def until_received(self, after: float) -> float:
        """When the first message that was sent after *after* arrived."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                sent = {n: at for at, n in self.sent}
                for at, n in reversed(self.received):
                    if sent[n] > after:
                        return at
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop sending, and give what is under way time to arrive."""
        self._tasks[0].cancel()
        last = self.sent[-1][1]
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not self.received or self.received[-1][1] < last:
                await asyncio.sleep(0.01)
        self._tasks[1].cancel()
        await asyncio.wait(self._tasks)

    def numbers(self) -> list[int]:
        """What was received, in order."""
        return [n for _, n in self.received]


def first_copies(numbers: list[int]) -> list[int]:
    """*numbers* without repetitions; the first one of each counts."""
    return list(dict.fromkeys(numbers))


async def test_rabbitmq_stops_for_ten_seconds_under_traffic(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """
    Users of one node talk on without a gap; users of two nodes again within 5 s of
    its return, and what they said meanwhile arrives; nothing is out of order.
    """
    async with (
        pair.left.connect("alice") as alice,
        pair.left.connect("bob") as bob,
        pair.left.connect("carl") as carl,
        pair.right.connect("dora") as dora,
    ):
        near, far = Talk(alice, bob), Talk(carl, dora)
        near.start("bob")
        far.start("dora")
        await near.until_received(0)
        await far.until_received(0)

        await asyncio.to_thread(rabbit.stop)
        down = time.monotonic()
        await pair.left.until_broker_is("disconnected")
        assert 0 < len((await pair.left.readiness())["reasons"])
        gap_ended = await near.until_received(down)
        assert gap_ended - down < 2
        await asyncio.sleep(max(0.0, down + 10 - time.monotonic()))
        await asyncio.to_thread(rabbit.start)
        back = time.monotonic()

        assert await far.until_received(back) - back < 5
        await pair.left.until_broker_is("connected")
        await near.stop()
        await far.stop()

    # Nothing is lost but what RabbitMQ held in its hands as it stopped.
    assert len(near.sent) - 20 <= len(first_copies(near.numbers()))
    assert len(far.sent) - 20 <= len(first_copies(far.numbers()))
    for talk in (near, far):
        first = first_copies(talk.numbers())
        assert sorted(first) == first
        # Twice is possible for what was unconfirmed at the switch, no more.
        assert len(talk.numbers()) - len(first) < 20


async def test_rabbitmq_is_killed_under_traffic(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """SIGKILL and a new start: traffic between the nodes flows again within 5 s."""
    async with pair.left.connect("alice") as alice, pair.right.connect("bob") as bob:
        talk = Talk(alice, bob)
        talk.start("bob")
        await talk.until_received(0)

        for _ in range(2):
            await asyncio.to_thread(rabbit.kill)
            await pair.left.until_broker_is("disconnected")
            await asyncio.to_thread(rabbit.start)
            back = time.monotonic()
            assert await talk.until_received(back) - back < 5

        await talk.stop()
    first = first_copies(talk.numbers())
    assert sorted(first) == first


async def test_a_node_is_killed_while_the_other_serves_on(
    rabbit: PrivateRabbit,
) -> None:
    """The survivor's users notice nothing; the dead node's find another."""
    async with on_rabbit(rabbit) as survivor, on_rabbit(rabbit) as victim:
        await survivor.until_broker_is("connected")
        await victim.until_broker_is("connected")
        async with survivor.connect("alice") as alice, survivor.connect("bob") as bob:
            carl = await victim.connect("carl")
            talk = Talk(alice, bob)
            talk.start("bob")
            await say(alice, "carl", "there?")
            assert ["there?"] == await heard(carl)

            await victim.kill()

            async with survivor.connect("carl") as carl_again:
                await talk.until_received(time.monotonic())
                await say(bob, "carl", "again")
                assert ["again"] == await heard(carl_again)
            await talk.stop()
            await carl.close()
        assert [n for _, n in talk.sent] == talk.numbers()


async def test_rabbitmq_is_absent_at_start() -> None:
    """The node starts, says so, serves its users, and joins when RabbitMQ comes."""
    rabbit = PrivateRabbit()
    async with on_rabbit(rabbit) as node:
        readiness = await node.readiness()
        assert readiness["ready"]
        assert "rabbitmq" == readiness["broker"]["kind"]
        assert "disconnected" == readiness["broker"]["state"]
        assert "users of other nodes are not reached now" in readiness["reasons"][0]

        async def is_explained() -> bool:
            reason = (await node.readiness())["broker"]["reason"]
            return bool(reason == "connection refused")

        await node.until(is_explained)
        assert "connection refused; serving this node's users only" in node.log()
        async with node.connect("alice") as alice, node.connect("bob") as bob:
            await say(alice, "bob", "early")
            assert ["early"] == await heard(bob)

            with rabbit:
                await node.until_broker_is("connected")
                assert ["alice", "bob"] == [
                    k for k, _ in rabbit.bindings("im_exchange")
                ]
                await say(alice, "bob", "through RabbitMQ")
                assert ["through RabbitMQ"] == await heard(bob)


async def test_unconfirmed_messages_at_the_switch(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """
    RabbitMQ takes messages and dies before it confirms them: the sender's node
    delivers them to its own users at once, to the others when RabbitMQ is back,
    each at least once and in order.
    """
    async with (
        pair.left.connect("alice") as alice,
        pair.left.connect("bob") as near,
        pair.right.connect("bob") as far,
    ):
        await asyncio.to_thread(rabbit.pause)
        for n in range(100):
            await say(alice, "bob", n)

        async def all_read() -> bool:
            name = 'chatmotor_messages_total{direction="in"}'
            return await pair.left.metric(name) == 100

        await pair.left.until(all_read)
        await asyncio.to_thread(rabbit.kill)

        assert list(range(100)) == await heard(near, 100)
        await say(alice, "bob", "in the outage")
        assert ["in the outage"] == await heard(near)
        await asyncio.to_thread(rabbit.start)
        assert [*range(100), "in the outage"] == await heard(far, 101)
        await pair.left.until_broker_is("connected")
        await say(alice, "bob", "after it")
        assert ["after it"] == await heard(near)
        assert ["after it"] == await heard(far)


async def test_who_comes_in_an_outage_gets_nothing_older(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """What was sent before a user came is not delivered after what was sent then."""
    async with pair.left.connect("alice") as alice, pair.right.connect("bob") as there:
        await asyncio.to_thread(rabbit.kill)
        await pair.left.until_broker_is("disconnected")
        await say(alice, "bob", 1)
        async with pair.left.connect("bob") as here:
            await say(alice, "bob", 2)
            assert [2] == await heard(here)
            await asyncio.to_thread(rabbit.start)
            assert [1, 2] == await heard(there, 2)
            await pair.left.until_broker_is("connected")
            await say(alice, "bob", 3)

            assert [3] == await heard(here)


async def test_a_memory_alarm_holds_messages_back(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """connection.blocked: nothing is lost or reordered, and the state is named."""
    async with pair.left.connect("alice") as alice, pair.right.connect("bob") as bob:
        await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.00001")
        await say(alice, "bob", 0)  # RabbitMQ tells those who publish
        await pair.left.until_broker_is("blocked")
        for n in range(1, 50):
            await say(alice, "bob", n)
        # Who comes during the alarm is as reachable as who was there.
        late = await asyncio.wait_for(pair.right.connect("late"), 2)
        await say(alice, "late", "for you")
        await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.6")

        assert list(range(50)) == await heard(bob, 50)
        assert ["for you"] == await heard(late)
        await late.close()
        await pair.left.until_broker_is("connected")


async def test_senders_are_slowed_down_while_rabbitmq_takes_nothing(
    rabbit: PrivateRabbit,
) -> None:
    """A full outbox stops the reading of senders; later everything arrives."""
    options = {"CM_OUTBOX_MAX_BYTES": str(1024 * 1024)}
    async with on_rabbit(rabbit, **options) as node:
        await node.until_broker_is("connected")
        async with node.connect("alice") as alice, node.connect("bob") as bob:
            await asyncio.to_thread(rabbit.pause)

            async def flood() -> None:
                for n in range(400):
                    await say(alice, "bob", [n, "x" * 50_000])

            flooding = asyncio.create_task(flood())
            done, _ = await asyncio.wait({flooding}, timeout=3)
            taken = await node.metric('chatmotor_messages_total{direction="in"}')
            await asyncio.to_thread(rabbit.resume)

            assert not done
            assert 15 <= taken <= 40
            got = await heard(bob, 400)
            assert list(range(400)) == [n for n, _ in got]
            await flooding


async def test_a_deleted_queue_is_replaced(pair: Nodes, rabbit: PrivateRabbit) -> None:
    """Somebody deletes a client's queue: it gets another, and messages flow on."""
    async with pair.left.connect("alice") as alice, pair.right.connect("bob") as bob:
        before = [
            queue for key, queue in rabbit.bindings("im_exchange") if key == "bob"
        ]
        await asyncio.to_thread(rabbit.ctl, "delete_queue", before[0])

        async def replaced() -> bool:
            bound = await asyncio.to_thread(rabbit.bindings, "im_exchange")
            return "bob" in [key for key, _ in bound]

        await pair.right.until(replaced)
        await say(alice, "bob", "still here")
        assert ["still here"] == await heard(bob)


async def test_connections_closed_by_an_administrator(
    pair: Nodes, rabbit: PrivateRabbit
) -> None:
    """Nodes that are thrown out return by themselves, and their users with them."""
    async with pair.left.connect("alice") as alice, pair.right.connect("bob") as bob:
        await asyncio.to_thread(rabbit.ctl, "close_all_connections", "maintenance")

        async def both_returned() -> bool:
            bound = await asyncio.to_thread(rabbit.bindings, "im_exchange")
            return ["alice", "bob"] == [key for key, _ in bound]

        await pair.left.until(both_returned)
        await pair.left.until_broker_is("connected")
        await say(alice, "bob", "hello again")
        assert ["hello again"] == await heard(bob)
    assert "maintenance" in pair.left.log()


async def test_a_refused_login_is_named() -> None:
    """A wrong password is told to the operator in words, not in a traceback."""
    with PrivateRabbit(management=False) as rabbit:
        async with on_rabbit(rabbit, CM_RABBIT_PASSWORD="wrong") as node:

            async def is_named() -> bool:
                reason = (await node.readiness())["broker"]["reason"]
                return "check RABBIT_USERID and RABBIT_PASSWORD" in reason

            await node.until(is_named)
            assert "wrong" not in node.log()
        async with ChatmotorNode(
            CM_BROKER="auto",
            CM_RABBIT_PORT=str(rabbit.port),
            CM_RABBIT_VHOST="nowhere",
        ) as node:
            assert "with the embedded broker" in node.first_line
            assert "check RABBIT_VHOST" in node.first_line
