# SPDX-License-Identifier: Apache-2.0
"""The how-to about webhooks, followed word by word."""

from pathlib import Path

from tests.harness.docs import Walkthrough
from tests.harness.node import ROOT, ChatmotorNode
from tests.harness.ports import free_port
from tests.harness.v1_client import newcomer

PAGE = ROOT / "docs" / "howto" / "webhooks.md"


async def test_the_page_can_be_followed(tmp_path: Path) -> None:
    """Beside a node with its two accounts."""
    data = tmp_path / "data"
    folder = tmp_path / "folder"
    folder.mkdir()
    async with ChatmotorNode(CM_BROKER="embedded", CM_DATA_DIR=str(data)) as node:
        alice, bob = await newcomer(node, "alice"), await newcomer(node, "bob")
        replace = {
            "127.0.0.1:8888": node.url.removeprefix("http://"),
            "9000": str(free_port()),
            "chatmotor hook": "python -m chatmotor hook",
        }
        given = {
            "PYTHONPATH": str(ROOT),
            "CM_DATA_DIR": str(data),
            "ALICE": alice.token,
            "BOB": bob.token,
        }
        async with Walkthrough(
            PAGE,
            folder,
            replace=replace,
            skip=("pip install",),
            environment=given,
        ) as walk:
            assert 15 < await walk.follow()
