# SPDX-License-Identifier: Apache-2.0
"""Hosts one node in Tornado: listens, serves, drains, stops.

    start --> serving --SIGTERM or SIGINT--> drain --> stopped

Draining, within DRAIN_SECONDS:
    1  /readyz says 503 and the listening sockets close
    2  what clients have sent already is still read, for LAME_DUCK_SECONDS
    3  nothing more is read; the broker confirms what was, and delivers it, also to
       those who read slowly
    4  every client is closed with 4001, after the last message for it
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

import tornado.httpserver
import tornado.web

from chatmotor.controllers.base import NotFoundController, log_request
from chatmotor.controllers.health import HealthController, ReadinessController
from chatmotor.controllers.home import HomeController
from chatmotor.controllers.instant_message_websockets import (
    InstantMessageWebSocketController,
)
from chatmotor.controllers.metrics import MetricsController, registry
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.metrics import Metrics
from chatmotor.node.hub import Hub, Limits
from chatmotor.options import Settings
from chatmotor.ports.broker import Broker
from chatmotor.settings import install_secret, open_data_dir
from chatmotor.stop_signals import STOP_SIGNALS, let_through

logger = logging.getLogger(__name__)

LAME_DUCK_SECONDS = 0.25
# Of DRAIN_SECONDS: at least this for closing the clients, and for leaving the broker.
_CLOSE_SECONDS = 1.0
_LEAVE_SECONDS = 2.0
# make and process groups send a signal twice; a person takes longer.
_REPEAT_SECONDS = 1.0
_HTTP_LIMITS: dict[str, Any] = {
    "max_header_size": 16 * 1024,
    "max_body_size": 64 * 1024,
    "max_buffer_size": 128 * 1024,
    "idle_connection_timeout": 10.0,  # also the time to send a request's headers
    "body_timeout": 10.0,
}


class WebContainer:
    """One node's servers: the public one and the admin one."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        messenger: InstantMessenger,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._messenger = messenger
        self._metrics = metrics
        self._stopping: asyncio.Event
        self._hub: Hub
        self._signaled_at: float | None = None
        self._servers: list[tornado.httpserver.HTTPServer] = []

    def start(
        self,
        sockets: Sequence[socket.socket],
        admin_sockets: Sequence[socket.socket],
        *,
        parent: int | None = None,
    ) -> None:
        """
        Serve on listening sockets until SIGTERM, SIGINT or ``stop``.

        Args:
            parent: A file descriptor; stop when it becomes readable.
        """
        asyncio.run(self._serve(sockets, admin_sockets, parent))

    def stop(self) -> None:
        """Begin to drain, then have ``start`` return."""
        self._stopping.set()

    async def _serve(
        self,
        sockets: Sequence[socket.socket],
        admin_sockets: Sequence[socket.socket],
        parent: int | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._hub = Hub(self._messenger, self._metrics, _limits(self._settings))
        for signal_number in STOP_SIGNALS:
            loop.add_signal_handler(signal_number, self._on_signal, signal_number)
        let_through()
        if parent is not None:
            loop.add_reader(parent, self.stop)
        await self._broker.start(
            on_notice=lambda key, body: None, on_writable=self._hub.resume_reading
        )
        self._listen(self._public(), sockets)
        self._listen(self._admin(), admin_sockets)
        gc.freeze()  # what lives as long as the process need not be searched
        await self._stopping.wait()
        await self.drain()
        self._hub.stop()
        await self._broker.stop()
        logger.info("stopped")

    def _on_signal(self, signal_number: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._signaled_at is None:
            self._signaled_at = now
            logger.info("%s: draining", signal.Signals(signal_number).name)
            self.stop()
        elif now - self._signaled_at > _REPEAT_SECONDS:  # somebody means it
            signal.signal(signal_number, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)

    async def drain(self) -> None:
        """Hand over what was accepted and close every client, in DRAIN_SECONDS."""
        hub = self._hub
        hub.accepting = False
        for server in self._servers:
            server.stop()
        ends = asyncio.get_running_loop().time()
        ends += self._settings.DRAIN_SECONDS - _LEAVE_SECONDS
        try:
            async with asyncio.timeout_at(ends - _CLOSE_SECONDS):
                await asyncio.sleep(LAME_DUCK_SECONDS)
                hub.stop_reading()
                await self._broker.flush()
        except TimeoutError:
            logger.warning("not everything that was accepted was delivered in time")
        try:
            async with asyncio.timeout_at(ends):
                await hub.close_all()
        except TimeoutError:
            logger.warning(
                "%d clients did not close in time", self._metrics.connections
            )

    def _listen(
        self, application: tornado.web.Application, sockets: Sequence[socket.socket]
    ) -> None:
        server = tornado.httpserver.HTTPServer(application, **_HTTP_LIMITS)
        server.add_sockets(sockets)
        self._servers.append(server)

    def _public(self) -> tornado.web.Application:
        origins = frozenset(origin.lower() for origin in self._settings.ALLOWED_ORIGINS)
        routes: list[Any] = [
            (r"/", HomeController),
            (
                r"/im/(.*)",
                InstantMessageWebSocketController,
                {
                    "hub": self._hub,
                    "messenger": self._messenger,
                    "allowed_origins": origins,
                },
            ),
            (r"/healthz", HealthController),
            (
                r"/readyz",
                ReadinessController,
                {"hub": self._hub, "broker": self._broker},
            ),
        ]
        data_dir = open_data_dir(self._settings.DATA_DIR)
        cookie_secret = install_secret(data_dir, "cookie_secret")
        return self._application(routes, cookie_secret=cookie_secret)

    def _admin(self) -> tornado.web.Application:
        collected = registry(self._metrics, self._broker)
        return self._application(
            [(r"/metrics", MetricsController, {"registry": collected})]
        )

    def _application(self, routes: list[Any], **given: Any) -> tornado.web.Application:
        chosen: dict[str, Any] = {
            "default_handler_class": NotFoundController,
            "log_function": log_request,
        }
        chosen |= given | self._settings.HTTP_SETTINGS
        return tornado.web.Application(routes, **chosen)


def _limits(settings: Settings) -> Limits:
    return Limits(
        frame_max_bytes=settings.FRAME_MAX_BYTES,
        connection_buffer_max_bytes=settings.CONNECTION_BUFFER_MAX_BYTES,
        slow_reader_seconds=settings.SLOW_READER_SECONDS,
        heartbeat_seconds=settings.HEARTBEAT_SECONDS,
        heartbeat_grace_seconds=settings.HEARTBEAT_GRACE_SECONDS,
    )
