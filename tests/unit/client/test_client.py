# SPDX-License-Identifier: Apache-2.0
"""What a program gets of the client, beyond what the scenarios say."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatmotor.client import (
    Client,
    Disconnected,
    MessageNew,
    Misused,
    NotUnderstood,
    PresenceNow,
    Refused,
    SessionEnded,
    State,
    StateFileRefused,
    TypingNow,
)
from chatmotor.client.transport import Unreachable
from tests.unit.client.rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A client that is live."""
    async with Rig() as made:
        yield made


OK = {"conv": "d.1", "n": 1, "seq": 4, "ts": 1, "dup": False}


def _seq(event: object) -> object:
    return getattr(event, "seq", None)


# From the start to the end.


@pytest.mark.usefixtures("errors_expected")
async def test_states_are_told() -> None:
    """on_state hears of each state, in order, and its own errors cost nothing."""
    heard: list[State] = []

    def on_state(state: State) -> None:
        heard.append(state)
        raise ValueError("the words of a program")

    async with Rig(on_state=on_state) as rig:
        assert State.LIVE is rig.client.state
        await rig.cut()
        await rig.again()

    expected = ["connecting", "catching_up", "live", "offline", "connecting", "closed"]
    assert expected == [each.value for each in heard]


async def test_a_client_knows_who_it_is(rig: Rig) -> None:
    """The account and the device are those of the welcome."""
    assert ("alice", "phone") == (rig.client.user, rig.client.device)


async def test_before_the_start_there_is_nothing() -> None:
    """A client does nothing until it is started, and says so."""
    client = Client("http://chat.test", token="t")

    assert (State.IDLE, None, None) == (client.state, client.user, client.device)
    with pytest.raises(Misused):
        await client.conversation(to="bob").send("x")
    await client.close()


async def test_a_client_is_started_once(rig: Rig) -> None:
    """Another start is a mistake of the program."""
    with pytest.raises(Misused):
        await rig.client.start()


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "ws://chat.test"},
        {"url": "http://"},
        {"url": "http://me:secret@chat.test"},
        {"url": "http://chat.test/?token=secret"},
        {"url": []},
        {"window": 0},
        {"window": 1025},
    ],
)
def test_what_cannot_be_is_refused_at_once(arguments: dict[str, Any]) -> None:
    """An error names it, without the secret that may be in it."""
    with pytest.raises(Misused) as refused:
        Client(**{"url": "http://chat.test", "token": "t"} | arguments)
    assert "secret" not in str(refused.value)


async def test_close_is_safe_to_repeat(rig: Rig) -> None:
    """Also from two tasks; what waits fails, and later calls fail at once."""
    send = asyncio.ensure_future(rig.client.conversation(to="bob").send("x"))
    await rig.settle()
    await asyncio.gather(rig.client.close(), rig.client.close())
    await rig.client.close()

    with pytest.raises(SessionEnded, match="1000"):
        await send
    with pytest.raises(SessionEnded, match="1000"):
        rig.client.conversation(to="bob").post("x")
    with pytest.raises(SessionEnded, match="1000"):
        await rig.client.sync()
    assert State.CLOSED is rig.client.state


async def test_a_client_closes_while_it_connects() -> None:
    """It does not wait for a server that does not answer."""
    rig = Rig(live=False)
    await rig.client.start()
    await rig.settle()

    await rig.client.close()

    assert State.CLOSED is rig.client.state


async def test_until_live_raises_when_that_will_not_be() -> None:
    """A token that is not good is no reason to wait for ever."""
    async with Rig(live=False) as rig:
        waiting = asyncio.ensure_future(rig.client.until_live())
        await rig.settle()
        rig.server.refuse(Unreachable("HTTP 401", code=4502))
        with pytest.raises(SessionEnded, match="4502"):
            await waiting


async def test_several_urls_are_tried_in_turn() -> None:
    """The next one after each failure, and after each connection that was lost."""
    urls = ["http://one.test", "https://two.test/chat/"]
    async with Rig(live=False, url=urls) as rig:
        for _ in range(2):
            rig.server.refuse(Unreachable("nobody"))
            await rig.settle()
            await rig.again()

    one, two = "ws://one.test/v1/ws", "wss://two.test/chat/v1/ws"
    assert [one, two, one] == rig.server.urls


async def test_the_token_is_in_the_header_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in the URL, not in a frame, not in a log."""
    caplog.set_level(logging.DEBUG)
    async with Rig(live=False) as rig:
        rig.server.accept()
        await rig.settle()
        await rig.cut()

    assert "Bearer cm_secret" == rig.server.headers["Authorization"]
    assert "cm_secret" not in str([rig.frames, rig.server.urls, caplog.text])


async def test_a_token_that_cannot_be_had_is_asked_for_again() -> None:
    """An error of the program's function is like a server that is away."""
    refused = Refused("rate_limited", retry=True)
    tokens: Iterator[Exception | str] = iter([OSError("no"), refused, "t3"])

    async def token() -> str:
        found = next(tokens)
        if isinstance(found, Exception):
            raise found
        return found

    async with Rig(live=False, token=token) as rig:
        await rig.again()

        assert "Bearer t3" == rig.server.waiting[0][1]["Authorization"]


async def test_a_token_that_is_refused_ends_the_session() -> None:
    """Whoever may not log in will not be let in a moment later."""

    async def token() -> str:
        raise Refused("unauthenticated")

    async with Rig(live=False, token=token) as rig:
        with pytest.raises(SessionEnded, match="4502"):
            await rig.client.until_live()


@pytest.mark.usefixtures("errors_expected")
async def test_a_defect_ends_the_session(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a client that has broken down."""
    waiting = asyncio.ensure_future(anext(rig.client.events()))
    await rig.settle()

    def fail(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(rig.client._driver.session.inbox, "take_event", fail)
    await rig.event(4)

    with pytest.raises(SessionEnded, match="1011"):
        await waiting


async def test_a_connection_that_was_given_up_has_no_say(rig: Rig) -> None:
    """Late words of it, and its late end, do not touch the next one."""
    old = rig.socket
    old.receive("no frame")
    await rig.settle()
    await rig.again()
    await rig.begin()
    old.receive('{"op":"ev","seq":4,"t":"conv.read","ts":1,"conv":"d.1","n":1}')
    old.receive(None)
    await rig.settle()

    assert State.LIVE is rig.client.state
    assert not rig.client._driver.session.inbox.has_events


# Reading.


async def test_a_new_reader_takes_over(rig: Rig) -> None:
    """It goes on after the last event, which counts as handled."""
    await rig.event(4)
    await rig.event(5)
    first = rig.client.events()
    assert 4 == _seq(await anext(first))
    second = rig.client.events()

    assert 5 == _seq(await anext(second))
    with pytest.raises(Misused):
        await anext(first)


async def test_a_reader_that_waits_hears_of_its_successor(rig: Rig) -> None:
    """It does not take events from it."""
    first = asyncio.ensure_future(anext(rig.client.events()))
    await rig.settle()
    second = asyncio.ensure_future(anext(rig.client.events()))
    await rig.settle()
    await rig.event(4)

    with pytest.raises(Misused):
        await first
    assert 4 == _seq(await second)


async def test_two_tasks_do_not_share_a_reader(rig: Rig) -> None:
    """One of them would mark as handled what the other has in hand."""
    reader = rig.client.events()
    first = asyncio.ensure_future(anext(reader))
    await rig.settle()

    with pytest.raises(Misused):
        await anext(reader)
    first.cancel()


async def test_reading_ends_with_close(rig: Rig) -> None:
    """A loop in another task ends like one over a list."""
    read: list[object] = []

    async def loop() -> None:
        read.extend([event async for event in rig.client.events()])

    task = asyncio.ensure_future(loop())
    await rig.event(4)
    await rig.client.close()
    await task

    assert 1 == len(read)


async def test_an_error_in_async_with_leaves_the_event_unhandled(
    tmp_path: Path,
) -> None:
    """The next run gets it again, and one whose event was handled does not."""
    file = tmp_path / "s.db"
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the block is what is tested
        async with Rig(state=file) as rig:
            await rig.event(4)
            await anext(rig.client.events())
            raise ZeroDivisionError
    async with Rig(state=file) as rig:
        assert 3 == rig.hello["resume"]["seq"]
        await rig.event(4)
        await anext(rig.client.events())
    async with Rig(state=file) as rig:
        assert 4 == rig.hello["resume"]["seq"]


@pytest.mark.usefixtures("errors_expected")
async def test_handlers_are_called_in_order_and_their_errors_stay_theirs(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """An error is logged by its type and place, without what was said; run goes on."""
    heard: list[object] = []

    @rig.client.on(MessageNew)
    async def first(event: MessageNew) -> None:
        heard.append(("first", event.n))
        raise ValueError(event.text)

    @rig.client.on(MessageNew, TypingNow)
    async def second(event: MessageNew | TypingNow) -> None:
        heard.append("typing" if isinstance(event, TypingNow) else ("second", event.n))

    running = asyncio.ensure_future(rig.client.run())
    await rig.settle()
    await rig.event(4, "a secret of bob")
    await rig.say(
        **{"op": "eph", "t": "typing", "conv": "d.1", "from": "bob", "state": "on"}
    )
    await rig.event(5, "a secret of bob")
    await rig.client.close()
    await running

    assert [
        ("first", 4),
        ("second", 4),
        "typing",
        ("first", 5),
        ("second", 5),
    ] == heard
    assert 2 == rig.client.counts["handlers failed"]
    assert "ValueError in" in caplog.text
    assert "secret" not in caplog.text


async def test_what_is_of_now_is_bounded(rig: Rig) -> None:
    """A program that does not read costs no memory; what is lost is counted."""
    reader = rig.client.events(ephemeral=True)
    for _ in range(300):
        rig.socket.receive(
            '{"op":"eph","t":"typing","conv":"d.1","from":"bob","state":"on"}'
        )
    await rig.event(4)
    got = [await anext(reader) for _ in range(257)]

    assert isinstance(got[-1], MessageNew)
    assert 300 - 256 == rig.client.counts["ephemeral dropped"]


# Sending.


async def test_a_cancelled_send_stays_in_the_outbox(rig: Rig) -> None:
    """A time-out of the program does not take a message back; drain waits for it."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await rig.client.conversation(to="bob").send("x")
    await rig.settle()
    drained = asyncio.ensure_future(rig.client.drain())
    await rig.settle()
    assert not drained.done()
    await rig.say(op="ok", id=rig.frames[0]["id"], **OK)

    await drained


async def test_drain_has_a_deadline(rig: Rig) -> None:
    """It says that it could not wait so long; the messages are still there."""
    rig.client.conversation(to="bob").post("x")
    with pytest.raises(TimeoutError):
        await rig.client.drain(timeout=0.001)

    assert 1 == len(rig.client._driver.session.outbox)


async def test_drain_raises_when_the_session_ends(rig: Rig) -> None:
    """What is left will not be stored by this client."""
    rig.client.conversation(to="bob").post("x")
    drained = asyncio.ensure_future(rig.client.drain())
    await rig.settle()
    rig.socket.end(4502)
    with pytest.raises(SessionEnded, match="4502"):
        await drained


async def test_a_refusal_that_nobody_waits_for_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """By the cid and the code, without the text."""
    cid = rig.client.conversation(to="nobody").post("a secret")
    await rig.settle()
    error = {"code": "no_such_user", "msg": "", "retry": False}
    await rig.say(op="error", id=rig.frames[0]["id"], **error)
    await rig.client.drain()

    assert 1 == rig.client.counts["messages refused"]
    assert f"the message {cid!r} was refused: no_such_user" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("content", [{}, {"body": 1, "raw": "x"}])
async def test_a_message_has_one_content(rig: Rig, content: dict[str, Any]) -> None:
    """A body or a raw text; null is a body."""
    conversation = rig.client.conversation(to="bob")
    with pytest.raises(Misused):
        await conversation.send(**content)
    conversation.post(None)
    await rig.settle()

    assert [None] == [each["body"] for each in rig.frames]


async def test_what_is_no_json_is_refused_at_once(rig: Rig) -> None:
    """Nothing of it is sent or kept."""
    with pytest.raises(TypeError):
        await rig.client.conversation(to="bob").send(object())
    await rig.settle()

    assert [] == rig.frames


async def test_a_conversation_has_one_name(rig: Rig) -> None:
    """By its id or by a username; two of one address are equal."""
    client = rig.client
    with pytest.raises(Misused):
        client.conversation()
    with pytest.raises(Misused):
        client.conversation("d.1", to="bob")

    assert client.conversation("d.1") == client.conversation("d.1")
    assert client.conversation("d.1") != client.conversation(to="bob")
    assert 1 == len({client.conversation(to="bob"), client.conversation(to="bob")})
    assert "<Conversation to='bob'>" == repr(client.conversation(to="bob"))


async def test_the_id_of_a_direct_conversation_is_asked_for_once(rig: Rig) -> None:
    """By sync, in any spelling of the name; a message from there says it, too."""
    convs = [{"conv": "d.7", "type": "direct", "user": "dan", "ts": 1, "n": 1}]
    convs[0] |= {"read": 0, "unread": 1, "mentions": 0}
    synced = {"at": {"epoch": "e1", "seq": 3}, "convs": convs, "cursor": None}
    synced |= {"contacts": [], "blocks": []}
    page = {"items": [], "more": False, "receipts": {}}
    dan = rig.client.conversation(to="Dan")
    await rig.answer(dan.history(), synced, page)
    await rig.answer(dan.history(before=3), page)
    await rig.event(4)
    await rig.answer(rig.client.conversation(to="bob").read(4), {})

    with pytest.raises(Refused, match="no_such_conv"):
        await rig.answer(rig.client.conversation(to="eve").history(), synced)


async def test_groups_are_made_and_changed(rig: Rig) -> None:
    """Each method is its command."""
    asked: list[dict[str, Any]] = []
    conv = {"conv": "g.1", "ts": 1, "type": "group", "title": "Tea", "role": "owner"}
    conv |= {"members": 2, "pos": 1, "n": 0, "read": 0, "unread": 0, "mentions": 0}

    def note(frame: dict[str, Any]) -> dict[str, Any]:
        asked.append(frame)
        return {"conv": conv}

    group = await rig.answer(rig.client.create_group("Tea", ["bob"]), note)
    await rig.answer(group.invite(["dan"]), note)
    await rig.answer(group.remove(["dan"]), note)
    page = await rig.answer(group.get(), note)
    await rig.answer(group.leave(), note)

    assert "Tea" == page.conv.title
    assert group == rig.client.conversation("g.1")
    assert ["conv.create", "conv.invite", "conv.remove", "conv.get", "conv.leave"] == [
        each["op"] for each in asked
    ]
    assert ["bob"] == asked[0]["members"]
    assert asked[0]["cid"]


async def test_an_answer_in_another_form_is_the_callers_matter(rig: Rig) -> None:
    """A server of another version does not end the session."""
    with pytest.raises(NotUnderstood):
        await rig.answer(rig.client.call("history", conv="d.1"), {"items": 5})

    assert State.LIVE is rig.client.state


async def test_a_command_that_is_not_known_here_is_passed_on(rig: Rig) -> None:
    """Its answer is what the server has said."""
    answer = await rig.answer(rig.client.call("poll.new", q="tea?"), {"poll": 7})

    assert 7 == answer["poll"]


async def test_without_a_connection_what_is_of_now_is_lost(rig: Rig) -> None:
    """A signal says so; typing and presence do not mind."""
    await rig.cut()
    with pytest.raises(Disconnected):
        await rig.client.signal("bob", 1)
    await rig.client.conversation("d.1").typing()
    await rig.client.presence("away")
    await rig.again()
    await rig.begin()

    assert ["presence"] == [each["op"] for each in rig.frames]


async def test_typing_says_on_or_off(rig: Rig) -> None:
    """As the program says."""
    conversation = rig.client.conversation("d.1")
    states: list[str] = []

    def note(frame: dict[str, Any]) -> dict[str, Any]:
        states.append(frame["state"])
        return {}

    await rig.answer(conversation.typing(), note)
    await rig.answer(conversation.typing(on=False), note)

    assert ["on", "off"] == states


async def test_watches_are_asked_in_parts_and_renewed(rig: Rig) -> None:
    """After a reconnect the program gets how they stand now."""
    users = [f"u{n}" for n in range(501)]
    snapshot = [{"user": "u1", "state": "online"}]
    first = {"snapshot": snapshot}
    found = await rig.answer(rig.client.watch(users), first, {"snapshot": []})
    assert ["u1"] == [each.user for each in found]
    await rig.answer(rig.client.unwatch(["u500"]), {})
    reader = rig.client.events(ephemeral=True)
    await rig.cut()
    await rig.again()
    await rig.begin()
    renewal = rig.frames.pop()
    assert users[:500] == renewal["users"]
    away = [{"user": "u1", "state": "away", "text": "tea"}]
    await rig.say(op="ok", id=renewal["id"], snapshot=away)

    event = await anext(reader)

    assert isinstance(event, PresenceNow)
    assert "tea" == event.users[0].text


async def test_a_watch_that_is_refused_is_not_renewed(rig: Rig) -> None:
    """It would be refused again."""

    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        return {"op": "error", "code": "bad_request", "msg": "", "retry": False}

    with pytest.raises(Refused):
        await rig.answer(rig.client.watch(["x"]), refuse)
    await rig.cut()
    await rig.again()
    await rig.begin()

    assert [] == rig.frames


# The state file.


async def test_a_second_client_is_refused_the_file(tmp_path: Path) -> None:
    """In words; the first one is not disturbed."""
    async with Rig(state=tmp_path / "s.db"):
        with pytest.raises(StateFileRefused, match="in use by another client"):
            await Client("http://c.test", token="t", state=tmp_path / "s.db").start()


async def test_a_message_is_in_the_file_before_it_is_sent(tmp_path: Path) -> None:
    """Whatever the disk does meanwhile: what is on the wire is on disk."""
    async with Rig(state=tmp_path / "s.db") as rig:
        driver = rig.client._driver
        assert driver._file is not None
        write = driver._file.write
        seen: list[int] = []

        def slowly(changes: Any) -> None:
            seen.append(len(rig.socket.sent))
            write(changes)

        driver._file.write = slowly  # type: ignore[method-assign]
        rig.client.conversation(to="bob").post("x")
        await rig.settle()

        assert [0] == seen
        assert ["send"] == [each["op"] for each in rig.frames]


@pytest.mark.usefixtures("errors_expected")
async def test_a_file_that_cannot_be_written_ends_the_session(tmp_path: Path) -> None:
    """A message that cannot be kept is not sent, and the program is told."""
    async with Rig(state=tmp_path / "s.db") as rig:
        driver = rig.client._driver
        assert driver._file is not None

        def fail(_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        driver._file.write = fail  # type: ignore[assignment, method-assign]
        with pytest.raises(SessionEnded, match=r"1011 .*disk is full"):
            await rig.client.conversation(to="bob").send("x")

        assert [] == rig.frames
