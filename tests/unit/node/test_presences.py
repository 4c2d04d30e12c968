# SPDX-License-Identifier: Apache-2.0
"""Presence on one node: who stands how, who is told, and what nobody is told."""

from typing import Any

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from chatmotor.node import watchers
from chatmotor.node.presences import GATHER_SECONDS
from chatmotor.node.watchers import BATCH_SECONDS, IN_A_FRAME
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import (
    GRACE_SECONDS,
    NO_TRANSPORT,
    SOON,
    WATCH_MAX,
    Node,
    V1Client,
    node_with,
)

# Until whoever watches has been told.
TOLD = GATHER_SECONDS + BATCH_SECONDS + SOON


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann and bob have accounts."""
    return node_with(loop)


@pytest.fixture
def ann(node: Node) -> V1Client:
    """She watches bob, who is away."""
    ann = node.v1("ann")
    answer = ann.ask("watch", users=["bob"])
    assert [{"user": "bob", "state": "offline"}] == answer["snapshot"]
    return ann


def seen(client: V1Client) -> list[Any]:
    """What it was told: frame by frame, user, state and text."""
    return [
        [(each["user"], each["state"], each.get("text", "")) for each in frame["users"]]
        for frame in client.ephemerals("presence")
    ]


def crowd(node: Node, names: list[str]) -> list[V1Client]:
    """A client of each, all at once."""
    clients = []
    for name in names:
        clients.append(node.new_v1())
        clients[-1].hello(node.token(name))
    return clients


def test_a_session_that_is_welcomed_is_online(node: Node, ann: V1Client) -> None:
    """Whoever watches its account is told, within the batch."""
    node.v1("bob")

    node.loop.advance(TOLD)

    assert [[("bob", "online", "")]] == seen(ann)


def test_whoever_does_not_watch_is_told_nothing(node: Node, ann: V1Client) -> None:
    """Nor does anybody hear of those whom it does not watch."""
    bob = node.v1("bob")
    node.account("cyd")
    node.v1("cyd")

    node.loop.advance(TOLD)

    assert [] == seen(bob)
    assert [[("bob", "online", "")]] == seen(ann)


def test_the_snapshot_says_how_they_stand(node: Node) -> None:
    """Each once, by name; one without an account is offline, too."""
    bob = node.v1("bob")
    bob.ask("presence", state="dnd", text="at work")
    ann = node.v1("ann")

    answer = ann.ask("watch", users=["cyd", "BOB", "bob"])

    assert [
        {"user": "bob", "state": "dnd", "text": "at work"},
        {"user": "cyd", "state": "offline"},
    ] == answer["snapshot"]
    node.loop.advance(TOLD)
    assert [] == seen(ann)


def test_a_watch_goes_on_after_a_second_one(node: Node, ann: V1Client) -> None:
    """Watching is added up; a name that is watched already gets a new snapshot."""
    node.v1("bob")
    answer = ann.ask("watch", users=["bob", "cyd"])

    assert ["online", "offline"] == [each["state"] for each in answer["snapshot"]]
    node.loop.advance(TOLD)
    assert [] == seen(ann)


def test_a_change_is_told_and_one_that_is_none_is_not(
    node: Node, ann: V1Client
) -> None:
    """Another state or text; what is as it was told last is no news."""
    bob = node.v1("bob")
    node.loop.advance(TOLD)
    told = []
    for state, text in (("away", ""), ("away", "lunch"), ("away", "lunch")):
        bob.ask("presence", state=state, text=text)
        node.loop.advance(TOLD)
        told.append(seen(ann)[-1])

    assert [("away", ""), ("away", "lunch"), ("away", "lunch")] == [
        (state, text) for ((_, state, text),) in told
    ]
    assert 3 == len(seen(ann))


def test_there_and_back_is_silent(node: Node, ann: V1Client) -> None:
    """What has changed back before the batch goes is never told."""
    bob = node.v1("bob")
    node.loop.advance(TOLD)

    bob.ask("presence", state="dnd")
    node.loop.advance(GATHER_SECONDS * 2)
    bob.ask("presence", state="online")
    node.loop.advance(2 * TOLD)

    assert [[("bob", "online", "")]] == seen(ann)


def test_changes_are_gathered(node: Node, ann: V1Client) -> None:
    """However many there are in BATCH_SECONDS: one frame with the last of each."""
    names = [f"user{n}" for n in range(20)]
    node.account(*names)
    ann.ask("watch", users=names)
    for client in crowd(node, names):
        client.ask("presence", state="away")

    node.loop.advance(TOLD)

    (users,) = seen(ann)
    assert [(name, "away", "") for name in sorted(names)] == sorted(users)


def test_a_session_is_told_at_most_once_in_the_time(node: Node, ann: V1Client) -> None:
    """Somebody who changes all the time does not make a frame each time."""
    bob = node.v1("bob")
    for n in range(100):
        bob.ask("presence", state=("away", "dnd")[n % 2], text=str(n))
        node.loop.advance(0.1)

    assert len(seen(ann)) <= 10 / BATCH_SECONDS


def test_offline_comes_after_the_grace(node: Node, ann: V1Client) -> None:
    """Counted from the end of the last session, and not of one of two."""
    phone, web = node.v1("bob"), node.v1("bob", "web")
    node.loop.advance(TOLD)
    phone.goes()
    node.loop.advance(1.3 * GRACE_SECONDS)
    web.goes()
    node.loop.advance(GRACE_SECONDS)
    assert [[("bob", "online", "")]] == seen(ann)

    node.loop.advance(TOLD)

    assert [[("bob", "online", "")], [("bob", "offline", "")]] == seen(ann)


def test_whoever_comes_back_in_time_was_never_away(node: Node, ann: V1Client) -> None:
    """Neither the going nor the coming is told; the next time counts anew."""
    for _ in range(4):
        bob = node.v1("bob")
        node.loop.advance(GRACE_SECONDS * 0.9)
        bob.goes()
        node.loop.advance(GRACE_SECONDS * 0.9)

    assert [[("bob", "online", "")]] == seen(ann)


def test_whoever_comes_back_otherwise_is_told_so(node: Node, ann: V1Client) -> None:
    """What an ended session has said does not outlast it when another is there."""
    bob = node.v1("bob")
    bob.ask("presence", state="dnd", text="call")
    node.loop.advance(TOLD)
    bob.goes()
    node.v1("bob")

    node.loop.advance(TOLD)

    assert [[("bob", "dnd", "call")], [("bob", "online", "")]] == seen(ann)


def test_hidden_is_as_if_one_was_not_there(node: Node, ann: V1Client) -> None:
    """For those who watch it is offline after the grace, as after a log-out."""
    bob = node.v1("bob")
    node.loop.advance(TOLD)
    bob.ask("presence", state="hidden", text="nobody sees this")

    node.loop.advance(GRACE_SECONDS + TOLD)

    assert [[("bob", "online", "")], [("bob", "offline", "")]] == seen(ann)
    bob.goes()
    node.loop.advance(GRACE_SECONDS + TOLD)
    assert 2 == len(seen(ann))


def test_hidden_from_the_first_moment_was_never_there(
    node: Node, ann: V1Client
) -> None:
    """A client that says so at once is not seen."""
    node.v1("bob").ask("presence", state="hidden")

    node.loop.advance(GRACE_SECONDS + TOLD)

    assert [] == seen(ann)


def test_what_a_snapshot_said_is_taken_back(node: Node) -> None:
    """Though all that happened between two batches: there, seen, gone."""
    ann, bob = node.new_v1(), node.new_v1()
    ann.hello(node.token("ann"))
    bob.hello(node.token("bob"))
    answer = ann.ask("watch", users=["bob"])
    assert "online" == answer["snapshot"][0]["state"]
    bob.goes()

    node.loop.advance(GRACE_SECONDS + TOLD)

    assert [[("bob", "offline", "")]] == seen(ann)


def test_the_best_session_counts(node: Node, ann: V1Client) -> None:
    """Its text, too; when it goes, the next one does."""
    phone, web = node.v1("bob"), node.v1("bob", "web")
    web.ask("presence", state="dnd", text="call")
    phone.ask("presence", state="away", text="bus")
    node.loop.advance(TOLD)
    web.goes()
    node.loop.advance(TOLD)

    assert [[("bob", "dnd", "call")], [("bob", "away", "bus")]] == seen(ann)


def test_a_classic_socket_of_an_account_is_online(node: Node, ann: V1Client) -> None:
    """A guest's is nobody's."""
    node.classic("bob")
    node.guest("gus")
    ann.ask("watch", users=["gus"])

    node.loop.advance(TOLD)

    assert [[("bob", "online", "")]] == seen(ann)


def test_unwatch_ends_it(node: Node, ann: V1Client) -> None:
    """Of those alone; a name that was not watched does not matter."""
    node.account("cyd")
    ann.ask("watch", users=["cyd"])
    answer = ann.ask("unwatch", users=["BOB", "never"])
    node.v1("bob"), node.v1("cyd")

    node.loop.advance(TOLD)

    assert "ok" == answer["op"]
    assert [[("cyd", "online", "")]] == seen(ann)
    assert 1 == node.metrics.watched


def test_nothing_is_left_of_a_session_that_ends(node: Node, ann: V1Client) -> None:
    """Nor of whom it watched, unless another one does."""
    other = node.v1("ann", "web")
    other.ask("watch", users=["bob", "cyd"])
    other.goes()
    assert 1 == node.metrics.watched

    ann.goes()

    assert 0 == node.metrics.watched
    node.v1("bob")
    node.loop.advance(GRACE_SECONDS + TOLD)
    assert [] == seen(ann)


def test_a_command_of_a_session_that_has_ended_does_nothing(node: Node) -> None:
    """It would be watched for ever."""
    ann = node.v1("ann")
    watch = _make_test_ws_frame(
        WSMsgType.TEXT, b'{"op":"watch","id":1,"users":["bob"]}', True, False
    )
    ann.connection.on_ws_frame(NO_TRANSPORT, watch)

    ann.goes()

    assert 0 == node.metrics.watched


def test_a_slow_session_that_ends_leaves_nothing(
    node: Node, ann: V1Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it ends while others are being told."""
    monkeypatch.setattr(watchers, "_IN_A_TURN", 1)
    web = node.v1("ann", "web")
    web.ask("watch", users=["bob"])
    for each in (ann, web):
        each.connection.on_slow()
    node.presences._watchers.on_shown("bob")
    node.presences._watchers._tell()
    for each in (ann, web):
        each.goes()

    node.loop.advance(TOLD)

    assert {} == node.presences._watchers._changed


def test_the_number_of_the_watched_is_bounded(node: Node, ann: V1Client) -> None:
    """Over it nobody of the command is watched, and the others still are."""
    names = [f"user{n}" for n in range(WATCH_MAX)]
    for begin in (0, 400):
        ann.ask("watch", users=names[begin : begin + 500])
    assert 901 == node.metrics.watched

    refused = ann.ask("watch", users=names[900:])

    assert ("quota_exceeded", "users") == (refused["code"], refused["field"])
    assert 901 == node.metrics.watched
    assert "ok" == ann.ask("watch", users=names[800:999])["op"]
    assert 1000 == node.metrics.watched


@pytest.mark.parametrize("op", ["watch", "unwatch"])
def test_a_name_that_nobody_can_have_is_refused(
    node: Node, ann: V1Client, op: str
) -> None:
    """With its field; nothing was done."""
    refused = ann.ask(op, users=["bob", "a b"])

    assert ("no_such_user", "users") == (refused["code"], refused["field"])
    assert 1 == node.metrics.watched


def test_presence_needs_no_id(node: Node) -> None:
    """Then there is no answer."""
    bob = node.v1("bob")

    assert [] == bob.says(op="presence", state="away")
    assert [{"op": "ok", "id": "p"}] == bob.says(op="presence", id="p", state="online")


def test_a_slow_reader_is_told_how_it_is_by_then(node: Node, ann: V1Client) -> None:
    """While it reads nothing, nothing piles up; what it was told last stays true."""
    bob = node.v1("bob")
    ann.connection.on_slow()
    node.loop.advance(3 * TOLD)
    bob.ask("presence", state="away")
    node.loop.advance(3 * TOLD)
    assert [] == seen(ann)

    ann.connection.on_clear()
    node.loop.advance(TOLD)

    assert [[("bob", "away", "")]] == seen(ann)


def test_a_return_of_a_thousand_is_no_storm(loop: FakeLoop) -> None:
    """They are watched, lose their connections and come back: nobody is told."""
    node = Node(loop)
    names = [f"user{n}" for n in range(WATCH_MAX)]
    node.account("ann", *names)
    ann = node.v1("ann")
    for begin in range(0, len(names), 500):
        ann.ask("watch", users=names[begin : begin + 500])
    clients = crowd(node, names)
    loop.advance(TOLD)
    before = len(seen(ann))
    assert set(names) == {user for frame in seen(ann) for user, _, _ in frame}

    for client in clients:
        client.goes()
    loop.advance(GRACE_SECONDS / 2)
    crowd(node, names)
    loop.advance(GRACE_SECONDS + TOLD)

    assert before == len(seen(ann))


def test_many_changes_are_several_frames(loop: FakeLoop) -> None:
    """None of them grows without bound."""
    node = Node(loop)
    names = [f"user{n}" for n in range(WATCH_MAX)]
    node.account("ann", *names)
    clients = crowd(node, names)
    ann = node.v1("ann")
    for begin in range(0, len(names), 500):
        ann.ask("watch", users=names[begin : begin + 500])
    for client in clients:
        client.ask("presence", state="away")

    loop.advance(TOLD)

    assert [IN_A_FRAME, WATCH_MAX - IN_A_FRAME] == [len(each) for each in seen(ann)]
