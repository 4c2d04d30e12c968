# SPDX-License-Identifier: Apache-2.0
"""The how-to of the client, followed word by word; and its table, run."""

import asyncio
import json
import re
import subprocess
from pathlib import Path

import pytest

from chatmotor.client import (
    Client,
    Disconnected,
    Refused,
    SessionEnded,
    log_in,
    log_out,
    renew,
    sign_up,
)
from tests.harness.docs import Walkthrough
from tests.harness.node import ROOT, ChatmotorNode
from tests.integration.v1.conftest import QUICK

PAGE = ROOT / "docs" / "howto" / "use-the-python-client.md"
_ROW = re.compile(r"^\| `(await \w.*?)` \| `(curl .*?)` \|$", re.MULTILINE)


async def test_the_how_to_works(tmp_path: Path) -> None:
    """Its programs do what it says, one after the other, against a fresh node."""
    async with ChatmotorNode(CM_BROKER="embedded", **QUICK) as node:
        async with Walkthrough(
            PAGE,
            tmp_path,
            replace={"http://127.0.0.1:8888": node.url},
            skip=("pip install",),
            environment={"PYTHONPATH": str(ROOT)},
        ) as walk:
            assert 28 == await walk.follow()


async def test_python_and_curl_say_the_same(tmp_path: Path) -> None:
    """Each row of the table that has an answer works on both sides."""
    rows = _ROW.findall(PAGE.read_text("utf-8"))
    assert 5 == len(rows)
    async with ChatmotorNode(CM_BROKER="embedded", **QUICK) as node:
        await sign_up(node.url, "bob", "garden-fence-7")
        token = ""
        for _, command in rows:
            environment = {"URL": node.url, "AUTH": f"Authorization: Bearer {token}"}
            run = await asyncio.to_thread(
                subprocess.run,
                ["bash", "-c", command],
                env=environment | {"PATH": "/usr/bin:/bin"},
                capture_output=True,
                check=True,
            )
            answer = json.loads(run.stdout)
            assert "code" not in answer, (command, answer)
            token = answer.get("token", token)
        async with Client(node.url, token=token) as client:
            names = {"client": client, "log_in": log_in, "URL": node.url}
            names["conversation"] = client.conversation(to="bob")
            for line, _ in rows[1:]:
                code = f"async def row():\n    return {line}"
                exec(code, names)  # noqa: S102  # our own page
                assert await names["row"]() is not None  # type: ignore[operator]
            assert 1 == (await client.conversation(to="bob").history()).items[-1].n


async def test_tokens_over_http() -> None:
    """Log in, renew, log out; refusals have their codes."""
    async with ChatmotorNode(CM_BROKER="embedded", **QUICK) as node:
        user = await sign_up(
            node.url, "Carol", "wobble-tin-42", display_name="Carol C."
        )
        assert ("carol", "Carol C.") == (user.username, user.display_name)
        with pytest.raises(Refused, match="conflict"):
            await sign_up(node.url, "carol", "wobble-tin-43")
        with pytest.raises(Refused, match="unauthenticated"):
            await log_in(node.url, "carol", "guess")
        first = await log_in(node.url, "carol", "wobble-tin-42", device="laptop")
        second = await renew(node.url, first.token)
        assert ("laptop", "laptop") == (first.device, second.device)
        async with Client(node.url, token=second.token) as client:
            await client.until_live()
            await log_out(node.url, second.token)
            with pytest.raises(SessionEnded, match="4502"):
                async for _ in client.events():
                    pass
        async with Client(node.url, token=second.token) as client:
            with pytest.raises(SessionEnded, match="4502"):
                await client.until_live()
        with pytest.raises(Refused, match="unauthenticated"):
            await renew(node.url, second.token)
        with pytest.raises(Refused, match="not_found"):
            await log_in(node.url + "/nothing/here", "carol", "x")
    with pytest.raises(Disconnected):
        await log_in(node.url, "carol", "wobble-tin-42")
