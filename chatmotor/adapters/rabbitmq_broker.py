# SPDX-License-Identifier: Apache-2.0
"""The broker on RabbitMQ: a queue for each client, the name as the routing key.

    publish --> Outbox --> im_exchange --> a client's queue --> deliver
               rabbitmq_outbox             rabbitmq_queues
                  `------ over a Link: rabbitmq_link ------'

While RabbitMQ is connected every message crosses it, also between two users of
this node.  The phases, and what a publish does in each:

    CONNECTED      published; kept in the outbox until RabbitMQ confirms it
    BLOCKED        kept in the outbox (RabbitMQ is short of memory or disk)
    DISCONNECTED   delivered to this node's own users, and kept in the outbox for
    JOINING        the users of other nodes; when the outbox is full the oldest go

    DISCONNECTED --link open--> JOINING --own queues bound, others had time to bind
    theirs, outbox published--> CONNECTED --link lost--> DISCONNECTED

What was published but not confirmed when the link is lost may have arrived or
not.  It is delivered to this node's users at once and published again later: twice
is possible, never is not.  What was meant for our own users in an outage carries our
node's name in ``app_id`` when it is published later, and is not delivered to them a
second time, nor late to those who came after it.
docs/explanation/broker-outage.md tells the operator's side of this.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.adapters.rabbitmq_link import Link, LinkFailed, RabbitAddress
from chatmotor.adapters.rabbitmq_outbox import Outbox
from chatmotor.adapters.rabbitmq_queues import (
    NODE_EXCHANGE,
    Queues,
    RabbitSubscription,
)
from chatmotor.metrics import Metrics
from chatmotor.ports.broker import BrokerState, Deliver, OnNotice, Phase
from chatmotor.protocol.notices import TAG as NOTICE_TAG

logger = logging.getLogger(__name__)

SUBSCRIBE_SECONDS = 5.0
RECONNECT_FIRST_SECONDS = 0.1
STEADY_SECONDS = 10.0
# A change of 10,000 members is this long.
NOTICE_MAX_BYTES = 1024 * 1024
_NO_PROPERTIES = pika.BasicProperties()


class RabbitBroker:
    """
    See ``ports/broker.py``.

    Args:
        node: This node's name; part of every queue name.
        exchange: The exchange of the users' messages.
        queue_max_bytes: Bound of one client's queue; a publish that finds it
            full is refused by RabbitMQ for that client and counted.
        outbox_max_bytes: Bound of what is not yet confirmed.
        body_max_bytes: Longer bodies, from foreign publishers, are dropped.
        reconnect_max_seconds: The longest pause between two attempts; also how
            long a joining node waits for the others.
    """

    def __init__(
        self,
        address: RabbitAddress,
        metrics: Metrics,
        *,
        node: str,
        exchange: str,
        queue_max_bytes: int,
        outbox_max_bytes: int,
        body_max_bytes: int,
        reconnect_max_seconds: float,
    ) -> None:
        self.local = EmbeddedBroker(metrics, queue_max_bytes=queue_max_bytes)
        self._address = address
        self._metrics = metrics
        self._node = node
        self._exchange = exchange
        self._outbox = Outbox(outbox_max_bytes)
        self._body_max_bytes = body_max_bytes
        self._reconnect_max_seconds = reconnect_max_seconds
        self._queue_arguments = {
            "x-max-length-bytes": queue_max_bytes,
            "x-overflow": "reject-publish",
        }
        self._republished = pika.BasicProperties(app_id=node)
        self._state = BrokerState("rabbitmq", Phase.DISCONNECTED, "not yet connected")
        self._told: BrokerState | None = None  # what the log has said last
        self._link: Link | None = None
        self._queues: Queues | None = None
        self._subscriptions: dict[RabbitSubscription, None] = {}
        self._watched: set[str] = set()
        self._tag = 0
        self._writers_wait = False
        self._on_notice: OnNotice
        self._on_writable: Callable[[], None]
        self._on_connected: Callable[[], None]
        self._guests: list[Callable[[Link], None]] = []
        self._runner: asyncio.Task[None] | None = None

    @property
    def state(self) -> BrokerState:
        """See ``Broker.state``."""
        return self._state

    def share(self, use: Callable[[Link], None]) -> None:
        """Have *use* called with each link, once it is connected."""
        self._guests.append(use)

    # Life.

    async def start(
        self,
        *,
        on_notice: OnNotice,
        on_writable: Callable[[], None],
        on_connected: Callable[[], None],
    ) -> None:
        """See ``Broker.start``."""
        self._on_notice = on_notice
        self._on_writable = on_writable
        self._on_connected = on_connected
        await self.local.start(
            on_notice=on_notice, on_writable=on_writable, on_connected=on_connected
        )
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """See ``Broker.stop``."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})
        if self._link is not None:
            await self._link.close()
        if self._outbox:
            logger.warning(
                "%d messages for users of other nodes were not published",
                len(self._outbox),
            )

    async def flush(self) -> None:
        """See ``Broker.flush``."""
        await self._outbox.until_empty()
        for subscription in tuple(self._subscriptions):
            if subscription.queues is not None:
                await subscription.queues.drain(subscription)
        await self.local.flush()

    async def _run(self) -> None:
        """Connect, and again with full jitter, until cancelled."""
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            link = None
            try:
                link = await Link.open(
                    self._address,
                    node=self._node,
                    exchanges=(self._exchange, NODE_EXCHANGE),
                    on_confirm=self._on_confirm,
                    on_blocked=self._on_blocked,
                    on_lost=self._leave,
                )
                await self._join(link)
                await link.closed
            except LinkFailed as failed:
                self._set_phase(Phase.DISCONNECTED, str(failed))
            except Exception:  # a defect must not end the reconnecting
                logger.exception("the link to RabbitMQ failed")
                self._leave("internal error")
            if link is not None:
                await link.close()
            # A link that opens and fails again and again is no success.
            attempt = 0 if loop.time() - began > STEADY_SECONDS else attempt
            ceiling = min(
                self._reconnect_max_seconds, RECONNECT_FIRST_SECONDS * 2**attempt
            )
            attempt = min(attempt + 1, 16)
            # Full jitter: nodes that lost the broker together return apart.
            await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311  # not a secret

    async def _join(self, link: Link) -> None:
        """Bind everything again, publish the outbox, and go through RabbitMQ."""
        self._link = link
        self._tag = 0
        self._set_phase(Phase.JOINING, "binding the queues of this node's users")
        link.publishing.add_on_return_callback(self._on_return)
        self._queues = queues = Queues(
            link,
            node=self._node,
            exchange=self._exchange,
            arguments=self._queue_arguments,
            accepts=self._accepts,
            on_notice=self._on_notice,
            on_bound_again=self._on_connected,
        )
        queues.open_for_node(self._watched)
        for subscription in self._subscriptions:
            queues.open(subscription)
        unbound = [s.bound for s in self._subscriptions if not s.bound.done()]
        if unbound:
            await link.first(asyncio.gather(*unbound))
        if self._outbox.holds:
            # The other nodes lost RabbitMQ too: let them bind their queues first.
            await link.first(timeout=self._reconnect_max_seconds)
        if link.closed.done():
            return
        # In one loop turn, so that nothing overtakes the outbox.
        self._set_phase(Phase.CONNECTED)
        self._publish_held()
        self._on_connected()
        for use in self._guests:
            use(link)

    def _leave(self, reason: str) -> None:
        """The link is lost: this node is on its own until the next one."""
        if self._link is None:
            return
        self._link = self._queues = None
        for subscription in self._subscriptions:
            subscription.lose_queue()
        self._set_phase(Phase.DISCONNECTED, reason)
        for entry in self._outbox.recall():
            if not entry.delivered_here:
                entry.delivered_here = True
                self.local.deliver(entry.recipients, entry.body)
        self._release_writers()

    def _set_phase(self, phase: Phase, reason: str = "") -> None:
        self._state = BrokerState("rabbitmq", phase, reason)
        if phase is Phase.JOINING or self._state == self._told:
            return
        self._told = self._state
        if phase is Phase.CONNECTED:
            logger.info("connected to RabbitMQ at %s", self._address)
        elif phase is Phase.BLOCKED:
            logger.warning(
                "RabbitMQ at %s takes no messages: %s", self._address, reason
            )
        else:
            logger.warning(
                "not connected to RabbitMQ at %s: %s; serving this node's users only",
                self._address,
                reason,
            )

    def _on_blocked(self, blocked: bool) -> None:
        if blocked and self._state.phase is Phase.CONNECTED:
            self._set_phase(Phase.BLOCKED, "it is short of memory or disk space")
        elif not blocked and self._state.phase is Phase.BLOCKED:
            self._set_phase(Phase.CONNECTED)
            self._publish_held()
            self._on_connected()

    # Messages out.

    def publish(
        self, recipients: Sequence[str], body: bytes, *, kept: bool = True
    ) -> bool:
        """See ``Broker.publish``."""
        if not kept:
            self._publish_once(recipients, body)
            return True
        phase = self._state.phase
        outbox = self._outbox
        if phase is Phase.CONNECTED:
            self._tag += 1
            outbox.send(self._tag, recipients, body)
            self._publish_now(recipients, body, _NO_PROPERTIES)
        elif phase is Phase.BLOCKED:
            outbox.hold(recipients, body, delivered_here=False)
        else:
            self.local.deliver(recipients, body)
            outbox.hold(recipients, body, delivered_here=True)
            # Our own users have it and must not wait for a broker that is away.
            self._metrics.dropped["outbox_full"] += outbox.drop_oldest()
            return True
        self._writers_wait = self._writers_wait or outbox.is_full
        return not self._writers_wait

    def _publish_once(self, recipients: Sequence[str], body: bytes) -> None:
        if self._state.phase is Phase.CONNECTED:
            self._tag += 1  # confirmed like any other publish, and not kept
            self._publish_now(recipients, body, _NO_PROPERTIES)
        else:
            self.local.deliver(recipients, body)

    def _publish_now(
        self, recipients: Sequence[str], body: bytes, properties: Any
    ) -> None:
        assert self._link is not None
        if len(recipients) > 1:
            # RabbitMQ routes to every name in BCC and strips the header.
            properties = pika.BasicProperties(
                headers={"BCC": list(recipients[1:])}, app_id=properties.app_id
            )
        self._link.publishing.basic_publish(
            self._exchange, recipients[0], body, properties, mandatory=True
        )

    def _publish_held(self) -> None:
        while self._outbox.holds:
            self._tag += 1
            entry = self._outbox.take(self._tag)
            properties = self._republished if entry.delivered_here else _NO_PROPERTIES
            self._publish_now(entry.recipients, entry.body, properties)

    def _on_confirm(self, frame: Any) -> None:
        """basic.ack or basic.nack from RabbitMQ, for one publish or up to a tag."""
        method = frame.method
        done = self._outbox.confirm(method.delivery_tag, multiple=method.multiple)
        now = perf_counter()
        for entry in done:
            self._metrics.publish_seconds.observe(now - entry.began)
        if isinstance(method, Basic.Nack):
            # A recipient's queue is full (x-overflow: reject-publish).
            self._metrics.dropped["queue_full"] += len(done)
        if self._writers_wait and self._outbox.is_half_empty:
            self._release_writers()

    def _release_writers(self) -> None:
        if self._writers_wait:
            self._writers_wait = False
            self._on_writable()

    def _on_return(self, _: Channel, method: Any, properties: Any, body: bytes) -> None:
        """Nobody has this name.  The confirm comes after it."""
        ours = method.exchange == self._exchange and properties.app_id is None
        if ours and body[:1] != NOTICE_TAG:
            self._metrics.dropped["no_recipient"] += 1

    # Messages in.

    async def subscribe(self, name: str, deliver: Deliver) -> RabbitSubscription:
        """See ``Broker.subscribe``."""
        subscription = RabbitSubscription(
            self.local, name, deliver, on_close=self._forget
        )
        self.local.adopt(subscription)
        self._subscriptions[subscription] = None
        if self._queues is not None:
            self._queues.open(subscription)
            await asyncio.wait({subscription.bound}, timeout=SUBSCRIBE_SECONDS)
            if not subscription.bound.done():
                # Whoever has asked goes on; what comes until then goes past it.
                subscription.bound.add_done_callback(lambda _: self._on_connected())
        return subscription

    def _forget(self, subscription: RabbitSubscription) -> None:
        self._subscriptions.pop(subscription, None)

    def _accepts(self, app_id: str | None, body: bytes) -> bool:
        """Whether a delivery, which anyone may have published, goes to a client."""
        if app_id == self._node:  # published again: our own users have it
            return False
        if body[:1] == NOTICE_TAG and len(body) <= NOTICE_MAX_BYTES:
            return True  # of a node; its readers judge the rest
        if len(body) > self._body_max_bytes:
            self._metrics.dropped["too_large"] += 1
            return False
        try:
            body.isascii() or body.decode()
        except UnicodeDecodeError:
            self._metrics.dropped["not_text"] += 1
            return False
        return True

    # Notices between nodes.

    async def watch(self, key: str) -> None:
        """See ``Broker.watch``."""
        self._watched.add(key)
        await self.local.watch(key)
        if self._queues is not None:
            await self._queues.watch(key, seconds=SUBSCRIBE_SECONDS)

    def unwatch(self, key: str) -> None:
        """See ``Broker.unwatch``."""
        if key in self._watched:
            self._watched.discard(key)
            self.local.unwatch(key)
            if self._queues is not None:
                self._queues.unwatch(key)

    def notify(self, key: str, body: bytes) -> None:
        """See ``Broker.notify``."""
        if self._state.phase is Phase.CONNECTED:
            assert self._link is not None
            # Confirmed like any other publish, and not kept: see ``Broker.notify``.
            self._tag += 1
            self._link.publishing.basic_publish(NODE_EXCHANGE, key, body)
        else:
            self.local.notify(key, body)
