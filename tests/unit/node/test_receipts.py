# SPDX-License-Identifier: Apache-2.0
"""Receipts: delivered and read, for the other side, together and not too often."""

import pytest

from chatmotor.errors import StoreUnavailable
from chatmotor.node import receipts as module
from chatmotor.node.receipts import UNACKNOWLEDGED, DirectEvents
from chatmotor.node.roster import CURSOR_SECONDS
from chatmotor.protocol.events import Fragment
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import SOON, Node, V1Client, node_with

CONV = "d.1.2"
TOLD = CURSOR_SECONDS + SOON


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann and bob have accounts."""
    return node_with(loop)


@pytest.fixture
def ann(node: Node) -> V1Client:
    """A client of ann."""
    return node.v1("ann")


@pytest.fixture
def bob(node: Node, ann: V1Client) -> V1Client:
    """A client of bob, who has got three messages of ann."""
    bob = node.v1("bob")
    for n in range(3):
        ann.ask("send", cid=str(n), to="bob", body=n)
    assert 3 == len(bob.events())
    return bob


def of_bob(client: V1Client) -> list[tuple[int, int]]:
    """What it was told of bob: delivered and read."""
    return [
        (each["delivered"], each["read"])
        for each in client.ephemerals("receipt")
        if (each["conv"], each["user"]) == (CONV, "bob")
    ]


def ack(client: V1Client, events: int) -> None:
    """It has so many events, and they are on the disk of its device."""
    seq = client.events()[events - 1]["seq"]
    client.says(op="ack", h=events, seq=seq)


def test_an_ack_is_a_receipt_once_it_is_saved(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """Up to the message that the device has; nothing is told before the store knows."""
    ack(bob, 2)
    assert [] == of_bob(ann)

    node.loop.advance(TOLD)

    assert [(2, 0)] == of_bob(ann)
    ack(bob, 3)
    node.loop.advance(TOLD)
    assert [(2, 0), (3, 0)] == of_bob(ann)


def test_a_pointer_that_moves_is_a_receipt(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """What was read was delivered, too."""
    bob.ask("read", conv=CONV, n=2)
    node.loop.advance(TOLD)
    bob.ask("read", conv=CONV, n=1)
    node.loop.advance(TOLD)

    assert [(2, 2)] == of_bob(ann)


def test_an_answer_says_that_one_has_read(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """A message moves the sender's pointer; it is told with the next receipt."""
    bob.ask("send", cid="1", to="ann", body="yes")
    ack(ann, 4)

    node.loop.advance(TOLD)

    assert [(4, 4)] == of_bob(ann)


def test_all_devices_of_the_other_side_are_told(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """And none of one's own, nor anybody else."""
    node.account("cyd")
    web, others = node.v1("ann", "web"), [node.v1("bob", "web"), node.v1("cyd")]
    ack(bob, 3)

    node.loop.advance(TOLD)

    assert [[(3, 0)], [(3, 0)]] == [of_bob(each) for each in (ann, web)]
    assert [[], []] == [of_bob(each) for each in others]


def test_what_was_told_is_not_told_again(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """A second device that catches up changes nothing."""
    ack(bob, 3)
    node.loop.advance(TOLD)
    web = node.v1("bob", "web", resume={"epoch": node.store.epoch, "seq": 0})
    ack(web, 2)
    node.loop.advance(TOLD)

    assert [(3, 0)] == of_bob(ann)


def test_many_acks_are_one_receipt_in_a_second(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """And one look into the store."""
    for n in range(1, 4):
        ack(bob, n)
        bob.ask("read", conv=CONV, n=n)

    node.loop.advance(TOLD)

    assert [(3, 3)] == of_bob(ann)


def test_notes_and_groups_have_none(node: Node, ann: V1Client) -> None:
    """There is nobody to tell, or it is not decided whom."""
    node.group("ann", "bob")
    web = node.v1("ann", "web")
    ann.ask("send", cid="1", to="ann", body="note")
    ann.ask("send", cid="2", conv="g.1", body="all")
    ack(web, 1)
    published = len(node.broker.published)

    node.loop.advance(TOLD)

    assert published == len(node.broker.published)


def test_a_store_that_is_away_is_asked_again(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """No receipt is forgotten by it."""
    working = node.store.receipts

    async def away(convs: object) -> dict[str, dict[str, tuple[int, int]]]:
        raise StoreUnavailable("it is away")

    node.store.receipts = away  # type: ignore[method-assign]
    ack(bob, 3)
    node.loop.advance(3 * TOLD)
    assert [] == of_bob(ann)

    node.store.receipts = working  # type: ignore[method-assign]
    node.loop.advance(TOLD)

    assert [(3, 0)] == of_bob(ann)


def test_a_cursor_that_could_not_be_saved_is_told_later(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """Once it is in the store."""
    working = node.store.save_cursors

    async def away(cursors: object, *, now: int) -> None:
        raise StoreUnavailable("it is away")

    node.store.save_cursors = away  # type: ignore[method-assign]
    ack(bob, 3)
    node.loop.advance(3 * TOLD)
    assert [] == of_bob(ann)

    node.store.save_cursors = working  # type: ignore[method-assign]
    node.loop.advance(2 * TOLD)

    assert [(3, 0)] == of_bob(ann)


def test_a_pong_of_a_classic_client_is_a_receipt(node: Node, ann: V1Client) -> None:
    """Its machine has what was written before the ping."""
    bob = node.classic("bob")
    ann.ask("send", cid="1", to="bob", body="hi")
    for _ in range(2):  # of its log-in, and of the message
        bob.connection.on_pong(bob.pings[-1])

    node.loop.advance(TOLD)

    assert [(1, 0)] == of_bob(ann)


def test_a_place_to_resume_from_is_a_receipt(
    node: Node, ann: V1Client, bob: V1Client
) -> None:
    """Its acknowledgment was lost with the connection; the client says it again."""
    seq = bob.events()[1]["seq"]
    bob.goes()
    node.loop.advance(TOLD)
    assert [] == of_bob(ann)

    node.v1("bob", resume={"epoch": node.store.epoch, "seq": seq})
    node.loop.advance(TOLD)

    assert [(2, 0)] == of_bob(ann)


def test_what_is_remembered_is_bounded(
    node: Node, ann: V1Client, bob: V1Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was forgotten is told again, which does no harm."""
    monkeypatch.setattr(module, "KEPT", 1)
    ack(bob, 3)
    ack(ann, 3)
    node.loop.advance(TOLD)

    assert 1 == len(node.receipts._told)


def test_what_waits_is_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is what is asked for at once; the rest is asked for later."""
    monkeypatch.setattr(module, "WAITING", 5)
    monkeypatch.setattr(module, "AT_ONCE", 3)
    asked = []
    working = node.store.receipts

    async def heard(convs: list[str]) -> dict[str, dict[str, tuple[int, int]]]:
        asked.append(len(convs))
        return await working(convs)

    node.store.receipts = heard  # type: ignore[assignment,method-assign]
    node.receipts.touch_all(f"d.1.{n}" for n in range(9))

    node.loop.advance(3 * TOLD)

    assert [3, 2] == asked


def fragment(conv: str) -> Fragment:
    """A message in a conversation."""
    return Fragment(b'"t":"message.new","ts":1700000000000,"conv":"%b"' % conv.encode())


def test_conversations_are_kept_until_all_is_acknowledged() -> None:
    """One with later events is named now, and again."""
    events = DirectEvents()
    for seq, conv in enumerate(["d.1.2", "g.1", "d.1.3", "d.1.2"], 1):
        events.add(seq, fragment(conv))
    events.add(5, Fragment(b'"t":"device.new","ts":1,"device":"\\"conv\\":\\"d.9"'))

    assert {"d.1.2", "d.1.3"} == events.up_to(3)
    assert {"d.1.2"} == events.up_to(5)
    assert set() == events.up_to(6)


def test_a_session_that_never_acknowledges_costs_a_bounded_memory() -> None:
    """The first conversations count."""
    events = DirectEvents()
    for n in range(2 * UNACKNOWLEDGED):
        events.add(n, fragment(f"d.1.{n}"))

    assert UNACKNOWLEDGED == len(events.up_to(9999))
