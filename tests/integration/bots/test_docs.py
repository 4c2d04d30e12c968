# SPDX-License-Identifier: Apache-2.0
"""The pages about bots, followed word by word in an empty folder."""

from pathlib import Path
from typing import Any

from chatmotor.bot import Bot
from tests.harness.docs import Walkthrough, steps
from tests.harness.node import ROOT
from tests.harness.ports import free_port

DOCS = ROOT / "docs"
HOW_TO = DOCS / "howto" / "write-a-bot.md"


async def test_the_tutorial_ends_with_a_tested_bot(tmp_path: Path) -> None:
    """From an empty folder; only the installation is brought along."""
    port = free_port()
    environment = {
        "CM_TORNADO_LISTEN_PORT": str(port),
        "CM_ADMIN_LISTEN_PORT": str(free_port()),
        "CM_BROKER": "embedded",
        "PYTHONPATH": str(ROOT),
    }
    page = DOCS / "tutorials" / "first-bot.md"
    async with Walkthrough(
        page,
        tmp_path,
        replace={
            "127.0.0.1:8888": f"127.0.0.1:{port}",
            "chatmotor serve": "python -m chatmotor serve",
        },
        skip=("pip install",),
        environment=environment,
    ) as walk:
        assert 26 == await walk.follow()


async def test_the_tests_of_the_how_to_pass(tmp_path: Path) -> None:
    """Those in memory, and those on a server with the fixture."""
    # As the entry point of the installed package does it.
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTEST_PLUGINS": "chatmotor.pytest_plugin",
    }
    async with Walkthrough(HOW_TO, tmp_path, environment=environment) as walk:
        assert 4 == await walk.follow()


def test_the_other_blocks_of_the_how_to_make_bots() -> None:
    """They run, so their annotations are those that a command may have."""
    pieces = [
        step.text
        for step in steps(HOW_TO.read_text("utf-8"))
        if step.language == "python" and not step.word
    ]
    names: list[dict[str, Any]] = []
    for piece in pieces:
        names.append({"__name__": "page"})
        exec(piece, names[-1])  # noqa: S102  # our own page

    assert 6 == len(names)
    assert all(isinstance(each["bot"], Bot) for each in names)
