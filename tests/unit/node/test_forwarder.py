# SPDX-License-Identifier: Apache-2.0
"""Outgoing hooks at work, on a loop that is turned by hand."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chatmotor.core.hooks import HookTargets
from chatmotor.errors import StoreUnavailable
from chatmotor.node.forwarder import Forwarder
from chatmotor.node.hook_pace import Pace
from chatmotor.ports.accounts import AccountChange
from chatmotor.ports.hooks import (
    Hook,
    HookChange,
    HookKind,
    NewHook,
    Outgoing,
    TargetFailed,
)
from chatmotor.ports.messages import MemberChange, NewMessage
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import CHECK_SECONDS, EPOCH_MS, SOON, Node

NEW = NewHook("h1", "ann", HookKind.WEBHOOK, 1, "https://example.org", "whsec_x")
PACE = Pace()
# The longest from one beat to the next, with its jitter.
BEAT = PACE.beat * 1.2
_cids = itertools.count(1)


class Shelf:
    """
    A target that keeps what it is given.

    Attributes:
        failures: What is raised next, one after the other; then it takes all.
        hold: While it is set, deliveries hang.
    """

    batch_max = 1

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.events: list[Outgoing] = []
        self.attempts: list[str] = []
        self.failures: list[TargetFailed] = []
        self.hold: asyncio.Future[None] | None = None
        self.closed = False

    async def deliver(self, batch: Sequence[Outgoing]) -> None:
        assert not self.closed
        self.attempts += [each.id for each in batch]
        if self.hold is not None:
            await self.hold
        if self.failures:
            raise self.failures.pop(0)
        self.events += batch

    async def close(self) -> None:
        self.closed = True

    def texts(self) -> list[Any]:
        """The bodies of the messages."""
        found = [json.loads(each.body) for each in self.events]
        return [each["body"] for each in found if each["t"] == "message.new"]


class Rig:
    """A node with a forwarder, and the targets that it has made."""

    def __init__(
        self, loop: FakeLoop, *, others: "Rig | None" = None, pace: Pace = PACE
    ) -> None:
        self.loop = loop
        self.node: Node = Node(loop, others=None if others is None else others.node)
        self.store = self.node.store
        self.shelves: list[Shelf] = []
        self.batch_max = 1
        self.failures: list[TargetFailed] = []
        self.forwarder = Forwarder(
            *(self.store, self.node.roster, self.node.metrics),
            HookTargets({HookKind.WEBHOOK: self._make}),
            owner=f"owner{next(_cids)}",
            now=self.node.now,
            check_seconds=CHECK_SECONDS,
            pace=pace,
        )

    def _make(self, hook: Hook) -> Shelf:
        shelf = Shelf(hook)
        shelf.batch_max = self.batch_max
        shelf.failures = self.failures
        self.shelves.append(shelf)
        return shelf

    def start(self) -> None:
        self.forwarder.start()
        self.loop.advance(SOON)

    def stop(self) -> None:
        task = self.loop.create_task(self.forwarder.stop())
        self.loop.advance(2 * PACE.stop)
        task.result()

    def die(self) -> None:
        """Nothing is saved, and no lease given back."""
        assert self.forwarder._task is not None
        self.forwarder._task.cancel()
        for run in self.forwarder._runs.values():
            run._leave = _nothing  # type: ignore[method-assign]
            assert run._task is not None
            run._task.cancel()
        self.loop.settle()

    @property
    def shelf(self) -> Shelf:
        """The last one."""
        return self.shelves[-1]

    def add(self, new: NewHook = NEW) -> None:
        self.loop.run(self.store.add_hook(new))
        self.forwarder.beat_soon()
        self.loop.advance(SOON)

    def hook(self, id_: str = "h1") -> Hook:
        return self.loop.run(self.store.hook(id_))

    def send(
        self, body: str, *, to: str = "ann", conv: str = "", told: bool = True
    ) -> None:
        """By bob, of whom this node is told, or not."""
        message = NewMessage(
            *("bob", f"c{next(_cids)}", json.dumps(body).encode(), self.node.now()),
            to=None if conv else to,
            conv=conv or None,
        )
        stored = self.loop.run(self.store.send(message))
        if told:
            self.node.announcer.message(message, stored)
            self.loop.advance(SOON)

    def members(self, *, add: str = "", remove: str = "", conv: str = "g.1") -> None:
        """A change by bob, which the node is told of."""
        change = MemberChange(
            *(conv, "bob", f"members{next(_cids)}", self.node.now()),
            *(frozenset(add.split()), frozenset(remove.split())),
        )
        changed = self.loop.run(self.store.change_members(change))
        self.node.announcer.tell(changed.logged)
        self.loop.advance(SOON)


async def _nothing() -> None:
    pass


@pytest.fixture
def rig(loop: FakeLoop) -> Rig:
    """With accounts, and no hook yet."""
    return _rig(loop)


@pytest.fixture
def hasty_rig(loop: FakeLoop) -> Rig:
    """The same, which gives up after five hours in place of as many days."""
    assert 5 * 24 * 3600 == PACE.give_up
    return _rig(loop, pace=Pace(give_up=5 * 3600, last_retry=200))


def _rig(loop: FakeLoop, **given: Any) -> Rig:
    made = Rig(loop, **given)
    made.node.account("ann", "bob", "cyd")
    made.start()
    return made


def test_events_are_handed_over_in_the_order_of_the_mailbox(rig: Rig) -> None:
    """Each with its own id, in the form of the command events, from now on."""
    rig.send("before")
    rig.add()

    rig.send("one")
    rig.send("two")

    first, second = rig.shelf.events
    ts = EPOCH_MS + 1000_000
    assert ("message.new", None, 2) == (first.t, first.conv, first.at)
    assert [f"h1-s-2-{json.loads(first.body)['ts']}", "h1-s-3"] == [
        *(first.id, second.id.rpartition("-")[0])
    ]
    expected = {"seq": 2, "t": "message.new", "conv": "d.1.2", "n": 2, "from": "bob"}
    found = json.loads(first.body)
    assert ts <= found.pop("ts")
    assert expected | {"body": "one"} == found
    assert ["one", "two"] == rig.shelf.texts()
    assert (3, 0, 0) == (rig.hook().seq, rig.hook().behind, rig.hook().failures)
    assert {"webhook": 2} == rig.node.metrics.hook_deliveries


def test_own_messages_have_their_cid(rig: Rig) -> None:
    """As on a device of the account: a program knows its own by it."""
    rig.add(replace(NEW, username="bob"))

    rig.send("mine", to="ann")

    assert json.loads(rig.shelf.events[0].body)["cid"].startswith("c")


def test_a_group_is_handed_over_while_the_account_is_in_it(rig: Rig) -> None:
    """
    From when it comes to when it goes, and again from when it comes back; also where
    the hook reads it all later.
    """
    rig.node.group("bob", "cyd")
    rig.add()
    hold = rig.shelf.hold = asyncio.Future(loop=rig.loop)  # type: ignore[arg-type]
    rig.send("first of all")
    rig.send("not yet", conv="g.1")
    rig.members(add="ann")
    rig.send("in", conv="g.1")
    rig.members(remove="ann")
    rig.send("out", conv="g.1")
    rig.members(remove="cyd")
    rig.members(add="ann")
    rig.send("back", conv="g.1")

    rig.shelf.hold = None
    hold.set_result(None)
    rig.loop.advance(SOON)

    assert ["first of all", "in", "back"] == rig.shelf.texts()
    assert [
        *("message.new", "conv.new", "conv.member", "conv.new"),
        *("message.new", "message.new"),
    ] == [each.t for each in rig.shelf.events]
    places = [each.at for each in rig.shelf.events if each.conv == "g.1"]
    assert [4, 9] == places
    assert {"g.1": 9} == rig.loop.run(rig.store.hook_positions("h1"))


def test_a_group_that_it_comes_into_is_followed_at_once(rig: Rig) -> None:
    """No position check is needed, and no socket of the account."""
    rig.node.group("bob", "cyd")
    rig.add()
    rig.members(add="ann")
    assert ["conv.new"] == [each.t for each in rig.shelf.events]

    rig.send("in", conv="g.1")

    assert ["in"] == rig.shelf.texts()


def test_nothing_of_a_membership_is_lost_to_a_restart(rig: Rig) -> None:
    """The place is kept before the removal, where whoever reads on finds it."""
    rig.node.group("bob", "ann", "cyd")
    rig.add()
    rig.send("in", conv="g.1")
    rig.members(remove="ann")
    rig.send("out", conv="g.1")
    rig.stop()
    rig.members(add="ann")
    rig.send("back", conv="g.1")

    again = Rig(rig.loop, others=rig)
    again.start()

    assert ["in"] == rig.shelf.texts()
    assert ["back"] == again.shelf.texts()


def test_a_filter_lets_through_what_is_asked_for(rig: Rig) -> None:
    """Types, or one conversation; the place moves over the rest."""
    rig.node.group("bob", "ann", "cyd")
    rig.node.group("bob", "ann", conv="g.2")
    rig.send("before")
    rig.add(replace(NEW, types=("message.new",)))
    rig.add(replace(NEW, id="h2", conv="g.1"))
    rig.add(replace(NEW, id="h3", conv="d.1.2"))
    by_id = {each.hook.id: each for each in rig.shelves}

    rig.send("direct")
    rig.send("one", conv="g.1")
    rig.send("two", conv="g.2")
    rig.members(remove="cyd")

    assert ["direct", "one", "two"] == by_id["h1"].texts()
    assert ["message.new", "conv.member"] == [each.t for each in by_id["h2"].events]
    assert ["direct"] == by_id["h3"].texts()
    assert 3 == len(by_id["h1"].events)
    rig.stop()
    assert [0, 0, 0] == [rig.hook(each).behind for each in ("h1", "h2", "h3")]


def test_a_batch_is_as_large_as_the_target_likes(rig: Rig) -> None:
    """And no larger; the place moves when all of it was taken."""
    rig.batch_max = 2
    rig.failures.append(TargetFailed("no"))
    for number in range(3):
        rig.send(str(number), told=False)
    new = replace(NEW, username="cyd")
    rig.add(new)
    for number in range(3):
        rig.send(str(number), to="cyd", told=False)

    rig.loop.advance(CHECK_SECONDS + 2 * BEAT)

    places = [id_.split("-")[2] for id_ in rig.shelf.attempts]
    assert ["1", "2", "1", "2", "3"] == places
    assert ["0", "1", "2"] == rig.shelf.texts()


def test_what_the_broker_did_not_bring_is_found(rig: Rig) -> None:
    """By the position check, in the mailbox and in groups."""
    rig.node.group("bob", "ann")
    rig.add()
    rig.send("one", told=False)
    rig.send("two", conv="g.1", told=False)
    rig.loop.advance(SOON)
    assert [] == rig.shelf.texts()

    rig.loop.advance(1.2 * CHECK_SECONDS + 2 * BEAT)

    assert {"one", "two"} == set(rig.shelf.texts())


def test_the_brokers_return_is_a_reason_to_look(rig: Rig) -> None:
    """At once, and not at the next check."""
    rig.add()
    rig.send("one", told=False)

    rig.forwarder.check_soon()
    rig.loop.advance(SOON)

    assert ["one"] == rig.shelf.texts()


def test_an_idle_hook_asks_for_no_events(rig: Rig) -> None:
    """An hour without any costs leases and position checks, and nothing else."""
    rig.add()
    asked = _count(rig, "events")
    saved = _count(rig, "save_progress")

    rig.loop.advance(3600)

    assert [] == asked + saved


def _count(rig: Rig, method: str) -> list[str]:
    """The calls of a method of the store, from now on."""
    calls: list[str] = []
    whole = getattr(rig.store, method)

    async def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(method)
        return await whole(*arguments, **named)

    setattr(rig.store, method, counted)
    return calls


def test_a_busy_hook_saves_now_and_then(rig: Rig) -> None:
    """Not after each of a hundred events; but in the end, all of them."""
    saved = _count(rig, "save_progress")
    rig.add()
    for number in range(100):
        rig.send(str(number), told=False)

    rig.forwarder.check_soon()
    rig.loop.advance(SOON)

    assert 100 == len(rig.shelf.events)
    assert len(saved) <= 2
    assert (100, 0) == (rig.hook().seq, rig.hook().behind)


# Failures.


def test_a_failure_is_repeated_until_it_is_none(rig: Rig) -> None:
    """In the same order, with the same ids, and what failed is written down."""
    rig.add()
    rig.failures += [TargetFailed("the answer was 500")] * 3
    rig.send("one")
    rig.send("two")

    hook = rig.hook()
    assert (1, "the answer was 500", 0) == (hook.failures, hook.error, hook.seq)
    assert hook.failing_since is not None
    assert hook.failing_since < rig.node.now() < hook.next_try + 1
    assert rig.node.now() + 2000 >= hook.next_try
    rig.loop.advance(2 + 4 + 8 + SOON)

    attempts = [each.split("-")[2] for each in rig.shelf.attempts]
    assert ["1", "1", "1", "1", "2"] == attempts
    assert 1 == len(set(rig.shelf.attempts[:4]))
    assert ["one", "two"] == rig.shelf.texts()
    hook = rig.hook()
    assert (0, None, 0, "", 2) == (
        *(hook.failures, hook.failing_since, hook.next_try, hook.error, hook.seq),
    )
    assert {"webhook": 3} == rig.node.metrics.hook_failures


def test_pauses_grow_and_have_a_bound() -> None:
    """Each at random up to a bound that doubles: from a second to an hour."""
    for failures, bound in ((1, 2), (2, 4), (5, 32), (11, 2048), (12, 3600)):
        pauses = [PACE.pause(failures, None) for _ in range(300)]
        assert 1 <= min(pauses)
        assert bound * 0.8 < max(pauses) <= bound
    assert PACE.pause(10**6, None) <= 3600


def test_a_target_says_when_it_wants_to_be_asked_again() -> None:
    """Not earlier, where it is later than the own pause; and not after an hour."""
    assert 40 == PACE.pause(1, 40)
    assert 3600 == PACE.pause(1, 10**9)
    assert 1 <= PACE.pause(3, 0) <= 8


def test_a_target_that_is_gone_is_switched_off(rig: Rig) -> None:
    """It is left alone; an operator can resume it, and it goes on from its place."""
    rig.add()
    rig.failures.append(TargetFailed("the answer was 410", gone=True))
    rig.send("one")

    assert (False, "the answer was 410") == (rig.hook().on, rig.hook().error)
    assert 1 == rig.node.metrics.hooks_off
    rig.send("two")
    rig.loop.advance(3600)
    assert 1 == len(rig.shelf.attempts)
    assert rig.shelf.closed

    rig.loop.run(rig.store.change_hook(HookChange("h1", resume=True)))
    rig.loop.advance(BEAT + SOON)
    assert ["one", "two"] == rig.shelf.texts()


def test_a_target_that_only_fails_is_given_up(hasty_rig: Rig) -> None:
    """After so long without one success; not sooner."""
    hasty_rig.add()
    hasty_rig.failures += [TargetFailed("no")] * 1000
    hasty_rig.send("one")

    hasty_rig.loop.advance(5 * 3600 - 10)
    assert hasty_rig.hook().on
    hasty_rig.loop.advance(200 + 10)

    assert (False, "no") == (hasty_rig.hook().on, hasty_rig.hook().error)
    assert 90 < len(hasty_rig.shelf.attempts) < 400
    assert 1 == hasty_rig.node.metrics.hooks_off


def test_a_success_begins_that_time_again(hasty_rig: Rig) -> None:
    """A hook that fails now and then is never given up."""
    hasty_rig.add()
    for _ in range(4):
        hasty_rig.failures.append(TargetFailed("no"))
        hasty_rig.send("one")
        hasty_rig.loop.advance(4 * 3600)

    assert hasty_rig.hook().on
    assert 4 == len(hasty_rig.shelf.events)


def test_an_operators_change_is_tried_at_once(rig: Rig) -> None:
    """A new secret, or a resume, does not wait for the end of the pause."""
    rig.add()
    rig.failures.append(TargetFailed("no", retry_after=3600))
    rig.send("one")
    rig.loop.advance(60)
    first = rig.shelf
    assert [] == first.events

    rig.loop.run(rig.store.change_hook(HookChange("h1", secret="whsec_y")))
    rig.loop.advance(BEAT + SOON)

    assert ["one"] == rig.shelf.texts()
    assert "whsec_y" == rig.shelf.hook.secret
    assert first.closed
    assert 0 == rig.hook().failures


def test_how_long_events_wait_is_measured(rig: Rig) -> None:
    """The oldest one that a hook of this node waits with."""
    rig.add()
    metrics = rig.node.metrics
    rig.loop.advance(BEAT)
    assert (1, 0) == (metrics.hooks, metrics.hook_lag_seconds)
    rig.failures.append(TargetFailed("no", retry_after=100))

    rig.send("one")
    rig.loop.advance(60)
    assert 60 - BEAT <= metrics.hook_lag_seconds <= 60 + 2 * SOON
    rig.loop.advance(60)

    assert (1, 0) == (metrics.hooks, metrics.hook_lag_seconds)


# Leases.


def test_another_node_goes_on_when_one_dies(rig: Rig) -> None:
    """Within a lease and a beat; what was in flight comes again with its id."""
    other = Rig(rig.loop, others=rig)
    rig.add()
    other.start()
    rig.send("one")
    rig.loop.advance(1)
    rig.shelf.hold = asyncio.Future(loop=rig.loop)  # type: ignore[arg-type]
    rig.send("two")
    assert [] == other.shelves

    rig.die()
    rig.send("three", told=False)
    rig.loop.advance(PACE.lease + BEAT + SOON)

    assert ["two", "three"] == other.shelf.texts()
    assert rig.shelf.attempts[1] == other.shelf.attempts[0]


def test_a_node_that_stops_leaves_its_hooks_to_others(rig: Rig) -> None:
    """At their next beat, and nothing is repeated."""
    other = Rig(rig.loop, others=rig)
    rig.add()
    other.start()
    rig.send("one")

    rig.stop()
    rig.send("two", told=False)
    other.forwarder.check_soon()
    rig.loop.advance(BEAT + SOON)

    assert ["one"] == rig.shelf.texts()
    assert ["two"] == other.shelf.texts()
    assert rig.shelf.closed


def test_a_delivery_that_is_under_way_may_end(rig: Rig) -> None:
    """A node that stops waits for it, for two seconds."""
    rig.add()
    hold = rig.shelf.hold = asyncio.Future(loop=rig.loop)  # type: ignore[arg-type]
    rig.send("one")
    stopping = rig.loop.create_task(rig.forwarder.stop())
    rig.loop.advance(PACE.stop / 2)
    assert not stopping.done()

    hold.set_result(None)
    rig.loop.advance(SOON)

    assert stopping.done()
    assert 1 == rig.hook().seq


def test_a_node_that_cannot_renew_delivers_nothing_more(rig: Rig) -> None:
    """It may be another's; when the store is back, who has it goes on."""
    other = Rig(rig.loop, others=rig)
    rig.add()

    async def refuse(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("gone")

    lease, rig.store.lease_hooks = rig.store.lease_hooks, refuse  # type: ignore[method-assign]
    rig.loop.advance(PACE.lease + SOON)
    rig.send("one")
    rig.loop.advance(10)
    assert [] == rig.shelf.attempts

    rig.store.lease_hooks = lease  # type: ignore[method-assign]
    other.start()
    rig.loop.advance(2 * BEAT)

    assert ["one"] == other.shelf.texts() + rig.shelf.texts()


def test_a_node_that_was_away_begins_where_others_have_come_to(rig: Rig) -> None:
    """It has the hook again, and repeats nothing of what was delivered meanwhile."""
    other = Rig(rig.loop, others=rig)
    rig.add()
    lease, mine = rig.store.lease_hooks, rig.forwarder._parts.owner

    async def refuse(owner: str, *rest: Any, **named: Any) -> Any:
        if owner == mine:
            raise StoreUnavailable("gone, for one node")
        return await lease(owner, *rest, **named)

    rig.store.lease_hooks = refuse  # type: ignore[method-assign]
    rig.loop.advance(PACE.lease + SOON)
    other.start()
    rig.send("one", told=False)
    other.forwarder.check_soon()
    rig.loop.advance(SOON)
    other.stop()

    rig.store.lease_hooks = lease  # type: ignore[method-assign]
    rig.forwarder.check_soon()
    rig.loop.advance(BEAT + SOON)

    assert ["one"] == other.shelf.texts()
    assert [] == [each for shelf in rig.shelves for each in shelf.attempts]
    assert 2 == len(rig.shelves)


def test_a_node_that_slept_does_not_set_the_place_back(rig: Rig) -> None:
    """It saves nothing for a hook that another has gone on with."""
    other = Rig(rig.loop, others=rig)
    rig.add()
    hold = rig.shelf.hold = asyncio.Future(loop=rig.loop)  # type: ignore[arg-type]
    rig.send("one")
    assert rig.forwarder._task is not None
    rig.forwarder._task.cancel()  # it does not beat
    rig.loop.advance(PACE.lease)
    other.start()
    rig.send("two", told=False)
    other.forwarder.check_soon()
    rig.loop.advance(SOON)
    assert ["one", "two"] == other.shelf.texts()

    hold.set_result(None)
    rig.loop.advance(SOON)

    assert 2 == rig.hook().seq
    assert ["one"] == rig.shelf.texts()
    assert rig.forwarder._runs["h1"].ended


def test_a_removed_hook_stops(rig: Rig) -> None:
    """At the next beat."""
    rig.add()
    rig.loop.run(rig.store.remove_hook("h1"))
    rig.forwarder.beat_soon()
    rig.loop.advance(SOON)

    rig.send("one")

    assert [] == rig.shelf.attempts
    assert rig.shelf.closed


def test_a_closed_account_is_not_forwarded(rig: Rig) -> None:
    """From the notice on; opened again, its hook goes on."""
    rig.add()
    closed = AccountChange("ann", rig.node.now(), closed=True)
    rig.loop.run(rig.store.change_account(closed))
    rig.node.announcer.recheck("ann")
    rig.loop.advance(SOON)
    assert rig.shelf.closed

    rig.loop.run(rig.store.change_account(replace(closed, closed=False)))
    rig.loop.advance(BEAT + SOON)
    rig.send("one")

    assert ["one"] == rig.shelf.texts()


# Other days.


def test_what_is_no_longer_kept_is_said(rig: Rig) -> None:
    """A hook that was off for longer than mailboxes are kept says what is missing."""
    for number in range(3):
        rig.send(str(number), to="cyd")
    rig.stop()
    hook = rig.loop.run(rig.store.add_hook(replace(NEW, username="cyd")))
    for number in range(3, 6):
        rig.send(str(number), to="cyd", told=False)
    rig.loop.advance(10)
    rig.loop.run(rig.store.trim(before=rig.node.now() - 1))
    rig.loop.advance(10)
    rig.send("6", to="cyd", told=False)

    again = Rig(rig.loop, others=rig)
    again.start()

    assert 3 == hook.seq
    gap, last = again.shelf.events
    assert ("hook.trimmed", 6, "h1-trimmed-6") == (gap.t, gap.at, gap.id)
    told = json.loads(gap.body)
    assert {"seq", "t", "ts"} == told.keys()
    assert (6, "hook.trimmed") == (told["seq"], told["t"])
    assert "6" == json.loads(last.body)["body"]


def test_a_store_that_is_away_is_waited_for(rig: Rig) -> None:
    """Nothing is lost, and the hook is not called failing."""
    rig.add()
    events = rig.store.events

    async def refuse(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("gone")

    rig.store.events = refuse  # type: ignore[method-assign]
    rig.send("one")
    rig.loop.advance(30)
    assert [] == rig.shelf.attempts

    rig.store.events = events  # type: ignore[method-assign]
    rig.loop.advance(2)

    assert ["one"] == rig.shelf.texts()
    assert 0 == rig.hook().failures


def test_its_account_is_not_online_for_it(rig: Rig) -> None:
    """A hook is no device: nobody who watches its account sees one."""
    rig.add()

    assert 0 == rig.node.roster.count("ann")
    assert all(run.presence is None for run in rig.forwarder._runs.values())
