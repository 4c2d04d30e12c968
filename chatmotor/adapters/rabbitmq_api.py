# SPDX-License-Identifier: Apache-2.0
"""Commands by AMQP: from the queue cm.in, one consumer of all nodes, to reply_to.

    publisher --> exchange cm.in --> queue cm.in --> one node --answer--> reply_to
                  (fanout)           (durable)          `------ack

A request is acknowledged after its answer was published, and that is after the store
has committed: a node that is killed leaves it to the next one, which finds its ``cid``.
The queue has a single active consumer, and requests of one user are done one after
another: so they take effect in the order in which they were published.

Where no answer would be true, since the store does not say, the channel is closed and
all that was not acknowledged goes back, in its order.  Nothing of what RabbitMQ hands
over may end the channel otherwise: it would come again and again.

Reference: docs/reference/amqp.md.  Why so: docs/decisions/0016-amqp-as-an-api.md.
"""

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import pika
from pika.channel import Channel

from chatmotor.adapters.rabbitmq_link import Link
from chatmotor.adapters.rabbitmq_side import (
    ACCESS_REFUSED,
    NOT_FOUND,
    OTHERWISE_DECLARED,
    SideChannel,
    SideChannelEnded,
)
from chatmotor.errors import OutcomeUnknown, StoreUnavailable
from chatmotor.metrics import Metrics
from chatmotor.ports.requests import Answer

logger = logging.getLogger(__name__)

REQUESTS = "cm.in"
# What waits while no node is there; then RabbitMQ refuses publishers.
_QUEUE_MAX_BYTES = 64 * 1024 * 1024
_ARGUMENTS = {
    "x-single-active-consumer": True,
    "x-max-length-bytes": _QUEUE_MAX_BYTES,
    "x-overflow": "reject-publish",
}
# No answer goes to a queue of ours, whoever asks for it.
_OURS = "cm."
# An administrator has to act before another attempt can work.
REFUSED_SECONDS = 30.0
# The store is away, or the channel was lost with a link that is there.
AGAIN_SECONDS = 1.0
_PERSISTENT = 2


class AmqpApi:
    """
    See ``ports/requests.py``.

    Args:
        answer: Does what is asked.
        in_flight: Requests that this node has taken and not answered, at most.
    """

    def __init__(self, answer: Answer, metrics: Metrics, *, in_flight: int) -> None:
        self._answer = answer
        self._metrics = metrics
        self._in_flight = in_flight
        self._as_it_is = False
        self._told = ""
        self._intake: _Intake | None = None
        self._runner: asyncio.Task[None] | None = None
        self._draining = False

    def use(self, link: Link) -> None:
        """Serve over *link* until it is lost."""
        if not self._draining:
            if self._runner is not None:
                self._runner.cancel()
            self._runner = asyncio.get_running_loop().create_task(self._run(link))

    async def drain(self) -> None:
        """See ``RequestSource.drain``."""
        self._draining = True
        if self._intake is not None:
            await self._intake.finish()
        await self.stop()

    async def stop(self) -> None:
        """See ``RequestSource.stop``."""
        self._draining = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})

    async def _run(self, link: Link) -> None:
        while not link.closed.done():
            pause = AGAIN_SECONDS
            try:
                await self._serve(link)
            except SideChannelEnded as ended:
                if link.closed.done():
                    return
                if ended.code == OTHERWISE_DECLARED and not self._as_it_is:
                    # An administrator has made the queue, who may want a quorum queue.
                    self._as_it_is = True
                    continue
                if ended.code == NOT_FOUND and self._as_it_is:
                    self._as_it_is = False
                elif ended.code:
                    self._tell(ended)
                    pause = REFUSED_SECONDS
            except Exception:
                logger.exception("requests over AMQP are not taken for a while")
            # Nodes that were refused together ask again apart.
            await link.first(timeout=pause * random.uniform(0.5, 1.0))  # noqa: S311  # not a secret

    async def _serve(self, link: Link) -> None:
        """
        Take requests until the channel ends.

        Raises:
            SideChannelEnded: Always.
        """
        side = await SideChannel.open(link)
        intake = _Intake(side, self._answer, self._metrics)
        try:
            await self._declare(side)
            self._intake = intake
            # Somebody has deleted the queue: make it again.
            side.channel.add_on_cancel_callback(lambda _: side.close())
            await side.call(side.channel.basic_consume, REQUESTS, intake.take)
            if self._told:
                self._told = ""
                logger.info("requests over AMQP are taken")
            raise await side.ended
        finally:
            self._intake = None
            intake.stop()
            side.close()

    async def _declare(self, side: SideChannel) -> None:
        channel = side.channel
        # If answers may not be written, no request may be taken: it would come again.
        side.touch_any_queue()
        if not self._as_it_is:
            await side.call(channel.exchange_declare, REQUESTS, "fanout", durable=True)
            await side.call(
                channel.queue_declare, REQUESTS, durable=True, arguments=_ARGUMENTS
            )
        await side.call(channel.queue_bind, REQUESTS, REQUESTS, REQUESTS)
        await side.call(channel.basic_qos, prefetch_count=self._in_flight)

    def _tell(self, ended: SideChannelEnded) -> None:
        """One line for a reason, however often it is met."""
        if str(ended) == self._told:
            return
        self._told = str(ended)
        hint = ""
        if ended.code == ACCESS_REFUSED:
            hint = '; give Chatmotor\'s user the permissions that README ("RabbitMQ") '
            hint += 'has, or set AMQP_API = "off"'
        logger.warning("requests over AMQP are not taken: %s%s", ended, hint)


@dataclass(frozen=True, slots=True)
class _Request:
    """A delivery that waits for its answer."""

    tag: int
    user: str | None
    body: bytes
    properties: Any

    @property
    def reply_to(self) -> str | None:
        """The queue for the answer, if there may be one."""
        queue = self.properties.reply_to
        allowed = isinstance(queue, str) and not queue.startswith(_OURS)
        return queue if allowed else None


class _Intake:
    """The requests of one channel, a line for each user: the first of it is done."""

    def __init__(self, side: SideChannel, answer: Answer, metrics: Metrics) -> None:
        self._side = side
        self._answer = answer
        self._metrics = metrics
        self._waiting: dict[str | None, deque[_Request]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True

    def take(self, _: Channel, method: Any, properties: Any, body: bytes) -> None:
        """The next delivery.  Whatever it is, this does not fail."""
        if not self._open:
            return
        user = properties.user_id if isinstance(properties.user_id, str) else None
        request = _Request(method.delivery_tag, user, body, properties)
        waiting = self._waiting.setdefault(user, deque())
        waiting.append(request)
        if len(waiting) == 1:
            task = asyncio.get_running_loop().create_task(self._work(user, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, user: str | None, waiting: deque[_Request]) -> None:
        while waiting and self._open:
            request = waiting[0]
            try:
                await self._do(request)
            except Exception:  # a defect must not come again and again
                logger.exception("a request over AMQP failed")
                self._acknowledge(request)
            waiting.popleft()
        if self._waiting.get(user) is waiting:
            del self._waiting[user]

    async def _do(self, request: _Request) -> None:
        try:
            answer = await self._answer(request.user, request.body)
        except (StoreUnavailable, OutcomeUnknown) as error:
            logger.debug("requests go back to their queue: %s", error)
            self._open = False
            self._side.close()
            return
        self._reply(request, answer)
        self._acknowledge(request)

    def _reply(self, request: _Request, answer: bytes) -> None:
        given, queue = request.properties, request.reply_to
        if queue is not None and self._side.channel.is_open:
            kept = given.delivery_mode == _PERSISTENT
            properties = pika.BasicProperties(
                content_type="application/json",
                correlation_id=given.correlation_id,
                delivery_mode=_PERSISTENT if kept else None,
            )
            self._side.channel.basic_publish("", queue, answer, properties)
        elif queue is None and given.reply_to is not None:
            self._metrics.dropped["no_answer"] += 1

    def _acknowledge(self, request: _Request) -> None:
        """Unless the channel is gone: then it is done again, here or elsewhere."""
        if self._side.channel.is_open:
            self._side.channel.basic_ack(request.tag)

    async def finish(self) -> None:
        """Begin no more; return once what was begun is answered."""
        self._open = False
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Begin no more; what was begun ends on its own, and is not answered."""
        self._open = False
