# SPDX-License-Identifier: Apache-2.0
"""The ``ok`` to a send precedes its own event, also when a reading finds it first."""

import pytest

from chatmotor.errors import RequestRefused
from chatmotor.ports.messages import NewMessage, StoredMessage
from chatmotor.ports.store import Done
from tests.fakes.memory_store import MemoryStore
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import SOON, Node, V1Client

Seen = list[tuple[object, object]]


class EagerStore(MemoryStore):
    """While *holding*, a send is stored, and can be read, before it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.holding = True
        self._held: list[tuple[Done, StoredMessage | RequestRefused]] = []

    def send_soon(self, message: NewMessage, done: Done) -> None:
        answer: StoredMessage | RequestRefused
        try:
            answer = self._send(message)
        except RequestRefused as refused:
            answer = refused
        self._held.append((done, answer))

    def release(self) -> None:
        """Answer the first of those that wait."""
        done, answer = self._held.pop(0)
        done(answer)


@pytest.fixture
def store(loop: FakeLoop) -> EagerStore:
    """The store of ``node``."""
    return EagerStore()


@pytest.fixture
def node(loop: FakeLoop, store: EagerStore) -> Node:
    """A node; ann and bob have accounts."""
    node = Node(loop, store=store)
    node.account("ann", "bob")
    return node


def look(node: Node) -> None:
    """The node asks the store for what it has missed."""
    node.roster.check_all_soon()
    node.loop.advance(SOON)


def came(client: V1Client) -> Seen:
    """Since it was last asked: what, and of which message."""
    return [
        (each["op"], each.get("cid", each.get("code", each.get("n"))))
        for each in client.new()
    ]


def test_event_that_is_read_first_waits_for_the_ok(
    node: Node, store: EagerStore
) -> None:
    """And whatever comes after it waits behind it."""
    ann = node.v1("ann")
    ann.asks("send", cid="c1", to="bob", body="hi")
    node.stored("bob", "ann")
    look(node)
    assert [] == came(ann)

    store.release()

    assert [("ok", 1), ("ev", "c1"), ("ev", 2)] == came(ann)


def test_event_of_a_group_waits_too(node: Node, store: EagerStore) -> None:
    """The log of a group is read like a mailbox."""
    conv = node.group("ann", "bob")
    ann = node.v1("ann")
    ann.asks("send", cid="c1", conv=conv, body="hi")
    look(node)
    assert [] == came(ann)

    store.release()

    assert [("ok", 1), ("ev", "c1")] == came(ann)


def test_others_do_not_wait(node: Node, store: EagerStore) -> None:
    """Another device of the sender has nothing to be answered."""
    ann, tablet = node.v1("ann"), node.v1("ann", "tablet")
    ann.new()
    ann.asks("send", cid="c1", to="bob", body="hi")
    look(node)

    assert [("ev", "c1")] == came(tablet)
    assert [] == came(ann)


def test_events_wait_for_each_ok_in_turn(node: Node, store: EagerStore) -> None:
    """The first answer lets go of the first event only."""
    ann = node.v1("ann")
    for cid in ("c1", "c2"):
        ann.asks("send", cid=cid, to="bob", body="hi")
    look(node)

    store.release()
    assert [("ok", 1), ("ev", "c1")] == came(ann)
    store.release()
    assert [("ok", 2), ("ev", "c2")] == came(ann)


def test_refusal_lets_go_as_well(node: Node, store: EagerStore) -> None:
    """The event is of an earlier message with this cid."""
    ann = node.v1("ann")
    for body in ("hi", "another"):
        ann.asks("send", cid="c1", to="bob", body=body)
    look(node)

    store.release()
    assert [("ok", 1)] == came(ann)
    store.release()

    assert [("error", "cid_conflict"), ("ev", "c1")] == came(ann)


def test_live_waits_behind_the_replay(node: Node, store: EagerStore) -> None:
    """A retry in the middle of a replay: its event ends it, and then comes live."""
    token = node.token("ann")
    seq = node.grant(token).account.seq
    node.stored("bob", "ann")
    node.stored("ann", "bob")  # as elsewhere2
    ann = node.new_v1()
    resume = {"epoch": store.epoch, "seq": seq}
    ann.hello(token, resume=resume, window=1)
    ann.asks("send", cid="elsewhere2", to="bob", body="hi")
    assert [] == ann.says(op="ack", h=1)

    store.release()

    assert [("ok", 2), ("ev", "elsewhere2"), ("live", None)] == came(ann)
