# SPDX-License-Identifier: Apache-2.0
"""The loops of a bot at work, over a client that is made of a list of events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from chatmotor.bot import Bot, Context
from chatmotor.bot.serving import BESIDE_MAX, Serving
from chatmotor.bot.storage import Draft, Storage, Timer
from chatmotor.client import MessageNew, Reset
from chatmotor.testing.clock import START, Clock

DEADLINE_SECONDS = 10.0


class ListedClient:
    """Has its *events*, and then none until the end of the test."""

    user = "helper"

    def __init__(self, *events: Any) -> None:
        self._events = events

    async def events(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event
        await asyncio.Event().wait()


def _serving(
    bot: Bot, client: Any, *, storage: Storage | None = None, clock: Clock | None = None
) -> Serving:
    return Serving(
        bot,
        bot._manners,
        client=client,
        storage=Storage() if storage is None else storage,
        clock=clock or Clock(),
    )


async def _serve(serving: Serving, until: asyncio.Event) -> None:
    stop = asyncio.Event()
    running = asyncio.ensure_future(serving.run(stop))
    reached = asyncio.ensure_future(until.wait())
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.wait({running, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        stop.set()
        await running


def _message(text: str, seq: int) -> MessageNew:
    return MessageNew(ts=1, seq=seq, conv="d.1", n=seq, sender="alice", body=text)


async def test_after_a_reset_numbers_count_anew() -> None:
    """A restored server gives old numbers to new events."""
    bot = Bot()
    heard: list[str] = []
    done = asyncio.Event()

    @bot.message
    async def listen(context: Context) -> None:
        heard.append(context.text)
        if context.text == "end":
            done.set()

    client = ListedClient(
        _message("one", 5),
        _message("again", 5),
        Reset(reason="epoch"),
        _message("two", 1),
        _message("end", 6),
    )
    await _serve(_serving(bot, client), done)

    assert ["one", "two", "end"] == heard


async def test_a_task_that_raises_ends_the_bot() -> None:
    """A bot without its endpoint should not look as if it were well."""
    bot = Bot()

    @bot.task
    async def listen(context: Context) -> None:
        raise ConnectionError("the port is taken")

    with pytest.raises(ConnectionError, match="the port is taken"):
        await _serve(_serving(bot, ListedClient()), asyncio.Event())


async def test_what_a_task_writes_is_kept_at_once() -> None:
    """Its timers, too."""
    bot = Bot()
    rung = asyncio.Event()
    storage = Storage()

    @bot.timer
    async def ring(context: Context) -> None:
        rung.set()

    @bot.task
    async def listen(context: Context) -> None:
        context.storage["a"] = 1
        context.later(0, ring)

    await _serve(_serving(bot, ListedClient(), storage=storage), rung)

    assert {"a": 1} == dict(storage)


async def test_the_end_of_the_events_is_the_end() -> None:
    """The client was closed."""

    class ClosedClient(ListedClient):
        async def events(self) -> AsyncIterator[Any]:
            none: list[Any] = []
            for event in none:
                yield event

    async with asyncio.timeout(DEADLINE_SECONDS):
        await _serving(Bot(), ClosedClient()).run(asyncio.Event())


async def test_timers_that_may_ring_beside_others_do_so_up_to_a_limit() -> None:
    """The one beyond it rings when one is done; one that is alone does not wait."""
    bot = Bot()
    at_work: list[int] = []
    full, alone, go_on, done = (asyncio.Event() for _ in range(4))

    @bot.timer(alone=False)
    async def slow(context: Context, number: int) -> None:
        at_work.append(number)
        if len(at_work) == BESIDE_MAX:
            full.set()
        await go_on.wait()
        if number == BESIDE_MAX:
            done.set()

    @bot.timer
    async def quick(context: Context) -> None:
        alone.set()

    storage = Storage()
    slow_ones = [
        Timer(f"slow/{number:02}", START + 1, "slow", None, f"[{number}]")
        for number in range(BESIDE_MAX + 1)
    ]
    first = Timer("quick", START, "quick", None, "[]")
    storage.settle([Draft(storage, timers=[*slow_ones, first])])
    clock = Clock()
    serving = _serving(bot, ListedClient(), storage=storage, clock=clock)

    async def scene() -> None:
        await alone.wait()
        clock.advance(1)
        await full.wait()
        assert list(range(BESIDE_MAX)) == at_work
        go_on.set()

    acting = asyncio.ensure_future(scene())
    await _serve(serving, done)
    await acting

    assert [] == storage.timers(1)


async def test_a_timer_is_late_by_a_minute_at_most_when_the_clock_is_set() -> None:
    """A bot looks at the wall clock now and then, and does not trust one long sleep."""
    bot = Bot()
    rung = asyncio.Event()

    @bot.timer
    async def ring(context: Context) -> None:
        rung.set()

    storage = Storage()
    timer = Timer("o", START + 86400, "ring", None, "[]")
    storage.settle([Draft(storage, timers=[timer])])
    looks: list[float] = []

    class SetClock(Clock):
        def call_at(self, when: float, callback: Callable[[], object], /) -> Any:
            looks.append(when - START)
            self.advance(86400)
            return asyncio.get_running_loop().call_soon(callback)

    await _serve(_serving(bot, ListedClient(), storage=storage, clock=SetClock()), rung)

    assert 60.0 == looks[0]
