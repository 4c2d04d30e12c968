# SPDX-License-Identifier: Apache-2.0
"""One WebSocket in classic mode: frames from picows in, texts for the user out.

    frame --> text --> destination --> InstantMessenger.send_im
    deliver(text) --> frame --> Wire

picows parses frames and answers malformed ones.  It leaves to us, and we do here:
reserved bits, fragments, UTF-8, pings, the close handshake and pausing
(RFC 6455, sections 5 and 7).  No task, timer or future belongs to a connection;
the hub's beat looks after all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from chatmotor.errors import FrameRefused
from chatmotor.node.wire import Wire
from chatmotor.protocol import frames
from chatmotor.protocol.classic import read_destination

if TYPE_CHECKING:
    from chatmotor.node.hub import Hub
    from chatmotor.ports.broker import Subscription

_TEXT = WSMsgType.TEXT
_CONTINUATION = WSMsgType.CONTINUATION
_PING = WSMsgType.PING
_PONG = WSMsgType.PONG
_CLOSE = WSMsgType.CLOSE


class Connection(WSListener):
    """
    Serves one socket from its first byte to its last.

    Attributes:
        heard: Whether anything arrived since the hub last looked.
        heard_at: The hub's clock when it last found something had.
        wrote_at: The hub's clock when it last found something written.
        pinged_at: When we pinged, unless anything has arrived since.
        congested_since: When the client began to read too slowly, else None.
        congested_bytes: What was unsent when the hub last looked.
        reading_paused: Whether we read nothing from the client now.
        peer_erred: Whether picows has found the client to break the protocol.
    """

    def __init__(self, hub: Hub) -> None:
        limits = hub.limits
        self._hub = hub
        self._turn = hub.flush_turn
        self._messenger = hub.messenger
        self._metrics = hub.metrics
        self._session: Subscription | None = None
        self._fragments = frames.Fragments(limits.frame_max_bytes)
        self._ended = False
        self._unanswered_ping: bytes | None = None
        self.heard = True
        self.heard_at = 0.0
        self.wrote_at = 0.0
        self.peer_erred = False
        self.pinged_at: float | None = None
        self.reading_paused = False
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

    # The user's side.

    def attach(self, session: Subscription) -> None:
        """Own *session*: it is paused, resumed and ended with the socket."""
        self._session = session
        if self.congested_since is not None:
            session.pause()

    def deliver(self, text: bytes) -> None:
        """Send *text* to the client, verbatim, at the end of this loop turn."""
        self._turn.texts += 1
        self.wire.send(frames.text_header(len(text)), text)

    # picows' side.

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The 101 response is on its way."""
        self._hub.add(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame, unmasked and well-formed, in the order of arrival."""
        self.heard = True
        if self._ended:
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
            elif kind is not _PONG:
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
        if not self._messenger.send_im(read_destination(text), text):
            self._hub.pause_reading(self)

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
        if self._ended:
            return
        self._metrics.closed[code] += 1
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
        self._ended = True
        self._hub.congested.discard(self)
        session, self._session = self._session, None
        if session is not None:
            self._messenger.stop_im_session(session)

    def _on_socket_gone(self) -> None:
        self._hub.discard(self)

    # A client that does not read.

    def _on_congested(self) -> None:
        self.congested_since = self._hub.loop.time()
        self.congested_bytes = self.wire.unsent_bytes()
        self._hub.congested.add(self)
        if self._session is not None:
            self._session.pause()

    def _on_clear(self) -> None:
        self.congested_since = None
        self.heard = True  # who reads is alive
        self._hub.congested.discard(self)
        if self._unanswered_ping is not None:
            payload, self._unanswered_ping = self._unanswered_ping, None
            self._answer_ping(payload)
        if self._session is not None:
            self._session.resume()
