# SPDX-License-Identifier: Apache-2.0
"""Reads a delivery from AMQP's bytes in one pass: three frames, two of them brief.

    method frame  basic.deliver: consumer tag, delivery tag, exchange, routing key
    header frame  the size of the body, and its properties
    body frame    the message (one frame, up to the frame size that was agreed on)

Only what is common is read: a whole delivery without properties.  Anything else is
pika's, as if this were not here.  AMQP 0-9-1, sections 2.3.5 and 4.2.
"""

import struct
from typing import Any, NamedTuple

from pika.frame import Header, decode_frame
from pika.spec import props

_METHOD_FRAME = struct.Struct(">BHI4s")  # type, channel, size; class and method
_HEADER_FRAME = struct.Struct(">BHIHHQH")  # ...; class, weight, body size, flags
_BODY_FRAME = struct.Struct(">BHI")
_METHOD, _HEADER, _BODY = 1, 2, 3
_DELIVER = b"\x00\x3c\x00\x3c"  # class 60, method 60
_END = 0xCE
_FRAME_OVERHEAD = 8  # type, channel, size and the end
_HEADERS_FLAG = 0x2000  # what is left of BCC: a table, which is empty
_EMPTY_TABLE = b"\x00\x00\x00\x00"


class Delivery(NamedTuple):
    """One message; *after* is where the next frame begins."""

    channel: int
    consumer_tag: str
    body: bytes
    after: int


def read_delivery(received: bytes, at: int) -> Delivery | None:
    """The plain, whole delivery that begins at *at*; none where there is another."""
    try:
        kind, channel, size, method = _METHOD_FRAME.unpack_from(received, at)
        if kind != _METHOD or method != _DELIVER:
            return None
        header = at + size + _FRAME_OVERHEAD
        fields = _HEADER_FRAME.unpack_from(received, header)
        kind, _, header_size, _, _, body_size, flags = fields
        if kind != _HEADER or flags & ~_HEADERS_FLAG:
            return None
        body = header + header_size + _FRAME_OVERHEAD
        if flags and received[body - 5 : body - 1] != _EMPTY_TABLE:
            return None
        kind, _, frame_size = _BODY_FRAME.unpack_from(received, body)
        after = body + _FRAME_OVERHEAD + body_size
        whole = kind == _BODY and frame_size == body_size and after <= len(received)
        if not whole or received[after - 1] != _END:
            return None
    except struct.error:  # the rest is on its way
        return None
    begin = at + _METHOD_FRAME.size + 1
    tag = received[begin : begin + received[begin - 1]].decode("utf-8", "replace")
    return Delivery(channel, tag, received[body + _BODY_FRAME.size : after - 1], after)


def read_frame(received: bytes) -> tuple[int, Any]:
    """
    The frame that *received* begins with, and how long it is; see ``decode_frame``.

    Whoever may publish can give a message properties that RabbitMQ passes on and pika
    cannot read, as a time after the year 9999: it has none then, and the link lives.
    """
    try:
        consumed, frame = decode_frame(received)
    except Exception:
        kind, channel, size, class_id, _, body_size, _ = _HEADER_FRAME.unpack_from(
            received
        )
        end = size + _FRAME_OVERHEAD
        if kind != _HEADER or class_id not in props or received[end - 1] != _END:
            raise
        return end, Header(channel, body_size, props[class_id]())
    return consumed, frame
