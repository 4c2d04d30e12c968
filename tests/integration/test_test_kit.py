# SPDX-License-Identifier: Apache-2.0
"""The server of the test kit, as users' tests have it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chatmotor.client import Client, MessageNew, State
from chatmotor.testing import TestServer
from tests.harness.node import DEADLINE_SECONDS, ROOT


async def next_text(client: Client) -> str | None:
    """The text of the next message that somebody else sends."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for event in client.events():
            if isinstance(event, MessageNew) and event.sender != client.user:
                return event.text
    raise AssertionError("the events have ended")


async def away(client: Client) -> None:
    """Return once the client has noticed."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while client.state is not State.OFFLINE:
            await asyncio.sleep(0.01)


async def test_users_are_there_when_they_are_asked_for() -> None:
    """One line each: an account, a token, a client that is live."""
    async with TestServer() as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        sent = await alice.conversation(to="bob").send("hello bob")
        text = await next_text(bob)
        states = [alice.state, bob.state]
    ended = [alice.state, bob.state]

    assert (1, "hello bob") == (sent.n, text)
    assert [State.LIVE] * 2 == states
    assert [State.CLOSED] * 2 == ended


async def test_a_cut_wire_is_cut_until_it_is_mended() -> None:
    """
    Nobody gets through, old connections or new ones; what was sent meanwhile arrives
    after it, once.
    """
    async with TestServer() as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        server.cut()
        server.cut()
        await away(alice)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", int(server.url.split(":")[2]))
        sending = asyncio.ensure_future(alice.conversation(to="bob").send("meanwhile"))
        server.mend()
        server.mend()
        sent = await sending
        text = await next_text(bob)

    assert (1, False, "meanwhile") == (sent.n, sent.dup, text)


async def test_a_restart_keeps_what_was_stored() -> None:
    """Accounts, tokens and messages; the URL is the same, and clients come back."""
    async with TestServer() as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        await alice.conversation(to="bob").send("before")
        await server.restart()
        sent = await alice.conversation(to="bob").send("after")
        texts = [await next_text(bob), await next_text(bob)]

    assert (2, ["before", "after"]) == (sent.n, texts)


async def test_options_are_the_tests_own() -> None:
    """They win over those of the kit; an unknown one is refused."""
    async with TestServer(BODY_MAX_BYTES=1024, SIGN_UP="closed") as server:
        settings = server.chat.node.settings

    assert (1024, "closed") == (settings.BODY_MAX_BYTES, settings.SIGN_UP)
    assert "embedded" == settings.BROKER


async def test_nothing_is_left_behind() -> None:
    """No file, no task, no listening socket."""
    before = asyncio.all_tasks()
    async with TestServer() as server:
        directory = server.chat.node.settings.DATA_DIR
        await server.user("alice")
    port = int(server.url.split(":")[2])

    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not Path(directory).exists()  # noqa: ASYNC240
    assert set() == asyncio.all_tasks() - before


USERS_TESTS = """
async def test_hello(chatmotor_server):
    alice = await chatmotor_server.user("alice")
    bob = await chatmotor_server.user("bob")
    await alice.conversation(to="bob").send("hello")
    async for event in bob.events():
        if event.conv.startswith("d."):
            assert "hello" == event.text
            break


def test_light():
    import sys
    assert "chatmotor.embed" not in sys.modules
"""


async def test_the_fixture_is_there_in_a_users_folder(tmp_path: Path) -> None:
    """
    With pytest-asyncio, and without a conftest; and pytest imports nothing of the
    server where no test asks for it.
    """
    (tmp_path / "test_chat.py").write_text(USERS_TESTS)
    environment = {name: each for name, each in os.environ.items() if name[:3] != "CM_"}
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "chatmotor.pytest_plugin"),
            *("-o", "asyncio_mode=auto", "-p", "no:cacheprovider"),
            *("-o", "asyncio_default_fixture_loop_scope=function", "-W", "error"),
            *("test_chat.py::test_light", "test_chat.py::test_hello"),
        ],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert 0 == done.returncode, (done.stdout + done.stderr).decode()
