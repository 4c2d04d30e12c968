# SPDX-License-Identifier: Apache-2.0
"""Typing and signals: who is told, how often, and for how long."""

import pytest

from chatmotor.core.typists import EXPIRES_SECONDS, QUIET_SECONDS
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import Frame, Node, V1Client, node_with

# The first conversation between two, ann and bob.
CONV = "d.1.2"


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann, bob and cyd have accounts, and ann has written to bob."""
    node = node_with(loop)
    node.account("cyd")
    assert CONV == node.stored("ann", "bob").conv
    return node


@pytest.fixture
def ann(node: Node) -> V1Client:
    """A client of ann."""
    return node.v1("ann")


@pytest.fixture
def bob(node: Node) -> V1Client:
    """A client of bob."""
    return node.v1("bob")


def states(client: V1Client) -> list[str]:
    """What it was told of who writes."""
    return [each["state"] for each in client.ephemerals("typing")]


def on(client: V1Client, conv: str = CONV) -> Frame:
    """It begins to write."""
    return client.ask("typing", conv=conv, state="on")


def off(client: V1Client, conv: str = CONV) -> Frame:
    """It stops."""
    return client.ask("typing", conv=conv, state="off")


def test_the_other_one_is_told(node: Node, ann: V1Client, bob: V1Client) -> None:
    """On each of its devices, and nobody else: no device of one's own either."""
    web, others = node.v1("bob", "web"), [node.v1("ann", "web"), node.v1("cyd")]

    answer = on(ann)

    assert "ok" == answer["op"]
    told = [{"conv": CONV, "from": "ann", "state": "on"}]
    assert [told, told] == [each.ephemerals("typing") for each in (bob, web)]
    assert [[], [], []] == [states(each) for each in (ann, *others)]


def test_in_a_group_all_others_are_told(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """Members alone, and not the account that writes, on whatever device."""
    node.group("ann", "bob", "cyd")
    clients = [node.v1(name, "new") for name in ("ann", "bob", "cyd")]
    node.account("dan")
    stranger = node.v1("dan")

    on(clients[0], "g.1")
    off(clients[0], "g.1")

    assert [[], ["on", "off"], ["on", "off"], []] == [
        states(each) for each in (*clients, stranger)
    ]
    told = {"conv": "g.1", "from": "ann", "state": "on"}
    assert told == clients[1].ephemerals("typing")[0]


def test_only_a_member_may(node: Node, bob: V1Client) -> None:
    """A stranger learns nothing, a former member that it is one."""
    node.group("ann", "bob")
    cyd = node.v1("cyd")

    refused = [on(cyd, conv) for conv in (CONV, "g.1", "d.8.9")]

    assert ["no_such_conv"] * 3 == [each["code"] for each in refused]
    assert [] == states(bob)


def test_off_is_told_once(ann: V1Client, bob: V1Client) -> None:
    """And not when nobody was told of a beginning."""
    off(ann)
    on(ann)
    off(ann)
    off(ann)

    assert ["on", "off"] == states(bob)


def test_it_is_told_once_in_a_while(node: Node, ann: V1Client, bob: V1Client) -> None:
    """A client may say it with each key; the others hear of it now and then."""
    answers = []
    for _ in range(20):
        answers.append(on(ann)["op"])
        node.loop.advance(QUIET_SECONDS / 10)

    assert {"ok"} == set(answers)
    assert ["on", "on"] == states(bob)


def test_it_is_forgotten_by_itself(node: Node, ann: V1Client, bob: V1Client) -> None:
    """After EXPIRES_SECONDS without a renewal, and not sooner."""
    on(ann)
    node.loop.advance(EXPIRES_SECONDS - 1)
    on(ann)
    node.loop.advance(EXPIRES_SECONDS - 0.1)
    assert ["on", "on"] == states(bob)

    node.loop.advance(0.2)

    assert ["on", "on", "off"] == states(bob)
    node.loop.advance(2 * EXPIRES_SECONDS)
    assert 3 == len(states(bob))
    assert {} == node.typists._typists


def test_each_conversation_has_its_own_time(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """One that is renewed outlives one that is not."""
    other = node.stored("ann", "cyd").conv
    cyd = node.v1("cyd")
    on(ann)
    node.loop.advance(1)
    on(ann, other)
    node.loop.advance(EXPIRES_SECONDS - 2)
    on(ann)
    node.loop.advance(EXPIRES_SECONDS - 1)

    assert ["on", "on"] == states(bob)
    assert ["on", "off"] == states(cyd)


def test_a_message_ends_it_silently(node: Node, ann: V1Client, bob: V1Client) -> None:
    """Whoever gets it knows; and the next beginning is told at once."""
    on(ann)
    ann.ask("send", cid="1", conv=CONV, body="hi")
    off(ann)
    node.loop.advance(2 * EXPIRES_SECONDS)
    assert ["on"] == states(bob)

    on(ann)
    ann.ask("send", cid="2", to="bob", body="hi")
    on(ann)

    assert ["on", "on", "on"] == states(bob)


def test_it_ends_with_the_last_session(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """At once; not with one of two."""
    web = node.v1("ann", "web")
    on(ann)
    ann.goes()
    assert ["on"] == states(bob)

    web.goes()

    assert ["on", "off"] == states(bob)


def test_nobody_is_told_of_notes_and_guests(node: Node, ann: V1Client) -> None:
    """There is nobody who could be."""
    notes = node.stored("ann", "ann").conv
    guest = node.guest("gus")
    guest.sends(b'{"destination": "ann"}')
    node.loop.advance(1)
    from_guest = ann.events()[-1]["conv"]
    published = len(node.broker.published)

    answers = [on(ann, notes)["op"], on(ann, from_guest)["op"]]

    assert ["ok", "ok"] == answers
    assert published == len(node.broker.published)


def test_an_id_is_not_needed(ann: V1Client, bob: V1Client) -> None:
    """Then there is no answer."""
    assert [] == ann.says(op="typing", conv=CONV, state="on")
    assert ["on"] == states(bob)


def test_a_slow_reader_is_not_told(node: Node, ann: V1Client, bob: V1Client) -> None:
    """It is dropped and counted; nothing of it comes later."""
    bob.connection.on_slow()
    on(ann)
    bob.connection.on_clear()
    off(ann)

    assert ["off"] == states(bob)
    assert {"dropped": 1, "sent": 1} == node.metrics.ephemerals


def test_it_fills_no_window(node: Node, ann: V1Client) -> None:
    """What has no place needs no acknowledgment, and no room."""
    bob = node.new_v1()
    bob.hello(node.token("bob"), window=1)
    node.loop.advance(1)
    for n in range(3):
        ann.ask("send", cid=str(n), to="bob", body="hi")
    assert 1 == len(bob.events())

    on(ann)

    assert ["on"] == states(bob)
    assert "ok" == bob.ask("typing", conv=CONV, state="off")["op"]
    bob.says(op="ack", h=1)
    assert 2 == len(bob.events())


def test_a_classic_client_is_not_told(node: Node, ann: V1Client) -> None:
    """Its wire has no word for it."""
    bob = node.classic("bob")
    before = bob.texts

    on(ann)
    ann.ask("signal", to="bob", body=1)

    assert before == bob.texts
    assert {} == node.metrics.dropped


def test_a_signal_reaches_the_devices_of_an_account(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """Each of them that is there, as it was written; nothing is stored."""
    web, cyd = node.v1("bob", "web"), node.v1("cyd")

    ann.sends(b'{"op":"signal","id":1,"to":"BOB","body":{ "k" : 1.0 }}')

    told = [{"from": "ann", "device": "phone", "body": {"k": 1.0}}]
    assert [told, told, []] == [each.ephemerals("signal") for each in (bob, web, cyd)]
    assert bob.texts[-1].endswith(b'"body":{ "k" : 1.0 }}')
    assert "message.new" not in [each["t"] for each in bob.events()]


def test_a_signal_to_oneself_is_for_the_other_devices(
    node: Node, ann: V1Client
) -> None:
    """The one that has sent it knows; its other tabs count as the same device."""
    web, tab = node.v1("ann", "web"), node.v1("ann")

    ann.ask("signal", to="ann", body="hi")

    assert [0, 1, 0] == [len(each.ephemerals("signal")) for each in (ann, web, tab)]


def test_a_device_of_the_same_name_gets_signals(node: Node, ann: V1Client) -> None:
    """Names of devices are the account's own."""
    bob = node.v1("bob", ann.connection.grant.device)

    ann.ask("signal", to="bob", body="hi")

    assert 1 == len(bob.ephemerals("signal"))
