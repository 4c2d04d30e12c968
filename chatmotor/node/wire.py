# SPDX-License-Identifier: Apache-2.0
"""The way out of one connection: every byte a client gets passes here, in order.

    frames of a loop turn --> outbox --one write at the turn's end--> transport

It stands between picows and the asyncio transport, so that what picows writes
(the 101 response, the close frame of a protocol error) keeps its place among our
own frames, and so that a close is never cut short:

    close: flush; when the client has answered our close frame, or had time to, end
    our side; read and forget until the client has ended its side.  Some clients
    miss the code when the end comes with it (RFC 6455, 7.1.1), and closing a socket
    with unread bytes in it makes TCP send a reset, which destroys the close frame
    on its way (RFC 1122, 4.2.2.13).

It does no framing and knows nothing of users.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from chatmotor.metrics import Metrics
from chatmotor.protocol import frames

LINGER_SECONDS = 5.0
ANSWER_SECONDS = 0.5
_CLOSE_FRAME_START = 0x88


class FlushTurn:
    """
    The wires with something to write, flushed together at the turn's end.

    Attributes:
        texts: Texts that were handed to a wire in this turn; whoever hands one
            over adds it, so that one reading of the clock serves them all.
    """

    __slots__ = ("_began", "_loop", "_metrics", "_wires", "texts")

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._loop = loop
        self._metrics = metrics
        self._wires: list[Wire] = []
        self._began = 0.0
        self.texts = 0

    def add(self, wire: "Wire") -> None:
        """Have *wire* flushed once this loop turn's callbacks have run."""
        if not self._wires:
            self._began = perf_counter()
            self._loop.call_soon(self._flush)
        self._wires.append(wire)

    def _flush(self) -> None:
        wires, self._wires = self._wires, []
        texts, self.texts = self.texts, 0
        for wire in wires:
            wire.flush()
        self._metrics.messages_out += texts
        self._metrics.delivery_seconds.observe(perf_counter() - self._began, texts)


class Wire:
    """
    Bytes out, bounded.

    Args:
        turn: Who flushes at the end of the loop turn.
        max_bytes: Unsent bytes, here and in the transport each, from which the
            wire counts as congested.
        on_congested: Called once when that is reached.
        on_clear: Called once when the client has read enough again.
        on_peer_error: Called with a close frame that picows wants to send, that is,
            when the client broke the protocol.  It is not sent: a good frame before
            the bad one may still be answered, and must be answered first.
        on_closed: Called once the socket is gone after ``close``.

    Attributes:
        wrote: Whether anything was written since the hub last looked.
    """

    __slots__ = (
        "_congested",
        "_linger",
        "_max_bytes",
        "_on_clear",
        "_on_closed",
        "_on_congested",
        "_on_peer_error",
        "_outbox",
        "_outbox_bytes",
        "_transport",
        "_transport_full",
        "_turn",
        "wrote",
    )

    def __init__(
        self,
        turn: FlushTurn,
        *,
        max_bytes: int,
        on_congested: Callable[[], None],
        on_clear: Callable[[], None],
        on_peer_error: Callable[[bytes], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._turn = turn
        self._max_bytes = max_bytes
        self._on_congested = on_congested
        self._on_clear = on_clear
        self._on_peer_error = on_peer_error
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._congested = False
        self._transport_full = False
        self._linger: _Linger | None = None
        self.wrote = True

    def connect(self, transport: asyncio.Transport) -> None:
        """Begin to write to *transport*; what was sent before waits here."""
        self._transport = transport
        transport.set_write_buffer_limits(high=self._max_bytes)

    # What a connection calls.

    def send(self, header: bytes, payload: bytes) -> None:
        """Send one frame at the end of this loop turn; after ``close``, forget it."""
        if self._linger is not None:
            return
        if not self._outbox:
            self._turn.add(self)
        self._outbox += (header, payload)
        self._outbox_bytes += len(payload)
        if self._outbox_bytes > self._max_bytes:
            self._congest()

    def flush(self) -> None:
        """Write what waits, in one call, as long as there is a transport."""
        transport = self._transport
        if transport is None or not self._outbox:
            return
        joined = b"".join(self._outbox)
        self._outbox.clear()
        self._outbox_bytes = 0
        self.wrote = True
        if not transport.is_closing():
            transport.write(joined)
        if self._congested and not self._transport_full:
            self._clear()

    def unsent_bytes(self) -> int:
        """Bytes that the operating system has not taken yet."""
        if self._transport is None:
            return self._outbox_bytes
        return self._outbox_bytes + self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Stop reading; TCP then slows the client down."""
        if self._transport is not None and self._linger is None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo ``pause_reading``."""
        if self._transport is not None and self._linger is None:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The transport's buffer is over its bound (asyncio flow control)."""
        self._transport_full = True
        self._congest()

    def resume_writing(self) -> None:
        """The transport's buffer has emptied (asyncio flow control)."""
        self._transport_full = False
        if self._congested and not self._outbox:
            self._clear()

    def _congest(self) -> None:
        if not self._congested:
            self._congested = True
            self._on_congested()

    def _clear(self) -> None:
        self._congested = False
        self._on_clear()

    # What picows calls, taking this for its transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The transport's own (asyncio.BaseTransport.get_extra_info)."""
        assert self._transport is not None
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Never 0: picows would then write past us, straight to the socket."""
        return 1

    def write(self, data: bytes) -> None:
        """Send bytes that are framed already."""
        if data[0] == _CLOSE_FRAME_START:
            self._on_peer_error(bytes(data))
            return
        # The 101 response: what was delivered meanwhile comes after it.
        self._turn.add(self)
        self._outbox.insert(0, bytes(data))

    def close(self, *, answered: bool = False) -> None:
        """
        Flush, then close without losing what was flushed.  Safe to repeat.

        Args:
            answered: Whether the client's close frame has come already.
        """
        transport = self._transport
        if transport is None or self._linger is not None:
            return
        outbox, self._outbox = self._outbox, []
        self._outbox_bytes = 0
        self._linger = _Linger(transport, self._on_closed)
        if outbox:  # not flush(), whose callbacks might send after the close frame
            transport.write(b"".join(outbox))
        self._linger.begin(answered=answered)

    def abort(self) -> None:
        """Drop the socket at once, with whatever is unsent."""
        if self._transport is not None:
            self._transport.abort()


class _Linger(asyncio.Protocol):
    """Reads and forgets until the client has closed too, or its time is up."""

    def __init__(
        self, transport: asyncio.Transport, on_closed: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._on_closed = on_closed
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, *, answered: bool) -> None:
        """Wait for the client's close frame, if need be, and for its end."""
        transport = self._transport
        transport.set_protocol(self)
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(LINGER_SECONDS, transport.abort))
        if transport.is_closing():  # the client was quicker, but may not read
            return
        transport.resume_reading()
        if answered:
            self._end_our_side()
        else:
            self._timers.append(loop.call_later(ANSWER_SECONDS, self._end_our_side))

    def data_received(self, data: bytes) -> None:
        if frames.ends_with_close(data):
            self._end_our_side()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._on_closed()

    def _end_our_side(self) -> None:
        try:
            if self._transport.can_write_eof():
                self._transport.write_eof()
        except OSError:  # the client has reset the connection
            self._transport.abort()
