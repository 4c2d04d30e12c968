# SPDX-License-Identifier: Apache-2.0
"""What every broker promises (chatmotor/ports/broker.py), whatever carries it.

One suite, one run per adapter.  On RabbitMQ, *left* and *right* are two nodes; the
embedded broker has one node, which is both.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.adapters.rabbitmq_broker import RabbitBroker
from chatmotor.adapters.rabbitmq_link import RabbitAddress
from chatmotor.metrics import Metrics
from chatmotor.ports.broker import Broker, Phase
from tests.harness.rabbitmq import PrivateRabbit

DEADLINE_SECONDS = 15.0
QUEUE_MAX_BYTES = 1024 * 1024


class Inbox:
    """Takes deliveries and lets a test await them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._arrived = asyncio.Event()

    def deliver(self, body: bytes) -> None:
        self.bodies.append(body)
        self._arrived.set()

    def notice(self, key: str, body: bytes) -> None:
        self.deliver(key.encode() + b"=" + body)

    async def have(self, count: int) -> list[bytes]:
        """The first *count* bodies, once they are there."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.bodies) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.bodies[:count]


@dataclass
class Brokers:
    """Two nodes' brokers; their notices go to the inboxes."""

    left: Broker
    right: Broker
    left_metrics: Metrics
    left_notices: Inbox
    right_notices: Inbox

    async def settle(self, inbox: Inbox, name: str) -> None:
        """Return once what was published before has reached *inbox*, or never will."""
        before = len(inbox.bodies)
        self.left.publish([name], b"settle")
        await inbox.have(before + 1)
        while inbox.bodies[-1] != b"settle":
            await inbox.have(len(inbox.bodies) + 1)
        inbox.bodies.pop()


def rabbit_broker(rabbit: PrivateRabbit, metrics: Metrics, node: str) -> RabbitBroker:
    """A RabbitMQ adapter with small bounds."""
    return RabbitBroker(
        RabbitAddress("127.0.0.1", rabbit.port, "/", "guest", "guest", 10),
        metrics,
        node=node,
        exchange="im_exchange",
        queue_max_bytes=QUEUE_MAX_BYTES,
        outbox_max_bytes=1024 * 1024,
        body_max_bytes=65536,
        reconnect_max_seconds=0.3,
    )


async def until_connected(broker: Broker) -> None:
    """Return once *broker* reaches other nodes."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while broker.state.phase is not Phase.CONNECTED:
            await asyncio.sleep(0.01)


@pytest.fixture(params=["embedded", "rabbitmq"])
async def brokers(request: pytest.FixtureRequest) -> AsyncIterator[Brokers]:
    """Started brokers of each kind."""
    metrics = Metrics()
    left_notices, right_notices = Inbox(), Inbox()
    left: Broker
    right: Broker
    if request.param == "embedded":
        left = right = EmbeddedBroker(metrics, queue_max_bytes=QUEUE_MAX_BYTES)
        right_notices = left_notices
    else:
        rabbit = request.getfixturevalue("rabbit")
        left = rabbit_broker(rabbit, metrics, "left")
        right = rabbit_broker(rabbit, Metrics(), "right")
    for broker, notices in {left: left_notices, right: right_notices}.items():
        await broker.start(
            on_notice=notices.notice,
            on_writable=lambda: None,
            on_connected=lambda: None,
        )
        await until_connected(broker)
    yield Brokers(left, right, metrics, left_notices, right_notices)
    for broker in {left, right}:
        await broker.stop()


async def test_a_message_reaches_every_subscription_of_its_recipient(
    brokers: Brokers,
) -> None:
    """Two clients of one name, on two nodes, get one copy each; others get none."""
    bob, bob_too, carol = Inbox(), Inbox(), Inbox()
    await brokers.left.subscribe("bob", bob.deliver)
    await brokers.right.subscribe("bob", bob_too.deliver)
    await brokers.right.subscribe("carol", carol.deliver)

    brokers.left.publish(["bob"], b"one")

    assert [b"one"] == await bob.have(1)
    assert [b"one"] == await bob_too.have(1)
    await brokers.settle(carol, "carol")
    assert [] == carol.bodies


async def test_what_is_not_kept_is_delivered_as_well(brokers: Brokers) -> None:
    """As long as the broker is there: in order, and once."""
    bob, bob_too = Inbox(), Inbox()
    await brokers.left.subscribe("bob", bob.deliver)
    await brokers.right.subscribe("bob", bob_too.deliver)
    expected = [b"%d" % n for n in range(100)]

    for n, body in enumerate(expected):
        assert brokers.left.publish(["nobody", "bob"], body, kept=n % 2 == 0)

    assert expected == await bob.have(100)
    assert expected == await bob_too.have(100)
    await brokers.left.flush()
    assert 100 == len(bob.bodies)


async def test_a_subscription_is_reachable_at_once(brokers: Brokers) -> None:
    """Whatever is published after subscribe has returned arrives, from any node."""
    for each in range(20):
        inbox = Inbox()
        subscription = await brokers.right.subscribe(f"user{each}", inbox.deliver)

        brokers.left.publish([f"user{each}"], b"welcome")

        assert [b"welcome"] == await inbox.have(1)
        subscription.close()


async def test_order_is_kept(brokers: Brokers) -> None:
    """What one node publishes to one name arrives in that order, once."""
    inbox = Inbox()
    await brokers.right.subscribe("bob", inbox.deliver)
    expected = [b"%d" % n for n in range(2000)]

    for body in expected:
        brokers.left.publish(["bob"], body)

    assert expected == await inbox.have(len(expected))
    await brokers.settle(inbox, "bob")
    assert expected == inbox.bodies


async def test_several_recipients_get_one_copy_each(brokers: Brokers) -> None:
    """A publish to several names, one of them twice, delivers once to each."""
    inboxes = {name: Inbox() for name in ("ann", "böb", "cid")}
    for name, inbox in inboxes.items():
        await brokers.right.subscribe(name, inbox.deliver)

    brokers.left.publish(["ann", "böb", "cid", "ann"], b"all")

    for name, inbox in inboxes.items():
        assert [b"all"] == await inbox.have(1)
        await brokers.settle(inbox, name)
        assert [b"all"] == inbox.bodies


async def test_a_closed_subscription_gets_nothing_more(brokers: Brokers) -> None:
    """After close nothing is delivered, and closing again is allowed."""
    gone, here = Inbox(), Inbox()
    subscription = await brokers.left.subscribe("bob", gone.deliver)
    await brokers.left.subscribe("bob", here.deliver)

    subscription.close()
    subscription.close()
    brokers.left.publish(["bob"], b"late")

    assert [b"late"] == await here.have(1)
    assert [] == gone.bodies


async def test_nothing_is_delivered_after_close(brokers: Brokers) -> None:
    """Not even what was on its way: whoever closed may be gone."""
    for each in range(20):
        gone, here = Inbox(), Inbox()
        subscription = await brokers.left.subscribe(f"b{each}", gone.deliver)
        await brokers.left.subscribe(f"b{each}", here.deliver)
        for n in range(50):
            brokers.left.publish([f"b{each}"], b"%d" % n)
        await here.have(1)

        subscription.close()
        at_close = len(gone.bodies)

        await here.have(50)
        assert at_close == len(gone.bodies)


async def test_a_name_without_subscription_is_dropped_and_counted(
    brokers: Brokers,
) -> None:
    """Nobody there: the message is gone, counted, and nobody is told of it."""
    here = Inbox()
    await brokers.left.subscribe("here", here.deliver)

    brokers.left.publish(["nobody"], b"lost")
    await brokers.settle(here, "here")
    await brokers.left.flush()

    assert 1 == brokers.left_metrics.dropped["no_recipient"]


async def test_a_paused_subscription_gets_everything_later(brokers: Brokers) -> None:
    """While paused nothing is delivered; after resume all of it is, in order."""
    slow, quick = Inbox(), Inbox()
    subscription = await brokers.left.subscribe("bob", slow.deliver)
    await brokers.left.subscribe("bob", quick.deliver)
    expected = [b"%d" % n for n in range(100)]

    subscription.pause()
    for body in expected:
        brokers.left.publish(["bob"], body)
    await quick.have(100)
    assert [] == slow.bodies
    subscription.resume()

    assert expected == await slow.have(100)


async def test_a_queue_is_bounded_and_its_overflow_counted(brokers: Brokers) -> None:
    """A paused client's queue takes QUEUE_MAX_BYTES; the rest is dropped, counted."""
    slow, quick = Inbox(), Inbox()
    subscription = await brokers.left.subscribe("bob", slow.deliver)
    await brokers.left.subscribe("bob", quick.deliver)
    body = b"x" * 50_000
    count = 120  # six times the bound, whether it waits here, there or in both

    subscription.pause()
    for _ in range(count):
        brokers.left.publish(["bob"], body)
        await quick.have(1)
    await quick.have(count)
    subscription.resume()
    await brokers.left.flush()

    dropped = brokers.left_metrics.dropped["queue_full"]
    assert 0 < dropped < count
    await slow.have(count - dropped)
    await brokers.settle(slow, "bob")
    assert count - dropped == slow.bodies.count(body)


async def test_flush_returns_once_all_is_delivered(brokers: Brokers) -> None:
    """After flush every published message has reached its local subscription."""
    inbox = Inbox()
    await brokers.left.subscribe("bob", inbox.deliver)
    for n in range(500):
        brokers.left.publish(["bob"], b"%d" % n)

    async with asyncio.timeout(DEADLINE_SECONDS):
        await brokers.left.flush()

    assert 500 == len(inbox.bodies)


async def test_notices_reach_the_nodes_that_watch(brokers: Brokers) -> None:
    """A watched key's notice reaches each watching node once, no other key's does."""
    await brokers.left.watch("g.1")
    await brokers.right.watch("g.1")

    brokers.left.notify("g.2", b"elsewhere")
    brokers.left.notify("g.1", b"here")

    assert [b"g.1=here"] == await brokers.left_notices.have(1)
    assert [b"g.1=here"] == await brokers.right_notices.have(1)


async def test_unwatched_keys_are_silent(brokers: Brokers) -> None:
    """After unwatch a key's notices stop; other keys go on."""
    await brokers.left.watch("g.1")
    brokers.left.unwatch("g.1")
    await brokers.left.watch("g.3")

    brokers.right.notify("g.1", b"gone")
    brokers.right.notify("g.3", b"here")

    assert [b"g.3=here"] == await brokers.left_notices.have(1)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]),
        min_size=1,
        max_size=60,
    ),
    body=st.text(max_size=200),
)
async def test_any_name_and_text_survive(
    brokers: Brokers, name: str, body: str
) -> None:
    """Names and bodies in any script arrive as they were sent."""
    inbox = Inbox()
    subscription = await brokers.right.subscribe(name, inbox.deliver)

    brokers.left.publish([name], body.encode())

    assert [body.encode()] == await inbox.have(1)
    subscription.close()
