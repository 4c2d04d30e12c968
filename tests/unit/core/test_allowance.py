# SPDX-License-Identifier: Apache-2.0
"""Allowances: so much at once, so much a second, and no memory of who is quiet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.core import allowance as allowances
from chatmotor.core.allowance import Allowance


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Of this test."""
    return Clock()


@pytest.fixture
def allowance(clock: Clock) -> Allowance:
    """3 at once, 2 a second."""
    return Allowance(per_second=2, burst=3, clock=clock)


def test_burst_is_there_at_once(allowance: Allowance) -> None:
    """And not one more."""
    assert [None, None, None, 0.5] == [allowance.take("ann") for _ in range(4)]


def test_refusal_takes_nothing(allowance: Allowance) -> None:
    """Asking again and again does not put off the time."""
    for _ in range(3):
        allowance.take("ann")

    assert {0.5} == {allowance.take("ann") for _ in range(10)}


def test_wait_is_long_enough(clock: Clock, allowance: Allowance) -> None:
    """Not a moment sooner, and then at once."""
    for _ in range(3):
        allowance.take("ann")
    clock.now += 0.4
    assert allowance.take("ann") is not None

    clock.now += 0.1

    assert allowance.take("ann") is None


def test_it_never_fills_beyond_the_burst(clock: Clock, allowance: Allowance) -> None:
    """A year of quiet is no more than a minute of it."""
    allowance.take("ann")
    clock.now += 3e7

    assert [None, None, None, 0.5] == [allowance.take("ann") for _ in range(4)]


def test_keys_have_their_own(allowance: Allowance) -> None:
    """One account does not spend another's."""
    for _ in range(4):
        allowance.take("ann")

    assert allowance.take("bob") is None


async def test_waiting_takes_one_as_soon_as_there_is_one(
    clock: Clock, allowance: Allowance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sooner, and no more than one."""
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("asyncio.sleep", sleep)
    for _ in range(5):
        await allowance.wait("ann")

    assert [0.5, 0.5] == waits


def test_who_is_full_again_is_forgotten(
    clock: Clock, allowance: Allowance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else: forgetting gives nobody more."""
    monkeypatch.setattr(allowances, "_KEPT", 10)
    monkeypatch.setattr(allowance, "_sweep_at", 10)
    for n in range(10):
        allowance.take(f"{n}")
    clock.now += 1.4  # of the 1.5 that an empty one takes
    for _ in range(3):
        allowance.take("ann")
    clock.now += 0.2
    monkeypatch.setattr(allowance, "_sweep_at", 10)
    allowance.take("bob")

    assert {"ann", "bob"} == set(allowance._buckets)
    assert allowance.take("ann") is not None


@given(
    st.lists(st.floats(0, 5) | st.none(), max_size=200),
    st.sampled_from([(20.0, 40.0), (1 / 3, 1.0), (7.0, 3.0)]),
)
def test_no_more_is_given_than_there_is(
    steps: list[float | None], rates: tuple[float, float]
) -> None:
    """In any time t at most burst + t x rate; and a wait that was kept is enough."""
    per_second, burst = rates
    clock = Clock()
    allowance = Allowance(per_second=per_second, burst=burst, clock=clock)
    began, taken = clock.now, 0
    for step in steps:
        wait = allowance.take("ann")
        taken += wait is None
        if step is not None:
            clock.now += step
        elif wait is not None:
            clock.now += wait
            assert allowance.take("ann") is None
            taken += 1

    assert taken <= burst + (clock.now - began) * per_second + 1e-6
