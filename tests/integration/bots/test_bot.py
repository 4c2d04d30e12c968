# SPDX-License-Identifier: Apache-2.0
"""Bots on a real server, in this event loop: wires are cut, servers restart."""

import asyncio
import contextlib
import logging
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from chatmotor.bot import Bot, Context
from chatmotor.client import SessionEnded
from chatmotor.testing import Clock, TestServer
from chatmotor.testing.bots import running

DEADLINE_SECONDS = 20.0


def make_bot(**manners: int) -> Bot:
    """One of each kind of handler."""
    bot = Bot(**manners)  # type: ignore[arg-type]

    @bot.command
    async def count(context: Context) -> str:
        number = context.storage.get("count", 0) + 1
        context.storage["count"] = number
        return f"call {number}"

    @bot.command
    async def fail(context: Context) -> None:
        raise ValueError

    @bot.timer
    async def due(context: Context, what: str) -> str:
        return what

    @bot.timer(alone=False)
    async def beside(context: Context, what: str) -> str:
        return what

    @bot.command
    async def remind(context: Context, after: timedelta, what: str) -> str:
        context.later(after, due, what)
        context.later(after, beside, what.upper())
        return "yes"

    return bot


async def test_what_was_asked_while_the_bot_was_down_is_answered_once(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """With a file: each of many commands, in order, and none of the older ones."""
    state = tmp_path / "bot.db"
    async with running(make_bot(), chatmotor_server, state=state) as kit:
        alice = await kit.user("alice")
        assert "call 1" == await alice.ask("/count")
    talk = alice.client.conversation(to="helper")
    sent = [await talk.send("/count") for _ in range(50)]

    async with running(make_bot(), chatmotor_server, state=state) as kit:
        bob = await kit.user("bob")
        assert "call 52" == await bob.ask("/count")

    page = await alice.client.conversation(sent[0].conv).history(limit=100)
    answers = [item.body for item in page.items if item.sender == "helper"]
    assert [f"call {number}" for number in range(2, 52)] == answers


async def test_without_a_file_the_server_knows_where_the_bot_was(
    chatmotor_server: TestServer,
) -> None:
    """What was said before its first start, and while it was down."""
    await chatmotor_server.token("helper")
    alice = await chatmotor_server.user("alice")
    first = await alice.conversation(to="helper").send("/count")
    for expected in (2, 4):
        async with running(make_bot(), chatmotor_server) as kit:
            bob = await kit.user(f"bob{expected}")
            await bob.ask("/count")
        await alice.conversation(to="helper").send("/count")

    async with running(make_bot(), chatmotor_server) as kit:
        await (await kit.user("bob")).ask("/count")
    page = await alice.conversation(first.conv).history()
    assert 3 == Counter(item.sender for item in page.items)["helper"]


async def test_a_cut_wire_costs_nothing(chatmotor_server: TestServer) -> None:
    """What the bot was saying is said after it, once."""
    bot = make_bot()
    async with running(bot, chatmotor_server) as kit:
        alice = await kit.user("alice")
        at_work, go_on = asyncio.Event(), asyncio.Event()

        @bot.command
        async def wait(context: Context) -> str:
            at_work.set()
            await go_on.wait()
            return "waited"

        sent = await alice.say("/wait")
        await at_work.wait()
        kit.cut()
        go_on.set()
        kit.mend()

        assert "waited" == await alice.hear()
        assert "call 1" == await alice.ask("/count")
        page = await alice.client.conversation(sent.conv).history()
        assert ["/wait", "waited", "/count", "call 1"] == [
            item.body for item in page.items
        ]


async def test_a_restart_of_the_server_costs_nothing(
    chatmotor_server: TestServer,
) -> None:
    """Commands after it are answered as those before."""
    async with running(make_bot(), chatmotor_server) as kit:
        alice = await kit.user("alice")
        assert "call 1" == await alice.ask("/count")
        await chatmotor_server.restart()
        assert "call 2" == await alice.ask("/count")


async def test_a_handler_that_raises_does_not_stop_the_bot(
    chatmotor_server: TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender is told, and the next one is served."""
    async with running(make_bot(), chatmotor_server) as kit:
        alice = await kit.user("alice")
        assert "Sorry, that did not work." == await alice.ask("/fail")
        assert "call 1" == await alice.ask("/count")
    assert "fail failed: ValueError" in caplog.text


async def test_timers_ring_at_their_time_also_after_a_restart(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """Those of a bot that was down ring late; each rings once."""
    state = tmp_path / "bot.db"
    clock = Clock()
    async with running(make_bot(), chatmotor_server, state=state, clock=clock) as kit:
        alice = await kit.user("alice")
        await alice.ask("/remind 10m tea")
        await alice.ask("/remind 20m cake")
        clock.advance(600)
        assert {"tea", "TEA"} == {await alice.hear(), await alice.hear()}
    clock.advance(600)
    async with running(make_bot(), chatmotor_server, state=state, clock=clock) as kit:
        bea = await kit.user("bea")
        assert "call 1" == await bea.ask("/count")
        conv = await alice.client.conversation(to="helper").id()

        async def said() -> list[object]:
            page = await alice.client.conversation(conv).history()
            return [each.body for each in page.items if each.sender == "helper"]

        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(found := await said()) < 6:
                await asyncio.sleep(0.02)
    assert ["CAKE", "TEA", "cake", "tea", "yes", "yes"] == sorted(map(str, found))


class Silences(logging.Handler):
    """Waits for bots that fall silent."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.all = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        self.count -= "silent in" in record.getMessage()
        if self.count == 0:
            self.all.set()


async def test_two_bots_do_not_talk_to_each_other_for_ever(
    chatmotor_server: TestServer,
) -> None:
    """Both fall silent at their limit, and still do what they are asked to do."""
    left, right = make_bot(replies_per_minute=5), make_bot(replies_per_minute=5)
    for bot in (left, right):

        @bot.message
        async def talk(context: Context) -> str:
            return "and you?"

    silences = Silences(2)
    logging.getLogger("chatmotor.bot").addHandler(silences)
    try:
        async with (
            running(left, chatmotor_server, user="left") as kit,
            running(right, chatmotor_server, user="right"),
        ):
            alice = await kit.user("alice")
            tea = await alice.client.create_group("Tea", ["left", "right"])
            await tea.send("hello")
            async with asyncio.timeout(DEADLINE_SECONDS):
                await silences.all.wait()
            assert "call 1" == await alice.ask("/count@left", conv=tea.conv)
            page = await tea.history(limit=100)
    finally:
        logging.getLogger("chatmotor.bot").removeHandler(silences)

    said = Counter(item.sender for item in page.items if item.body == "and you?")
    assert {"left": 5, "right": 5} == said


async def test_a_bot_whose_token_is_revoked_ends(chatmotor_server: TestServer) -> None:
    """The end of the session comes out of ``serve``; nobody waits for an answer."""

    async def scene() -> None:
        async with running(make_bot(), chatmotor_server) as kit:
            alice = await kit.user("alice")
            await kit.client.call("device.revoke", device=kit.client.device)
            while True:
                await alice.ask("/count")

    with pytest.raises(SessionEnded):
        await scene()


async def test_a_stop_lets_the_handler_at_work_finish(
    chatmotor_server: TestServer,
) -> None:
    """And begins nothing else; that comes again at the next start."""
    bot = make_bot()
    at_work, go_on = asyncio.Event(), asyncio.Event()

    @bot.command
    async def wait(context: Context) -> str:
        at_work.set()
        await go_on.wait()
        return "waited"

    client = await chatmotor_server.user("helper", first="device")
    alice = await chatmotor_server.user("alice")
    stop = asyncio.Event()
    serving = asyncio.ensure_future(bot.serve(client, stop=stop))
    talk = alice.conversation(to="helper")
    sent = await talk.send("/wait")
    await talk.send("/count")
    await at_work.wait()
    stop.set()
    for _ in range(10):
        await asyncio.sleep(0)  # turns of the loop, in which the stop is noticed
    go_on.set()
    await serving
    await client.close()

    page = await alice.conversation(sent.conv).history()
    assert ["/wait", "/count", "waited"] == [item.body for item in page.items]
    async with running(make_bot(), chatmotor_server) as kit:
        assert "call 2" == await (await kit.user("bea")).ask("/count")


async def test_a_handler_that_does_not_finish_in_time_runs_again(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """Its event is not handled: the next start begins with it."""
    bot = make_bot()
    at_work = asyncio.Event()

    @bot.command
    async def hang(context: Context) -> str:
        if at_work.is_set():
            return "done"
        at_work.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def scene() -> None:
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            client = await chatmotor_server.user("helper", first="device")
            stack.push_async_exit(client)
            serving = asyncio.ensure_future(
                bot.serve(client, stop=stop, drain_seconds=0.01)
            )
            await at_work.wait()
            stop.set()
            await serving

    await chatmotor_server.token("helper")
    alice = await chatmotor_server.user("alice")
    sent = await alice.conversation(to="helper").send("/hang")
    with pytest.raises(TimeoutError, match="its event will come again"):
        await scene()

    async with running(bot, chatmotor_server) as kit:
        assert "call 1" == await (await kit.user("bea")).ask("/count")
    page = await alice.conversation(sent.conv).history()
    assert ["/hang", "done"] == [item.body for item in page.items]
