# SPDX-License-Identifier: Apache-2.0
"""Bots as processes: killed between a reply and the cursor, moved to another node."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatmotor.client import Client, MessageNew, log_in, sign_up
from chatmotor.testing import TestServer
from tests.harness.node import ROOT, ChatmotorNode
from tests.harness.rabbitmq import PrivateRabbit
from tests.integration.conftest import on_rabbit

DEADLINE_SECONDS = 30.0
PASSWORD = "wobble-tin-42"


@contextlib.asynccontextmanager
async def bot_process(
    url: str, token_file: Path, *places: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``tests/harness/crashing_bot.py``, ended at the end."""
    state = token_file.with_suffix(".db")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.harness.crashing_bot",
        url,
        str(token_file),
        str(state),
        *places,
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    except BaseException:
        await _stop(process)
        assert process.stderr is not None
        print((await process.stderr.read()).decode())
        raise
    await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await _ended(process)


def _save(path: Path, token: str) -> None:
    path.write_text(token)


async def _ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await process.wait()


async def _answers(alice: Client, count: int) -> list[object]:
    """The next *count* things that the bot says."""
    found: list[object] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for event in alice.events():
            if isinstance(event, MessageNew) and event.sender == "helper":
                found.append(event.body)
                if len(found) == count:
                    return found
    raise AssertionError(found)


@pytest.mark.parametrize("place", ["replied", "settled"])
async def test_a_kill_between_reply_and_cursor_doubles_nothing(
    chatmotor_server: TestServer, tmp_path: Path, place: str
) -> None:
    """The command may be handled again; its replies and its count are there once."""
    token_file = tmp_path / "bot.token"
    _save(token_file, await chatmotor_server.token("helper"))
    alice = await chatmotor_server.user("alice")
    sent = await alice.conversation(to="helper").send("/count")
    url = chatmotor_server.url

    async with bot_process(url, token_file, place) as process:
        assert -signal.SIGKILL == await _ended(process)
    async with bot_process(url, token_file):
        await alice.conversation(to="helper").send("/count")
        await _answers(alice, 4)

    page = await alice.conversation(sent.conv).history()
    assert ["call 1", "it was 1", "call 2", "it was 2"] == [
        item.body for item in page.items if item.sender == "helper"
    ]


async def test_a_bot_ends_in_order_on_sigterm(
    chatmotor_server: TestServer, tmp_path: Path
) -> None:
    """Exit code 0, without a word."""
    token_file = tmp_path / "bot.token"
    _save(token_file, await chatmotor_server.token("helper"))
    alice = await chatmotor_server.user("alice")

    async with bot_process(chatmotor_server.url, token_file) as process:
        await alice.conversation(to="helper").send("/count")
        await _answers(alice, 2)
        process.terminate()
        assert 0 == await _ended(process)
        assert process.stderr is not None
        assert b"" == await process.stderr.read()


@pytest.mark.parametrize("token", ["cm_nobody", None])
async def test_a_bot_that_is_not_wanted_says_why_in_a_sentence(
    chatmotor_server: TestServer, tmp_path: Path, token: str | None
) -> None:
    """A wrong token, or no file: exit code 1, no traceback, no token."""
    token_file = tmp_path / "bot.token"
    if token is not None:
        _save(token_file, token)

    async with bot_process(chatmotor_server.url, token_file) as process:
        assert 1 == await _ended(process)
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()

    assert 1 == len(said.splitlines()), said
    assert "Traceback" not in said
    assert "cm_nobody" not in said


async def test_a_bot_goes_on_at_another_node(
    rabbit: PrivateRabbit, on_postgres: dict[str, str], tmp_path: Path
) -> None:
    """Fifty commands arrive at one node while it is down; it answers at the other."""
    fast = {"CM_SENDS_PER_SECOND": "10000", "CM_SENDS_BURST": "10000"}
    async with (
        on_rabbit(rabbit, **on_postgres, **fast) as left,
        on_rabbit(rabbit, **on_postgres, **fast) as right,
    ):
        await _fifty(left, right, tmp_path / "bot.token")


async def _fifty(left: ChatmotorNode, right: ChatmotorNode, token_file: Path) -> None:
    for username in ("alice", "helper"):
        await sign_up(left.url, username, PASSWORD)
    _save(token_file, (await log_in(left.url, "helper", PASSWORD)).token)
    token = (await log_in(left.url, "alice", PASSWORD)).token
    async with Client(left.url, token=token) as alice:
        await alice.until_live()
        talk = alice.conversation(to="helper")
        async with bot_process(left.url, token_file):
            sent = await talk.send("/count")
            await _answers(alice, 2)
        for _ in range(50):
            await talk.send("/count")
        async with bot_process(right.url, token_file):
            await _answers(alice, 100)
        page = await alice.conversation(sent.conv).history(limit=100)
        older = await alice.conversation(sent.conv).history(
            before=page.items[0].n, limit=100
        )
    said = [item.body for item in older.items + page.items if item.sender == "helper"]
    assert [
        text
        for number in range(1, 52)
        for text in (f"call {number}", f"it was {number}")
    ] == said
