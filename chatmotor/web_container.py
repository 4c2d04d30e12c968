# SPDX-License-Identifier: Apache-2.0
"""Runs one node as a process of its own, in Tornado: listens, serves, drains, stops.

    start --> serving --SIGTERM or SIGINT--> drain --> stopped

The listening sockets close as the node begins to drain (see node_life.py).
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence

import tornado.httpserver
import tornado.web

from chatmotor.controllers.admin_socket import SOCKET_FILE, AdminSocket
from chatmotor.core.operator_commands import OperatorCommands
from chatmotor.node_life import Node
from chatmotor.node_routes import (
    HTTP_LIMITS,
    admin_application,
    public_application,
)
from chatmotor.settings import open_data_dir
from chatmotor.stop_signals import STOP_SIGNALS, let_through

logger = logging.getLogger(__name__)

# make and process groups send a signal twice; a person takes longer.
_REPEAT_SECONDS = 1.0


class WebContainer:
    """One node's servers: the public one and the admin one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stopping: asyncio.Event
        self._signaled_at: float | None = None
        self._servers: list[tornado.httpserver.HTTPServer] = []
        self._admin_socket = AdminSocket(
            OperatorCommands(node.administration, node.hooks), **HTTP_LIMITS
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
        for signal_number in STOP_SIGNALS:
            loop.add_signal_handler(signal_number, self._on_signal, signal_number)
        let_through()
        if parent is not None:
            loop.add_reader(parent, self.stop)
        await self._node.start()
        self._listen(public_application(self._node), sockets)
        self._listen(admin_application(self._node), admin_sockets)
        if tell is not None:  # the first worker, or the only one
            self._admin_socket.start(
                open_data_dir(self._node.settings.DATA_DIR) / SOCKET_FILE
            )
            await self._tell_of_first_administrator(tell)
        gc.freeze()  # what lives as long as the process need not be searched
        await self._stopping.wait()
        await self.drain()
        self._admin_socket.stop()
        await self._node.stop()
        logger.info("stopped")

    async def _tell_of_first_administrator(self, tell: Callable[[str], None]) -> None:
        link = await self._node.administration.new_setup_link()
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
        """Listen no more, and drain the node."""
        for server in self._servers:
            server.stop()
        await self._node.drain()

    def _listen(
        self, application: tornado.web.Application, sockets: Sequence[socket.socket]
    ) -> None:
        server = tornado.httpserver.HTTPServer(application, **HTTP_LIMITS)
        server.add_sockets(sockets)
        self._servers.append(server)
