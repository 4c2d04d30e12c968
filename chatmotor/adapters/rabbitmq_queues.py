# SPDX-License-Identifier: Apache-2.0
"""The queues of one link: one for each client, and one for the node's notices.

    im_exchange --name--> cm.client.<name>.<node>.<count> --> RabbitSubscription
    cm_nodes    --key---> cm.node.<node>.<count>          --> on_notice

All are exclusive, so they end with the link, and each has a fresh name: neither an
exclusive name that a lost connection still locks, nor a former owner's messages,
can ever be met.  Consumers acknowledge automatically: a message's durability is
the store's matter, and what is in the node's hands is delivered or lost with it.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from pika.channel import Channel
from pika.spec import Basic

from chatmotor.adapters.embedded_broker import EmbeddedBroker, EmbeddedSubscription
from chatmotor.adapters.rabbitmq_link import CLIENT_QUEUE, Link, settle
from chatmotor.ports.broker import Deliver, OnNotice

logger = logging.getLogger(__name__)

NODE_EXCHANGE = "cm_nodes"
# A paused consumer is cancelled once this much waits here; the rest waits there.
CANCEL_CONSUMER_BYTES = 1024 * 1024
# A queue's name has at most 255 bytes, a character up to four.
_NAME_IN_QUEUE = 40
_count = itertools.count(1)

# Takes (app_id, body) of a delivery; whether it may go to a client.
Accepts = Callable[[str | None, bytes], bool]


class RabbitSubscription(EmbeddedSubscription):
    """
    A client, with a queue of its own in RabbitMQ as long as there is a link.

    Attributes:
        queues: The queues of the present link, None without one.
        queue: The queue's name, which is its consumer's tag too.
        consuming: Whether RabbitMQ sends what is in the queue.
        bound: Done once the queue is bound and consumed, or the link lost.
    """

    __slots__ = ("_on_close", "bound", "consuming", "queue", "queues")

    def __init__(
        self,
        local: EmbeddedBroker,
        name: str,
        deliver: Deliver,
        on_close: "Callable[[RabbitSubscription], None]",
    ) -> None:
        super().__init__(local, name, deliver)
        self._on_close = on_close
        self.queues: Queues | None = None
        self.queue = ""
        self.consuming = False
        self.bound: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def accept(self, body: bytes) -> None:
        """Deliver or hold; once too much is held, have RabbitMQ hold the rest."""
        super().accept(body)
        if self.consuming and self._waiting_bytes > CANCEL_CONSUMER_BYTES:
            assert self.queues is not None
            self.queues.cancel_consumer(self)

    def resume(self) -> None:
        """See ``Subscription.resume``."""
        super().resume()
        if self.queues is not None and not self.consuming and not self._waiting:
            self.queues.consume_again(self)

    def close(self) -> None:
        """See ``Subscription.close``."""
        super().close()
        self._on_close(self)
        if self.queues is not None:
            self.queues.delete(self)
            self.lose_queue()

    def lose_queue(self) -> None:
        """The link is lost, and the queue with it."""
        self.queues = None
        self.consuming = False
        settle(self.bound)


class Queues:
    """
    What is declared, bound and consumed over one link.

    Args:
        node: This node's name; part of every queue's.
        exchange: The exchange of the users' messages.
        arguments: The arguments of every queue.
        accepts: Judges each delivery to a client.
        on_notice: Takes each notice to this node.
        on_bound_again: Called once a queue that was deleted has been replaced; what
            came meanwhile has gone past it.
    """

    def __init__(
        self,
        link: Link,
        *,
        node: str,
        exchange: str,
        arguments: dict[str, Any],
        accepts: Accepts,
        on_notice: OnNotice,
        on_bound_again: Callable[[], None],
    ) -> None:
        self._link = link
        self._channel: Channel = link.queues
        self._node = node
        self._exchange = exchange
        self._arguments = arguments
        self._accepts = accepts
        self._on_notice = on_notice
        self._on_bound_again = on_bound_again
        self._clients: dict[str, RabbitSubscription] = {}
        self._watched: set[str] = set()
        self._node_queue = ""
        self._channel.add_on_cancel_callback(self._on_consumer_cancelled)

    def open(self, subscription: RabbitSubscription) -> None:
        """
        Declare, bind and consume in one round trip (``no-wait`` on the first two).
        """
        shown = subscription.name[:_NAME_IN_QUEUE]
        queue = f"{CLIENT_QUEUE}{shown}.{self._node}.{next(_count)}"
        subscription.queues = self
        subscription.queue = queue
        subscription.consuming = True
        subscription.bound = asyncio.get_running_loop().create_future()
        self._clients[queue] = subscription
        accepts, accept = self._accepts, subscription.accept

        def on_message(_: Channel, __: Any, properties: Any, body: bytes) -> None:
            if accepts(properties.app_id, body):
                accept(body)

        self._declare(queue)
        self._channel.queue_bind(queue, self._exchange, subscription.name)
        self._channel.basic_consume(
            queue,
            on_message,
            auto_ack=True,
            consumer_tag=queue,
            callback=lambda _: settle(subscription.bound),
        )

    def cancel_consumer(self, subscription: RabbitSubscription) -> None:
        """
        Have the messages wait in the queue.

        Sent past pika's ``basic_cancel``, which would throw away the deliveries
        that are already on their way; pika keeps the consumer's callback.  Sent by
        ``_rpc``, which keeps the order with a consume that still waits its turn.
        """
        subscription.consuming = False
        self._channel._rpc(Basic.Cancel(consumer_tag=subscription.queue, nowait=True))

    def consume_again(self, subscription: RabbitSubscription) -> None:
        """Undo ``cancel_consumer``: the same consumer, after what was on its way."""
        subscription.consuming = True
        queue = subscription.queue
        self._channel._rpc(
            Basic.Consume(queue=queue, consumer_tag=queue, no_ack=True, nowait=True)
        )

    def delete(self, subscription: RabbitSubscription) -> None:
        """Delete the queue of a client that is gone.  Safe to repeat."""
        if self._clients.pop(subscription.queue, None) is None:
            return
        if not subscription.consuming:  # RabbitMQ will not tell pika of its end
            self._channel._cleanup_consumer_ref(subscription.queue)
        self._channel.queue_delete(subscription.queue)

    async def drain(self, subscription: RabbitSubscription) -> None:
        """
        Return once nothing waits, here or in the queue, or the client is gone.

        The broker is asked on the consumer's own channel: whatever left the queue
        before the answer is here before the answer.
        """
        waiting = 1
        while waiting:
            await subscription.until_delivered()
            if subscription.queue not in self._clients or self._link.closed.done():
                return
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._channel.queue_declare(
                subscription.queue,
                passive=True,
                callback=lambda frame, answered=answered: settle(
                    answered, frame.method.message_count
                ),
            )
            await self._link.first(answered)
            waiting = answered.result() if answered.done() else 0
        await subscription.until_delivered()

    def open_for_node(self, watched: Iterable[str]) -> None:
        """Declare, bind to the *watched* keys and consume the node's queue."""
        self._node_queue = f"cm.node.{self._node}.{next(_count)}"
        self._watched.update(watched)
        self._declare(self._node_queue)
        for key in self._watched:
            self._channel.queue_bind(self._node_queue, NODE_EXCHANGE, key)
        self._channel.basic_consume(
            self._node_queue,
            lambda _, method, __, body: self._on_notice(method.routing_key, body),
            auto_ack=True,
            consumer_tag=self._node_queue,
        )

    async def watch(self, key: str, *, seconds: float) -> None:
        """Bind the node's queue to *key*; wait for it, but not for ever."""
        self._watched.add(key)
        bound: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel.queue_bind(
            self._node_queue, NODE_EXCHANGE, key, callback=lambda _: settle(bound)
        )
        await self._link.first(bound, timeout=seconds)

    def unwatch(self, key: str) -> None:
        """Undo ``watch``."""
        self._watched.discard(key)
        self._channel.queue_unbind(self._node_queue, NODE_EXCHANGE, key)

    def _declare(self, queue: str) -> None:
        self._channel.queue_declare(queue, exclusive=True, arguments=self._arguments)

    def _on_consumer_cancelled(self, frame: Any) -> None:
        """basic.cancel from RabbitMQ: somebody deleted a queue; make another."""
        queue = frame.method.consumer_tag
        if queue == self._node_queue:
            self.open_for_node(())
            self._on_bound_again()
        elif (subscription := self._clients.pop(queue, None)) is not None:
            logger.warning("the queue of a client was deleted; opening another")
            self.open(subscription)
            subscription.bound.add_done_callback(lambda _: self._on_bound_again())
