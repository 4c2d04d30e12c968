# SPDX-License-Identifier: Apache-2.0
"""Frames out, read back by another implementation; fragments in, against joining."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from chatmotor.errors import FrameRefused, NotJson
from chatmotor.protocol import frames


def read_frame(wire: bytes) -> Frame:
    """What websockets, as a client, makes of *wire*: exactly one frame."""
    reader = StreamReader()
    reader.feed_data(wire)
    parsing = Frame.parse(reader.read_exact, mask=False, max_size=None)
    try:
        next(parsing)
    except StopIteration as done:
        assert reader.buffer == b""
        parsed: Frame = done.value
        return parsed
    raise AssertionError("the frame is not whole")


@given(
    st.binary(max_size=300)
    | st.sampled_from([0, 125, 126, 127, 128, 65535, 65536, 70000]).map(bytes)
)
def test_text_frame_is_read_back(payload: bytes) -> None:
    """A header and its payload are one final text frame."""
    wire = frames.text_header(len(payload)) + payload

    assert Frame(Opcode.TEXT, payload) == read_frame(wire)


@pytest.mark.parametrize(
    ("size", "header_size"),
    [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (2**40, 10)],
)
def test_length_takes_the_shortest_form(size: int, header_size: int) -> None:
    """RFC 6455, 5.2: the minimal number of bytes must be used."""
    assert header_size == len(frames.text_header(size))


@given(st.sampled_from([frames.PING, frames.PONG]), st.binary(max_size=125))
def test_control_frame_is_read_back(opcode: int, payload: bytes) -> None:
    """Pings and pongs carry up to 125 bytes."""
    assert Frame(Opcode(opcode), payload) == read_frame(
        frames.control_frame(opcode, payload)
    )


@given(st.sampled_from([1000, 1002, 1003, 1007, 1008, 1009, 4001, 4999]), st.text())
def test_close_frame_is_read_back_with_as_much_of_the_reason_as_fits(
    code: int, reason: str
) -> None:
    """RFC 6455, 5.5.1: 123 bytes of reason, cut between characters."""
    reason = reason.encode("utf-8", "replace").decode()

    parsed = read_frame(frames.close_frame(code, reason))

    close = Close.parse(parsed.data)
    assert Opcode.CLOSE is parsed.opcode
    assert code == close.code
    assert reason.startswith(close.reason)
    assert len(reason.encode()) <= 123 or len(close.reason.encode()) > 119


# Fragments.


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=12), st.integers(1, 3))
def test_fragments_are_their_concatenation(parts: list[bytes], times: int) -> None:
    """However a message is split, and whatever came before it."""
    fragments = frames.Fragments(limit=300)
    for _ in range(times):
        for number, part in enumerate(parts):
            final = number == len(parts) - 1

            whole = fragments.add(part, first=number == 0, final=final)

            assert (b"".join(parts) if final else None) == whole
            assert final is not fragments.is_open()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=10), st.integers(1, 100))
def test_fragments_are_refused_with_the_first_that_exceeds_the_limit(
    sizes: list[int], limit: int
) -> None:
    """The limit is inclusive, and never a byte more is kept."""
    fragments = frames.Fragments(limit)
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if total > limit:
            with pytest.raises(frames.MessageTooBig):
                fragments.add(bytes(size), first=number == 0, final=False)
            break
        assert fragments.add(bytes(size), first=number == 0, final=False) is None


def test_continuation_of_nothing_is_a_protocol_error() -> None:
    """RFC 6455, 5.4: close 1002."""
    with pytest.raises(FrameRefused) as refused:
        frames.Fragments(10).add(b"", first=False, final=True)

    assert 1002 == refused.value.close_code


@pytest.mark.parametrize("final", [True, False])
def test_new_message_inside_a_message_is_a_protocol_error(*, final: bool) -> None:
    """RFC 6455, 5.4: fragments of two messages are not interleaved; close 1002."""
    fragments = frames.Fragments(10)
    fragments.add(b"", first=True, final=False)

    with pytest.raises(FrameRefused) as refused:
        fragments.add(b"", first=True, final=final)

    assert 1002 == refused.value.close_code


def test_codes_of_the_limits() -> None:
    """RFC 6455, 7.4.1: too big is 1009, a kind that is not accepted is 1003."""
    assert (1009, 1003) == (
        frames.MessageTooBig.close_code,
        frames.NotSupported.close_code,
    )


# UTF-8.


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_is_utf8(text: str) -> None:
    """Nothing that a client may say is refused."""
    frames.require_utf8(text.encode())


@given(st.binary(max_size=12))
def test_utf8_is_judged_as_the_codec_does(payload: bytes) -> None:
    """RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF."""
    try:
        payload.decode("utf-8", "strict")
    except UnicodeDecodeError:
        with pytest.raises(NotJson) as refused:
            frames.require_utf8(payload)
        assert 1007 == refused.value.close_code
    else:
        frames.require_utf8(payload)
