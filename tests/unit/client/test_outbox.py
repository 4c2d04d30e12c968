# SPDX-License-Identifier: Apache-2.0
"""Messages in their lanes."""

from typing import Any

import msgspec
import pytest

from chatmotor.client.errors import Refused
from chatmotor.client.memory import Book, KeptMessage, Memory
from chatmotor.client.outbox import Outbox

FOR_NOW = Refused("rate_limited", retry=True, retry_ms=1000)


class Desk:
    """An outbox whose messages are saved at once."""

    def __init__(self) -> None:
        self.book = Book(Memory())
        self.outbox = Outbox(self.book, [])
        self.answers: dict[str, Any] = {}
        self._id = 0

    def put(self, cid: str, **where: str) -> None:
        content = msgspec.json.encode({"cid": cid, **where, "body": cid})
        self.outbox.put(cid, content, lambda it: self.answers.update({cid: it}))
        self.outbox.saved(self.book.take_changes().put)

    def sent(self, now: float = 0.0) -> dict[str, int]:
        """What is sent now, and under which ids."""
        found = {}
        while (message := self.outbox.next(now)) is not None:
            self._id += 1
            self.outbox.begin(self._id, message)
            found[message.kept.cid] = self._id
        return found


@pytest.fixture
def desk() -> Desk:
    """An empty one."""
    return Desk()


def test_one_conversation_is_one_after_the_other(desk: Desk) -> None:
    """The second is sent once the first has its answer."""
    for cid in ("a", "b"):
        desk.put(cid, conv="g.1")
    desk.put("c", conv="g.2")

    first = desk.sent()
    assert ["a", "c"] == list(first)
    desk.outbox.stored(first["a"], {"n": 1}, "g.1")
    assert ["b"] == list(desk.sent())
    assert {"a": {"n": 1}} == desk.answers


def test_a_message_that_is_not_saved_is_not_sent(desk: Desk) -> None:
    """Nor is any later one."""
    desk.outbox.put("a", b'{"cid":"a","conv":"g.1","body":1}', None)
    kept = desk.book.take_changes().put
    assert {} == desk.sent()

    desk.outbox.saved(kept)

    assert ["a"] == list(desk.sent())


def test_names_that_turn_out_to_be_one_conversation_are_one_lane(desk: Desk) -> None:
    """What waits under both names is put into its order, and waits for both."""
    desk.put("a", conv="d.1")
    first = desk.sent()
    desk.put("b", to="bob")
    desk.put("c", conv="d.1")
    desk.put("d", to="bob")
    desk.outbox.learn("bob", "d.1")

    assert {} == desk.sent()
    order = []
    while first:
        (cid,) = first
        order.append(cid)
        desk.outbox.stored(first[cid], {}, "d.1")
        first = desk.sent()
    assert ["a", "b", "c", "d"] == order


def test_the_answer_says_which_conversation_a_name_leads_to(desk: Desk) -> None:
    """From then on both names wait for each other."""
    desk.put("a", to="bob")
    desk.outbox.stored(desk.sent()["a"], {}, "d.1")
    desk.put("b", conv="d.1")
    desk.put("c", to="bob")

    assert "d.1" == desk.outbox.conv_of("bob")
    assert ["b"] == list(desk.sent())


def test_a_refusal_for_now_holds_all_back(desk: Desk) -> None:
    """It is the account's allowance; afterwards one goes, then two, then all."""
    for n in range(6):
        desk.put(f"m{n}", conv=f"g.{n}")
    sent = desk.sent()
    for identifier in sent.values():
        desk.outbox.refuse(identifier, FOR_NOW, 0.0)

    assert 1.0 == desk.outbox.deadline(0.0)
    assert {} == desk.sent(0.9)
    one = desk.sent(1.0)
    assert ["m0"] == list(one)
    desk.outbox.stored(one["m0"], {}, "g.0")
    two = desk.sent(1.0)
    assert ["m1", "m2"] == list(two)
    for cid, identifier in two.items():
        desk.outbox.stored(identifier, {}, "g." + cid[1:])
    assert ["m3", "m4", "m5"] == list(desk.sent(1.0))


def test_nothing_waits_without_a_reason(desk: Desk) -> None:
    """A deadline that has passed would have a timer ring for ever."""
    assert float("inf") == desk.outbox.deadline(0.0)
    desk.put("a", conv="g.1")
    desk.outbox.refuse(desk.sent()["a"], FOR_NOW, 0.0)

    assert 1.0 == desk.outbox.deadline(0.5)
    assert float("inf") == desk.outbox.deadline(1.0)


def test_a_lost_connection_puts_them_back_in_their_order(desk: Desk) -> None:
    """Under their old numbers, before what came later, and without a pause."""
    desk.put("a", conv="g.1")
    desk.put("b", conv="g.2")
    sent = desk.sent()
    desk.put("c", conv="g.1")
    desk.outbox.refuse(sent["b"], FOR_NOW, 0.0)
    desk.outbox.disconnected()

    assert ["a", "b"] == list(desk.sent())


def test_messages_of_an_earlier_run_come_first() -> None:
    """In their order; nobody waits for them, so refusals are told apart."""
    kept = [
        KeptMessage(7, "old", b'{"cid":"old","to":"bob","body":1}'),
        KeptMessage(9, "older", b'{"cid":"older","conv":"g.1","body":1}'),
    ]
    book = Book(Memory())
    outbox = Outbox(book, kept)
    outbox.put("new", b'{"cid":"new","conv":"g.2","body":1}', None)
    changes = book.take_changes()
    outbox.saved(changes.put)
    order = []
    for identifier in range(3):
        message = outbox.next(0.0)
        assert message is not None
        outbox.begin(identifier, message)
        order.append(message.kept.cid)
    outbox.refuse(0, Refused("no_such_user"), 0.0)

    assert ["old", "older", "new"] == order
    assert [10] == [each.number for each in changes.put]
    assert [7] == book.take_changes().dropped
    assert [("old", "no_such_user")] == [
        (cid, refused.code) for cid, refused in outbox.take_unheard()
    ]


def test_lanes_are_forgotten(desk: Desk) -> None:
    """A bot that writes to a million accounts keeps none of them in mind."""
    for n in range(100):
        desk.put(f"m{n}", to=f"u{n}")
        desk.outbox.stored(desk.sent()[f"m{n}"], {}, f"d.{n}")

    assert {} == desk.outbox._lanes
