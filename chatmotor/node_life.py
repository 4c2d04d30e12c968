# SPDX-License-Identifier: Apache-2.0
"""One node, from start to stop: its parts in order, and how it drains.

It owns no listening socket, no signal and no event loop: ``WebContainer`` runs it as
a process, ``embed.py`` within another Tornado application.  What it answers to
requests is in node_routes.py.

    start --> serving --drain--> nobody is connected --stop--> stopped

Draining, within DRAIN_SECONDS:
    1  /readyz says 503, and new connections are refused
    2  what clients have sent already is still read, for LAME_DUCK_SECONDS
    3  nothing more is read; what was is stored and answered, and the broker confirms
       and delivers it, also to those who read slowly
    4  every client is closed with 4001, after the last message for it
"""

import asyncio
import logging

from chatmotor.controllers.requests import Edge
from chatmotor.controllers.rpc import InFlight
from chatmotor.core.accounts import Accounts
from chatmotor.core.administration import Administration
from chatmotor.core.dispatcher import Dispatcher
from chatmotor.core.hooks import Hooks, IncomingHooks
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.metrics import Metrics
from chatmotor.node.forwarder import Forwarder
from chatmotor.node.housekeeping import Housekeeping
from chatmotor.node.hub import Hub, Limits
from chatmotor.node.roster import Roster
from chatmotor.options import Settings
from chatmotor.ports.broker import Broker
from chatmotor.ports.requests import RequestSource
from chatmotor.ports.store import Store

logger = logging.getLogger(__name__)

LAME_DUCK_SECONDS = 0.25
_IDLE_SECONDS = 0.01
# Of DRAIN_SECONDS: at least this for closing the clients, and for leaving the broker.
_CLOSE_SECONDS = 1.0
_LEAVE_SECONDS = 2.0


class Node:
    """
    The parts of one node.

    Attributes:
        hub: Its connections; there is one from ``start`` on.
        in_flight: The requests over HTTP that are under way.
    """

    hub: Hub

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
        requests: RequestSource,
        forwarder: Forwarder,
        hooks: Hooks,
        incoming: IncomingHooks,
        edge: Edge,
    ) -> None:
        self.settings = settings
        self.broker = broker
        self.store = store
        self.metrics = metrics
        self.messenger = messenger
        self.accounts = accounts
        self.administration = administration
        self.dispatcher = dispatcher
        self.roster = roster
        self.housekeeping = housekeeping
        self.requests = requests
        self.forwarder = forwarder
        self.hooks = hooks
        self.incoming = incoming
        self.edge = edge
        self.in_flight = InFlight(settings.COMMANDS_IN_FLIGHT)

    async def start(self) -> None:
        """
        Start every part, in the running event loop.

        Raises:
            OperatorError: The store cannot be used as it is.
        """
        self.hub = Hub(self.metrics, _limits(self.settings))
        try:
            await self.store.start()
        except BaseException:
            self.hub.stop()
            raise
        self.roster.start()
        self.housekeeping.start()
        await self.broker.start(
            on_notice=self.roster.on_notice,
            on_writable=self.hub.resume_reading,
            on_connected=self._on_connected,
        )
        self.forwarder.start()

    def _on_connected(self) -> None:
        self.roster.check_all_soon()
        self.forwarder.check_soon()

    async def drain(self) -> None:
        """Hand over what was accepted and close every client, in DRAIN_SECONDS."""
        hub = self.hub
        hub.accepting = False
        leaving = asyncio.create_task(self.forwarder.stop())
        ends = asyncio.get_running_loop().time()
        ends += self.settings.DRAIN_SECONDS - _LEAVE_SECONDS
        try:
            async with asyncio.timeout_at(ends - _CLOSE_SECONDS):
                await self.requests.drain()
                await asyncio.sleep(LAME_DUCK_SECONDS)
                hub.stop_reading()
                await hub.until_idle()
                while self.in_flight.total:  # noqa: ASYNC110  # as until_idle
                    await asyncio.sleep(_IDLE_SECONDS)
                await self.broker.flush()
        except TimeoutError:
            logger.warning("not everything that was accepted was delivered in time")
        try:
            async with asyncio.timeout_at(ends):
                await hub.close_all()
        except TimeoutError:
            logger.warning("%d clients did not close in time", self.metrics.connections)
        await leaving

    async def stop(self) -> None:
        """Stop every part; connections that are still there are dropped."""
        self.hub.stop()
        await self.forwarder.stop()
        await self.housekeeping.stop()
        await self.roster.stop()
        self.dispatcher.typists.stop()
        await self.requests.stop()
        await self.broker.stop()
        await self.store.stop()


def _limits(settings: Settings) -> Limits:
    return Limits(
        frame_max_bytes=settings.FRAME_MAX_BYTES,
        connection_buffer_max_bytes=settings.CONNECTION_BUFFER_MAX_BYTES,
        slow_reader_seconds=settings.SLOW_READER_SECONDS,
        heartbeat_seconds=settings.HEARTBEAT_SECONDS,
        heartbeat_grace_seconds=settings.HEARTBEAT_GRACE_SECONDS,
    )
