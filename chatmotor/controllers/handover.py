# SPDX-License-Identifier: Apache-2.0
"""Moves an accepted socket from Tornado to picows.  Pin both: this uses internals.

Tornado has read and checked the upgrade request; from here on picows parses
frames in C.  picows expects to read the request itself, so it is given a
canonical one (it refuses forms that browsers send, such as Firefox's
``Connection: keep-alive, Upgrade``), followed by the bytes that Tornado had read
beyond the real one.
"""

import asyncio
import logging
import socket
from typing import Any

from picows import (
    WSAutoPingStrategy,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]
from tornado.iostream import IOStream

from chatmotor.node.connection import Connection

logger = logging.getLogger(__name__)
_READ_BUFFER_BYTES = 4096
_READ_MAX_BYTES = 64 * 1024


class _PicowsLog:
    """
    What picows has to say.  One object for all connections: picows gives a
    ``logging.Logger`` a child for each socket.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # picows calls it
        """Its debugging output would hold texts."""
        return False

    def info(self, *_: Any) -> None:
        """Each socket opened and closed: counted in the metrics instead."""

    debug = warning = error = log = info

    def exception(self, message: str, *arguments: Any) -> None:
        """Our own code raised where it must not."""
        logger.exception(message, *arguments)  # noqa: LOG004  # within picows' except


_picows_log = _PicowsLog()


class _HandedOver(WSProtocol):  # type: ignore[misc]  # picows is not typed
    """picows' protocol for a socket whose request has been read already."""

    def __init__(
        self,
        connection: Connection,
        frame_max_bytes: int,
        received: bytes,
        headers: dict[str, str],
    ) -> None:
        def listener(_: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
            response = WSUpgradeResponse.create_101_response(headers)
            return WSUpgradeResponseWithListener(response, connection)

        super().__init__(
            None,  # host_port: of clients
            None,  # ws_path: of clients
            False,  # is_client_side
            listener,
            _picows_log,
            True,  # disconnect_on_exception: a defect of ours costs one socket
            None,  # websocket_handshake_timeout: the handshake is over
            False,  # enable_auto_ping: a task per socket; the hub pings
            0,
            0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # enable_auto_pong: unbounded; the connection answers
            frame_max_bytes,
            None,  # extra_headers: of clients
            _READ_BUFFER_BYTES,
        )
        self._connection = connection
        self._received = received

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Put the wire between picows and *transport*, and replay what was read."""
        wire = self._connection.wire
        wire.connect(transport)
        super().connection_made(wire)
        received, self._received = memoryview(self._received), b""
        while received and not self._connection.peer_erred:
            buffer = memoryview(self.get_buffer(-1))
            part = received[: len(buffer)]
            buffer[: len(part)] = part
            received = received[len(part) :]
            self.buffer_updated(len(part))

    def get_buffer(self, size_hint: int) -> memoryview:
        """
        Room for one read.  picows doubles its buffer whenever a read fills it, up to
        all that the kernel holds; bounded, a flood waits there instead.
        """
        buffer: memoryview = super().get_buffer(size_hint)
        return buffer[:_READ_MAX_BYTES]


def canonical_request(key: str) -> bytes:
    """The smallest upgrade request with *key* that picows answers with 101."""
    return (
        "GET / HTTP/1.1\r\nHost: chatmotor\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


async def hand_over(
    stream: IOStream,
    key: str,
    connection: Connection,
    *,
    frame_max_bytes: int,
    subprotocol: str | None = None,
) -> bool:
    """
    Serve *stream*, detached from its request, as a WebSocket of *connection*.

    Args:
        key: The request's Sec-WebSocket-Key, checked.
        subprotocol: The one that was chosen, for Sec-WebSocket-Protocol.

    Returns:
        False when the client had gone by then; nothing was started.
    """
    sock: socket.socket | None = stream.socket
    if stream.closed() or sock is None:
        return False
    stream.io_loop.remove_handler(sock)
    received = canonical_request(key) + bytes(stream._read_buffer)
    stream.socket = None  # type: ignore[assignment]  # it is ours now
    headers = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else {}
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(
            lambda: _HandedOver(connection, frame_max_bytes, received, headers), sock
        )
    except OSError:
        sock.close()
        return False
    return True
