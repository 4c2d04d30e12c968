# SPDX-License-Identifier: Apache-2.0
"""The events of a v1 session: replay, window, groups, and what the broker brings."""

import json

import pytest

from chatmotor.ports.messages import MemberChange
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import SOON, Node, V1Client, beat, last, node_with

WINDOW_SECONDS = 15.0


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann, bob and cyd have accounts."""
    node = Node(loop)
    node.account("ann", "bob", "cyd")
    return node


# Where a session goes on.


def test_new_client_is_told_to_sync_and_is_live(node: Node) -> None:
    """Nothing is replayed to it."""
    node.stored("bob", "ann")
    client = node.new_v1()
    welcome, live = client.hello(node.token("ann"))

    assert (False, "first", 0) == tuple(
        welcome[key] for key in ("resumed", "reason", "replay")
    )
    assert {"op": "live", "seq": welcome["seq"]} == live


def test_live_comes_exactly_after_the_replay(node: Node) -> None:
    """So many events as were announced, then live, then what is new."""
    token = node.token("ann")
    for n in range(5):
        node.stored("bob", "ann", f"{n}")
    client = node.new_v1()
    resume = {"epoch": "epoch0", "seq": 1}
    client.hello(token, resume=resume)
    bob = node.v1("bob")
    bob.ask("send", cid="new", to="ann", body="new")
    frames = client.frames

    assert (True, 5) == (frames[0]["resumed"], frames[0]["replay"])
    assert ["welcome", *["ev"] * 5, "live", "ev"] == client.ops()
    assert [2, 3, 4, 5, 6, 7] == [each["seq"] for each in client.events()]
    assert 6 == frames[6]["seq"]


def test_client_that_has_everything_is_live_at_once(node: Node) -> None:
    """A replay of nothing."""
    token = node.token("ann")
    welcome, live = node.new_v1().hello(token, resume={"epoch": "epoch0", "seq": 1})

    assert (0, "live") == (welcome["replay"], live["op"])


def test_live_waits_for_the_window(node: Node) -> None:
    """A long replay comes as the client acknowledges it."""
    token = node.token("ann")
    for n in range(5):
        node.stored("bob", "ann", f"{n}")
    client = node.new_v1()
    client.hello(token, resume={"epoch": "epoch0", "seq": 1}, window=2)
    assert ["welcome", "ev", "ev"] == client.ops()
    assert ["ev", "ev"] == [each["op"] for each in client.says(op="ack", h=2)]

    assert ["ev", "live"] == [each["op"] for each in client.says(op="ack", h=4)]


def test_events_that_went_while_it_resumed_lose_the_position(node: Node) -> None:
    """The client is never served with a gap: it comes again, and syncs."""
    token = node.token("ann")
    for n in range(5):
        node.stored("bob", "ann", f"{n}")
    client = node.new_v1()
    client.hello(token, resume={"epoch": "epoch0", "seq": 1}, window=2)
    node.loop.advance(1)
    node.loop.run(node.store.trim(before=node.now()))
    client.says(op="ack", h=2)

    assert 4005 == client.close_code
    assert "bye" == last(client)["op"]


def test_position_of_a_resume_is_an_ack(node: Node) -> None:
    """The device has what it says it has."""
    token = node.token("ann")
    for n in range(5):
        node.stored("bob", "ann", f"{n}")
    node.new_v1().hello(token, resume={"epoch": "epoch0", "seq": 4})
    node.loop.advance(2)

    assert 4 == node.cursor("ann")


def test_device_goes_on_from_its_cursor(node: Node) -> None:
    """Acked in one session, resumed in the next."""
    first = node.v1("ann")
    for n in range(3):
        node.stored("bob", "ann", f"{n}")
    node.roster.check_soon("ann")
    node.loop.advance(SOON)
    first.says(op="ack", h=2, seq=3)
    node.loop.advance(2)
    first.goes()
    second = node.new_v1()
    second.hello(node.token("ann"), resume="device")

    assert [4] == [each["seq"] for each in second.events()]


def test_cursor_is_never_above_the_top(node: Node) -> None:
    """A device cannot acknowledge what is not there yet."""
    ann = node.v1("ann")
    ann.says(op="ack", h=0, seq=1000)
    node.loop.advance(2)

    assert 1 == node.cursor("ann")


# The window.


def fill(node: Node, client: V1Client, count: int, sender: str = "bob") -> None:
    """So many messages for ann, of which her clients hear."""
    for n in range(count):
        node.stored(sender, "ann", f"{n}")
    node.roster.check_soon("ann")
    node.loop.advance(SOON)


def test_no_more_is_sent_than_the_window_holds(node: Node) -> None:
    """The rest stays in the store until it is acknowledged."""
    ann = node.v1("ann", window=3)
    fill(node, ann, 10)
    assert 3 == len(ann.events())

    ann.says(op="ack", h=2)

    assert 5 == len(ann.events())


def test_window_counts_bytes_too(loop: FakeLoop) -> None:
    """At most one event more than its bytes."""
    node = node_with(loop, window_max_bytes=1000)
    ann = node.v1("ann")
    for n in range(10):
        node.stored("bob", "ann", json.dumps("x" * 600 + str(n)))
    node.roster.check_soon("ann")
    loop.advance(SOON)

    assert 2 == len(ann.events())


def test_ack_of_more_than_was_sent_is_refused(node: Node) -> None:
    """It says what is wrong; the session stays."""
    ann = node.v1("ann")
    (error,) = ann.says(op="ack", h=1)

    assert ("bad_request", "h", None) == (error["code"], error["field"], error["id"])
    assert ann.close_code is None


def test_group_that_moves_on_while_the_window_is_full_is_told_behind(
    node: Node,
) -> None:
    """Once; what follows is told together, when there is room."""
    node.group("ann", "bob")
    ann, bob = node.v1("ann", window=1), node.v1("bob")
    fill(node, ann, 1)
    ann.new()
    for n in range(4):
        bob.ask("send", cid=f"{n}", conv="g.1", body=n)
    assert [{"op": "behind", "conv": "g.1", "pos": 2}] == ann.new()

    assert [{"op": "behind", "conv": "g.1", "pos": 5}] == ann.says(op="ack", h=1)


def test_group_that_stood_still_is_not_told_again(node: Node) -> None:
    """Behind was said, and is still true."""
    node.group("ann", "bob")
    ann, bob = node.v1("ann", window=1), node.v1("bob")
    fill(node, ann, 1)
    bob.ask("send", cid="one", conv="g.1", body="hi")

    assert [] == ann.says(op="ack", h=1)


def test_group_comes_again_once_there_is_room(node: Node) -> None:
    """After what was told, the next event."""
    node.group("ann", "bob")
    ann, bob = node.v1("ann", window=1), node.v1("bob")
    fill(node, ann, 1)
    bob.ask("send", cid="one", conv="g.1", body="hi")
    ann.says(op="ack", h=1)
    bob.ask("send", cid="two", conv="g.1", body="hi")

    assert [3] == [each["pos"] for each in ann.events() if "pos" in each]


def test_full_window_without_an_ack_is_closed_with_4002(node: Node) -> None:
    """15 s after it has filled, not a tick sooner; the client resumes."""
    ann = node.v1("ann", window=2)
    fill(node, ann, 2)
    beat(ann, WINDOW_SECONDS - SOON - 0.001)
    assert ann.close_code is None

    beat(ann, WINDOW_SECONDS)

    assert 4002 == ann.close_code
    assert last(ann)["reconnect"]


def test_any_ack_begins_the_time_anew(node: Node) -> None:
    """Slow is not dead: what counts is progress."""
    ann = node.v1("ann", window=2)
    fill(node, ann, 20)
    for h in range(1, 15):
        node.loop.advance(WINDOW_SECONDS - 2)
        ann.says(op="ack", h=h)

    assert ann.close_code is None


def test_ack_that_says_nothing_new_does_not(node: Node) -> None:
    """The same number again is no progress."""
    ann = node.v1("ann", window=2)
    fill(node, ann, 20)
    ann.says(op="ack", h=1)
    for _ in range(10):
        node.loop.advance(2)
        ann.says(op="ack", h=1)

    assert 4002 == ann.close_code


def test_window_that_is_not_full_has_no_deadline(node: Node) -> None:
    """A client may keep its acks to itself as long as there is room."""
    ann = node.v1("ann", window=3)
    fill(node, ann, 2)
    for _ in range(10):
        node.loop.advance(WINDOW_SECONDS)
        ann.says(op="ping")

    assert ann.close_code is None


@pytest.mark.parametrize("hold", ["hold_reading", "pause_reading"])
def test_client_that_is_not_read_is_not_judged_by_its_acks(
    node: Node, hold: str
) -> None:
    """They wait with what it sends, because the broker, or the store, is behind."""
    ann = node.v1("ann", window=2)
    fill(node, ann, 2)
    getattr(node.hub, hold)(ann.connection)
    node.loop.advance(3 * WINDOW_SECONDS)
    assert ann.close_code is None

    node.hub.resume_reading()
    node.hub.release_reading(ann.connection)
    node.loop.advance(WINDOW_SECONDS + 2)

    assert 4002 == ann.close_code


# A client that does not read.


def test_nothing_is_sent_to_a_client_that_does_not_read(node: Node) -> None:
    """Mailbox and groups wait in the store; then it gets them."""
    node.group("ann", "bob")
    ann, bob = node.v1("ann"), node.v1("bob")
    ann.connection.pause_writing()
    fill(node, ann, 3)
    bob.ask("send", cid="one", conv="g.1", body="hi")
    assert [{"op": "behind", "conv": "g.1", "pos": 2}] == ann.new()

    ann.connection.resume_writing()
    node.loop.settle()

    assert 3 == len(ann.events())


def test_whoever_does_not_read_its_answers_gets_no_more_of_them(node: Node) -> None:
    """Commands wait unread, so that their answers do not fill the memory."""
    ann = node.v1("ann")
    ann.connection.pause_writing()
    for number in range(3):
        ann.says(op="ping", id=number)
    assert [] == ann.new()
    assert ann.connection.reading_held

    ann.connection.resume_writing()
    node.loop.settle()

    assert [0, 1, 2] == [each["id"] for each in ann.new()]
    assert not ann.connection.reading_held


def test_what_was_acknowledged_is_not_replayed_at_once(node: Node) -> None:
    """The cursor counts before it is written."""
    bob, ann = node.v1("bob"), node.v1("ann")
    bob.ask("send", cid="one", to="ann", body=1)
    node.loop.settle()
    ann.says(op="ack", h=1, seq=ann.events()[-1]["seq"])
    again = node.new_v1()

    welcome = again.hello(node.token("ann"), resume="device")[0]

    assert (True, 0) == (welcome["resumed"], welcome["replay"])


# What the broker brings.


def test_lost_notice_is_made_up_for_by_the_next(node: Node) -> None:
    """The gap is read from the store."""
    ann, bob = node.v1("ann"), node.v1("bob")
    node.broker.deaf = True
    bob.ask("send", cid="one", to="ann", body=1)
    node.broker.deaf = False
    bob.ask("send", cid="two", to="ann", body=2)
    node.loop.settle()

    assert [1, 2] == [each["body"] for each in ann.events()]


def test_lost_notice_is_found_by_the_position_check(node: Node) -> None:
    """Also when nothing follows."""
    ann, bob = node.v1("ann"), node.v1("bob")
    node.broker.deaf = True
    bob.ask("send", cid="one", to="ann", body=1)
    for _ in range(9):
        node.loop.advance(10)
        ann.says(op="ping")

    assert [1] == [each["body"] for each in ann.events()]


@pytest.mark.parametrize("body", [b'{"destination": "ann"}', b"\xff", b"\xff\x93\x01"])
def test_what_is_no_notice_is_not_written(node: Node, body: bytes) -> None:
    """A v1 client gets frames of v1 and nothing else."""
    ann = node.v1("ann")
    node.broker.publish(("ann",), body)
    node.loop.settle()

    assert [] == ann.new()
    assert 1 == node.metrics.dropped["no_notice"]


def test_membership_is_heeded_as_it_comes(node: Node) -> None:
    """Added: the group's events come. Removed: they do not."""
    ann, bob, cyd = node.v1("ann"), node.v1("bob"), node.v1("cyd")
    conv = ann.ask("conv.create", cid="g", members=["cyd"])["conv"]["conv"]
    ann.ask("conv.invite", conv=conv, users=["bob"])
    ann.ask("send", cid="one", conv=conv, body="both")
    ann.ask("conv.remove", conv=conv, users=["bob"])
    ann.ask("send", cid="two", conv=conv, body="cyd alone")

    def bodies(client: V1Client) -> list[str]:
        return [each["body"] for each in client.events() if each["t"] == "message.new"]

    assert ["both"] == bodies(bob)
    assert ["both", "cyd alone"] == bodies(cyd)
    removal = bob.events()[-1]
    assert ("conv.member", ["bob"]) == (removal["t"], removal["removed"])


def test_member_that_is_removed_and_added_elsewhere_misses_nothing(
    node: Node,
) -> None:
    """
    Another node did it and told nobody, and the group's log is read before the
    mailbox: what the node has handed on meanwhile is told after ``conv.new``.
    """
    node.group("ann", "bob")
    bob, ann = node.v1("bob"), node.v1("ann")
    for cid, add, remove in (("1", "", "bob"), ("2", "bob", "")):
        change = MemberChange(
            *("g.1", "ann", cid, node.now()),
            *(frozenset(filter(None, [add])), frozenset(filter(None, [remove]))),
        )
        node.loop.run(node.store.change_members(change))
    ann.ask("send", cid="one", conv="g.1", body="hi")
    node.roster.check_all_soon()
    node.loop.advance(5)

    assert ["conv.member", "conv.new"] == [each["t"] for each in bob.events()[-2:]]
    assert {"op": "behind", "conv": "g.1", "pos": 4} == last(bob)
