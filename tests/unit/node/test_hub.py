# SPDX-License-Identifier: Apache-2.0
"""The beat and the end of a node's connections, on a clock turned by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from chatmotor.metrics import Metrics
from chatmotor.node.classic_connection import WAITING_TEXTS, GuestConnection
from chatmotor.node.hub import Hub
from chatmotor.protocol.session import DRAINING, SILENT, SLOW_CONSUMER
from tests.unit.node.fakes import FakeLoop, FakeTransport
from tests.unit.node.rig import LIMITS, NO_TRANSPORT, Node

HEARTBEAT, GRACE, SLOW = 25.0, 10.0, 15.0
PING = b"\x89\x00"
TEXT = b'{"destination": "bob"}'


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


class Client:
    """A guest's connection, on a transport of paper; nothing runs by itself."""

    def __init__(self, node: Node) -> None:
        self.transport = FakeTransport()
        self.subscription = FakeSubscription()
        self.connection = GuestConnection(node.hub, node.messenger, "ann")
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
def node(loop: FakeLoop) -> Node:
    """A node with small limits, whose clock is the loop's."""
    limits = replace(LIMITS, frame_max_bytes=1000, connection_buffer_max_bytes=1000)
    return Node(loop, limits=limits)


@pytest.fixture
def hub(node: Node) -> Hub:
    """Its hub."""
    return node.hub


@pytest.fixture
def metrics(node: Node) -> Metrics:
    """Its counters."""
    return node.metrics


@pytest.fixture
def client(node: Node) -> Client:
    """One client of it."""
    return Client(node)


# Who is there.


def test_connections_are_counted_until_they_are_gone(
    node: Node, metrics: Metrics
) -> None:
    """A socket that is reported gone twice is gone once."""
    clients = [Client(node) for _ in range(3)]
    assert (3, 3) == (metrics.connections, metrics.accepted)

    clients[0].connection.on_ws_disconnected(NO_TRANSPORT)
    clients[0].connection.on_ws_disconnected(NO_TRANSPORT)

    assert (2, 3) == (metrics.connections, metrics.accepted)
    assert ["close"] == clients[0].subscription.asked


def test_latecomer_of_a_draining_node_is_closed_with_4001(node: Node) -> None:
    """Its handshake was on its way when the node began to drain."""
    node.hub.accepting = False

    assert DRAINING == Client(node).close_code


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
    loop: FakeLoop, node: Node, client: Client
) -> None:
    """Its pongs wait with its messages."""
    node.broker.behind = True
    client.sends(WSMsgType.TEXT, TEXT)
    loop.settle()
    assert not client.transport.reading

    loop.advance(3 * (HEARTBEAT + GRACE))

    assert client.close_code is None


# A broker that is behind.


def test_sender_is_read_again_once_the_broker_has_caught_up(
    loop: FakeLoop, node: Node, hub: Hub, metrics: Metrics
) -> None:
    """Whoever sends is slowed down by TCP; nothing is dropped."""
    node.broker.behind = True
    sender, other = Client(node), Client(node)

    sender.sends(WSMsgType.TEXT, TEXT)
    sender.sends(WSMsgType.TEXT, TEXT)
    loop.settle()
    assert (False, True) == (sender.transport.reading, other.transport.reading)

    hub.resume_reading()
    assert sender.transport.reading
    assert 2 == metrics.messages_in


def test_draining_node_does_not_read_again(
    loop: FakeLoop, node: Node, hub: Hub, client: Client
) -> None:
    """The broker's good news come too late for new messages."""
    node.broker.behind = True
    client.sends(WSMsgType.TEXT, TEXT)
    loop.settle()

    hub.stop_reading()
    hub.resume_reading()

    assert not client.transport.reading


# A client whose own texts wait.


def wait_for_the_store(node: Node) -> Callable[[], None]:
    """Have the directory wait for the store; returns what lets it answer."""
    answer = node.hub.loop.create_future()

    async def find(name: str) -> None:
        await answer

    node.directory.find = find  # type: ignore[method-assign]
    return lambda: answer.set_result(None)


def test_client_is_not_read_while_32_of_its_texts_wait(
    loop: FakeLoop, node: Node, client: Client
) -> None:
    """Until the store has said whether the recipient has an account."""
    wait_for_the_store(node)
    client.sends(WSMsgType.TEXT, TEXT)  # the first one is under way
    loop.settle()
    for _ in range(WAITING_TEXTS - 1):
        client.sends(WSMsgType.TEXT, TEXT)
    assert client.transport.reading

    client.sends(WSMsgType.TEXT, TEXT)

    assert not client.transport.reading


def test_client_is_read_again_once_its_texts_are_on_their_way(
    loop: FakeLoop, node: Node, client: Client
) -> None:
    """All of them, in the order of their sending; none is dropped."""
    let_go = wait_for_the_store(node)
    texts = [b'{"destination": "bob", "n": %d}' % n for n in range(2 * WAITING_TEXTS)]
    for text in texts:
        client.sends(WSMsgType.TEXT, text)

    let_go()
    loop.settle()

    assert client.transport.reading
    assert [(("bob",), text) for text in texts] == node.broker.published


def test_held_client_is_not_judged_by_its_silence(
    loop: FakeLoop, node: Node, client: Client
) -> None:
    """Its pongs wait with its texts."""
    wait_for_the_store(node)
    for _ in range(WAITING_TEXTS + 1):
        client.sends(WSMsgType.TEXT, TEXT)
        loop.settle()

    loop.advance(3 * (HEARTBEAT + GRACE))

    assert client.close_code is None


def test_client_that_is_held_and_paused_is_read_when_neither_holds(
    node: Node, hub: Hub, client: Client
) -> None:
    """The broker may be behind, and its own texts may wait, at the same time."""
    hub.hold_reading(client.connection)
    hub.pause_reading(client.connection)
    hub.release_reading(client.connection)
    assert not client.transport.reading

    hub.resume_reading()

    assert client.transport.reading


def test_client_that_is_paused_first_stays_held(hub: Hub, client: Client) -> None:
    """In the other order, too."""
    hub.pause_reading(client.connection)
    hub.hold_reading(client.connection)
    hub.resume_reading()
    assert not client.transport.reading

    hub.release_reading(client.connection)

    assert client.transport.reading


def test_release_without_a_hold_does_not_read_from_the_paused(
    hub: Hub, client: Client
) -> None:
    """It is safe to repeat."""
    hub.pause_reading(client.connection)
    hub.release_reading(client.connection)

    assert not client.transport.reading


def test_draining_node_does_not_read_from_the_released(
    hub: Hub, client: Client
) -> None:
    """Nothing more is taken in."""
    hub.hold_reading(client.connection)
    hub.stop_reading()
    hub.release_reading(client.connection)

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
    assert SLOW_CONSUMER == client.close_code
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
    loop: FakeLoop, node: Node, client: Client
) -> None:
    """
    A ping that waits for the congestion to end, and a close in the same turn: the
    others of that turn are flushed all the same, and the close frame is the last.
    """
    other = Client(node)
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


def test_close_all_says_4001_to_everyone_after_their_last_message(
    node: Node, hub: Hub
) -> None:
    """It returns once the sockets are gone, which here they never are."""
    clients = [Client(node) for _ in range(3)]
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
