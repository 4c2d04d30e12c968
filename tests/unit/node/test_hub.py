# SPDX-License-Identifier: Apache-2.0
"""The beat and the end of a node's connections, on a clock turned by hand."""

from typing import Any, cast

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.metrics import Metrics
from chatmotor.node.connection import Connection
from chatmotor.node.hub import DRAINING, SILENT, SLOW_READER, Hub, Limits
from tests.unit.node.fakes import FakeLoop, FakeTransport

HEARTBEAT, GRACE, SLOW = 25.0, 10.0, 15.0
PING = b"\x89\x00"
TEXT = b'{"destination": "bob"}'
NO_TRANSPORT: Any = None


class FakeSubscription:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def close(self) -> None:
        self.asked.append("close")


class SlowBroker(EmbeddedBroker):
    """A broker that is behind: whoever publishes should pause."""

    def publish(self, recipients: Any, body: bytes) -> bool:
        super().publish(recipients, body)
        return False


class Client:
    """A connection of the hub, on a transport of paper."""

    def __init__(self, hub: Hub) -> None:
        self.transport = FakeTransport()
        self.subscription = FakeSubscription()
        self.connection = Connection(hub)
        self.connection.attach(self.subscription)
        self.connection.wire.connect(self.transport)
        self.connection.on_ws_connected(NO_TRANSPORT)

    def sends(self, kind: WSMsgType, payload: bytes = b"") -> None:
        """A frame from the client."""
        frame = _make_test_ws_frame(kind, payload, True, False)
        self.connection.on_ws_frame(NO_TRANSPORT, frame)

    @property
    def close_code(self) -> int | None:
        """The code of the close frame that was written last, if one was."""
        if b"\x88" not in self.transport.written:
            return None
        last = self.transport.written[self.transport.written.rindex(b"\x88") :]
        return int.from_bytes(last[2:4], "big")


@pytest.fixture
def metrics(loop: FakeLoop) -> Metrics:
    """The node's counters."""
    return Metrics()


def make_hub(metrics: Metrics, broker: EmbeddedBroker | None = None) -> Hub:
    """A hub on *broker*, by default the embedded one."""
    broker = broker or EmbeddedBroker(metrics, queue_max_bytes=10_000)
    messenger = InstantMessenger(broker, metrics, allow_guests=True)
    limits = Limits(
        frame_max_bytes=1000,
        connection_buffer_max_bytes=1000,
        slow_reader_seconds=SLOW,
        heartbeat_seconds=HEARTBEAT,
        heartbeat_grace_seconds=GRACE,
    )
    return Hub(messenger, metrics, limits)


@pytest.fixture
def hub(metrics: Metrics) -> Hub:
    """A hub whose clock is the loop's."""
    return make_hub(metrics)


@pytest.fixture
def client(hub: Hub) -> Client:
    """One client of it."""
    return Client(hub)


# Who is there.


def test_connections_are_counted_until_they_are_gone(
    hub: Hub, metrics: Metrics
) -> None:
    """A socket that is reported gone twice is gone once."""
    clients = [Client(hub) for _ in range(3)]
    assert (3, 3) == (metrics.connections, metrics.accepted)

    clients[0].connection.on_ws_disconnected(NO_TRANSPORT)
    clients[0].connection.on_ws_disconnected(NO_TRANSPORT)

    assert (2, 3) == (metrics.connections, metrics.accepted)
    assert ["close"] == clients[0].subscription.asked


def test_latecomer_of_a_draining_node_is_closed_with_4001(hub: Hub) -> None:
    """Its handshake was on its way when the node began to drain."""
    hub.accepting = False

    assert DRAINING == Client(hub).close_code


# Silence.


def test_silent_client_is_pinged_after_the_heartbeat(
    loop: FakeLoop, client: Client
) -> None:
    """Not before, and within a second after."""
    loop.advance(HEARTBEAT - 1)
    assert b"" == client.transport.written

    loop.advance(2)
    assert PING == client.transport.written


def test_client_that_does_not_answer_is_closed_with_4004(
    loop: FakeLoop, client: Client, metrics: Metrics
) -> None:
    """The grace begins with the ping."""
    loop.advance(HEARTBEAT + GRACE - 1)
    assert client.close_code is None

    loop.advance(3)
    assert SILENT == client.close_code
    assert {SILENT: 1} == metrics.closed
    assert ["close"] == client.subscription.asked


@pytest.mark.parametrize("kind", [WSMsgType.PONG, WSMsgType.PING])
def test_any_frame_is_a_sign_of_life(
    loop: FakeLoop, client: Client, kind: WSMsgType
) -> None:
    """A client that says something every heartbeat is never closed."""
    for _ in range(10):
        loop.advance(HEARTBEAT)
        client.sends(kind)

    assert client.close_code is None


def test_client_that_is_not_read_is_not_judged_by_its_silence(
    loop: FakeLoop, metrics: Metrics
) -> None:
    """Its pongs wait with its messages."""
    hub = make_hub(metrics, SlowBroker(metrics, queue_max_bytes=10_000))
    client = Client(hub)
    client.sends(WSMsgType.TEXT, TEXT)
    assert not client.transport.reading

    loop.advance(3 * (HEARTBEAT + GRACE))

    assert client.close_code is None


# A broker that is behind.


def test_sender_is_read_again_once_the_broker_has_caught_up(
    metrics: Metrics,
) -> None:
    """Whoever sends is slowed down by TCP; nothing is dropped."""
    hub = make_hub(metrics, SlowBroker(metrics, queue_max_bytes=10_000))
    sender, other = Client(hub), Client(hub)

    sender.sends(WSMsgType.TEXT, TEXT)
    sender.sends(WSMsgType.TEXT, TEXT)
    assert (False, True) == (sender.transport.reading, other.transport.reading)

    hub.resume_reading()
    assert sender.transport.reading
    assert 2 == metrics.messages_in


def test_draining_node_does_not_read_again(metrics: Metrics) -> None:
    """The broker's good news come too late for new messages."""
    hub = make_hub(metrics, SlowBroker(metrics, queue_max_bytes=10_000))
    client = Client(hub)
    client.sends(WSMsgType.TEXT, TEXT)

    hub.stop_reading()
    hub.resume_reading()

    assert not client.transport.reading


# A client that does not read.


def congest(client: Client) -> None:
    """Fill the client's transport."""
    client.transport.stuck = True
    client.connection.deliver(bytes(900))
    client.connection.wire.flush()
    client.connection.pause_writing()


def test_congested_client_is_closed_with_4002_when_it_reads_nothing(
    loop: FakeLoop, hub: Hub, client: Client
) -> None:
    """Its subscription waits meanwhile."""
    congest(client)
    assert ["pause"] == client.subscription.asked

    loop.advance(SLOW - 1)
    client.sends(WSMsgType.PONG)
    assert client.close_code is None

    loop.advance(3)
    assert SLOW_READER == client.close_code
    assert ["pause", "close"] == client.subscription.asked


def test_congested_client_that_reads_a_little_stays(
    loop: FakeLoop, hub: Hub, client: Client
) -> None:
    """Slow is not dead: what counts is progress."""
    congest(client)
    for _ in range(40):
        loop.advance(SLOW / 2)
        client.sends(WSMsgType.PONG)
        client.transport.buffered -= 1

    assert client.close_code is None


def test_client_that_has_read_again_gets_what_waited(
    loop: FakeLoop, hub: Hub, client: Client
) -> None:
    """And it is no longer watched."""
    congest(client)
    client.transport.buffered = 0
    client.connection.resume_writing()
    assert set() == hub.congested
    assert ["pause", "resume"] == client.subscription.asked

    for _ in range(5):
        loop.advance(SLOW)
        client.sends(WSMsgType.PONG)
    assert client.close_code is None


def test_only_the_latest_ping_of_a_congested_client_is_answered(
    loop: FakeLoop, client: Client
) -> None:
    """RFC 6455, 5.5.3: a flood of pings must not fill the memory."""
    congest(client)
    before = len(client.transport.written)
    for number in range(1000):
        client.sends(WSMsgType.PING, b"%d" % number)
    loop.settle()
    assert before == len(client.transport.written)

    client.connection.resume_writing()
    loop.settle()

    assert b"\x8a\x03999" == client.transport.written[before:]


def test_client_that_leaves_while_congested_is_no_longer_watched(
    hub: Hub, client: Client
) -> None:
    """Nothing of it is kept."""
    congest(client)

    client.connection.on_ws_disconnected(NO_TRANSPORT)

    assert set() == hub.congested


def test_close_after_a_ping_in_a_congested_turn_disturbs_nobody(
    loop: FakeLoop, hub: Hub, client: Client
) -> None:
    """
    A ping that waits for the congestion to end, and a close in the same turn: the
    others of that turn are flushed all the same, and the close frame is the last.
    """
    other = Client(hub)
    client.connection.deliver(bytes(1001))  # over the bound in one turn
    client.sends(WSMsgType.PING, b"waits")
    client.sends(WSMsgType.CLOSE, b"\x03\xe8")
    other.connection.deliver(b"hello")
    loop.settle()

    assert client.transport.written.endswith(b"\x88\x02\x03\xe8")
    assert b"\x81\x05hello" == other.transport.written


# The end.


def run_to_its_wait(hub: Hub) -> bool:
    """Begin ``close_all``; whether it returned at once."""
    closing = hub.close_all()
    try:
        closing.send(None)
    except StopIteration:
        return True
    cast("Any", closing).close()
    return False


def test_close_all_says_4001_to_everyone_after_their_last_message(hub: Hub) -> None:
    """It returns once the sockets are gone, which here they never are."""
    clients = [Client(hub) for _ in range(3)]
    for client in clients:
        client.connection.deliver(b"last")

    assert not run_to_its_wait(hub)

    for client in clients:
        assert client.transport.written.startswith(b"\x81\x04last\x88")
        assert DRAINING == client.close_code


def test_close_all_returns_when_nobody_is_there(hub: Hub, client: Client) -> None:
    """An empty node stops at once."""
    client.connection.on_ws_disconnected(NO_TRANSPORT)

    assert run_to_its_wait(hub)


def test_stop_ends_the_beat_and_drops_the_sockets(
    loop: FakeLoop, hub: Hub, client: Client
) -> None:
    """After it nothing happens any more."""
    hub.stop()
    loop.advance(10 * HEARTBEAT)

    assert client.transport.aborted
    assert b"" == client.transport.written
