# SPDX-License-Identifier: Apache-2.0
"""Presence across nodes: asked for once, told in batches, and gone with its node."""

from typing import Any

import pytest

from chatmotor.node.neighbours import ANSWER_SECONDS, AT_ONCE
from chatmotor.node.presences import GATHER_SECONDS, SILENT_AFTER_GRACE_SECONDS
from chatmotor.node.watchers import BATCH_SECONDS
from chatmotor.protocol.notices import (
    AskNotice,
    NodeNotice,
    NodesNotice,
    PresenceNotice,
    decode_notice,
    encode_notice,
)
from chatmotor.protocol.presence import ONLINE
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import (
    GRACE_SECONDS,
    SOON,
    WATCH_MAX,
    Node,
    V1Client,
    link,
    node_with,
)

TOLD = GATHER_SECONDS + BATCH_SECONDS + SOON
SILENT_SECONDS = GRACE_SECONDS + SILENT_AFTER_GRACE_SECONDS
BEAT_SECONDS = SILENT_SECONDS / 3


@pytest.fixture
def left(loop: FakeLoop) -> Node:
    """A node; ann and bob have accounts."""
    return node_with(loop)


@pytest.fixture
def right(loop: FakeLoop, left: Node) -> Node:
    """Another node on the same store; each hears the other."""
    right = Node(loop, others=left)
    link(left, right)
    return right


@pytest.fixture
def ann(left: Node, right: Node) -> V1Client:
    """On the left, she watches bob."""
    ann = left.v1("ann")
    ann.ask("watch", users=["bob"])
    return ann


def seen(client: V1Client) -> list[Any]:
    """The state of bob in each frame that it was told."""
    return [
        [each["state"] for each in frame["users"] if each["user"] == "bob"]
        for frame in client.ephemerals("presence")
    ]


def said(node: Node, kind: type[NodesNotice]) -> list[Any]:
    """What a node has told the others, of one kind."""
    notices = [decode_notice(body, node.store.epoch) for _, body in node.broker.between]
    return [each for each in notices if isinstance(each, kind)]


def cut(*nodes: Node) -> None:
    """They hear of nobody any more, and nobody of them."""
    for node in nodes:
        node.broker.linked = []


def pass_time(loop: FakeLoop, seconds: float, *clients: V1Client) -> None:
    """Let *seconds* pass; these clients show that they live."""
    for _ in range(int(seconds)):
        loop.advance(1)
        for client in clients:
            client.connection.heard = True
    loop.advance(seconds - int(seconds))


def test_a_change_on_another_node_is_told(right: Node, ann: V1Client) -> None:
    """Online, away and offline, as on the own node."""
    bob = right.v1("bob")
    right.loop.advance(TOLD)
    bob.ask("presence", state="away")
    right.loop.advance(TOLD)
    bob.goes()
    right.loop.advance(GRACE_SECONDS + TOLD)

    assert [["online"], ["away"], ["offline"]] == seen(ann)


def test_the_snapshot_asks_the_other_nodes(left: Node, right: Node) -> None:
    """And waits for their answers."""
    right.v1("bob").ask("presence", state="dnd", text="call")
    ann = left.v1("ann")

    answer = ann.ask("watch", users=["bob"])

    assert [{"user": "bob", "state": "dnd", "text": "call"}] == answer["snapshot"]
    right.loop.advance(TOLD)
    assert [] == seen(ann)


def test_what_an_answer_said_is_taken_back(left: Node, right: Node) -> None:
    """Though all that happened between two batches: there, asked for, gone."""
    ann, bob = left.new_v1(), right.new_v1()
    ann.hello(left.token("ann"))
    bob.hello(right.token("bob"))
    answer = ann.ask("watch", users=["bob"])
    assert "online" == answer["snapshot"][0]["state"]
    bob.goes()

    left.loop.advance(GRACE_SECONDS + TOLD)

    assert [["offline"]] == seen(ann)


def test_what_is_known_is_not_asked_for_again(left: Node, ann: V1Client) -> None:
    """A thousand sessions that watch the same are one question."""
    before = len(said(left, AskNotice))

    left.v1("ann", "web").ask("watch", users=["bob"])

    assert before == len(said(left, AskNotice))


def test_a_snapshot_does_not_wait_for_ever(left: Node, right: Node) -> None:
    """A node that does not answer is waited for once; what it says later is told."""
    bob = right.v1("bob")
    right.broker.linked = []
    ann = left.v1("ann")
    assert [] == ann.asks("watch", users=["bob"])

    left.loop.advance(ANSWER_SECONDS)

    (answer,) = ann.new()
    assert [{"user": "bob", "state": "offline"}] == answer["snapshot"]
    link(left, right)
    left.loop.advance(TOLD)
    assert [["online"]] == seen(ann)
    bob.goes()


def test_whoever_unwatches_meanwhile_is_told_nothing(left: Node, right: Node) -> None:
    """The answer comes for those that are still watched."""
    right.broker.linked = []
    ann = left.v1("ann")
    ann.asks("watch", users=["bob", "cyd"])
    ann.ask("unwatch", users=["bob"])

    left.loop.advance(ANSWER_SECONDS)

    (answer,) = ann.new()
    assert ["cyd"] == [each["user"] for each in answer["snapshot"]]
    assert 1 == left.metrics.watched


def test_a_session_that_ends_meanwhile_leaves_nothing(left: Node, right: Node) -> None:
    """Nobody is watched for it."""
    right.broker.linked = []
    ann = left.v1("ann")
    ann.asks("watch", users=["bob"])
    ann.goes()

    left.loop.advance(ANSWER_SECONDS)

    assert 0 == left.metrics.watched


def test_a_move_to_another_node_is_silent(
    left: Node, right: Node, ann: V1Client
) -> None:
    """From one to the other and back, each time within the grace."""
    for node in (left, right, left, right):
        bob = node.v1("bob")
        node.loop.advance(1)
        bob.goes()
        node.loop.advance(GRACE_SECONDS / 2)

    assert [["online"]] == seen(ann)


def test_the_best_of_all_nodes_counts(left: Node, right: Node, ann: V1Client) -> None:
    """As if all sessions were on one."""
    here, there = left.v1("bob"), right.v1("bob", "web")
    there.ask("presence", state="dnd")
    here.ask("presence", state="away")
    left.loop.advance(TOLD)
    there.ask("presence", state="hidden")
    left.loop.advance(TOLD)

    assert [["dnd"], ["away"]] == seen(ann)


def test_a_node_that_ends_says_so(left: Node, right: Node, ann: V1Client) -> None:
    """Its accounts have the grace to come back elsewhere."""
    right.v1("bob")
    left.loop.advance(TOLD)
    left.loop.run(right.roster.stop())
    cut(right)
    pass_time(left.loop, GRACE_SECONDS - 1, ann)
    assert [["online"]] == seen(ann)

    pass_time(left.loop, TOLD + 1, ann)

    assert [["online"], ["offline"]] == seen(ann)


def test_a_node_that_ends_is_replaced(left: Node, right: Node, ann: V1Client) -> None:
    """Whoever comes back within the grace was never away."""
    right.v1("bob")
    left.loop.advance(TOLD)
    left.loop.run(right.roster.stop())
    cut(right)
    left.loop.advance(GRACE_SECONDS / 2)
    left.v1("bob")

    pass_time(left.loop, GRACE_SECONDS + TOLD, ann)

    assert [["online"]] == seen(ann)


def test_a_node_that_is_silent_is_gone(left: Node, right: Node, ann: V1Client) -> None:
    """Killed, or cut off: a beat is missed, and no grace is added."""
    right.v1("bob")
    left.loop.advance(TOLD)
    cut(left, right)
    pass_time(left.loop, SILENT_SECONDS - BEAT_SECONDS, ann)
    assert [["online"]] == seen(ann)

    pass_time(left.loop, 2 * BEAT_SECONDS + BATCH_SECONDS, ann)

    assert [["online"], ["offline"]] == seen(ann)


def test_beats_keep_a_node_alive(left: Node, right: Node, ann: V1Client) -> None:
    """Though nothing happens there."""
    bob = right.v1("bob")

    pass_time(left.loop, 3 * SILENT_SECONDS, ann, bob)

    assert [["online"]] == seen(ann)


def test_a_pause_of_the_process_is_no_silence_of_the_others(
    left: Node, right: Node, ann: V1Client
) -> None:
    """Whoever was stopped itself cannot know."""
    right.v1("bob")
    left.loop.advance(TOLD)
    assert [["online"]] == seen(ann)

    left.loop._now += 2 * SILENT_SECONDS
    left.presences._neighbours._beat()

    assert ONLINE == left.presences._table.shown("bob")


def test_after_an_outage_both_ask_again(left: Node, right: Node, ann: V1Client) -> None:
    """What was said meanwhile was lost, and each side finds out."""
    bob = right.v1("bob")
    left.loop.advance(TOLD)
    cut(left, right)
    bob.ask("presence", state="away")
    left.loop.advance(TOLD)
    assert [["online"]] == seen(ann)

    link(left, right)
    left.loop.advance(TOLD)

    assert [["online"], ["away"]] == seen(ann)


@pytest.mark.parametrize("who", ["left", "right"])
def test_after_a_short_outage_of_one_node_it_is_made_good(
    left: Node, right: Node, ann: V1Client, who: str
) -> None:
    """Whether the one that watches was cut off, or the other: its hello is enough."""
    bob = right.v1("bob")
    left.loop.advance(TOLD)
    cut(left, right)
    bob.ask("presence", state="away")
    left.loop.advance(TOLD)
    left.broker.linked, right.broker.linked = [right.broker], [left.broker]

    {"left": left, "right": right}[who].presences.hello()
    left.loop.advance(TOLD)

    assert [["online"], ["away"]] == seen(ann)


def test_a_new_node_is_asked(left: Node, right: Node, ann: V1Client) -> None:
    """Its hello may be lost: its first beat will do."""
    third = Node(left.loop, others=left)
    third.v1("bob")
    nodes = [left, right, third]
    for node in nodes:
        node.broker.linked = [each.broker for each in nodes if each is not node]

    pass_time(left.loop, BEAT_SECONDS + TOLD, ann)

    assert [["online"]] == seen(ann)


def test_nothing_is_told_while_nobody_watches(left: Node, right: Node) -> None:
    """Nodes without watchers cost the others nothing but beats."""
    right.v1("bob").ask("presence", state="away")

    right.loop.advance(TOLD)

    assert [] == said(right, PresenceNotice)


def test_nothing_is_told_after_the_last_unwatch(
    left: Node, right: Node, ann: V1Client
) -> None:
    """From the next beat on."""
    ann.ask("unwatch", users=["bob"])
    pass_time(left.loop, BEAT_SECONDS, ann)
    before = len(said(right, PresenceNotice))

    right.v1("bob")
    left.loop.advance(TOLD)

    assert before == len(said(right, PresenceNotice))


def test_a_return_of_many_is_few_notices(
    loop: FakeLoop, left: Node, right: Node
) -> None:
    """They go and come back on the other node: not a notice for each, and no frame."""
    names = [f"user{n}" for n in range(WATCH_MAX)]
    left.account(*names)
    ann = left.v1("ann")
    for begin in range(0, len(names), 500):
        ann.ask("watch", users=names[begin : begin + 500])
    clients = []
    for name in names:
        clients.append(right.new_v1())
        clients[-1].hello(right.token(name))
    loop.advance(TOLD)
    frames = len(ann.ephemerals("presence"))
    before = len(said(right, PresenceNotice))

    for client in clients:
        client.goes()
    loop.advance(GRACE_SECONDS / 2)
    for name in names:
        right.new_v1().hello(right.token(name))
    loop.advance(GRACE_SECONDS + TOLD)

    assert frames == len(ann.ephemerals("presence"))
    assert 2 == len(said(right, PresenceNotice)) - before


def test_what_is_told_at_once_is_bounded(left: Node, right: Node) -> None:
    """More changes are more notices."""
    left.v1("ann").ask("watch", users=["bob"])
    changes = {f"user{n}": ONLINE for n in range(AT_ONCE + 1)}

    right.presences._neighbours.tell(changes)

    sizes = [len(each.users) for each in said(right, PresenceNotice)]
    assert [AT_ONCE, 1] == sizes[-2:]


def test_nodes_of_another_store_are_not_heard(
    left: Node, right: Node, ann: V1Client
) -> None:
    """They share RabbitMQ, and neither accounts nor presence."""
    for notice in (
        NodeNotice("another", "far", "hello", True),
        PresenceNotice("another", "far", {"bob": ONLINE}),
        AskNotice("another", "far", 1, ["bob"]),
    ):
        left.roster.on_notice("p", encode_notice(notice))
    left.loop.advance(TOLD)

    assert [] == seen(ann)
    assert [] == [key for key, _ in left.broker.between if key == "n.far"]


def test_an_answer_that_nobody_has_asked_for_is_a_change(
    left: Node, ann: V1Client
) -> None:
    """It is true in any case; a number that is unknown does not matter."""
    notice = PresenceNotice(left.store.epoch, "far", {"bob": ONLINE, "cyd": ONLINE}, 99)

    left.roster.on_notice("n.left", encode_notice(notice))
    left.loop.advance(TOLD)

    assert [["online"]] == seen(ann)
