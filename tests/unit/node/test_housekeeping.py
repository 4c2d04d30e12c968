# SPDX-License-Identifier: Apache-2.0
"""Once an hour, what is too old goes; and a store that is away is asked again."""

import pytest

from chatmotor.errors import StoreUnavailable
from chatmotor.node.housekeeping import EVERY_SECONDS, Housekeeping
from tests.unit.node.fakes import FakeLoop

NOW, MAILBOX_MS = 1_700_000_000_000, 30 * 24 * 3600 * 1000


class FakeStore:
    """
    Remembers what was asked of it.

    Attributes:
        error: Raised by the next asking.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self.dropped = 0

    async def trim(self, *, before: int) -> int:
        self.asked.append(("trim", before))
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.dropped

    async def tidy(self, *, now: int) -> None:
        self.asked.append(("tidy", now))


@pytest.fixture
def store() -> FakeStore:
    """Of this test."""
    return FakeStore()


@pytest.fixture
def housekeeping(store: FakeStore) -> Housekeeping:
    """Of that store."""
    return Housekeeping(
        store,  # type: ignore[arg-type]
        now=lambda: NOW,
        mailbox_ms=MAILBOX_MS,
    )


def test_what_is_too_old_is_dropped(
    loop: FakeLoop, store: FakeStore, housekeeping: Housekeeping
) -> None:
    """Events by their age; the rest knows by itself."""
    loop.run(housekeeping.clean())

    assert [("trim", NOW - MAILBOX_MS), ("tidy", NOW)] == store.asked


def test_it_is_done_once_an_hour(
    loop: FakeLoop, store: FakeStore, housekeeping: Housekeeping
) -> None:
    """The first time at some moment of the first hour."""
    housekeeping.start()
    loop.advance(EVERY_SECONDS)
    assert 2 == len(store.asked)

    loop.advance(10 * EVERY_SECONDS)

    assert 22 == len(store.asked)
    loop.run(housekeeping.stop())


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("broken")])
def test_failure_is_said_and_the_next_hour_comes(
    loop: FakeLoop,
    store: FakeStore,
    housekeeping: Housekeeping,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """Whatever it was."""
    store.error = error
    housekeeping.start()
    loop.advance(EVERY_SECONDS)
    assert 1 == len(store.asked)
    loop.advance(EVERY_SECONDS)

    assert 3 == len(store.asked)
    assert 1 == len(caplog.records)


def test_nothing_is_done_after_the_end(
    loop: FakeLoop, store: FakeStore, housekeeping: Housekeeping
) -> None:
    """It may be stopped before it was started."""
    loop.run(housekeeping.stop())
    housekeeping.start()
    loop.run(housekeeping.stop())
    loop.advance(3 * EVERY_SECONDS)

    assert [] == store.asked
