# SPDX-License-Identifier: Apache-2.0
"""Hosts one node in Tornado: listens, serves, drains, stops.

    start --> serving --SIGTERM or SIGINT--> drain --> stopped

Draining, within DRAIN_SECONDS:
    1  /readyz says 503 and the listening sockets close
    2  what clients have sent already is still read, for LAME_DUCK_SECONDS
    3  nothing more is read; what was is stored and answered, and the broker confirms
       and delivers it, also to those who read slowly
    4  every client is closed with 4001, after the last message for it
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import tornado.httpserver
import tornado.web

from chatmotor.controllers.accounts import account_routes
from chatmotor.controllers.admin_socket import SOCKET_FILE, AdminSocket
from chatmotor.controllers.base import NotFoundController, log_request
from chatmotor.controllers.health import HealthController, ReadinessController
from chatmotor.controllers.home import HomeController
from chatmotor.controllers.instant_message_websockets import (
    FrontDoor,
    InstantMessageWebSocketController,
)
from chatmotor.controllers.metrics import MetricsController, registry
from chatmotor.controllers.requests import Edge
from chatmotor.controllers.rpc import InFlight, RpcController
from chatmotor.core.accounts import Accounts
from chatmotor.core.administration import Administration
from chatmotor.core.dispatcher import Dispatcher
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.core.operator_commands import OperatorCommands
from chatmotor.metrics import Metrics
from chatmotor.node.greeting import Greeter, V1Limits
from chatmotor.node.housekeeping import Housekeeping
from chatmotor.node.hub import Hub, Limits
from chatmotor.node.roster import Roster
from chatmotor.node.v1_connection import V1Connection
from chatmotor.options import Settings
from chatmotor.ports.broker import Broker
from chatmotor.ports.store import Store
from chatmotor.settings import install_secret, open_data_dir
from chatmotor.stop_signals import STOP_SIGNALS, let_through

logger = logging.getLogger(__name__)

LAME_DUCK_SECONDS = 0.25
_IDLE_SECONDS = 0.01
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
        *,
        broker: Broker,
        store: Store,
        metrics: Metrics,
        messenger: InstantMessenger,
        accounts: Accounts,
        administration: Administration,
        dispatcher: Dispatcher,
        roster: Roster,
        housekeeping: Housekeeping,
        edge: Edge,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._store = store
        self._metrics = metrics
        self._messenger = messenger
        self._accounts = accounts
        self._administration = administration
        self._dispatcher = dispatcher
        self._roster = roster
        self._housekeeping = housekeeping
        self._edge = edge
        self._stopping: asyncio.Event
        self._hub: Hub
        self._signaled_at: float | None = None
        self._in_flight = InFlight(settings.COMMANDS_IN_FLIGHT)
        self._servers: list[tornado.httpserver.HTTPServer] = []
        self._admin_socket = AdminSocket(
            OperatorCommands(administration), **_HTTP_LIMITS
        )

    def start(
        self,
        sockets: Sequence[socket.socket],
        admin_sockets: Sequence[socket.socket],
        *,
        tell: Callable[[str], None] | None = None,
        parent: int | None = None,
    ) -> None:
        """
        Serve on listening sockets until SIGTERM, SIGINT or ``stop``.

        Args:
            tell: Takes a line for the operator's terminal; none when another worker
                speaks to it.
            parent: A file descriptor; stop when it becomes readable.

        Raises:
            OperatorError: The store cannot be used as it is.
        """
        asyncio.run(self._serve(sockets, admin_sockets, tell, parent))

    def stop(self) -> None:
        """Begin to drain, then have ``start`` return."""
        self._stopping.set()

    async def _serve(
        self,
        sockets: Sequence[socket.socket],
        admin_sockets: Sequence[socket.socket],
        tell: Callable[[str], None] | None,
        parent: int | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._hub = Hub(self._metrics, _limits(self._settings))
        for signal_number in STOP_SIGNALS:
            loop.add_signal_handler(signal_number, self._on_signal, signal_number)
        let_through()
        if parent is not None:
            loop.add_reader(parent, self.stop)
        await self._store.start()
        self._roster.start()
        self._housekeeping.start()
        await self._broker.start(
            on_notice=self._roster.on_notice,
            on_writable=self._hub.resume_reading,
            on_connected=self._roster.check_all_soon,
        )
        self._listen(self._public(), sockets)
        self._listen(self._admin(), admin_sockets)
        if tell is not None:  # the first worker, or the only one
            self._admin_socket.start(
                open_data_dir(self._settings.DATA_DIR) / SOCKET_FILE
            )
            await self._tell_of_first_administrator(tell)
        gc.freeze()  # what lives as long as the process need not be searched
        await self._stopping.wait()
        await self.drain()
        self._admin_socket.stop()
        self._hub.stop()
        await self._housekeeping.stop()
        await self._roster.stop()
        await self._broker.stop()
        await self._store.stop()
        logger.info("stopped")

    async def _tell_of_first_administrator(self, tell: Callable[[str], None]) -> None:
        link = await self._administration.new_setup_link()
        if link is not None:
            tell(f"There is no administrator yet; become it, within a day: {link.url}")

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
                await hub.until_idle()
                while self._in_flight.total:  # noqa: ASYNC110  # as until_idle
                    await asyncio.sleep(_IDLE_SECONDS)
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
        door = {"door": self._front_door()}
        routes: list[Any] = [
            (r"/", HomeController),
            (r"/im/(.*)", InstantMessageWebSocketController, door),
            (r"/v1/ws", InstantMessageWebSocketController, door),
            (
                r"/v1/rpc/(.*)",
                RpcController,
                {
                    "edge": self._edge,
                    "accounts": self._accounts,
                    "dispatcher": self._dispatcher,
                    "in_flight": self._in_flight,
                    "hub": self._hub,
                    "metrics": self._metrics,
                },
            ),
            *account_routes(self._accounts, self._administration, self._edge),
            (r"/healthz", HealthController),
            (
                r"/readyz",
                ReadinessController,
                {"hub": self._hub, "broker": self._broker, "store": self._store},
            ),
        ]
        data_dir = open_data_dir(self._settings.DATA_DIR)
        cookie_secret = install_secret(data_dir, "cookie_secret")
        return self._application(routes, cookie_secret=cookie_secret)

    def _front_door(self) -> FrontDoor:
        limits = _v1_limits(self._settings)
        greeter = Greeter(
            self._store, self._roster, self._accounts.authenticate, limits
        )

        def v1(given: str | None) -> V1Connection:
            return V1Connection(
                self._hub,
                store=self._store,
                dispatcher=self._dispatcher,
                greeter=greeter,
                roster=self._roster,
                limits=limits,
                given=given,
            )

        return FrontDoor(
            hub=self._hub,
            messenger=self._messenger,
            roster=self._roster,
            authenticate=self._accounts.authenticate,
            v1=v1,
            allowed_origins=self._edge.allowed_origins,
            sockets_max=self._settings.SOCKETS_MAX,
        )

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


def _v1_limits(settings: Settings) -> V1Limits:
    return V1Limits(
        window_max_events=settings.WINDOW_MAX_EVENTS,
        window_max_bytes=settings.WINDOW_MAX_BYTES,
        commands_in_flight=settings.COMMANDS_IN_FLIGHT,
        sockets_max=settings.SOCKETS_MAX,
        hello_seconds=settings.HELLO_SECONDS,
        window_seconds=settings.SLOW_READER_SECONDS,
        heartbeat_seconds=settings.HEARTBEAT_SECONDS,
        announced={
            "frame_bytes": settings.FRAME_MAX_BYTES,
            "body_bytes": settings.BODY_MAX_BYTES,
            "in_flight": settings.COMMANDS_IN_FLIGHT,
            "sends_per_second": _plain(settings.SENDS_PER_SECOND),
            "sends_burst": settings.SENDS_BURST,
            "members": settings.MEMBERS_MAX,
            "devices": settings.DEVICES_MAX,
            "sockets": settings.SOCKETS_MAX,
            "mailbox_days": _plain(settings.MAILBOX_DAYS),
        },
    )


def _plain(number: float) -> float:
    """Without a fraction that says nothing."""
    return int(number) if number == int(number) else number
