# SPDX-License-Identifier: Apache-2.0
"""A node's two AMQP connections, from open to closed; never reused.

    publishing   im_exchange and cm_nodes; publisher confirms
    queues       declare, bind, consume and delete

Two connections with a channel each, because RabbitMQ stops reading from one that
publishes while it is short of memory or disk: users must be able to come, go and
be delivered to meanwhile.  Either one's end is the end of both.

pika speaks the protocol.  Two things are done here for speed: all frames of a loop
turn leave in one write, where pika makes three system calls per message; and whole
deliveries to clients are read in one pass (rabbitmq_delivery.py), where pika makes
half a dozen objects of each.  Pin pika exactly: this overrides
``_output_marshaled_frames`` and ``_on_data_available``.

Ports and promises: ``rabbitmq_broker.py``.
AMQP 0-9-1: https://www.rabbitmq.com/amqp-0-9-1-reference.html
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pika
import pika.exceptions
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from chatmotor.adapters.rabbitmq_delivery import Delivery, read_delivery, read_frame

# How the names of clients' queues begin.
CLIENT_QUEUE = "cm.client."
OPEN_SECONDS = 10.0
_NO_PROPERTIES = pika.BasicProperties()
CLOSE_SECONDS = 2.0


class LinkFailed(Exception):
    """The broker cannot be reached or used; the text says why, for an operator."""


@dataclass(frozen=True, slots=True)
class RabbitAddress:
    """Where RabbitMQ is, and who we are there."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    heartbeat_seconds: int

    def __str__(self) -> str:
        vhost = "" if self.vhost == "/" else f" (virtual host {self.vhost!r})"
        return f"{self.host}:{self.port}{vhost}"

    def parameters(self, *, node: str = "") -> pika.ConnectionParameters:
        """What pika wants to know; *node* is shown on the management page."""
        return pika.ConnectionParameters(
            host=self.host,
            port=self.port,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(self.user, self.password),
            heartbeat=self.heartbeat_seconds,
            socket_timeout=OPEN_SECONDS / 2,
            stack_timeout=OPEN_SECONDS,
            connection_attempts=1,
            client_properties={"connection_name": f"chatmotor {node}".strip()},
        )


class _TurnConnection(AsyncioConnection):  # type: ignore[misc]  # pika is not typed
    """pika's connection, with one write per loop turn, and a quick way in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._turn: list[bytes] = []
        self._frame_buffer = b""
        super().__init__(*args, **kwargs)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._write_turn)
        self._turn += marshaled_frames

    def _on_data_available(self, data_in: bytes) -> None:
        received: bytes = self._frame_buffer + data_in
        at = 0
        while at < len(received):
            delivery = read_delivery(received, at)
            if delivery is not None and self._hand_over(delivery):
                self.frames_received += 3
                self.bytes_received += delivery.after - at
                at = delivery.after
                continue
            consumed, frame = read_frame(received[at:])
            if frame is None:
                break
            self.bytes_received += consumed
            at += consumed
            self._process_frame(frame)
        self._frame_buffer = received[at:]

    def _hand_over(self, delivery: Delivery) -> bool:
        """Call the consumer of a client's queue; notices to nodes want their key."""
        channel = self._channels.get(delivery.channel)
        tag = delivery.consumer_tag
        if channel is None or not tag.startswith(CLIENT_QUEUE):
            return False
        consumer = channel._consumers.get(tag)
        if consumer is None or tag in channel._cancelled:
            return False
        consumer(channel, None, _NO_PROPERTIES, delivery.body)
        return True

    def _write_turn(self) -> None:
        joined = b"".join(self._turn)
        self._turn.clear()
        self.frames_sent += 1  # the heartbeat only asks whether it grew
        self.bytes_sent += len(joined)
        if self._transport is not None:
            self._adapter_emit_data(joined)


class Link:
    """
    Both connections, open.

    Attributes:
        publishing: The channel in confirm mode.
        queues: The channel of queues and consumers.
        closed: Resolves with the reason once a connection, or one of the channels,
            is gone; the link is then of no more use.
    """

    publishing: Channel
    queues: Channel

    def __init__(self, on_lost: Callable[[str], None]) -> None:
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_lost = on_lost
        self._connections: list[tuple[Any, asyncio.Future[None]]] = []

    @classmethod
    async def open(
        cls,
        address: RabbitAddress,
        *,
        node: str,
        exchanges: Sequence[str],
        on_confirm: Callable[[Any], None],
        on_blocked: Callable[[bool], None],
        on_lost: Callable[[str], None],
    ) -> "Link":
        """
        Connect, open both channels, declare *exchanges* (direct, as the first
        Chatmotor did: neither durable nor auto-delete).

        Args:
            on_confirm: Called with each basic.ack and basic.nack frame.
            on_blocked: Called when RabbitMQ stops and resumes taking messages.
            on_lost: Called with the reason, before anything else can happen on
                the link, when it is lost.

        Raises:
            LinkFailed: Not reachable, login refused, or no permission.
        """
        link = cls(on_lost)
        opened = False
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                consuming = await link._connect(address, f"{node} queues")
                for exchange in exchanges:
                    await link._declare(consuming, exchange)
                link.queues = await link._channel(consuming)
                publishing = await link._connect(address, f"{node} publishing")
                publishing.add_on_connection_blocked_callback(
                    lambda *_: on_blocked(True)
                )
                publishing.add_on_connection_unblocked_callback(
                    lambda *_: on_blocked(False)
                )
                link.publishing = await link._channel(publishing)
                confirming = link._answer(
                    link.publishing.confirm_delivery, ack_nack_callback=on_confirm
                )
                await link._until_closed(confirming)
            opened = True
        except TimeoutError:
            raise LinkFailed(f"no answer within {OPEN_SECONDS:.0f} s") from None
        else:
            return link
        finally:
            if not opened:
                link._abandon()

    async def _connect(self, address: RabbitAddress, name: str) -> Any:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        gone: asyncio.Future[None] = loop.create_future()

        def on_open_error(_: AsyncioConnection, error: BaseException | str) -> None:
            settle(gone)
            self._fail(explain(error))

        def on_close(_: AsyncioConnection, error: BaseException) -> None:
            settle(gone)
            self._fail(explain(error))

        connection = _TurnConnection(
            address.parameters(node=name),
            on_open_callback=partial(settle, opened),
            on_open_error_callback=on_open_error,
            on_close_callback=on_close,
            custom_ioloop=loop,
        )
        self._connections.append((connection, gone))
        return await self._until_closed(opened)

    async def _channel(self, connection: Any) -> Channel:
        """Open a channel whose end is the end of the link."""
        channel: Channel = await self._until_closed(
            self._answer(connection.channel, to="on_open_callback")
        )
        channel.add_on_close_callback(lambda _, error: self._fail(explain(error)))
        return channel

    async def side_channel(self) -> Channel:
        """
        Another channel beside ``publishing``, whose end is not the link's.

        Raises:
            LinkFailed: The link is lost.
        """
        return await self._until_closed(
            self._answer(self.publishing.connection.channel, to="on_open_callback")
        )

    async def _declare(self, connection: Any, exchange: str) -> None:
        """
        Declare *exchange*, or use it as an administrator has declared it.

        On a channel of its own: a refused declare closes the channel.
        """
        channel: Channel = await self._until_closed(
            self._answer(connection.channel, to="on_open_callback")
        )
        declared = self._answer(channel.exchange_declare, exchange, "direct")

        def on_close(_: Channel, error: BaseException) -> None:
            text = getattr(error, "reply_text", "")
            # 406: it exists, declared otherwise.  Another type would route otherwise.
            if getattr(error, "reply_code", 0) == 406 and "'type'" not in text:
                settle(declared)
            elif not declared.done():
                self._fail(explain(error))

        channel.add_on_close_callback(on_close)
        await self._until_closed(declared)
        if channel.is_open:
            channel.close()

    @staticmethod
    def _answer(
        method: Callable[..., Any], *arguments: Any, to: str = "callback", **named: Any
    ) -> "asyncio.Future[Any]":
        """Call a pika method; the future of what it calls back with."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        method(*arguments, **named, **{to: partial(settle, answered)})
        return answered

    async def first(
        self,
        *waiters: "asyncio.Future[Any]",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Return once one of *waiters* is done, the link is lost, or time is up."""
        await asyncio.wait(
            {self.closed, *waiters}, timeout=timeout, return_when="FIRST_COMPLETED"
        )

    async def _until_closed(self, waiter: "asyncio.Future[Any]") -> Any:
        """Await *waiter*, or fail with the link."""
        await self.first(waiter)
        if not waiter.done():
            waiter.cancel()
            raise LinkFailed(self.closed.result())
        return waiter.result()

    def _fail(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
            self._on_lost(reason)

    async def close(self) -> None:
        """Close in good order; a broker that does not answer is left alone."""
        for connection, _ in self._connections:
            if connection.is_open:
                connection.close()
        await asyncio.wait(
            {gone for _, gone in self._connections}, timeout=CLOSE_SECONDS
        )
        self._abandon()

    def _abandon(self) -> None:
        """Drop the sockets that are not closed in good order."""
        for connection, _ in self._connections:
            if not connection.is_closed:
                connection._terminate_stream(LinkFailed("closed by us"))


def settle(future: "asyncio.Future[Any]", result: Any = None) -> None:
    """Give *future* its result, unless it has one or nobody waits any more."""
    if not future.done():
        future.set_result(result)


def explain(error: BaseException | str) -> str:
    """Why a connection or channel ended, in words for an operator."""
    if isinstance(error, str):
        return error
    cause: Any = error
    while (inner := _inner(cause)) is not None:
        cause = inner
    if isinstance(cause, pika.exceptions.ProbableAuthenticationError):
        return "the login was refused; check RABBIT_USERID and RABBIT_PASSWORD"
    if isinstance(cause, pika.exceptions.ProbableAccessDeniedError):
        return "the virtual host does not exist or is not allowed; check RABBIT_VHOST"
    if isinstance(cause, socket.gaierror):
        return "the host is not known; check RABBIT_HOST"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    text = getattr(cause, "reply_text", "") or str(cause) or type(cause).__name__
    return str(text)


def _inner(error: Any) -> BaseException | None:
    """What pika has wrapped into *error*: the latest attempt's own failure."""
    wrapped = (*error.args[:1], getattr(error, "exception", None))
    wrapped += tuple(getattr(error, "exceptions", ()))[-1:]
    found = [each for each in wrapped if isinstance(each, BaseException)]
    return found[-1] if found else None
