# SPDX-License-Identifier: Apache-2.0
"""
How long the node waits for a client that is silent, does not read, or is gone
without a word.  All of its times are short here.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness.node import ChatmotorNode
from tests.integration.conformance.raw_client import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    close_frame,
    frame,
    text_for,
    text_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 64 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty() -> AsyncIterator[ChatmotorNode]:
    """A node that waits for nobody."""
    async with ChatmotorNode(
        CM_BROKER="embedded",
        CM_HEARTBEAT_SECONDS="0.5",
        CM_HEARTBEAT_GRACE_SECONDS="0.2",
        CM_SLOW_READER_SECONDS="0.5",
        CM_CONNECTION_BUFFER_MAX_BYTES="16384",
    ) as node:
        yield node


def open_files(node: ChatmotorNode) -> int:
    """How many files and sockets the node has open."""
    return sum(1 for _ in Path(f"/proc/{node.pid}/fd").iterdir())


async def until_steady(node: ChatmotorNode, sample: str) -> None:
    """Return once *sample* has grown and then stood still for some readings."""
    readings = [0.0] * 5

    async def is_steady() -> bool:
        readings.append(await node.metric(sample))
        return readings[-1] > 0 and len(set(readings[-5:])) == 1

    await node.until(is_steady)


linux_only = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts the node's sockets in /proc"
)


async def test_silent_client_is_pinged_and_then_closed_with_4004(
    hasty: ChatmotorNode, me: str
) -> None:
    """A client that does not answer a ping is gone."""
    async with await RawClient.open(hasty.url, me) as client:
        before, closing = await client.closing()

    assert [Frame(PING, b"")] == before
    assert 4004 == closing.close_code


async def test_client_that_answers_pings_stays(hasty: ChatmotorNode, me: str) -> None:
    """A pong is a sign of life; so is any other frame."""
    async with await RawClient.open(hasty.url, me) as client:
        for _ in range(3):
            assert Frame(PING, b"") == await client.next_frame()
            await client.send(frame(PONG))
        await client.send(frame(TEXT, text_for(me)))

        assert text_for(me) == await client.text()


async def test_client_that_does_not_read_is_closed_with_4002(
    hasty: ChatmotorNode, me: str, friend: str
) -> None:
    """Its messages wait, bounded, for SLOW_READER_SECONDS."""
    closed = 'chatmotor_connections_closed_total{code="4002"}'
    before = await hasty.metric(closed)
    async with (
        await RawClient.open(hasty.url, me, receive_buffer=4096) as deaf,
        await RawClient.open(hasty.url, friend) as sender,
    ):
        deaf.stop_reading()
        await sender.send(frame(TEXT, text_of(LIMIT, me)) * 100)

        async def is_closed() -> bool:
            await deaf.send(frame(PONG))  # alive, but it reads nothing
            return await hasty.metric(closed) == before + 1

        await hasty.until(is_closed)


@linux_only
async def test_client_that_stops_half_way_costs_no_socket(me: str, friend: str) -> None:
    """
    Two ways to leave a connection half closed: a close frame, and then nothing; a FIN
    while the own buffers are full, so that what is unsent can never be sent.
    """
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            ChatmotorNode(CM_BROKER="embedded", CM_SLOW_READER_SECONDS="1.5")
        )
        before = open_files(node)

        async def connect(name: str, receive_buffer: int | None = None) -> RawClient:
            return await stack.enter_async_context(
                await RawClient.open(node.url, name, receive_buffer=receive_buffer)
            )

        silent = await connect(me + "-silent")
        await silent.send(close_frame(1000))
        assert CLOSE == (await silent.next_frame()).opcode
        deaf = [await connect(me, 4096) for _ in range(5)]
        for client in deaf:
            client.stop_reading()
        sender = await connect(friend)
        await sender.send(frame(TEXT, text_of(LIMIT, me)) * 100)
        await until_steady(node, 'chatmotor_messages_total{direction="out"}')
        for client in deaf:
            client.finish()
        await sender.send(close_frame(1000))
        await sender.closing()
        sender.abort()

        async def sockets_are_gone() -> bool:
            return open_files(node) <= before

        await node.until(sockets_are_gone)
