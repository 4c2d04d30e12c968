# SPDX-License-Identifier: Apache-2.0
"""
RFC 6455 after the handshake, in the manner of the Autobahn suite: what a client
sends, right or wrong, and what the node answers.

A client that breaks a rule gets exactly one close frame with the code of the rule,
and can read it: a FIN follows, never a reset.
"""

import json

import pytest

from tests.harness.node import ChatmotorNode
from tests.integration.conformance.raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    close_frame,
    fragments,
    frame,
    refusal,
    text_for,
    text_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 64 * 1024


# Messages: size, kind, and what is no message at all.


@pytest.mark.parametrize("size", [125, 126, 127, 128, 65535, LIMIT])
async def test_text_of_every_length_form_comes_back_verbatim(
    node: ChatmotorNode, me: str, size: int
) -> None:
    """Each of the three length forms carries a text; 64 KiB is within the limit."""
    text = text_of(size, me)
    async with await RawClient.open(node.url, me) as client:
        await client.send(frame(TEXT, text))

        assert text == await client.text()


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 2, 2**31, 2**63 - 1])
async def test_frame_over_the_limit_is_1009_before_its_payload_arrives(
    node: ChatmotorNode, me: str, size: int
) -> None:
    """The header is enough to refuse a frame; nothing of its size is reserved."""
    closing = await refusal(node.url, me, frame(TEXT, announced=size))

    assert 1009 == closing.close_code


@pytest.mark.parametrize("parts", [2, 3, 64])
async def test_fragments_that_exceed_the_limit_together_are_1009(
    node: ChatmotorNode, me: str, parts: int
) -> None:
    """Fragments do not get round the limit."""
    text = text_of(LIMIT + 1, me)
    step = len(text) // parts + 1
    split = [text[at : at + step] for at in range(0, len(text), step)]

    closing = await refusal(node.url, me, *fragments(TEXT, split))

    assert 1009 == closing.close_code


@pytest.mark.parametrize("parts", [2, 3, 64])
async def test_fragments_of_exactly_the_limit_are_one_message(
    node: ChatmotorNode, me: str, parts: int
) -> None:
    """The limit is inclusive, also for fragments together."""
    text = text_of(LIMIT, me)
    step = len(text) // parts + 1
    split = [text[at : at + step] for at in range(0, len(text), step)]
    async with await RawClient.open(node.url, me) as client:
        await client.send(*fragments(TEXT, split))

        assert text == await client.text()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 1007),
        (b" ", 1007),
        (b"{", 1007),
        (b"not json", 1007),
        (b'{"destination": "a"} x', 1007),
        (b'{"destination": NaN}', 1007),
        (b'{"destination": "a", "x": Infinity}', 1007),
        (b"'destination'", 1007),
        (b"\0", 1007),
        (b'\xef\xbb\xbf{"destination": "a"}', 1007),
        ('{"destination": "a"}'.encode("utf-16-le"), 1007),
        ('{"destination": "a"}'.encode("utf-16-be"), 1007),
        ('{"destination": "a"}'.encode("utf-32-le"), 1007),
        (b"null", 1008),
        (b"[]", 1008),
        (b'"destination"', 1008),
        (b"{}", 1008),
        (b'{"destination": null}', 1008),
        (b'{"destination": 1}', 1008),
        (b'{"destination": ["a"]}', 1008),
        (b'{"Destination": "a"}', 1008),
        (b"[" * 60000, 1008),
        (b"[" * 30000 + b"]" * 30000, 1008),
        (b'{"destination": ' * 4000, 1008),
    ],
)
async def test_text_that_is_no_message_closes_with_the_code_of_the_reason(
    node: ChatmotorNode, me: str, text: bytes, code: int
) -> None:
    """Not JSON in UTF-8: 1007; without a string destination, or too deep: 1008."""
    closing = await refusal(node.url, me, frame(TEXT, text))

    assert code == closing.close_code


@pytest.mark.parametrize("payload", [b"", b"\x00\xff", b'{"destination": "a"}'])
@pytest.mark.parametrize("fin", [True, False])
async def test_binary_message_is_1003(
    node: ChatmotorNode, me: str, payload: bytes, *, fin: bool
) -> None:
    """Only text is spoken; the first fragment of a binary message is enough."""
    closing = await refusal(node.url, me, frame(BINARY, payload, fin=fin))

    assert 1003 == closing.close_code


# Pings and pongs.


async def test_ping_is_answered_with_its_own_payload_of_every_size(
    node: ChatmotorNode, me: str
) -> None:
    """RFC 6455, 5.5.3: the pong has the ping's application data, 0 to 125 bytes."""
    async with await RawClient.open(node.url, me) as client:
        for size in range(126):
            payload = bytes(range(130, 130 + size))
            await client.send(frame(PING, payload))

            assert Frame(PONG, payload) == await client.next_frame()


async def test_ten_pings_in_one_segment_are_answered_in_order(
    node: ChatmotorNode, me: str
) -> None:
    """A client that reads gets a pong for each ping."""
    payloads = [b"ping %d" % number for number in range(10)]
    async with await RawClient.open(node.url, me) as client:
        await client.send(*(frame(PING, payload) for payload in payloads))

        assert [Frame(PONG, payload) for payload in payloads] == [
            await client.next_frame() for _ in payloads
        ]


@pytest.mark.parametrize("payload", [b"", b"nobody asked", b"\xff" * 125])
async def test_unsolicited_pong_is_ignored(
    node: ChatmotorNode, me: str, payload: bytes
) -> None:
    """RFC 6455, 5.5.3: a pong without a ping expects no answer."""
    async with await RawClient.open(node.url, me) as client:
        await client.send(frame(PONG, payload), frame(PING, b"still here"))

        assert Frame(PONG, b"still here") == await client.next_frame()


# Frames that no client may send.


def _malformed() -> list[tuple[str, bytes]]:
    rows = [
        (f"reserved bits {bits:03b} on opcode {opcode}", frame(opcode, b"", rsv=bits))
        for bits in range(1, 8)
        for opcode in (TEXT, PING, PONG, CLOSE)
    ]
    rows += [
        (
            f"reserved bits {bits:03b} on a fragment",
            frame(TEXT, b"{", rsv=bits, fin=False),
        )
        for bits in (1, 2, 4)
    ]
    rows += [
        (f"reserved opcode {opcode}, {'final' if fin else 'not final'}", sent)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        for fin, sent in (
            (True, frame(opcode, b"x")),
            (False, frame(opcode, b"x", fin=False)),
        )
    ]
    for name, opcode in (("ping", PING), ("pong", PONG), ("close", CLOSE)):
        rows += [
            (f"{name} in fragments", frame(opcode, b"\x03\xe8", fin=False)),
            (f"{name} of 126 bytes", frame(opcode, b"\x03\xe8" * 63)),
            (f"{name} of 65,536 bytes", frame(opcode, b"\x03\xe8" * 32768)),
            (
                f"{name} with a 16-bit length",
                frame(opcode, b"\x03\xe8", length_bytes=2),
            ),
            (
                f"{name} with a 64-bit length",
                frame(opcode, b"\x03\xe8", length_bytes=8),
            ),
        ]
    for name, opcode in (
        ("text", TEXT),
        ("ping", PING),
        ("pong", PONG),
        ("close", CLOSE),
        ("continuation", CONTINUATION),
    ):
        rows.append((f"unmasked {name}", frame(opcode, b"\x03\xe8", mask=None)))
    rows += [
        (
            f"{size} bytes with a {8 * wide}-bit length",
            frame(TEXT, b"x" * size, length_bytes=wide),
        )
        for size, wide in (
            (0, 2),
            (1, 2),
            (125, 2),
            (0, 8),
            (125, 8),
            (126, 8),
            (65535, 8),
        )
    ]
    rows += [
        ("a length of 2^63", frame(TEXT, announced=2**63)),
        ("a length of 2^64-1", frame(TEXT, announced=2**64 - 1)),
        ("a continuation of nothing", frame(CONTINUATION, b"{}")),
        ("a first continuation of nothing", frame(CONTINUATION, b"{}", fin=False)),
        ("a text inside a message", frame(TEXT, b"{", fin=False) + frame(TEXT, b"}")),
        (
            "a first fragment inside a message",
            frame(TEXT, b"{", fin=False) + frame(TEXT, b"}", fin=False),
        ),
        (
            "a continuation after the last",
            frame(TEXT, b"", fin=False)
            + frame(CONTINUATION, b'{"destination": "nobody"}')
            + frame(CONTINUATION, b"{}"),
        ),
    ]  # fmt: skip
    return rows


@pytest.mark.parametrize(
    "sent", [pytest.param(sent, id=case) for case, sent in _malformed()]
)
async def test_malformed_frame_is_1002(
    node: ChatmotorNode, me: str, sent: bytes
) -> None:
    """RFC 6455, 5: a frame that breaks the framing is a protocol error."""
    closing = await refusal(node.url, me, sent)

    assert 1002 == closing.close_code


async def test_zero_mask_is_a_mask(node: ChatmotorNode, me: str) -> None:
    """RFC 6455, 5.3: any 32-bit value may mask."""
    text = text_for(me)
    async with await RawClient.open(node.url, me) as client:
        await client.send(frame(TEXT, text, mask=b"\0\0\0\0"))

        assert text == await client.text()


# Fragments.


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 50])
async def test_text_in_any_number_of_fragments_arrives_whole(
    node: ChatmotorNode, me: str, parts: int
) -> None:
    """RFC 6455, 5.4: fragments join to one message, sent on in one frame."""
    text = text_of(700, me)
    step = -(-len(text) // parts)
    split = [text[at : at + step] for at in range(0, len(text), step)]
    async with await RawClient.open(node.url, me) as client:
        await client.send(*fragments(TEXT, split))

        assert text == await client.text()


async def test_empty_fragments_add_nothing(node: ChatmotorNode, me: str) -> None:
    """A fragment may be empty, wherever it stands."""
    text = text_for(me)
    split = [b"", b"", text[:5], b"", text[5:], b""]
    async with await RawClient.open(node.url, me) as client:
        await client.send(*fragments(TEXT, split))

        assert text == await client.text()


async def test_message_of_empty_fragments_is_not_json(
    node: ChatmotorNode, me: str
) -> None:
    """Nothing, in three parts, is nothing still: 1007."""
    closing = await refusal(node.url, me, *fragments(TEXT, [b"", b"", b""]))

    assert 1007 == closing.close_code


@pytest.mark.parametrize("apart", [False, True])
async def test_control_frames_between_fragments_are_served_at_once(
    node: ChatmotorNode, me: str, *, apart: bool
) -> None:
    """RFC 6455, 5.4: a ping inside a message is answered before the message ends."""
    text = text_for(me, content="whole")
    first, second, third = fragments(TEXT, [text[:4], text[4:9], text[9:]])
    sent = [first, frame(PING, b"1"), second, frame(PONG), frame(PING, b"2"), third]
    async with await RawClient.open(node.url, me) as client:
        for part in sent if apart else [b"".join(sent)]:
            await client.send(part)

        assert [Frame(PONG, b"1"), Frame(PONG, b"2"), Frame(TEXT, text)] == [
            await client.next_frame() for _ in range(3)
        ]


async def test_close_inside_a_message_closes_and_drops_it(
    node: ChatmotorNode, me: str
) -> None:
    """A message that was never finished was never sent."""
    begun = frame(TEXT, text_for(me)[:-1], fin=False)

    assert 1001 == (await refusal(node.url, me, begun, close_frame(1001))).close_code


# UTF-8.

_MANY_SCRIPTS = "κόσμε –日本語 – 👩‍👩‍👧 – \U0010ffff – \x7f – ﷽"  # noqa: RUF001  # on purpose


@pytest.mark.parametrize("cut", range(1, 40))
async def test_character_split_between_fragments_is_valid(
    node: ChatmotorNode, me: str, cut: int
) -> None:
    """RFC 6455, 5.6: UTF-8 is judged over the message, not over a fragment."""
    text = text_for(me, content=_MANY_SCRIPTS)
    at = text.index("κ".encode()) + cut
    async with await RawClient.open(node.url, me) as client:
        await client.send(*fragments(TEXT, [text[:at], text[at:]]))

        assert text == await client.text()


@pytest.mark.parametrize(
    "invalid",
    [
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc2",
        b"\xe0\x80\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x9f\x98",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80",
    ],
)
@pytest.mark.parametrize("split", [False, True])
async def test_invalid_utf8_is_1007_and_not_passed_on(
    node: ChatmotorNode, me: str, invalid: bytes, *, split: bool
) -> None:
    """RFC 6455, 8.1, also inside a value that the server does not need."""
    before, after = text_for(me, content="|").split(b"|")
    text = before + invalid + after
    at = len(before) + 1
    sent = fragments(TEXT, [text[:at], text[at:]] if split else [text])

    assert 1007 == (await refusal(node.url, me, *sent)).close_code


# Closing.


@pytest.mark.parametrize(
    "code",
    [*range(1000, 1004), *range(1007, 1015), 3000, 3001, 3999, 4000, 4500, 4999],
)
async def test_close_is_answered_with_its_own_code(
    node: ChatmotorNode, me: str, code: int
) -> None:
    """RFC 6455, 5.5.1: the answer echoes the status code."""
    closing = await refusal(node.url, me, close_frame(code, "tschüß".encode()))

    assert code == closing.close_code


async def test_close_without_a_code_is_answered_with_1000(
    node: ChatmotorNode, me: str
) -> None:
    """An empty close frame is a normal closure."""
    assert 1000 == (await refusal(node.url, me, frame(CLOSE))).close_code


async def test_close_with_the_longest_reason_is_valid(
    node: ChatmotorNode, me: str
) -> None:
    """A control frame holds 125 bytes: two for the code, 123 for the reason."""
    assert (
        1000 == (await refusal(node.url, me, close_frame(1000, b"r" * 123))).close_code
    )


@pytest.mark.parametrize(
    "code",
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535],
)
async def test_close_with_a_code_that_nobody_may_send_is_1002(
    node: ChatmotorNode, me: str, code: int
) -> None:
    """RFC 6455, 7.4: reserved codes and those outside 1000 to 4999."""
    assert 1002 == (await refusal(node.url, me, close_frame(code))).close_code


async def test_close_with_half_a_code_is_1002(node: ChatmotorNode, me: str) -> None:
    """RFC 6455, 5.5.1: a body has at least the two bytes of the code."""
    assert 1002 == (await refusal(node.url, me, frame(CLOSE, b"\x03"))).close_code


@pytest.mark.parametrize("reason", [b"\xff", b"\xed\xa0\x80", b"ok\xc3"])
async def test_close_reason_that_is_not_utf8_is_1007(
    node: ChatmotorNode, me: str, reason: bytes
) -> None:
    """RFC 6455, 5.5.1 and 8.1: the reason is text."""
    assert 1007 == (await refusal(node.url, me, close_frame(1000, reason))).close_code


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(frame(TEXT, b"%s"), id="a message"),
        pytest.param(frame(PING, b"too late"), id="a ping"),
        pytest.param(close_frame(1001), id="another close"),
        pytest.param(frame(3), id="a bad frame"),
        pytest.param(b"\xff" * 1000, id="garbage"),
        pytest.param(close_frame(999), id="a bad close"),
        pytest.param(frame(TEXT, announced=2**40), id="a giant"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_what_follows_a_close_is_ignored(
    node: ChatmotorNode, me: str, friend: str, after: bytes, *, apart: bool
) -> None:
    """RFC 6455, 1.4: after a close frame nothing that was received counts."""
    if after == frame(TEXT, b"%s"):
        after = frame(TEXT, text_for(friend, content="too late"))
    async with (
        await RawClient.open(node.url, me) as client,
        await RawClient.open(node.url, friend) as other,
    ):
        for part in (
            (close_frame(3000), after) if apart else (close_frame(3000) + after,)
        ):
            await client.send(part)
        before, closing = await client.closing()
        await other.send(frame(TEXT, text_for(friend, content="first")))

        assert ([], 3000) == (before, closing.close_code)
        assert "first" == json.loads(await other.text())["content"]
