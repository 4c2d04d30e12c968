# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a program with a state file: what it posted is stored once, and read."""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from random import Random

from chatmotor.client import Client
from tests.harness.node import DEADLINE_SECONDS, ROOT, ChatmotorNode
from tests.harness.v1_client import newcomer
from tests.integration.v1.conftest import QUICK

LAST = 300
SCRIPT = Path(__file__).with_name("post_until_killed.py")


async def test_a_killed_program_posts_once_and_skips_nothing(tmp_path: Path) -> None:
    """Numbers stand in their order, each once; each was read, at least once."""
    random = Random(7)
    async with ChatmotorNode(CM_BROKER="embedded", **QUICK) as node:
        login = await newcomer(node, "ann")
        read: list[int] = []
        kills = 0
        while LAST not in read:
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, SCRIPT, node.url, tmp_path / "ann.db", str(LAST)),
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(login.token.encode() + b"\n")
            async with asyncio.timeout(DEADLINE_SECONDS):
                for _ in range(random.randint(1, 120)):
                    line = await program.stdout.readline()
                    if not line:
                        break
                    read.append(int(line))
            if program.returncode is None:
                kills += LAST not in read
                program.kill()
            await program.wait()
        async with Client(node.url, token=login.token) as client:
            conversation = client.conversation(to="ann")
            stored: list[int] = []
            while len(stored) < LAST:
                page = await conversation.history(after=len(stored), limit=100)
                stored += [each.body for each in page.items]

    assert 2 <= kills
    assert list(range(1, LAST + 1)) == stored
    assert set(stored) == set(read)
    # A kill costs a repetition of what was read and not yet written down.
    assert max(Counter(read).values()) <= kills + 1
    assert sorted(set(read)) == list(dict.fromkeys(read))
