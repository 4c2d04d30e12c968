# SPDX-License-Identifier: Apache-2.0
"""The programs in examples/amqp, as somebody runs them: in Python and JavaScript."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.harness.node import DEADLINE_SECONDS, ROOT
from tests.harness.npm import beside
from tests.integration.amqp.conftest import Installation

EXAMPLES = ROOT / "examples" / "amqp"


def command(program: str, directory: Path) -> list[str]:
    """How *program* is run."""
    if program.endswith(".py"):
        return [sys.executable, str(EXAMPLES / program)]
    return ["node", str(beside(EXAMPLES / program, directory))]


async def run(*arguments: str) -> tuple[int | None, str]:
    """Exit status and output of a program."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("program", ["send.py", "send.mjs"])
async def test_send(place: Installation, program: str, tmp_path: Path) -> None:
    """It prints the answer, stores a message once, and says when it is refused."""
    _, service = await place.service("billing")
    alice = await place.newcomer("alice")
    send = [*await asyncio.to_thread(command, program, tmp_path), service.url]
    async with alice.connect(place.right) as session:
        for dup in (False, True):
            status, output = await run(*send, "order-17", alice.username, "It is here.")
            assert (0, dup) == (status, json.loads(output)["dup"])
        (event,) = await session.messages(1)

        assert "It is here." == event["body"]
    status, output = await run(*send, "order-18", "nobody-at-all", "?")
    assert (1, "no_such_user") == (status, json.loads(output)["code"])
