# SPDX-License-Identifier: Apache-2.0
"""A channel beside those of a link, for what may fail without taking the link along.

RabbitMQ closes a channel for whatever it refuses: a missing permission, a queue that
exists in another form.  Here that ends this channel alone; its user opens another.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from pika.channel import Channel

from chatmotor.adapters.rabbitmq_link import Link, LinkFailed, explain, settle

ACCESS_REFUSED = 403
NOT_FOUND = 404
OTHERWISE_DECLARED = 406
# A queue that nobody has.
_NOWHERE = "cm.nowhere"


class SideChannelEnded(Exception):
    """
    RabbitMQ has closed the channel, or the link is lost.

    Attributes:
        code: RabbitMQ's reply code; 0 for another end.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class SideChannel:
    """
    One channel, from open to closed.

    Attributes:
        ended: Resolves with the reason once the channel is of no more use.
    """

    def __init__(self, link: Link, channel: Channel) -> None:
        self.channel = channel
        self.ended: asyncio.Future[SideChannelEnded] = (
            asyncio.get_running_loop().create_future()
        )
        channel.add_on_close_callback(
            lambda _, error: settle(
                self.ended,
                SideChannelEnded(getattr(error, "reply_code", 0), explain(error)),
            )
        )
        link.closed.add_done_callback(self._on_link_closed)
        self._link = link

    @classmethod
    async def open(cls, link: Link) -> Self:
        """
        Open one.

        Raises:
            SideChannelEnded: The link is lost.
        """
        try:
            return cls(link, await link.side_channel())
        except LinkFailed as failed:
            raise SideChannelEnded(0, str(failed)) from None

    async def call(self, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """
        Call a pika method that RabbitMQ answers; the answer.

        Raises:
            SideChannelEnded: It was refused, or the link is lost.
        """
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.channel.is_open:
            method(*given, **named, callback=partial(settle, answered))
        await asyncio.wait({answered, self.ended}, return_when="FIRST_COMPLETED")
        if not answered.done():
            raise self.ended.result()
        return answered.result()

    def touch_any_queue(self) -> None:
        """
        Ask RabbitMQ whether we may publish to queues: if not, the channel ends before
        it answers the next ``call``.
        """
        self.channel.basic_publish("", _NOWHERE, b"")

    def close(self) -> None:
        """Give back what was delivered and not acknowledged.  Safe to repeat."""
        self._link.closed.remove_done_callback(self._on_link_closed)
        if self.channel.is_open:
            self.channel.close()
        settle(self.ended, SideChannelEnded(0, "closed by us"))

    def _on_link_closed(self, closed: "asyncio.Future[str]") -> None:
        settle(self.ended, SideChannelEnded(0, closed.result()))
