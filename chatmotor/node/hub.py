# SPDX-License-Identifier: Apache-2.0
"""The connections of this node, and the beat that looks after all of them.

One timer serves every connection: it pings where nothing came or went for a while,
closes the dead (4004) and those that do not read (4002).  Who breaks the protocol is
closed by its own connection; who floods is slowed down by TCP, since we stop reading.
"""

import asyncio
import logging
from dataclasses import dataclass

from chatmotor.metrics import Metrics
from chatmotor.node.connection import Connection
from chatmotor.node.wire import FlushTurn
from chatmotor.protocol import frames
from chatmotor.protocol.session import DRAINING, SILENT, SLOW_CONSUMER

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost; the options of the same names say why."""

    frame_max_bytes: int
    connection_buffer_max_bytes: int
    slow_reader_seconds: float
    heartbeat_seconds: float
    heartbeat_grace_seconds: float


class Hub:
    """
    The connections of one node.  Build it inside the running event loop.

    Attributes:
        accepting: Whether new connections are served; false once the node drains.
        congested: The connections whose client reads too slowly now.
    """

    def __init__(self, metrics: Metrics, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        self.metrics = metrics
        self.limits = limits
        self.flush_turn = FlushTurn(self.loop, metrics)
        self.accepting = True
        self.congested: set[Connection] = set()
        self._connections: set[Connection] = set()
        self._paused: set[Connection] = set()
        self._reading = True
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._beat_seconds = min(1.0, limits.heartbeat_grace_seconds / 2)
        self._next_beat = self.loop.call_later(self._beat_seconds, self._beat)

    def add(self, connection: Connection) -> None:
        """A WebSocket is open."""
        connection.heard_at = connection.wrote_at = self.loop.time()
        self._connections.add(connection)
        self._emptied.clear()
        self.metrics.connections += 1
        self.metrics.accepted += 1
        if not self.accepting:  # it was on its way when the node began to drain
            connection.close(DRAINING, "this node is shutting down")

    def discard(self, connection: Connection) -> None:
        """A socket is gone.  Safe to repeat."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self.congested.discard(connection)
        self._paused.discard(connection)
        self.metrics.connections -= 1
        if not self._connections:
            self._emptied.set()

    # The broker is behind: whoever sends is read later.

    def pause_reading(self, connection: Connection) -> None:
        """Read nothing from *connection* until ``resume_reading``."""
        if not connection.reading_paused and connection.is_open:
            connection.reading_paused = True
            connection.wire.pause_reading()
            self._paused.add(connection)

    def resume_reading(self) -> None:
        """Read from everyone again."""
        paused, self._paused = self._paused, set()
        for connection in paused:
            connection.reading_paused = False
            self._read_again(connection)

    def hold_reading(self, connection: Connection) -> None:
        """Read nothing from *connection* until it has done what it was asked to."""
        if not connection.reading_held:
            connection.reading_held = True
            connection.wire.pause_reading()

    def release_reading(self, connection: Connection) -> None:
        """Undo ``hold_reading``.  Safe to repeat."""
        if connection.reading_held:
            connection.reading_held = False
            self._read_again(connection)

    def _read_again(self, connection: Connection) -> None:
        connection.heard = True
        held = connection.reading_held or connection.reading_paused
        if self._reading and not held:
            connection.wire.resume_reading()

    # The beat.

    def _beat(self) -> None:
        self._next_beat = self.loop.call_later(self._beat_seconds, self._beat)
        now = self.loop.time()
        for connection in tuple(self._connections):
            connection.beat(now)
            if self._reading:
                self._check_silence(connection, now)
        for connection in tuple(self.congested):
            self._check_progress(connection, now)

    def _check_silence(self, connection: Connection, now: float) -> None:
        """Close the dead; ping where either side was silent for a heartbeat."""
        if connection.heard or connection.reading_paused or connection.reading_held:
            connection.heard = False
            connection.heard_at = now
            connection.pinged_at = None
        if connection.wire.wrote:
            connection.wire.wrote = False
            connection.wrote_at = now
        limits = self.limits
        unheard = now - connection.heard_at >= limits.heartbeat_seconds
        pinged_at = connection.pinged_at
        if pinged_at is not None and unheard:
            # Judged by the ping, not by the silence: after a pause of the whole
            # machine everyone seems to have been silent.
            if now - pinged_at >= limits.heartbeat_grace_seconds:
                connection.close(SILENT, "no answer to a ping")
        elif unheard or now - connection.wrote_at >= limits.heartbeat_seconds:
            connection.pinged_at = now
            connection.wire.send(frames.control_frame(frames.PING), b"")

    def _check_progress(self, connection: Connection, now: float) -> None:
        unsent = connection.wire.unsent_bytes()
        if unsent < connection.congested_bytes or connection.congested_since is None:
            connection.congested_since = now
            connection.heard = True  # who reads is alive
        elif now - connection.congested_since >= self.limits.slow_reader_seconds:
            connection.close(SLOW_CONSUMER, "the client does not read")
        connection.congested_bytes = unsent

    # The end.

    def stop_reading(self) -> None:
        """Take in nothing more, from anyone."""
        self._reading = False
        for connection in self._connections:
            connection.wire.pause_reading()

    async def until_idle(self) -> None:
        """Return once everything that was read has been done."""
        # Asked for once, in the end; an event would cost every message something.
        while any(each.busy for each in self._connections):  # noqa: ASYNC110
            await asyncio.sleep(_IDLE_SECONDS)

    async def close_all(self) -> None:
        """Close every connection with 4001; return once all sockets are gone."""
        for connection in tuple(self._connections):
            connection.close(DRAINING, "this node is shutting down")
        await self._emptied.wait()

    def stop(self) -> None:
        """Stop the beat and drop the sockets that are still there."""
        self._next_beat.cancel()
        self.drop_all()

    def drop_all(self) -> None:
        """Drop every socket at once, without a word, as a broken network does."""
        for connection in tuple(self._connections):
            connection.wire.abort()
