# SPDX-License-Identifier: Apache-2.0
"""The session's table of moves, and the window."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.errors import RequestRefused, Unauthenticated
from chatmotor.protocol import session as s
from chatmotor.protocol.session import TRANSITIONS, Session, State, Window

LEGAL = {
    (State.OPENING, "hello"): State.GREETING,
    (State.OPENING, "bye"): State.CLOSED,
    (State.GREETING, "welcome"): State.ACTIVE,
    (State.GREETING, "bye"): State.CLOSED,
    (State.ACTIVE, "bye"): State.CLOSED,
}
CAUSES = ("hello", "welcome", "bye")
CODES = {
    name: code for name, code in vars(s).items() if name.isupper() and type(code) is int
}


def session_in(state: State) -> Session:
    """A session that has come there."""
    session = Session()
    session.state = state
    return session


def test_the_table_has_every_state() -> None:
    """And no cause that the tests below do not know."""
    assert set(State) == set(TRANSITIONS)
    assert set(CAUSES) == {cause for moves in TRANSITIONS.values() for cause in moves}


def test_session_begins_at_the_beginning() -> None:
    """Before hello, it is opening."""
    assert State.OPENING is Session().state


@pytest.mark.parametrize(("state", "cause"), list(product(State, CAUSES)))
def test_move_is_legal_or_refused(state: State, cause: str) -> None:
    """What is not in the table is refused, and changes nothing."""
    session = session_in(state)
    following = LEGAL.get((state, cause))
    if following is not None:
        session.move(cause)
        assert following is session.state
        return
    with pytest.raises(RequestRefused):
        session.move(cause)

    assert state is session.state


@pytest.mark.parametrize("state", set(State) - {State.ACTIVE})
def test_nothing_is_served_but_to_the_welcomed(state: State) -> None:
    """Commands wait for the welcome."""
    with pytest.raises(Unauthenticated):
        session_in(state).require_active()


def test_the_welcomed_are_served() -> None:
    """An active session does what it is asked."""
    session_in(State.ACTIVE).require_active()


def test_close_codes_are_those_of_the_wire() -> None:
    """Each is a contract; clients have them in tables of their own."""
    assert {
        "INTERNAL": 4000,
        "DRAINING": 4001,
        "SLOW_CONSUMER": 4002,
        "FLOOD": 4003,
        "SILENT": 4004,
        "POSITION_LOST": 4005,
        "UNAVAILABLE": 4006,
        "TOKEN_EXPIRED": 4010,
        "BAD_FRAME": 4500,
        "NO_HELLO": 4501,
        "BAD_TOKEN": 4502,
        "SUSPENDED": 4504,
        "UNSUPPORTED_VERSION": 4505,
    } == CODES


@pytest.mark.parametrize("code", CODES.values())
def test_range_of_a_close_code_is_the_verdict(code: int) -> None:
    """4000 to 4499: reconnect and resume; from 4500: stay away."""
    assert (code <= 4499) == s.may_reconnect(code)


# The window.


def test_window_has_room_for_as_many_as_are_allowed() -> None:
    """Each event takes a place until it is acknowledged."""
    window = Window(max_events=3, max_bytes=1000)
    rooms = []
    for _ in range(3):
        rooms.append(window.room)
        window.add(1)

    assert [3, 2, 1, 0] == [*rooms, window.room]


def test_window_is_full_when_its_bytes_are_out() -> None:
    """However few events they are."""
    window = Window(max_events=100, max_bytes=1000)
    window.add(999)
    assert 99 == window.room

    window.add(1)

    assert 0 == window.room


def test_event_over_the_bound_of_bytes_passes_alone() -> None:
    """The largest event passes at all; the next one waits for it."""
    window = Window(max_events=100, max_bytes=1000)

    assert window.room > 0
    window.add(5000)
    assert 0 == window.room
    window.acknowledge(1)

    assert (100, 0) == (window.room, window.bytes_out)


def test_acknowledged_events_make_room_for_events_and_bytes() -> None:
    """The oldest go first: ``h`` counts from the beginning of the session."""
    window = Window(max_events=10, max_bytes=1000)
    for size in (600, 300, 100):
        window.add(size)

    window.acknowledge(1)
    assert (8, 400) == (window.room, window.bytes_out)
    window.acknowledge(3)

    assert (10, 0) == (window.room, window.bytes_out)


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_acknowledging_the_same_or_less_is_no_news(arrived: int) -> None:
    """Acks that come twice, or are late, change nothing."""
    window = Window(max_events=10, max_bytes=1000)
    for _ in range(3):
        window.add(10)
    window.acknowledge(2)

    window.acknowledge(arrived)

    assert (2, 10, 9) == (window.acked, window.bytes_out, window.room)


def test_acknowledging_what_was_not_sent_is_refused() -> None:
    """It would open the window for more than it holds; nothing changes."""
    window = Window(max_events=10, max_bytes=1000)
    window.add(10)

    with pytest.raises(RequestRefused) as refused:
        window.acknowledge(2)

    assert ("h", 0, 10) == (refused.value.field, window.acked, window.bytes_out)


@given(st.lists(st.integers(1, 400) | st.none(), max_size=60), st.data())
def test_window_counts_what_is_on_its_way(
    steps: list[int | None], data: st.DataObject
) -> None:
    """In any order of events and acks, it is the sum of those that are out."""
    window = Window(max_events=8, max_bytes=1000)
    out: list[int] = []
    for step in steps:
        if step is None:
            count = data.draw(st.integers(0, len(out)))
            window.acknowledge(window.acked + count)
            del out[:count]
        elif window.room > 0:
            window.add(step)
            out.append(step)
        assert sum(out) == window.bytes_out
        assert (0 if sum(out) >= 1000 else 8 - len(out)) == window.room
