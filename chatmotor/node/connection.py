# SPDX-License-Identifier: Apache-2.0
"""One WebSocket: frames from picows in, whole texts to whoever understands them.

    frame --> text --> receive(text)      classic_connection.py, v1_connection.py
    send_text(text) --> frame --> Wire

picows parses frames and answers malformed ones.  It leaves to us, and we do here:
reserved bits, fragments, UTF-8, pings, the close handshake and pausing
(RFC 6455, sections 5 and 7).  No task, timer or future belongs to a connection;
the hub's beat looks after all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from chatmotor.errors import FrameRefused
from chatmotor.node.wire import Wire
from chatmotor.protocol import frames

if TYPE_CHECKING:
    from chatmotor.node.hub import Hub

_TEXT = WSMsgType.TEXT
_CONTINUATION = WSMsgType.CONTINUATION
_PING = WSMsgType.PING
_PONG = WSMsgType.PONG
_CLOSE = WSMsgType.CLOSE


class Connection(WSListener):
    """
    Serves one socket from its first byte to its last.

    Its kinds say what a text means (``receive``), what a client is told before it is
    closed (``say_bye``), and what else ends with it (``ended``).

    Attributes:
        heard: Whether anything arrived since the hub last looked.
        heard_at: The hub's clock when it last found something had.
        wrote_at: The hub's clock when it last found something written.
        pinged_at: When we pinged, unless anything has arrived since.
        congested_since: When the client began to read too slowly, else None.
        congested_bytes: What was unsent when the hub last looked.
        reading_paused: Whether nothing is read from it because the broker is behind.
        reading_held: Whether nothing is read from it because it is behind itself.
        peer_erred: Whether picows has found the client to break the protocol.
    """

    def __init__(self, hub: Hub) -> None:
        limits = hub.limits
        self._hub = hub
        self._turn = hub.flush_turn
        self._metrics = hub.metrics
        self._fragments = frames.Fragments(limits.frame_max_bytes)
        self.is_open = True
        self._unanswered_ping: bytes | None = None
        self.heard = True
        self.heard_at = 0.0
        self.wrote_at = 0.0
        self.peer_erred = False
        self.pinged_at: float | None = None
        self.reading_paused = False
        self.reading_held = False
        self.congested_since: float | None = None
        self.congested_bytes = 0
        self.wire = Wire(
            hub.flush_turn,
            max_bytes=limits.connection_buffer_max_bytes,
            on_congested=self._on_congested,
            on_clear=self._on_clear,
            on_peer_error=self._on_peer_error,
            on_closed=self._on_socket_gone,
        )

    # What the kinds say.

    @abstractmethod
    def receive(self, text: bytes) -> None:
        """
        A text from the client, UTF-8.

        Raises:
            FrameRefused: It ends the connection.
        """

    @property
    def busy(self) -> bool:
        """Whether something that the client asked for is still under way."""
        return False

    def say_bye(self, code: int, reason: str) -> None:
        """Tell the client, in its own words, why it is about to be closed."""

    def ended(self) -> None:
        """The connection serves nobody any more; called once."""

    def beat(self, now: float) -> None:
        """Called about once a second with the loop's clock."""

    def on_pong(self, payload: bytes) -> None:
        """The client has answered a ping, or felt like it."""

    def on_slow(self) -> None:
        """The client reads too slowly: more is sent when ``on_clear`` is called."""

    def on_clear(self) -> None:
        """The client has read what there was."""

    def send_text(self, text: bytes) -> None:
        """Send *text* to the client, verbatim, at the end of this loop turn."""
        self._turn.texts += 1
        self.wire.send(frames.text_header(len(text)), text)

    def send_ping(self, payload: bytes) -> None:
        """Send a ping with a payload of at most 125 bytes."""
        self.wire.send(frames.control_frame(frames.PING, payload), b"")

    # picows' side.

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The 101 response is on its way."""
        self._hub.add(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame, unmasked and well-formed, in the order of arrival."""
        self.heard = True
        if not self.is_open:
            return
        try:
            if frame.rsv1 or frame.rsv2 or frame.rsv3:
                raise FrameRefused("a reserved bit is set; no extension is in use")
            kind = frame.msg_type
            if kind is _TEXT and frame.fin and not self._fragments.is_open():
                self._on_text(frame.get_payload_as_bytes())
            elif kind is _TEXT or kind is _CONTINUATION:
                text = self._fragments.add(
                    frame.get_payload_as_bytes(),
                    first=kind is _TEXT,
                    final=bool(frame.fin),
                )
                if text is not None:
                    self._on_text(text)
            elif kind is _PING:
                self._answer_ping(frame.get_payload_as_bytes())
            elif kind is _CLOSE:
                self._answer_close(frame)
            elif kind is _PONG:
                self.on_pong(frame.get_payload_as_bytes())
            else:
                raise frames.NotSupported("only text messages are spoken here")
        except FrameRefused as refused:
            self.close(refused.close_code, refused.reason)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone without a close handshake."""
        self.drop()
        self._on_socket_gone()

    def pause_writing(self) -> None:
        """See ``Wire.pause_writing``."""
        self.wire.pause_writing()

    def resume_writing(self) -> None:
        """See ``Wire.resume_writing``."""
        self.wire.resume_writing()

    def _on_text(self, text: bytes) -> None:
        frames.require_utf8(text)
        self.receive(text)

    def _answer_ping(self, payload: bytes) -> None:
        # While the client does not read, only its latest ping is answered
        # (RFC 6455, 5.5.3): a flood of pings must not fill the memory.
        if self.congested_since is not None:
            self._unanswered_ping = payload
        else:
            self.wire.send(frames.control_frame(frames.PONG, payload), b"")

    def _answer_close(self, frame: WSFrame) -> None:
        code = frames.read_close_code(frame.get_payload_as_bytes())
        self.drop()
        self.wire.send(frames.close_frame(code), b"")
        self.wire.close(answered=True)

    # The end.

    def close(self, code: int, reason: str) -> None:
        """Close with *code* (RFC 6455, 7.4); what was delivered leaves before it."""
        if not self.is_open:
            return
        self._metrics.closed[code] += 1
        self.say_bye(code, reason)
        self.drop()
        self.wire.send(frames.close_frame(code, reason), b"")
        self.wire.close()

    def _on_peer_error(self, close_frame: bytes) -> None:
        # Called in the middle of picows' parsing: a good frame before the bad one
        # may still be on its way to us.
        self.peer_erred = True
        self._hub.loop.call_soon(self._close_after_peer_error, close_frame)

    def _close_after_peer_error(self, close_frame: bytes) -> None:
        code = int.from_bytes(close_frame[2:4], "big")
        reason = close_frame[4:].decode("utf-8", "ignore")
        if code == frames.MessageTooBig.close_code:
            reason = frames.TOO_BIG.format(self._hub.limits.frame_max_bytes)
        self.close(code, reason)

    def drop(self) -> None:
        """Give everything up but the socket, which is gone or never came."""
        self._hub.congested.discard(self)
        if self.is_open:
            self.is_open = False
            self.ended()

    def _on_socket_gone(self) -> None:
        self._hub.discard(self)

    # A client that does not read.

    def _on_congested(self) -> None:
        self.congested_since = self._hub.loop.time()
        self.congested_bytes = self.wire.unsent_bytes()
        self._hub.congested.add(self)
        self.on_slow()

    def _on_clear(self) -> None:
        self.congested_since = None
        self.heard = True  # who reads is alive
        self._hub.congested.discard(self)
        if self._unanswered_ping is not None:
            payload, self._unanswered_ping = self._unanswered_ping, None
            self._answer_ping(payload)
        self.on_clear()
