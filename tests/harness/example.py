# SPDX-License-Identifier: Apache-2.0
"""An example of the folder ``examples``, run as its reader runs it."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness.node import DEADLINE_SECONDS, ROOT


@asynccontextmanager
async def running(path: str, *arguments: str, log: Path) -> AsyncIterator[str]:
    """The URL that the example prints, once it serves; SIGTERM ends it, with 0."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "examples" / path), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"http://\S+", line)
        assert found, _text(log)
        yield found[0]
    finally:
        process.terminate()
        async with asyncio.timeout(DEADLINE_SECONDS):
            status = await process.wait()
    said = _text(log)
    assert (0, False) == (status, "Traceback" in said), said


def _text(log: Path) -> str:
    return log.read_text()
