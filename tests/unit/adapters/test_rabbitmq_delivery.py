# SPDX-License-Identifier: Apache-2.0
"""Deliveries read in one pass, held against pika's own codec."""

import struct
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec
from pika.exceptions import InvalidFrameError

from chatmotor.adapters.rabbitmq_delivery import Delivery, read_delivery, read_frame

TAG = "cm.client.bob.node.1"


def delivery(
    body: bytes, tag: str = TAG, channel: int = 1, parts: int = 1, **properties: Any
) -> bytes:
    """The frames of a delivery, as pika writes them."""
    method = spec.Basic.Deliver(
        consumer_tag=tag, delivery_tag=7, exchange="im_exchange", routing_key="bob"
    )
    header = frame.Header(channel, len(body), pika.BasicProperties(**properties))
    size = max(1, -(-len(body) // parts))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    bodies = [frame.Body(channel, piece).marshal() for piece in pieces]
    return b"".join(
        [frame.Method(channel, method).marshal(), header.marshal(), *bodies]
    )


@given(
    body=st.binary(min_size=1, max_size=300),
    tag=st.text(min_size=1, max_size=60).filter(lambda tag: len(tag.encode()) < 256),
    channel=st.integers(1, 65535),
    before=st.binary(max_size=20),
    after=st.binary(max_size=20),
)
def test_reads_what_pika_writes(
    body: bytes, tag: str, channel: int, before: bytes, after: bytes
) -> None:
    """Wherever it stands, and whatever follows."""
    frames = delivery(body, tag, channel)

    found = read_delivery(before + frames + after, len(before))

    assert Delivery(channel, tag, body, len(before) + len(frames)) == found


def test_an_empty_table_of_headers_is_plain() -> None:
    """It is what RabbitMQ leaves of BCC."""
    frames = delivery(b"text", headers={})

    assert Delivery(1, TAG, b"text", len(frames)) == read_delivery(frames, 0)


@pytest.mark.parametrize(
    "properties",
    [{"app_id": "node"}, {"headers": {"x": 1}}, {"content_type": "text/plain"}],
)
def test_properties_are_pikas_matter(properties: dict[str, Any]) -> None:
    """Somebody may have to look at them."""
    assert read_delivery(delivery(b"text", **properties), 0) is None


def test_bodies_in_parts_or_empty_are_pikas_matter() -> None:
    """Both are rare."""
    assert read_delivery(delivery(b"long text", parts=2), 0) is None
    assert read_delivery(delivery(b""), 0) is None


def test_a_part_of_a_delivery_is_none() -> None:
    """At whichever byte it was cut."""
    frames = delivery(b"text")

    assert all(read_delivery(frames[:size], 0) is None for size in range(len(frames)))


@given(st.binary(max_size=200))
def test_anything_else_is_none(garbage: bytes) -> None:
    """Nothing is raised."""
    assert read_delivery(garbage, 0) is None


def test_other_methods_are_none() -> None:
    """A confirm, for one."""
    ack = frame.Method(1, spec.Basic.Ack(delivery_tag=1)).marshal()

    assert read_delivery(ack + delivery(b"text"), 0) is None


@pytest.mark.parametrize(
    "value",
    [
        b"T" + b"\x7f" * 8,
        b"?" + b"\0" * 8,
        b"d\x7f\xf0" + bytes(6),
    ],
)
def test_properties_that_pika_cannot_read_are_none(value: bytes) -> None:
    """The frame is read, its size is right, and what comes behind it is untouched."""
    table = b"\x01k" + value
    payload = struct.pack(">HHQHI", 60, 0, 11, 1 << 13, len(table)) + table
    frames = struct.pack(">BHI", 2, 3, len(payload)) + payload + b"\xce" + b"next"

    consumed, header = read_frame(frames)

    assert b"next" == frames[consumed:]
    assert (3, 11) == (header.channel_number, header.body_size)
    assert header.properties.headers is None


def test_other_frames_that_pika_cannot_read_end_the_connection() -> None:
    """What is not AMQP is no message with odd properties."""
    payload = struct.pack(">HHQH", 60, 0, 11, 0)

    with pytest.raises(InvalidFrameError):
        read_frame(struct.pack(">BHI", 2, 3, len(payload)) + payload + b"!")
