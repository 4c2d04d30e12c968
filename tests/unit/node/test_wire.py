# SPDX-License-Identifier: Apache-2.0
"""The way out: in order, one write a turn, bounded, and closed without loss."""

from typing import Any, cast

import pytest

from chatmotor.metrics import Metrics
from chatmotor.node import wire as wires
from chatmotor.node.wire import FlushTurn, Wire
from tests.unit.node.fakes import FakeLoop, FakeTransport

MAX_BYTES = 100


class Peer:
    """A wire on a fake transport, and the signals it gave."""

    def __init__(self, turn: FlushTurn, *, connected: bool = True) -> None:
        self.signals: list[str] = []
        self.transport = FakeTransport()
        self.wire = Wire(
            turn,
            max_bytes=MAX_BYTES,
            on_congested=lambda: self.signals.append("congested"),
            on_clear=lambda: self.signals.append("clear"),
            on_peer_error=lambda _: self.signals.append("peer error"),
            on_closed=lambda: self.signals.append("closed"),
        )
        if connected:
            self.wire.connect(self.transport)


@pytest.fixture
def turn(loop: FakeLoop) -> FlushTurn:
    """Who flushes at the end of a turn."""
    return FlushTurn(cast("Any", loop), Metrics())


@pytest.fixture
def peer(turn: FlushTurn) -> Peer:
    """A connected wire."""
    return Peer(turn)


def test_frames_of_a_turn_leave_in_order_in_one_write(
    loop: FakeLoop, peer: Peer
) -> None:
    """A system call per frame would cost more than all else together."""
    for number in range(5):
        peer.wire.send(b"h%d" % number, b"p%d" % number)
    assert [] == peer.transport.writes

    loop.turn()

    assert [b"h0p0h1p1h2p2h3p3h4p4"] == peer.transport.writes


def test_next_turn_has_a_write_of_its_own(loop: FakeLoop, peer: Peer) -> None:
    """Nothing waits longer than to the end of its turn."""
    peer.wire.send(b"1", b"")
    loop.turn()
    peer.wire.send(b"2", b"")
    loop.turn()
    loop.turn()

    assert [b"1", b"2"] == peer.transport.writes


def test_every_wire_is_flushed_and_texts_are_counted(
    loop: FakeLoop,
) -> None:
    """One reading of the clock serves all deliveries of a turn."""
    metrics = Metrics()
    turn = FlushTurn(cast("Any", loop), metrics)
    peers = [Peer(turn) for _ in range(3)]
    for number, peer in enumerate(peers):
        peer.wire.send(b"", b"%d" % number)
        turn.texts += 1

    loop.turn()

    assert [[b"0"], [b"1"], [b"2"]] == [peer.transport.writes for peer in peers]
    assert 3 == metrics.messages_out == sum(metrics.delivery_seconds.counts)


def test_transport_gets_the_bound(peer: Peer) -> None:
    """The bound holds for the wire and for the transport each."""
    assert MAX_BYTES == peer.transport.high


def test_what_is_sent_before_there_is_a_transport_follows_the_101(
    loop: FakeLoop, turn: FlushTurn
) -> None:
    """
    A text may arrive before its reader's handshake is answered.  The response is
    the first thing that a client reads.
    """
    peer = Peer(turn, connected=False)
    peer.wire.send(b"header", b"text")

    peer.wire.connect(peer.transport)
    peer.wire.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    peer.wire.send(b"header", b"later")
    loop.settle()

    assert (
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nheadertextheaderlater"
        == peer.transport.written
    )


def test_what_was_flushed_too_early_is_not_stuck(
    loop: FakeLoop, turn: FlushTurn
) -> None:
    """A turn may end between the subscription and the transport."""
    peer = Peer(turn, connected=False)
    peer.wire.send(b"header", b"text")
    loop.settle()

    peer.wire.connect(peer.transport)
    peer.wire.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    loop.settle()

    assert (
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nheadertext" == peer.transport.written
    )


# Congestion.


def test_too_much_in_one_turn_congests_until_it_is_written(
    loop: FakeLoop, peer: Peer
) -> None:
    """The signals come in pairs, however much is sent between them."""
    for _ in range(10):
        peer.wire.send(b"", bytes(60))

    assert ["congested"] == peer.signals

    loop.turn()

    assert ["congested", "clear"] == peer.signals
    assert 600 == len(peer.transport.written)


def test_up_to_the_bound_nothing_is_said(loop: FakeLoop, peer: Peer) -> None:
    """The bound is inclusive."""
    peer.wire.send(b"", bytes(MAX_BYTES))
    loop.turn()

    assert [] == peer.signals


def test_full_transport_congests_until_it_has_emptied(
    loop: FakeLoop, peer: Peer
) -> None:
    """Asyncio's flow control is passed on."""
    peer.wire.pause_writing()
    peer.wire.send(b"", b"x")
    loop.turn()

    assert ["congested"] == peer.signals

    peer.wire.resume_writing()

    assert ["congested", "clear"] == peer.signals


def test_wire_is_clear_only_when_outbox_and_transport_both_are(
    loop: FakeLoop, peer: Peer
) -> None:
    """Whichever empties last says so, once."""
    peer.wire.pause_writing()
    peer.wire.send(b"", bytes(MAX_BYTES + 1))
    peer.wire.resume_writing()
    assert ["congested"] == peer.signals

    loop.turn()

    assert ["congested", "clear"] == peer.signals


def test_unsent_bytes_are_those_of_both(loop: FakeLoop, peer: Peer) -> None:
    """What the system has taken is no longer ours."""
    peer.transport.stuck = True
    peer.wire.send(b"", bytes(70))
    loop.turn()
    peer.wire.send(b"", bytes(20))

    assert 90 == peer.wire.unsent_bytes()


def test_reading_is_paused_and_resumed(peer: Peer) -> None:
    """TCP slows down whoever sends too much."""
    peer.wire.pause_reading()
    assert not peer.transport.reading

    peer.wire.resume_reading()
    assert peer.transport.reading


# The end.


def test_close_writes_what_waits_and_ends_our_side(loop: FakeLoop, peer: Peer) -> None:
    """Then the client's bytes are read and forgotten until it ends its side."""
    peer.wire.pause_reading()
    peer.wire.send(b"last", b"words")

    peer.wire.close()

    assert b"lastwords" == peer.transport.written
    assert not peer.transport.ended
    assert peer.transport.reading
    assert [] == peer.signals

    loop.advance(wires.ANSWER_SECONDS)
    assert peer.transport.ended

    peer.transport.lose()
    loop.advance(2 * wires.LINGER_SECONDS)

    assert ["closed"] == peer.signals
    assert not peer.transport.aborted


def test_client_that_does_not_end_its_side_is_aborted(
    loop: FakeLoop, peer: Peer
) -> None:
    """Five seconds, not a tick sooner; a socket is not held for ever."""
    peer.wire.close()

    loop.advance(wires.LINGER_SECONDS - 0.001)
    assert not peer.transport.aborted

    loop.advance(0.001)
    assert peer.transport.aborted
    assert ["closed"] == peer.signals


def test_client_that_was_quicker_but_does_not_read_is_aborted(
    loop: FakeLoop, peer: Peer
) -> None:
    """A transport that closes keeps its socket until its buffer is sent."""
    peer.transport.closing = True
    peer.transport.stuck = True
    peer.wire.send(b"unsent", b"")

    peer.wire.close()
    loop.advance(wires.LINGER_SECONDS)

    assert peer.transport.aborted
    assert ["closed"] == peer.signals


def test_nothing_is_written_after_close(loop: FakeLoop, peer: Peer) -> None:
    """A close frame is the last frame (RFC 6455, 5.5.1)."""
    peer.wire.send(b"close", b"")
    peer.wire.close()
    peer.wire.send(b"late", b"")
    peer.wire.close()
    loop.settle()

    assert b"close" == peer.transport.written


def test_what_a_signal_sends_during_close_is_not_written(
    loop: FakeLoop, turn: FlushTurn
) -> None:
    """
    Writing the last bytes may clear the congestion, and whoever hears of it may
    want to send.  It must not fail in the next turn, where others are flushed, too.
    """
    transport = FakeTransport()
    wire = Wire(
        turn,
        max_bytes=MAX_BYTES,
        on_congested=lambda: None,
        on_clear=lambda: wire.send(b"late", b""),
        on_peer_error=lambda _: None,
        on_closed=lambda: None,
    )
    wire.connect(transport)
    other = Peer(turn)
    wire.send(b"", bytes(MAX_BYTES + 1))
    loop.turn()
    wire.send(b"", bytes(MAX_BYTES + 1))
    wire.send(b"close", b"")
    written = len(transport.written)

    wire.close()
    other.wire.send(b"hello", b"")
    loop.settle()

    assert transport.written[written:].endswith(b"close")
    assert b"hello" == other.transport.written


def test_error_of_the_client_is_reported_once(peer: Peer) -> None:
    """What picows has to say to a broken frame is a close frame of its own."""
    peer.wire.write(b"\x88\x02\x03\xea")

    assert ["peer error"] == peer.signals


def test_abort_drops_the_socket(loop: FakeLoop, peer: Peer) -> None:
    """With whatever is unsent."""
    peer.wire.send(b"unsent", b"")
    peer.wire.abort()

    assert peer.transport.aborted


def test_picows_is_kept_from_writing_past_the_wire(peer: Peer) -> None:
    """With an empty buffer, picows would write to the socket itself."""
    assert peer.wire.get_write_buffer_size() > 0
