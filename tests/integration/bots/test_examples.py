# SPDX-License-Identifier: Apache-2.0
"""The example bots do what they say."""

import importlib.util
import types
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.netutil import bind_sockets

from chatmotor.testing import TestServer
from chatmotor.testing.bots import running
from tests.harness.node import ROOT

SECRET = "s3cret"
EXAMPLES = sorted((ROOT / "examples" / "bots").glob("*.py"))


def example(name: str) -> types.ModuleType:
    """The example as a module of its own."""
    path = ROOT / "examples" / "bots" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_are_short() -> None:
    """One can read them in a minute."""
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES}

    assert 3 == len(lengths)
    assert {} == {name: count for name, count in lengths.items() if count > 80}


async def test_the_reminder_says_it_later_also_after_a_restart(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """What is forgotten is not said."""
    bot, state = example("reminder").bot, tmp_path / "bot.db"
    async with running(bot, chatmotor_server, state=state) as kit:
        alice = await kit.user("alice")
        assert (await alice.ask("/remind")).startswith("after is missing.\nUsage: ")
        assert (await alice.ask("/remind 1m")).startswith("words is missing.")
        assert (await alice.ask("/remind 99w x")).startswith("That is too far away.")
        assert "In 0:10:00. To call it off: /forget 1" == await alice.ask(
            "/remind 10m green tea"
        )
        await alice.ask("/r 20m biscuits")
        await alice.ask("/remind 30m “the kettle”")
        assert (
            "1. alice: green tea\n2. alice: biscuits\n3. alice: the kettle"
            == await alice.ask("/reminders")
        )
        assert "Forgotten." == await alice.ask("/forget 2")
        assert "There is no such reminder here." == await alice.ask("/forget 2")
        clock = kit.clock
        clock.advance(600)
        assert "alice: green tea" == await alice.hear()
    async with running(bot, chatmotor_server, state=state, clock=clock) as kit:
        bea = await kit.user("bea")
        assert "In 0:30:00. To call it off: /forget 4" == await bea.ask("/r 30m x")
        clock.advance(1800)
        assert "bea: x" == await bea.hear()
        assert "Nothing." == await bea.ask("/reminders")
    conv = await alice.client.conversation(to="helper").id()
    page = await alice.client.conversation(conv).history()
    assert "alice: the kettle" == page.items[-1].body


async def test_the_poll_counts_one_vote_of_each(chatmotor_server: TestServer) -> None:
    """In a group; the last vote of each member counts."""
    async with running(example("poll").bot, chatmotor_server) as kit:
        alice, bob = await kit.user("alice"), await kit.user("bob")
        group = await kit.group("Lunch", alice, bob)
        assert (await alice.hear(conv=group)).startswith("I count votes: ")
        await bob.hear(conv=group)
        assert (await alice.ask("/results", conv=group)).startswith(
            "There is no vote here."
        )
        assert (await alice.ask("/poll x y", conv=group)).startswith(
            "There must be two to nine choices."
        )
        assert (
            "Lunch?\n1. pizza: 0\n2. salad: 0\nVote with /vote and a number."
            == await alice.ask('/poll "Lunch?" pizza salad', conv=group)
        )
        await alice.say("/vote 1", conv=group)
        await bob.say("/vote 1", conv=group)
        await bob.say("/vote 2", conv=group)
        assert "Lunch?\n1. pizza: 1\n2. salad: 1" == await bob.ask(
            "/results", conv=group
        )
        assert (await bob.ask("/vote 3", conv=group)).startswith("number: 1 to 2")
        assert "Closed. Lunch?\n1. pizza: 1\n2. salad: 1" == await alice.ask(
            "/close", conv=group
        )
        assert (await alice.ask("/close", conv=group)).startswith("There is no vote")
        assert "Nobody else would vote here. Add me to a group." == await alice.ask(
            "/poll x y z"
        )


async def test_the_notifier_tells_followers_of_a_build_once(
    chatmotor_server: TestServer,
) -> None:
    """Only with the secret; a build that is told again is not said again."""
    sockets = bind_sockets(0, "127.0.0.1")
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/builds"

    async def post(body: str, secret: str = SECRET) -> int:
        try:
            answer = await AsyncHTTPClient().fetch(
                url,
                method="POST",
                headers={"Authorization": f"Bearer {secret}"},
                body=body,
            )
        except HTTPClientError as error:
            return int(error.code)
        return int(answer.code)

    bot = example("ci_notifier").make_bot(SECRET, sockets)
    async with running(bot, chatmotor_server) as kit:
        alice = await kit.user("alice")
        group = await kit.group("Builds", alice)
        assert "You will hear of shop." == await alice.ask("/follow shop", conv=group)
        failed = '{"id": "7", "project": "shop", "status": "failed"}'
        passed = '{"id": "8", "project": "shop", "status": "passed"}'
        assert [401, 400] == [await post(failed, "other"), await post("{}")]
        assert [204, 204, 204] == [
            await post(each) for each in (failed, failed, passed)
        ]
        assert "shop #7: failed" == await alice.hear(conv=group)
        assert "shop #8: passed" == await alice.hear(conv=group)
        assert "You will not hear of shop." == await alice.ask(
            "/follow shop off", conv=group
        )
        assert 204 == await post('{"id": "9", "project": "shop", "status": "passed"}')
        assert "You will hear of web." == await alice.ask("/follow web", conv=group)
