# SPDX-License-Identifier: Apache-2.0
"""The how-to pages about shells, embedding and the test kit do what they say."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from chatmotor.shell.commands import login, logout, send, tail
from chatmotor.testing import TestServer
from tests.harness.node import DEADLINE_SECONDS, ROOT
from tests.harness.ports import free_port
from tests.harness.shell import Shell

HOWTO = ROOT / "docs" / "howto"
PASSWORD = "wobble-tin-42"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str = "") -> list[str]:
    """The blocks of a page that are marked so."""
    found = _FENCE.findall((HOWTO / page).read_text("utf-8"))
    return [code for marked, code in found if marked == language]


async def test_a_shell_does_what_its_page_says(tmp_path: Path) -> None:
    """Block by block, in one home, each with status 0 and nothing to complain of."""
    commands = blocks("from-a-shell.md")
    async with TestServer() as server:
        for name in ("alice", "bob"):
            await server.chat.node.accounts.create_for_server(name, PASSWORD)
        shell = Shell(tmp_path)
        done = [
            await shell.line(
                f"set -e; {code.replace('http://127.0.0.1:8888', server.url)}",
                stdin=PASSWORD,
            )
            for code in commands
        ]
        conv = (await server.chat.send(from_="bob", to="alice", body="last")).conv
        read: Any = await server.chat.call("bob", "history", conv=conv)

    assert 7 == len(done)
    assert [(0, "")] * 7 == [(each.status, each.err) for each in done]
    assert [
        "the build is through",
        {"build": 7, "ok": True},
        "build 7 is through",
        "backup done",
        "build 8 is through",
        "last",
    ] == [each.body for each in read.items if "Filesystem" not in str(each.body)]
    assert ["device.new", "message.new"] == [
        json.loads(each)["t"] for each in done[-1].out.splitlines()[:2]
    ]


async def test_the_page_about_tests_has_tests_that_pass(tmp_path: Path) -> None:
    """All of its Python as one file, with the fixture and without a conftest."""
    (tmp_path / "test_page.py").write_text(
        "\n".join(blocks("test-with-a-server.md", "python"))
    )
    environment = {name: each for name, each in os.environ.items() if name[:3] != "CM_"}
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "chatmotor.pytest_plugin"),
            *("-o", "asyncio_mode=auto", "-p", "no:cacheprovider"),
            *("-o", "asyncio_default_fixture_loop_scope=function", "-W", "error"),
        ],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert 0 == done.returncode, done.stdout.decode()
    assert "4 passed" in done.stdout.decode()


async def test_the_page_about_embedding_has_an_application_that_runs(
    tmp_path: Path,
) -> None:
    """Its first block serves; its curl is answered; its Python speaks for users."""
    port = str(free_port())
    [application, speaking] = blocks("embed.md", "python")
    [curl] = blocks("embed.md")
    (tmp_path / "app.py").write_text(application.replace("8000", port))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "app.py"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )
    try:
        shell = Shell(tmp_path)
        again = "--retry 50 --retry-connrefused --retry-delay 0 --retry-max-time 15"
        answer = await shell.line(
            curl.replace("8000", port).replace("curl -s", f"curl -s {again}")
        )
    finally:
        process.terminate()
        await process.wait()
    async with TestServer() as server:
        await server.chat.add_user("shop")
        names: dict[str, object] = {}
        exec(compile(speaking, "embed.md", "exec"), names)  # noqa: S102
        tell: Any = names["tell"]
        page = await tell(server.chat, "order-17")

    assert {"username": "alice", "display_name": "alice"} == (
        json.loads(answer.out)["user"]
    )
    assert ["it is on its way"] == [each.body for each in page.items]


def test_each_option_on_the_page_is_one() -> None:
    """What the page about shells names is in the command's own help."""
    text = (HOWTO / "from-a-shell.md").read_text("utf-8")
    named = set(re.findall(r"\| `(--[\w-]+)", text))
    known = {
        option
        for command in (login, logout, send, tail)
        for parameter in command.params
        for option in parameter.opts
    }

    assert len(named) > 8
    assert [] == sorted(named - known)
