# SPDX-License-Identifier: Apache-2.0
"""An account's events, to its durable queue: cm.events.<account>.

    Forwarder --Outgoing--> QueueTarget --confirmed--> cm.events.<account> --> a service

One event after the other, each confirmed before the next: RabbitMQ refuses those that
a full queue has no room for, and one that came after a refused one would be out of
order.  Who consumes the queue is RabbitMQ's business; while nobody does, it fills up,
and the rest waits in the store.

Reference: docs/reference/amqp.md.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pika
from pika.spec import Basic

from chatmotor.adapters.rabbitmq_link import Link
from chatmotor.adapters.rabbitmq_side import (
    OTHERWISE_DECLARED,
    SideChannel,
    SideChannelEnded,
)
from chatmotor.ports.hooks import Outgoing, Target, TargetFailed

logger = logging.getLogger(__name__)

EVENTS = "cm.events."
# Then the rest waits in the store.
QUEUE_MAX_BYTES = 64 * 1024 * 1024
_ARGUMENTS = {"x-max-length-bytes": QUEUE_MAX_BYTES, "x-overflow": "reject-publish"}
# The longest name that AMQP has.
_NAME_MAX_BYTES = 255
# A batch; shorter than a node may be silent and keep a hook.
DELIVER_SECONDS = 10.0
_PERSISTENT = 2


class _Timed(msgspec.Struct):
    ts: int


_read_time = msgspec.json.Decoder(_Timed).decode


class EventQueues:
    """The queues of all accounts that have one."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._connected = asyncio.Event()

    def use(self, link: Link) -> None:
        """Publish over *link* until it is lost."""
        self._link = link
        self._connected.set()

    def target(self, username: str) -> Target:
        """The queue of *username*, which is declared when it is first needed."""
        return QueueTarget(self, EVENTS + username)

    async def open_channel(self) -> SideChannel:
        """
        A channel over the present link, or the next one.

        Raises:
            SideChannelEnded: The link was lost.
        """
        while self._link is None or self._link.closed.done():
            self._connected.clear()
            await self._connected.wait()
        return await SideChannel.open(self._link)


class QueueTarget:
    """See ``Target``; *queue* is a durable queue that is bound to nothing."""

    batch_max = 100

    def __init__(self, queues: EventQueues, queue: str) -> None:
        self._queues = queues
        self._queue = queue
        self._side: SideChannel | None = None
        self._confirmed: asyncio.Future[bool]
        self._returned = False
        # Of batches that have failed.  Were one published from its beginning, a queue
        # that is nearly full would be filled up with the same events for ever.
        self._taken: set[str] = set()

    async def deliver(self, batch: Sequence[Outgoing]) -> None:
        """See ``Target.deliver``."""
        try:
            async with asyncio.timeout(DELIVER_SECONDS):
                side = await self._open()
                for event in batch:
                    if event.id not in self._taken:
                        await self._publish(side, event)
                        self._taken.add(event.id)
                self._taken.difference_update(event.id for event in batch)
        except SideChannelEnded as ended:
            raise TargetFailed(str(ended), full=True) from None
        except TimeoutError:
            self._drop()
            raise TargetFailed("RabbitMQ does not take it", full=True) from None

    async def close(self) -> None:
        """See ``Target.close``."""
        self._drop()

    async def _open(self) -> SideChannel:
        """The channel that is open, or another one with the queue declared."""
        if self._side is not None and not self._side.ended.done():
            return self._side
        if len(self._queue.encode()) > _NAME_MAX_BYTES:
            raise TargetFailed(
                "the account's name is too long for a queue's", gone=True
            )
        side = await self._declared(passive=False)
        side.channel.add_on_return_callback(self._on_return)
        await side.call(
            side.channel.confirm_delivery, ack_nack_callback=self._on_confirm
        )
        self._side = side
        return side

    async def _declared(self, *, passive: bool) -> SideChannel:
        side = await self._queues.open_channel()
        try:
            await side.call(
                side.channel.queue_declare,
                self._queue,
                durable=True,
                passive=passive,
                arguments=None if passive else _ARGUMENTS,
            )
        except SideChannelEnded as ended:
            # An administrator has made it, with a bound or of a type of their own.
            if ended.code != OTHERWISE_DECLARED or passive:
                raise
            return await self._declared(passive=True)
        return side

    async def _publish(self, side: SideChannel, event: Outgoing) -> None:
        self._confirmed = asyncio.get_running_loop().create_future()
        self._returned = False
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=_PERSISTENT,
            message_id=event.id,
            type=event.t,
            timestamp=_read_time(event.body).ts // 1000,
            app_id="chatmotor",
        )
        if side.channel.is_open:
            side.channel.basic_publish(
                "", self._queue, event.body, properties, mandatory=True
            )
        waiters: set[asyncio.Future[Any]] = {self._confirmed, side.ended}
        await asyncio.wait(waiters, return_when="FIRST_COMPLETED")
        if not self._confirmed.done():
            raise side.ended.result()
        if self._returned:
            self._drop()  # and declare the queue again
            self._taken.clear()
            raise TargetFailed("the queue was deleted", full=True)
        if not self._confirmed.result():
            raise TargetFailed(
                "the queue is full: nobody consumes it, or too slowly", full=True
            )

    def _on_confirm(self, frame: Any) -> None:
        """The one that is under way: an answer for an earlier one cannot come."""
        if not self._confirmed.done():
            self._confirmed.set_result(isinstance(frame.method, Basic.Ack))

    def _on_return(self, *_: Any) -> None:
        """No queue took it.  The confirm comes after it."""
        self._returned = True

    def _drop(self) -> None:
        if self._side is not None:
            self._side.close()
            self._side = None
