# SPDX-License-Identifier: Apache-2.0
"""WebSocket frames of a server (RFC 6455, section 5): never masked, never split.

Only what picows leaves to its user is here: the headers, so that all frames of
one loop turn can leave in one write, and joining the fragments of a message.
"""

import struct
from typing import Final

from chatmotor.errors import FrameRefused, NotJson

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN = 0x80
_SHORT_TEXT_HEADERS = tuple(bytes((_FIN | TEXT, size)) for size in range(126))
MAX_CONTROL_BYTES = 125
TOO_BIG = "a message may have at most {} bytes"
NEVER_SENT = frozenset({1004, 1005, 1006, 1015})


class MessageTooBig(FrameRefused):
    """A message, in one frame or in fragments, over the limit (close 1009)."""

    close_code = 1009


class NotSupported(FrameRefused):
    """A binary message where only text is spoken (close 1003)."""

    close_code = 1003


def text_header(size: int) -> bytes:
    """The header of an unfragmented text frame with a payload of *size* bytes."""
    if size < 126:
        return _SHORT_TEXT_HEADERS[size]
    if size < 65536:
        return struct.pack(">BBH", _FIN | TEXT, 126, size)
    return struct.pack(">BBQ", _FIN | TEXT, 127, size)


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A ping or pong with a payload of at most 125 bytes (RFC 6455, 5.5)."""
    return bytes((_FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; a reason over 123 bytes is cut at a character (5.5.1)."""
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore")
    return control_frame(CLOSE, struct.pack(">H", code) + text.encode())


def read_close_code(payload: bytes) -> int:
    """
    The code to answer a close frame with: its own, or 1000 when it has none.

    Raises:
        FrameRefused: It is one that nobody may send (RFC 6455, 7.4).
    """
    if not payload:
        return 1000
    code = int.from_bytes(payload[:2], "big")
    if code in NEVER_SENT or not 1000 <= code <= 4999:
        raise FrameRefused(f"{code} is no close code")
    return code


def ends_with_close(received: bytes) -> bool:
    """
    Whether *received*, the latest bytes of a client, ends with a close frame.

    For a stream that is no longer parsed: a message could end in the same bytes, so
    take the answer for a hint.
    """
    return any(
        received[-6 - size] == _FIN | CLOSE and received[-5 - size] == 0x80 | size
        for size in range(min(len(received) - 5, MAX_CONTROL_BYTES + 1))
    )


class Fragments:
    """
    The fragments of one message, joined (RFC 6455, 5.4).

    Bounded: a message never takes more than *limit* bytes here, whatever the
    number of its fragments.
    """

    __slots__ = ("_limit", "_parts")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: bytearray | None = None

    def add(self, payload: bytes, *, first: bool, final: bool) -> bytes | None:
        """
        Take the next data frame; return the whole message once it is final.

        Raises:
            FrameRefused: A continuation of nothing, or a new message inside one.
            MessageTooBig: The parts together are over the limit.
        """
        if first != (self._parts is None):
            raise FrameRefused(
                "a new message began inside a fragmented one"
                if first
                else "a continuation frame continues nothing"
            )
        parts = bytearray() if self._parts is None else self._parts
        if len(parts) + len(payload) > self._limit:
            raise MessageTooBig(TOO_BIG.format(self._limit))
        parts += payload
        self._parts = None if final else parts
        return bytes(parts) if final else None

    def is_open(self) -> bool:
        """Whether a message has begun and is not yet whole."""
        return self._parts is not None


def require_utf8(payload: bytes) -> None:
    """
    Text frames are UTF-8 (RFC 6455, 8.1).

    Raises:
        NotJson: They are not; close 1007.
    """
    if payload.isascii():
        return
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise NotJson("a text frame must be UTF-8") from None
