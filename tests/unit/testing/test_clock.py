# SPDX-License-Identifier: Apache-2.0
"""The clock of the test kit."""

import asyncio

import pytest

from chatmotor.testing import Clock


async def turn() -> None:
    """Let everything go on that can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_sleeps_wakes_when_the_time_has_come_and_not_before() -> None:
    """Sleepers wake by their own times, however far the clock is moved."""
    clock = Clock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now() - start))

    start = clock.now()
    tasks = [asyncio.ensure_future(sleep(*each)) for each in (("b", 20), ("a", 10))]
    await turn()
    clock.advance(9.999)
    await turn()
    assert ([], 2) == (woken, clock.waiting)

    clock.advance(0.002)
    await turn()
    assert ["a"] == [name for name, _ in woken]

    clock.advance(3600)
    await asyncio.gather(*tasks)
    assert ["a", "b"] == [name for name, _ in woken]
    assert 0 == clock.waiting


async def test_a_sleeper_that_is_cancelled_waits_for_nothing() -> None:
    """Nor does one that sleeps for no time."""
    clock = Clock()
    sleeping = asyncio.ensure_future(clock.sleep(10))
    await turn()
    assert 1 == clock.waiting

    sleeping.cancel()
    await asyncio.wait({sleeping})
    await clock.sleep(0)

    assert 0 == clock.waiting


def test_what_is_due_happens_in_order_and_at_its_time() -> None:
    """Also what is only asked for while the clock is moved."""
    clock = Clock(start=100.0)
    happened: list[float] = []

    def every_ten() -> None:
        happened.append(clock.time())
        clock.call_at(clock.time() + 10, every_ten)

    clock.call_at(110, every_ten)
    late = clock.call_at(115, lambda: happened.append(-1))
    clock.call_at(90, lambda: happened.append(clock.time()))
    late.cancel()
    clock.advance(30)

    assert [100, 110, 120, 130] == happened
    assert 130 == clock.now()


def test_a_clock_does_not_go_back() -> None:
    """Whoever measures with it relies on that."""
    with pytest.raises(ValueError):
        Clock().advance(-1)
