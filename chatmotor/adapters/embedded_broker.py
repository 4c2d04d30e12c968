# SPDX-License-Identifier: Apache-2.0
"""The broker inside the process: a dictionary of names, and queues for the slow.

It carries a single node with the promises of ``ports/broker.py``, and it is what
the RabbitMQ adapter serves its own users with while RabbitMQ is away.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

from chatmotor.metrics import Metrics
from chatmotor.ports.broker import BrokerState, Deliver, OnNotice, Phase
from chatmotor.protocol.notices import TAG as NOTICE_TAG

_CONNECTED = BrokerState("embedded", Phase.CONNECTED)
# All paused subscriptions together may hold as much as this many full ones.
_FULL_QUEUES = 4


def _forget(body: bytes) -> None:
    """Takes what a closed subscription is still given."""


class EmbeddedSubscription:
    """One client of a name.  Holds messages only while it is paused."""

    __slots__ = (
        "_broker",
        "_deliver",
        "_emptied",
        "_waiting",
        "_waiting_bytes",
        "name",
    )

    def __init__(self, broker: "EmbeddedBroker", name: str, deliver: Deliver) -> None:
        self.name = name
        self._broker = broker
        self._deliver = deliver
        self._waiting: deque[bytes] | None = None
        self._waiting_bytes = 0
        self._emptied: asyncio.Event | None = None  # made when somebody waits for it

    def accept(self, body: bytes) -> None:
        """Deliver *body* now, or queue it while paused, within the bound."""
        if self._waiting is None:
            self._deliver(body)
        elif not self._broker.has_room(self._waiting_bytes + len(body)):
            self._broker.metrics.dropped["queue_full"] += 1
        else:
            self._waiting.append(body)
            self._waiting_bytes += len(body)
            self._broker.waiting_bytes += len(body)

    def pause(self) -> None:
        """See ``Subscription.pause``."""
        if self._waiting is None:
            self._waiting = deque()

    def resume(self) -> None:
        """See ``Subscription.resume``.  A delivery may pause it again."""
        waiting, self._waiting = self._waiting, None
        while waiting and self._waiting is None:
            body = waiting.popleft()
            self._waiting_bytes -= len(body)
            self._broker.waiting_bytes -= len(body)
            self._deliver(body)
        if waiting:
            self._waiting = waiting
        elif self._emptied is not None:
            self._emptied.set()

    def close(self) -> None:
        """See ``Subscription.close``."""
        self._broker.forget(self)
        self._broker.waiting_bytes -= self._waiting_bytes
        self._waiting, self._waiting_bytes = None, 0
        self._deliver = _forget
        if self._emptied is not None:
            self._emptied.set()

    async def until_delivered(self) -> None:
        """Return once nothing waits here, or the subscription is closed."""
        while self._waiting:
            self._emptied = asyncio.Event()
            await self._emptied.wait()


class EmbeddedBroker:
    """
    See ``ports/broker.py``.  Every publish is delivered before it returns.

    Args:
        metrics: Where drops and latencies are counted.
        queue_max_bytes: Bound of what a paused subscription may hold, and, four
            times, of what all of them may hold together.
    """

    def __init__(self, metrics: Metrics, *, queue_max_bytes: int) -> None:
        self.metrics = metrics
        self.waiting_bytes = 0
        self._queue_max_bytes = queue_max_bytes
        self._subscriptions: dict[str, list[EmbeddedSubscription]] = {}
        self._watched: set[str] = set()
        self._on_notice: OnNotice | None = None

    @property
    def state(self) -> BrokerState:
        """Always connected: there is nothing that could be away."""
        return _CONNECTED

    async def start(
        self,
        *,
        on_notice: OnNotice,
        on_writable: Callable[[], None],
        on_connected: Callable[[], None],
    ) -> None:
        """Remember whom to notify; a publish here never has to wait."""
        self._on_notice = on_notice

    async def stop(self) -> None:
        """Drop every subscription."""
        self._subscriptions.clear()

    async def flush(self) -> None:
        """Wait for the slow; nothing else is ever under way here."""
        for of_name in tuple(self._subscriptions.values()):
            for subscription in tuple(of_name):
                await subscription.until_delivered()

    async def subscribe(self, name: str, deliver: Deliver) -> EmbeddedSubscription:
        """See ``Broker.subscribe``."""
        subscription = EmbeddedSubscription(self, name, deliver)
        self.adopt(subscription)
        return subscription

    def adopt(self, subscription: EmbeddedSubscription) -> None:
        """Deliver to *subscription* what is published to its name."""
        self._subscriptions.setdefault(subscription.name, []).append(subscription)

    def has_room(self, queue_bytes: int) -> bool:
        """Whether a queue may grow to *queue_bytes*."""
        return (
            queue_bytes <= self._queue_max_bytes
            and self.waiting_bytes <= _FULL_QUEUES * self._queue_max_bytes
        )

    def forget(self, subscription: EmbeddedSubscription) -> None:
        """Take *subscription* out; nothing happens when it is out already."""
        of_name = self._subscriptions.get(subscription.name, [])
        if subscription in of_name:
            of_name.remove(subscription)
            if not of_name:
                del self._subscriptions[subscription.name]

    def publish(
        self, recipients: Sequence[str], body: bytes, *, kept: bool = True
    ) -> bool:
        """See ``Broker.publish``."""
        began = perf_counter()
        # What a notice tells of is stored: whoever is not here reads it there.
        if not self.deliver(recipients, body) and body[:1] != NOTICE_TAG:
            self.metrics.dropped["no_recipient"] += 1
        self.metrics.publish_seconds.observe(perf_counter() - began)
        return True

    def deliver(self, recipients: Sequence[str], body: bytes) -> bool:
        """Hand *body* to every subscription of *recipients*; whether there was one."""
        names = recipients if len(recipients) == 1 else dict.fromkeys(recipients)
        found = False
        for name in names:
            # A copy: delivering may close a connection, and so a subscription.
            for subscription in tuple(self._subscriptions.get(name, ())):
                subscription.accept(body)
                found = True
        return found

    async def watch(self, key: str) -> None:
        """See ``Broker.watch``."""
        self._watched.add(key)

    def unwatch(self, key: str) -> None:
        """See ``Broker.unwatch``."""
        self._watched.discard(key)

    def notify(self, key: str, body: bytes) -> None:
        """See ``Broker.notify``."""
        if key in self._watched and self._on_notice is not None:
            self._on_notice(key, body)
