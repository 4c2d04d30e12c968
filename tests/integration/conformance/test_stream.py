# SPDX-License-Identifier: Apache-2.0
"""
Frames and TCP know nothing of each other: frames cut anywhere, several in one
segment, some with the upgrade request, and connections that end in any way.

A client that breaks a rule can read its close frame, after all that came before it
and before a FIN; what it sent before is done, what it sends after is not.
"""

import asyncio
import json
import struct

import pytest

from tests.harness.node import ChatmotorNode
from tests.integration.conformance.raw_client import (
    BINARY,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    close_frame,
    flood,
    fragments,
    frame,
    refusal,
    text_for,
    text_of,
    upgrade_request,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 64 * 1024
STARVED_SECONDS = 0.5


async def test_frames_arrive_octet_by_octet(node: ChatmotorNode, me: str) -> None:
    """A frame may be cut anywhere, its header too."""
    text = text_of(140, me)
    sent = [
        frame(PING, b"slow"),
        *fragments(TEXT, [text[:3], text[3:]]),
        close_frame(1000),
    ]
    async with await RawClient.open(node.url, me) as client:
        await client.send_octets(b"".join(sent))
        before, closing = await client.closing()

    assert [Frame(PONG, b"slow"), Frame(TEXT, text)] == before
    assert 1000 == closing.close_code


async def test_many_frames_in_one_segment_are_all_served_in_order(
    node: ChatmotorNode, me: str
) -> None:
    """Five hundred messages in one write come back as five hundred."""
    texts = [text_for(me, number=number) for number in range(500)]
    async with await RawClient.open(node.url, me) as client:
        await client.send(*(frame(TEXT, text) for text in texts))

        assert texts == [await client.text() for _ in texts]


_BAD_ENDS = [
    pytest.param(frame(3), 1002, id="reserved opcode"),
    pytest.param(frame(TEXT, b"{}", mask=None), 1002, id="unmasked"),
    pytest.param(frame(TEXT, announced=LIMIT + 1), 1009, id="too big"),
    pytest.param(close_frame(999), 1002, id="bad close code"),
    pytest.param(frame(TEXT, b"{"), 1007, id="not JSON"),
    pytest.param(frame(BINARY), 1003, id="binary"),
    pytest.param(frame(PING, rsv=1), 1002, id="reserved bit"),
]


@pytest.mark.parametrize(("bad", "code"), _BAD_ENDS)
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_good_messages_before_a_bad_frame_in_its_segment_are_delivered(
    node: ChatmotorNode, me: str, friend: str, bad: bytes, *, code: int, count: int
) -> None:
    """What was right when it came is not undone by what follows it."""
    texts = [text_for(friend, number=number) for number in range(count)]
    async with (
        await RawClient.open(node.url, friend) as other,
        await RawClient.open(node.url, me) as client,
    ):
        await client.send(*(frame(TEXT, text) for text in texts), bad)
        before, closing = await client.closing()

        assert texts == [await other.text() for _ in texts]
        assert ([], code) == (before, closing.close_code)


@pytest.mark.parametrize(("bad", "code"), _BAD_ENDS)
async def test_answers_to_good_frames_precede_the_close_frame(
    node: ChatmotorNode, me: str, bad: bytes, code: int
) -> None:
    """RFC 6455, 5.5.1: nothing is sent after a close frame."""
    text = text_for(me)
    async with await RawClient.open(node.url, me) as client:
        await client.send(frame(PING, b"p"), frame(TEXT, text), bad)
        before, closing = await client.closing()

    assert [Frame(PONG, b"p"), Frame(TEXT, text)] == before
    assert code == closing.close_code


async def test_two_violations_in_one_segment_get_one_close_frame(
    node: ChatmotorNode, me: str
) -> None:
    """The first counts; the client has left the protocol by then."""
    closing = await refusal(node.url, me, frame(TEXT, b"not json"), frame(3))

    assert 1007 == closing.close_code


@pytest.mark.parametrize(("bad", "code"), _BAD_ENDS)
@pytest.mark.parametrize("pipelined", [False, True])
async def test_what_follows_a_bad_frame_is_ignored(
    node: ChatmotorNode, me: str, friend: str, bad: bytes, code: int, *, pipelined: bool
) -> None:
    """
    After its close frame the node takes nothing more from that client, also not
    from the bytes that came together with the upgrade request.
    """
    after = frame(PING, b"." * 125) * 60 + frame(TEXT, text_for(friend, number=0))
    async with (
        await RawClient.open(node.url, friend) as other,
        await RawClient.dial(node.url) as client,
    ):
        request = upgrade_request(f"/im/{me}")
        if pipelined:
            await client.send(request, bad, after)
        else:
            await client.send(request)
        response = await client.response()
        if not pipelined:
            await client.send(bad, after)
        before, closing = await client.closing()
        await other.send(frame(TEXT, text_for(friend, number=1)))

        assert (101, [], code) == (response.status, before, closing.close_code)
        assert 1 == json.loads(await other.text())["number"]


@pytest.mark.parametrize("size", [200, 3800, 4100, 30000, LIMIT])
async def test_frames_in_the_segment_of_the_upgrade_are_served(
    node: ChatmotorNode, me: str, size: int
) -> None:
    """
    RFC 6455, 4.1, has the client wait for the 101; what one sends that did not
    wait is served all the same, and the answer follows the 101.
    """
    text = text_of(size, me)
    async with await RawClient.dial(node.url) as client:
        await client.send(
            upgrade_request(f"/im/{me}"), frame(TEXT, text), frame(PING, b"next")
        )

        assert 101 == (await client.response()).status
        assert text == await client.text()
        assert Frame(PONG, b"next") == await client.next_frame()


async def test_upgrade_and_frame_cut_into_octets_are_served(
    node: ChatmotorNode, me: str
) -> None:
    """The border between request and frames may fall anywhere in the stream."""
    text = text_for(me)
    async with await RawClient.dial(node.url) as client:
        await client.send_octets(upgrade_request(f"/im/{me}") + frame(TEXT, text))

        assert 101 == (await client.response()).status
        assert text == await client.text()


async def test_nothing_precedes_the_101_of_a_name_that_is_being_written_to(
    node: ChatmotorNode, me: str, friend: str
) -> None:
    """A text that arrives while its reader is connecting waits for the 101."""
    sent = frame(TEXT, text_for(friend)) * 10
    async with await RawClient.open(node.url, me) as sender, flood(sender, sent):
        for _ in range(20):
            async with await RawClient.dial(node.url) as client:
                await client.send(upgrade_request(f"/im/{friend}"))

                assert 101 == (await client.response()).status
                assert text_for(friend) == await client.text()


# The end of the connection.


async def test_close_frame_arrives_although_megabytes_are_unread(
    node: ChatmotorNode, me: str
) -> None:
    """RFC 6455, 7.1.1: no TCP reset overtakes the 1009 of a 5 MB frame."""
    async with await RawClient.open(node.url, me) as client:
        client.writer.write(frame(TEXT, b"x" * 5_000_000))
        before, closing = await client.closing()

    assert ([], 1009) == (before, closing.close_code)


async def test_close_frame_arrives_although_the_client_sends_on(
    node: ChatmotorNode, me: str
) -> None:
    """The same for a client that goes on with proper messages after a bad one."""
    async with await RawClient.open(node.url, me) as client:
        client.writer.write(frame(3) + frame(TEXT, text_of(LIMIT, me)) * 80)
        before, closing = await client.closing()

    assert ([], 1002) == (before, closing.close_code)


@pytest.mark.parametrize("how", ["finish", "close", "abort while idle"])
async def test_message_before_the_end_of_the_socket_is_delivered(
    node: ChatmotorNode, me: str, friend: str, how: str
) -> None:
    """A message sent right before its sender disconnects still arrives."""
    text = text_for(friend)
    async with await RawClient.open(node.url, friend) as other:
        client = await RawClient.open(node.url, me)
        await client.send(frame(TEXT, text))
        if how == "finish":
            client.finish()
        elif how == "close":
            client.writer.close()
            await client.writer.wait_closed()
        else:
            await client.send(frame(PING))
            await client.next_frame()
            client.abort()

        assert text == await other.text()
        client.abort()


async def test_client_that_ends_its_side_gets_what_was_for_it_and_the_end(
    node: ChatmotorNode, me: str
) -> None:
    """A FIN without a close frame ends the connection; nothing before it is lost."""
    text = text_for(me)
    async with await RawClient.open(node.url, me) as client:
        await client.send(frame(TEXT, text))
        client.finish()

        assert text == await client.text()
        assert b"" == await client.end()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"\x81",
        frame(TEXT, b"{}")[:4],
        frame(TEXT, b"." * 300)[:200],
        frame(TEXT, b"{", fin=False),
    ],
)
async def test_socket_that_ends_inside_a_frame_just_ends(
    node: ChatmotorNode, me: str, begun: bytes
) -> None:
    """Half a frame is no frame and no error."""
    async with await RawClient.open(node.url, me) as client:
        await client.send(begun)
        client.finish()

        assert b"" == await client.end()


async def test_reset_leaves_nothing_behind(node: ChatmotorNode, me: str) -> None:
    """A client that resets its connection is forgotten like any other."""
    before = await node.metric("chatmotor_connections")
    for _ in range(20):
        client = await RawClient.open(node.url, me)
        await client.send(frame(TEXT, text_for(me)) * 20)
        client.abort()

    async def all_gone() -> bool:
        return await node.metric("chatmotor_connections") <= before

    await node.until(all_gone)


async def test_flooding_client_does_not_starve_the_others(
    node: ChatmotorNode, me: str, friend: str
) -> None:
    """
    However fast one client sends, another's ping is answered between two reads:
    what is taken in at a time is bounded.
    """
    sent = frame(TEXT, text_for(me + "-offline")) * 5000
    async with (
        await RawClient.open(node.url, me) as flooder,
        await RawClient.open(node.url, friend) as other,
        flood(flooder, sent),
    ):
        slowest = await _slowest_ping(other, 30)

    assert slowest < STARVED_SECONDS


async def _slowest_ping(client: RawClient, times: int) -> float:
    clock = asyncio.get_running_loop().time
    slowest = 0.0
    for number in range(times):
        began = clock()
        await client.send(frame(PING, struct.pack(">H", number)))
        await client.next_frame()
        slowest = max(slowest, clock() - began)
    return slowest


async def test_our_end_waits_for_the_answer_to_our_close_frame(
    node: ChatmotorNode, me: str
) -> None:
    """RFC 6455, 7.1.1: some clients miss the code when the end comes with it."""
    async with await RawClient.open(node.url, me) as client:
        await client.send(frame(TEXT, b"{}"))
        assert 1008 == (await client.next_frame()).close_code
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.end()

        await client.send(frame(TEXT, text_for(me)), close_frame(1008))

        async with asyncio.timeout(0.2):
            assert b"" == await client.end()
