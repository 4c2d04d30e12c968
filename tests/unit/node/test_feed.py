# SPDX-License-Identifier: Apache-2.0
"""A reader's place in a log: each event once and in order, whatever the broker does."""

from collections import deque
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from chatmotor.errors import NoSuchConv, StoreUnavailable, Trimmed
from chatmotor.node.feed import EARLY_EVENTS, PAGE_EVENTS, Feed
from chatmotor.ports.messages import (
    Event,
    EventPage,
    EventType,
    GroupLog,
    Mailbox,
    Message,
)
from chatmotor.protocol.events import Fragment, message_fragment
from tests.unit.node.fakes import FakeLoop

MANY = 10_000
NEVER = 10**9
LONG = 3.0  # more than it waits before it asks the store again


def message(at: int) -> Message:
    """The message of event *at*."""
    return Message("d.1.2", at, "ann", f"c{at}", 5, b'"%d"' % at, raw=False)


def fragment(at: int) -> Fragment:
    """Event *at*, as the broker brings it."""
    return message_fragment(message(at))


class FakeLog:
    """
    A store with one log.

    Attributes:
        top: How many events there are.
        asked: The ``(since, limit)`` of every reading.
        errors: Raised by the next readings, in turn.
        during: Called in the middle of the next reading.
    """

    def __init__(self, top: int = 0) -> None:
        self.top = top
        self.asked: list[tuple[int, int]] = []
        self.errors: deque[Exception] = deque()
        self.during: Any = None

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        assert Mailbox("ann") == log
        self.asked.append((since, limit))
        top = self.top
        if self.during is not None:
            during, self.during = self.during, None
            during()
        if self.errors:
            raise self.errors.popleft()
        numbers = range(since + 1, min(top, since + limit) + 1)
        events = [
            Event(at, EventType.MESSAGE_NEW, "d.1.2", 5, message=message(at))
            for at in numbers
        ]
        return EventPage(tuple(events), top)


class FakeReader:
    """Takes events while there is room; each takes one place."""

    def __init__(self, room: int = MANY) -> None:
        self.room = room
        self.taken: list[int] = []
        self.lost: list[str] = []

    def take(self, at: int, fragment: Fragment) -> None:
        assert message_fragment(message(at)) == fragment
        self.taken.append(at)
        self.room -= 1

    def lose_position(self, reason: str) -> None:
        self.lost.append(reason)


class Rig:
    """A feed between a store and a reader."""

    def __init__(
        self, loop: FakeLoop, *, top: int = 0, since: int = 0, room: int = MANY
    ) -> None:
        self.loop = loop
        self.log = FakeLog(top)
        self.reader = FakeReader(room)
        logs: Any = self.log
        self.feed = Feed(logs, Mailbox("ann"), self.reader, since=since, top=since)

    def stored(self, count: int = 1) -> None:
        """So many more events, of which the broker says nothing."""
        self.log.top += count

    def offer(self, *numbers: int) -> None:
        """The broker brings these."""
        for at in numbers:
            self.feed.offer(at, fragment(at))


@pytest.fixture
def rig(loop: FakeLoop) -> Rig:
    """Nothing is stored yet."""
    return Rig(loop)


def numbers(first: int, last: int) -> list[int]:
    """From *first* to *last*."""
    return list(range(first, last + 1))


# What the broker brings.


def test_next_event_is_taken_at_once(rig: Rig) -> None:
    """A message costs no task, and no look into the store."""
    rig.stored(3)
    rig.offer(1, 2, 3)

    assert [1, 2, 3] == rig.reader.taken
    assert [] == rig.log.asked


def test_event_that_comes_twice_is_taken_once(rig: Rig) -> None:
    """The broker may repeat."""
    rig.stored(2)
    rig.offer(1, 1, 2, 1, 2)
    rig.loop.settle()

    assert [1, 2] == rig.reader.taken


def test_old_event_is_dropped(loop: FakeLoop) -> None:
    """What the reader had before the feed began is not taken."""
    rig = Rig(loop, top=5, since=5)
    rig.offer(3, 5)
    loop.settle()

    assert ([], {}) == (rig.reader.taken, rig.feed._early)
    assert [] == rig.log.asked


def test_gap_is_read_from_the_store(rig: Rig) -> None:
    """What the broker has lost is there; the event behind the gap waits for it."""
    rig.stored(3)
    rig.offer(1, 3)
    assert [1] == rig.reader.taken
    rig.loop.settle()

    assert [1, 2, 3] == rig.reader.taken
    assert 3 == rig.feed.sent


def test_events_in_the_wrong_order_are_taken_in_the_right_one(rig: Rig) -> None:
    """Whatever comes first."""
    rig.stored(5)
    rig.offer(5, 4, 2, 3, 1)
    rig.loop.settle()

    assert [1, 2, 3, 4, 5] == rig.reader.taken


def test_what_came_early_is_not_read_again(rig: Rig) -> None:
    """Once the gap is filled, what was kept follows without another reading."""
    rig.stored(1)

    def more() -> None:
        rig.stored(2)
        rig.offer(3)

    rig.log.during = more  # the page it is about to give has 1 alone
    rig.offer(2)
    rig.loop.settle()

    assert [1, 2, 3] == rig.reader.taken
    assert 1 == len(rig.log.asked)


def test_what_is_kept_is_bounded(rig: Rig) -> None:
    """While the store is read, the broker may bring any number."""
    rig.stored(3 * EARLY_EVENTS)
    rig.offer(*numbers(2, 3 * EARLY_EVENTS))
    assert EARLY_EVENTS == len(rig.feed._early)
    rig.loop.settle()

    assert numbers(1, 3 * EARLY_EVENTS) == rig.reader.taken
    assert {} == rig.feed._early


def test_event_that_the_store_gave_first_is_forgotten(rig: Rig) -> None:
    """What was kept, and was in the page too, takes no memory."""
    rig.stored(9)
    rig.offer(9, 8, 7)
    rig.loop.settle()
    rig.stored(1)
    rig.offer(10)

    assert numbers(1, 10) == rig.reader.taken
    assert {} == rig.feed._early


# What the position check finds.


def test_look_reads_what_nobody_brought(rig: Rig) -> None:
    """In pages, up to the top."""
    rig.stored(2 * PAGE_EVENTS + 5)
    rig.feed.look(rig.log.top)
    rig.loop.settle()

    assert numbers(1, 2 * PAGE_EVENTS + 5) == rig.reader.taken
    assert [0, PAGE_EVENTS, 2 * PAGE_EVENTS] == [since for since, _ in rig.log.asked]


def test_look_at_what_is_known_costs_nothing(rig: Rig) -> None:
    """An idle reader is not read for."""
    rig.stored(1)
    rig.offer(1)
    rig.feed.look(1)
    rig.feed.look(0)
    rig.loop.settle()

    assert [] == rig.log.asked


def test_one_reading_is_under_way_at_a_time(rig: Rig) -> None:
    """However often it is told to look."""
    rig.stored(3)

    def more() -> None:
        rig.feed.look(3)
        rig.offer(3)
        rig.feed.pull()

    rig.log.during = more
    rig.feed.look(2)
    rig.feed.look(3)
    rig.loop.settle()

    assert [1, 2, 3] == rig.reader.taken
    assert 1 == len(rig.log.asked)


def test_lying_notice_is_looked_for_once(rig: Rig) -> None:
    """Anyone may publish; an event that does not exist is not waited for."""
    rig.offer(7)
    rig.loop.settle()
    assert [] == rig.reader.taken
    assert 1 == len(rig.log.asked)

    rig.stored(1)
    rig.offer(1)
    rig.loop.advance(LONG)

    assert [1] == rig.reader.taken
    assert 1 == len(rig.log.asked)


def test_lying_notice_does_not_hide_what_there_is(rig: Rig) -> None:
    """What is stored while it is looked for is found."""

    def more() -> None:
        rig.stored(2)
        rig.feed.look(2)

    rig.log.during = more
    rig.offer(2**63)
    rig.loop.settle()
    rig.feed.look(2)
    rig.loop.settle()

    assert [1, 2] == rig.reader.taken


# A reader without room.


def test_reader_without_room_is_left_alone(loop: FakeLoop) -> None:
    """Nothing is taken, kept or read: the backlog stays in the store."""
    rig = Rig(loop, room=0)
    rig.stored(3)
    rig.offer(1, 2, 3)
    rig.feed.look(3)
    loop.settle()

    assert ([], [], {}) == (rig.reader.taken, rig.log.asked, rig.feed._early)


def test_no_more_is_read_than_there_is_room_for(loop: FakeLoop) -> None:
    """A window of 2 asks for 2."""
    rig = Rig(loop, room=2)
    rig.stored(5)
    rig.feed.look(5)
    loop.settle()
    assert [1, 2] == rig.reader.taken

    rig.reader.room = 2
    rig.feed.pull()
    loop.settle()

    assert [1, 2, 3, 4] == rig.reader.taken
    assert [(0, 2), (2, 2)] == rig.log.asked


def test_reader_that_has_room_again_gets_the_rest_in_order(loop: FakeLoop) -> None:
    """And then what the broker brings, at once."""
    rig = Rig(loop, room=1)
    rig.stored(4)
    rig.offer(1, 2, 3, 4)
    rig.reader.room = MANY
    rig.feed.pull()
    loop.settle()
    rig.stored(1)
    rig.offer(5)

    assert [1, 2, 3, 4, 5] == rig.reader.taken


def test_room_that_goes_during_a_reading_is_respected(rig: Rig) -> None:
    """What was read and has no place is read again, later."""
    rig.stored(5)

    def full() -> None:
        rig.reader.room = 2

    rig.log.during = full
    rig.feed.look(5)
    rig.loop.settle()
    assert [1, 2] == rig.reader.taken

    rig.reader.room = MANY
    rig.feed.pull()
    rig.loop.settle()

    assert [1, 2, 3, 4, 5] == rig.reader.taken


# A store that does not answer.


def test_store_that_is_away_is_asked_again(rig: Rig) -> None:
    """The reader stays: it has nothing to do about it."""
    rig.log.errors.extend([StoreUnavailable("away")] * 3)
    rig.stored(2)
    rig.feed.look(2)
    rig.loop.settle()
    assert [] == rig.reader.taken
    rig.loop.advance(3 * LONG)

    assert [1, 2] == rig.reader.taken
    assert [] == rig.reader.lost
    assert 4 == len(rig.log.asked)


def test_store_that_is_away_is_not_asked_without_pause(rig: Rig) -> None:
    """At most about once in half a second."""
    rig.log.errors.extend([StoreUnavailable("away")] * 1000)
    rig.stored(1)
    rig.feed.look(1)
    rig.loop.advance(10)

    assert len(rig.log.asked) <= 21


def test_event_that_comes_while_the_store_is_away_waits(rig: Rig) -> None:
    """It is not taken before the one that is missing."""
    rig.log.errors.append(StoreUnavailable("away"))
    rig.stored(3)
    rig.offer(2, 3)
    rig.loop.settle()
    assert [] == rig.reader.taken
    rig.offer(1)
    rig.loop.advance(LONG)

    assert [1, 2, 3] == rig.reader.taken


@pytest.mark.parametrize("error", [Trimmed("gone"), NoSuchConv("gone")])
def test_events_that_are_gone_end_it(rig: Rig, error: Exception) -> None:
    """A reader is never served with a gap."""
    rig.log.errors.append(error)
    rig.stored(2)
    rig.feed.look(2)
    rig.loop.settle()

    assert [] == rig.reader.taken
    assert ["the next events are no longer kept"] == rig.reader.lost


def test_error_of_ours_ends_it_and_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken log is not read again and again."""
    rig.log.errors.append(RuntimeError("broken"))
    rig.stored(2)
    rig.feed.look(2)
    rig.loop.settle()

    assert ["the events could not be read"] == rig.reader.lost
    assert ["a log could not be read"] == [each.message for each in caplog.records]


def test_feed_that_lost_its_position_can_look_again(rig: Rig) -> None:
    """A group's reader stays, and the next position check goes on."""
    rig.log.errors.append(NoSuchConv("not yet"))
    rig.stored(2)
    rig.feed.look(2)
    rig.loop.settle()
    rig.feed.look(2)
    rig.loop.settle()

    assert [1, 2] == rig.reader.taken


# The end.


def test_stopped_feed_takes_nothing(rig: Rig) -> None:
    """Whatever comes, and whatever was under way."""
    rig.stored(3)
    rig.offer(2)
    rig.feed.stop()
    rig.offer(1, 3)
    rig.feed.look(3)
    rig.loop.advance(LONG)

    assert ([], {}) == (rig.reader.taken, rig.feed._early)


def test_feed_that_is_stopped_by_its_reader_stops_at_once(rig: Rig) -> None:
    """The rest of a page is not taken."""

    class Quitter(FakeReader):
        def take(self, at: int, fragment: Fragment) -> None:
            super().take(at, fragment)
            feed.stop()

    reader = Quitter()
    logs: Any = rig.log
    feed = Feed(logs, Mailbox("ann"), reader, since=0, top=0)
    rig.stored(3)
    feed.look(3)
    rig.loop.settle()

    assert [1] == reader.taken


# Anything, in any order.


class Anything(RuleBasedStateMachine):
    """A store that grows, a broker that loses, repeats and shuffles, and acks."""

    loop: FakeLoop

    @initialize(since=st.integers(0, 3), room=st.integers(0, 5))
    def begin(self, since: int, room: int) -> None:
        self.rig = Rig(self.loop, top=since, since=since, room=room)
        self.since = since
        self.under_way: list[int] = []

    @rule(count=st.integers(1, 4), lost=st.booleans())
    def store(self, count: int, *, lost: bool) -> None:
        """Another node stores; the broker may lose what it is told."""
        self.rig.stored(count)
        if not lost:
            self.under_way += numbers(self.rig.log.top - count + 1, self.rig.log.top)

    @rule(data=st.data(), repeated=st.booleans())
    def bring(self, data: st.DataObject, *, repeated: bool) -> None:
        """Any of those that are on their way; it may come again later."""
        if not self.under_way:
            return
        at = data.draw(st.sampled_from(self.under_way))
        if not repeated:
            self.under_way.remove(at)
        self.rig.offer(at)

    @rule(beyond=st.integers(1, 3))
    def lie(self, beyond: int) -> None:
        """Somebody speaks of an event that there is not, and never will be."""
        self.rig.offer(NEVER + beyond)

    @rule()
    def check(self) -> None:
        """The position check."""
        self.rig.feed.look(self.rig.log.top)

    @rule(count=st.integers(1, 4))
    def acknowledge(self, count: int) -> None:
        self.rig.reader.room += count
        self.rig.feed.pull()

    @rule()
    def fail(self) -> None:
        self.rig.log.errors.append(StoreUnavailable("away"))

    @rule(count=st.integers(1, 3))
    def turn(self, count: int) -> None:
        """Some of what was scheduled has its turn."""
        for _ in range(count):
            self.loop.turn()

    @rule()
    def wait(self) -> None:
        self.loop.advance(1.0)

    @invariant()
    def in_order_and_once(self) -> None:
        """No number without its predecessor, none twice, none that is not stored."""
        rig = self.rig
        assert numbers(self.since + 1, rig.feed.sent) == rig.reader.taken
        assert rig.feed.sent <= rig.log.top
        assert rig.reader.room >= 0
        assert len(rig.feed._early) <= EARLY_EVENTS
        assert [] == rig.reader.lost

    def teardown(self) -> None:
        """Once everything is quiet, everything is there."""
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        rig.log.errors.clear()
        rig.reader.room = MANY
        rig.feed.look(rig.log.top)
        self.loop.advance(LONG)
        try:
            assert numbers(self.since + 1, rig.log.top) == rig.reader.taken
        finally:
            rig.feed.stop()
            self.loop.settle()


def test_any_interleaving_brings_every_event_once_and_in_order(loop: FakeLoop) -> None:
    """
    Whatever is lost, repeated, shuffled, late or made up, whenever the store answers
    and the client acknowledges.
    """

    class Machine(Anything):
        pass

    Machine.loop = loop
    run_state_machine_as_test(Machine)
