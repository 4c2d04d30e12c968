# SPDX-License-Identifier: Apache-2.0
"""Which handlers an event concerns, and what becomes of their answers; in memory."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from chatmotor.bot import Bot, Context, WrongArguments
from chatmotor.bot.desk import Desk, Manners
from chatmotor.bot.storage import Storage
from chatmotor.client import ConvNew, MessageNew, Refused, Sent, SessionEnded


def _bot(**manners: Any) -> Bot:
    bot = Bot(**manners)

    @bot.command(aliases=["r"])
    async def repeat(context: Context, times: int, *words: str) -> str:
        """Say it several times."""
        if times > 5:
            raise WrongArguments("That is too often.")
        return " ".join(words * times)

    @bot.message
    async def talk(context: Context) -> str:
        return f"{context.sender} said {context.text}"

    return bot


async def test_a_command_answers_with_what_it_returns() -> None:
    """By its name or an alias, in any case, in groups too."""
    bot = _bot()

    assert ["a b a b"] == await bot.feed("alice", "/repeat 2 a b")
    assert ["a"] == await bot.feed("alice", "/R 1 a")
    assert ["a"] == await bot.feed("alice", "/repeat 1 a", group="g.1")


async def test_a_message_goes_to_the_message_handlers() -> None:
    """One that is no command; a body that is no text has none."""
    bot = _bot()

    assert ["alice said hello"] == await bot.feed("alice", "hello")
    assert ["alice said "] == await bot.feed("alice", {"x": 1})


async def test_wrong_arguments_are_answered_with_the_usage() -> None:
    """Those that do not fit, and those that the command itself refuses."""
    bot = _bot()
    usage = "\nUsage: /repeat <times: number> <words…>"

    assert ["times is missing." + usage] == await bot.feed("alice", "/repeat")
    assert ["That is too often." + usage] == await bot.feed("alice", "/repeat 6 a")


async def test_an_unknown_command_gets_a_hint_where_the_bot_is_meant() -> None:
    """In a direct conversation, or by its name; in a group it may be another's."""
    bot = _bot()
    hint = ["There is no such command; did you mean /repeat?"]

    assert hint == await bot.feed("alice", "/repaet 1 a")
    assert [] == await bot.feed("alice", "/repaet 1 a", group="g.1")
    assert hint == await bot.feed("alice", "/repaet@helper 1 a", group="g.1")
    assert ["There is no such command; /help lists them."] == await bot.feed(
        "alice", "/qqq"
    )


async def test_a_command_for_another_bot_is_none_for_this_one() -> None:
    """Not even in a direct conversation."""
    bot = _bot()

    assert [] == await bot.feed("alice", "/repeat@other 1 a")
    assert ["a"] == await bot.feed("alice", "/repeat@helper 1 a")


async def test_help_is_there_without_being_written() -> None:
    """Overview, one command, an unknown one; a bot may have its own."""
    bot = _bot()

    (overview,) = await bot.feed("alice", "/help")
    (about,) = await bot.feed("alice", "/help /Repeat")
    (unknown,) = await bot.feed("alice", "/help repaet")

    assert "/repeat <times: number> <words…> - Say it several times." in overview
    assert 1 == overview.count("/repeat")
    assert about.endswith("Say it several times.\nAlso: /r")
    assert "There is no such command; did you mean /repeat?" == unknown

    @bot.command("help")
    async def my_help(context: Context) -> str:
        return "mine"

    assert ["mine"] == await bot.feed("alice", "/help")


async def test_own_messages_and_those_of_guests_are_passed_over() -> None:
    """The bot does not answer itself, nor those who cannot be answered."""
    bot = _bot()
    rehearsal = bot.rehearse()
    guest = MessageNew(
        ts=1, seq=50, conv="x", n=1, sender="eve", body="hi", from_guest=True
    )

    assert [] == await rehearsal.say("helper", "hello")
    assert [] == await rehearsal.say("helper", "/help")
    assert [] == await rehearsal.happen(guest)


async def test_a_filter_chooses_messages() -> None:
    """All handlers that want a message get it, in the order of their definition."""
    bot = _bot()

    @bot.message(wants=lambda context: "tea" in context.text)
    async def tea(context: Context) -> str:
        return "tea!"

    assert ["alice said water"] == await bot.feed("alice", "water")
    assert ["alice said tea", "tea!"] == await bot.feed("alice", "tea")


async def test_handlers_of_events_get_their_type() -> None:
    """They can greet a group that the bot comes into."""
    bot = Bot()

    @bot.event(ConvNew)
    async def greet(context: Context) -> None:
        await context.reply(f"thank you, {context.event.actor}")

    rehearsal = bot.rehearse()
    new = ConvNew(ts=1, seq=1, conv="g.1", actor="alice", title="Tea", since=1)

    assert ["thank you, alice"] == await rehearsal.happen(new)
    assert [("g.1", "thank you, alice")] == rehearsal.said


async def test_timers_ring_at_their_time_with_their_arguments() -> None:
    """In the conversation in which they were set."""
    bot = Bot()

    @bot.timer
    async def ring(context: Context, who: str) -> str:
        return f"{who}!"

    @bot.command
    async def wake(context: Context, after: timedelta) -> None:
        context.later(after, ring, context.sender)

    rehearsal = bot.rehearse()
    await rehearsal.say("alice", "/wake 10m")

    assert [] == await rehearsal.advance(599)
    assert ["alice!"] == await rehearsal.advance(1)
    assert [] == await rehearsal.advance(10_000)


async def test_only_what_is_registered_can_be_called_later() -> None:
    """A function without a name in the file could not be found after a restart."""
    bot = Bot()

    async def ring(context: Context) -> None: ...

    @bot.command
    async def wake(context: Context) -> None:
        context.later(1, ring)

    with pytest.raises(LookupError):
        await bot.feed("alice", "/wake")


class Room:
    """A speaker that keeps what is said by cid, as the server does."""

    user = "bot"

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}
        self.refusal: Exception | None = None

    def conversation(self, conv: str | None = None, *, to: str | None = None) -> "Room":
        return self

    async def send(
        self, body: Any = None, *, reply_to: int | None = None, cid: str | None = None
    ) -> Sent:
        if self.refusal is not None:
            raise self.refusal
        assert cid is not None
        assert len(cid) <= 64
        if self.stored.setdefault(cid, body) != body:
            raise Refused("cid_conflict", "")
        return Sent(conv="d.1", n=1, ts=1, dup=False)

    @property
    def said(self) -> list[Any]:
        return list(self.stored.values())


def _desk(bot: Bot, room: Room, storage: Storage | None = None) -> Desk:
    return Desk(
        bot,
        bot._manners,
        speaker=room,
        storage=Storage() if storage is None else storage,
        now=lambda: 0.0,
    )


def _direct(text: str, *, seq: int = 1) -> MessageNew:
    return MessageNew(ts=1, seq=seq, conv="d.1", n=seq, sender="alice", body=text)


async def test_an_event_that_comes_again_is_not_handled_again() -> None:
    """The place is kept with the values, so the counter counts each once."""
    bot = Bot()

    @bot.command
    async def count(context: Context) -> str:
        context.storage["n"] = context.storage.get("n", 0) + 1
        return str(context.storage["n"])

    storage = Storage()
    for _ in range(2):
        await _desk(bot, room := Room(), storage).handle(_direct("/count"))

    assert 1 == storage["n"]
    assert [] == room.said


async def test_what_is_said_again_after_a_crash_is_stored_once() -> None:
    """The cid follows from the event; what is said otherwise leaves the first one."""
    bot = Bot()
    words = iter(["one", "two", "another", "two", "three"])

    @bot.command
    async def say(context: Context) -> None:
        for word in words:
            await context.reply(word)
            if word == "two" and len(room.said) < 3:
                break

    room = Room()
    await _desk(bot, room).handle(_direct("/say"))
    await _desk(bot, room).handle(_direct("/say"))

    assert ["one", "two"] == room.said


async def test_handlers_of_one_name_do_not_share_their_cids() -> None:
    """Else the second answer would be taken for a repetition of the first."""
    bot = Bot()
    for word in ("one", "two"):

        @bot.message
        async def talk(context: Context, word: str = word) -> str:
            return word

    await _desk(bot, room := Room()).handle(_direct("hello"))

    assert ["one", "two"] == room.said


async def test_a_handler_that_raises_is_logged_and_apologised_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has type and place, not the text; nothing is kept; the bot goes on."""
    bot = Bot()

    @bot.command
    async def fail(context: Context, what: str) -> None:
        context.storage["n"] = 1
        raise ValueError(what)

    @bot.command
    async def fine(context: Context) -> str:
        return "fine"

    storage = Storage()
    desk = _desk(bot, room := Room(), storage)
    with caplog.at_level(logging.ERROR):
        await desk.handle(_direct("/fail secret"))
    await desk.handle(_direct("/fine", seq=2))

    assert ["Sorry, that did not work.", "fine"] == room.said
    assert {} == dict(storage)
    assert {"failed": 1, "handled": 1} == desk.counts
    assert "fail failed: ValueError < " in caplog.text
    assert "secret" not in caplog.text
    assert 2 == storage.handled("mailbox")


async def test_in_a_group_or_without_an_apology_a_failure_is_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A group is not to be bothered with it."""

    def failing(**manners: Any) -> Bot:
        bot = Bot(**manners)

        @bot.message
        async def fail(context: Context) -> None:
            raise ValueError

        return bot

    room = Room()
    in_group = MessageNew(ts=1, pos=1, conv="g.1", n=1, sender="alice", body="x")
    await _desk(failing(), room).handle(in_group)
    await _desk(failing(apology=None), room).handle(_direct("x"))

    assert [] == room.said
    assert 2 == len(caplog.records)


async def test_a_handler_that_takes_too_long_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its own time counts; that of its replies does not."""
    bot = Bot(handler_seconds=0.05)

    class SlowRoom(Room):
        async def send(self, *arguments: Any, **named: Any) -> Sent:
            await asyncio.sleep(0.1)
            return await super().send(*arguments, **named)

    @bot.command
    async def slow_reply(context: Context) -> str:
        await context.reply("one")
        return "two"

    @bot.command
    async def hang(context: Context) -> None:
        await asyncio.Event().wait()

    desk = _desk(bot, room := SlowRoom())
    await desk.handle(_direct("/slow_reply"))
    await desk.handle(_direct("/hang", seq=2))

    assert ["one", "two", "Sorry, that did not work."] == room.said
    assert "hang failed: TimeoutError" in caplog.text


async def test_the_end_of_the_session_is_no_failure_of_the_handler() -> None:
    """It comes out, and the event is not handled: it comes again."""
    storage = Storage()
    room = Room()
    room.refusal = SessionEnded(4502, "revoked")

    with pytest.raises(SessionEnded):
        await _desk(_bot(), room, storage).handle(_direct("hello"))

    assert 0 == storage.handled("mailbox")


async def test_a_refused_reply_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The apology is refused as well, and that is the end of it."""
    room = Room()
    room.refusal = Refused("not_member", "not in this group")
    desk = _desk(_bot(), room)

    await desk.handle(_direct("hello"))

    assert {"failed": 1} == desk.counts
    assert ["ERROR", "WARNING"] == [each.levelname for each in caplog.records]


async def test_unasked_replies_are_limited_and_commands_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Beyond the limit there is silence, told once."""
    bot = _bot(replies_per_minute=2)
    desk = _desk(bot, room := Room())

    for seq in range(1, 6):
        await desk.handle(_direct("hello", seq=seq))
    await desk.handle(_direct("/repeat 1 a", seq=6))

    assert ["alice said hello", "alice said hello", "a"] == room.said
    assert 3 == desk.counts["silenced"]
    assert ["silent in d.1: 2 unasked replies in a minute"] == caplog.messages


async def test_replies_that_are_commands_are_limited_as_well() -> None:
    """Two bots could call each other for ever."""
    bot = _bot(replies_per_minute=1)
    desk = _desk(bot, room := Room())

    for seq in range(1, 4):
        await desk.handle(_direct("/repeat 1 /ping", seq=seq))

    assert ["/ping"] == room.said


async def test_a_timer_that_nobody_asked_for_is_limited_as_its_setter_is() -> None:
    """Else two bots could talk to each other through timers."""
    bot = Bot(replies_per_minute=2)

    @bot.timer
    async def answer(context: Context) -> str:
        return "and you?"

    @bot.message
    async def talk(context: Context) -> None:
        context.later(0, answer)

    @bot.command
    async def ask(context: Context) -> None:
        context.later(0, answer)

    stage = bot.rehearse()
    for _ in range(5):
        await stage.say("alice", "hello")

    assert ["and you?"] * 2 == await stage.advance(1)
    for _ in range(5):
        await stage.say("alice", "/ask")
    assert ["and you?"] * 5 == await stage.advance(1)


async def test_a_timer_of_a_function_that_is_gone_is_struck_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A new version of the bot does not stumble over it for ever."""
    bot = Bot()

    @bot.timer
    async def ring(context: Context) -> None: ...

    @bot.command
    async def wake(context: Context) -> None:
        context.later(0, ring)

    storage = Storage()
    await _desk(bot, Room(), storage).handle(_direct("/wake"))
    (timer,) = storage.timers(2)
    await _desk(Bot(), Room(), storage).ring(timer)

    assert [] == storage.timers(2)
    assert ["a timer for ring, which there is not any more"] == caplog.messages


def test_a_prefix_is_a_word() -> None:
    """Without one every message would be a command."""
    for prefix in ("", " ", "a b", "/ "):
        with pytest.raises(ValueError, match="no prefix"):
            Bot(prefix)


def test_two_commands_of_one_name_are_the_authors_error() -> None:
    """Also by an alias, or in another case."""
    bot = _bot()

    with pytest.raises(ValueError, match="two commands 'r'"):

        @bot.command("R")
        async def other(context: Context) -> None: ...


def test_manners_have_the_defaults_of_the_bot() -> None:
    """They are written twice, for the reader of ``Bot``'s signature."""
    assert Manners() == Bot()._manners
