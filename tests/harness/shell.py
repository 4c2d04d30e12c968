# SPDX-License-Identifier: Apache-2.0
"""The ``chatmotor`` command as people in shells type it, with a home of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.node import DEADLINE_SECONDS, ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


class Running:
    """A command that goes on, as ``tail``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """The next line of its output."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def complaint(self) -> str:
        """The next line of its standard error."""
        assert self._process.stderr is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await self._process.stderr.readline()).decode().rstrip("\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self) -> Done:
        """How it ended, with what it had still to say."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await self._process.communicate()
        return Done(self._process.returncode or 0, out.decode(), err.decode())


class Shell:
    """
    Somebody's shell.

    Args:
        home: Where the log-ins are kept.
        variables: Of its environment, with ``CM_``.
    """

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        home.mkdir(exist_ok=True)
        inherited = {
            name: each for name, each in os.environ.items() if name[:3] != "CM_"
        }
        self.environment = (
            inherited
            | {
                "XDG_CONFIG_HOME": str(home),
                "PYTHONPATH": str(ROOT),
                "TZ": "UTC",
            }
            | variables
        )

    async def run(self, *arguments: str, stdin: str | bytes = "") -> Done:
        """``chatmotor`` with *arguments*, to its end."""
        content = stdin.encode() if isinstance(stdin, str) else stdin
        process = await self._start(arguments)
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await process.communicate(content)
        return Done(process.returncode or 0, out.decode(), err.decode())

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[Running]:
        """``chatmotor`` with *arguments*, killed in the end, if it is still there."""
        process = await self._start(arguments)
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def line(self, line: str, *, stdin: str = "") -> Done:
        """A line of a shell, with pipes, where ``chatmotor`` is the command."""
        text = f'chatmotor() {{ "{sys.executable}" -m chatmotor "$@"; }}; {line}'
        process = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", text),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            cwd=self.home,
        )
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await process.communicate(stdin.encode())
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def _start(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatmotor", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            cwd=self.home,
        )
