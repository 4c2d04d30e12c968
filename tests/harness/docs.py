# SPDX-License-Identifier: Apache-2.0
"""Follows a page of the docs word by word, in an empty folder.

What is done with a block of code stands behind its three backticks:

    ```python bot.py       a file of this name
    ```sh                  commands, which must succeed
    ```sh running          commands that go on, in a terminal of their own
    ```text                what the commands before have printed, at least these lines
    ```text bot.py         the same of the terminal whose commands have bot.py in them
    ```python, ```json …   nothing: blocks without a second word are there to be read

In ``text`` an ``…`` stands for anything.  After commands that go on it is awaited.
``<!-- stop bot.py -->`` between the blocks, which no reader sees, ends that terminal,
as Ctrl-C does.

    async with Walkthrough(page, folder, replace={"127.0.0.1:8888": address}) as walk:
        await walk.follow()
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

DEADLINE_SECONDS: Final = 60.0
_STEP: Final = re.compile(
    r"^```(?P<language>\w+)(?: (?P<word>\S+))?\n(?P<text>.*?)^```$"
    r"|^<!-- stop (?P<stop>\S+) -->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A block, or a comment that ends a terminal (``language`` is ``stop``)."""

    language: str
    word: str
    text: str
    line: int


def steps(page: str) -> Iterator[Step]:
    """What there is to do in the text of a page."""
    for found in _STEP.finditer(page):
        line = page.count("\n", 0, found.start()) + 1
        if found["stop"]:
            yield Step("stop", found["stop"], "", line)
        else:
            yield Step(found["language"], found["word"] or "", found["text"], line)


class Terminal:
    """A shell that runs commands, with what it has printed so far."""

    def __init__(self, commands: str, process: asyncio.subprocess.Process) -> None:
        self.commands = commands
        self._process = process
        self.output = ""
        self._changed = asyncio.Condition()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(65536):
            async with self._changed:
                self.output += chunk.decode(errors="replace")
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    async def prints(self, wanted: re.Pattern[str]) -> bool:
        """Whether it prints this, before it ends."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(
                lambda: wanted.search(self.output) or self._reading.done()
            )
        return wanted.search(self.output) is not None

    async def ends(self) -> int:
        """The exit code, once it has ended by itself."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._reading
            return await self._process.wait()

    async def stop(self) -> None:
        """Ctrl-C; to the whole group of processes, as a terminal does it."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGINT)
        await self.ends()


class Walkthrough:
    """
    One page in one folder.

    Args:
        replace: Texts of the page that are others in the test, as an address.
        skip: Blocks of commands that contain one of these are not run: the
            installation, which the test brings along.
        environment: Added to that of the test.
    """

    def __init__(
        self,
        page: Path,
        folder: Path,
        *,
        replace: Mapping[str, str] | None = None,
        skip: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._page = page
        self._folder = folder
        self._replace = replace or {}
        self._skip = skip
        tools = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            **(environment or {}),
        }
        self._open: list[Terminal] = []
        self._last: Terminal | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for terminal in reversed(self._open):
            await terminal.stop()

    async def follow(self) -> int:
        """Do all that the page says; how many steps that were."""
        count = 0
        for step in steps(self._page.read_text("utf-8")):
            try:
                count += await self._do(step)
            except (AssertionError, TimeoutError) as wrong:
                outputs = [
                    f"$ {each.commands}\n{each.output}"
                    for each in [*self._open, self._last]
                    if each is not None
                ]
                raise AssertionError(
                    f"{self._page.name}:{step.line}: {wrong!r}\n" + "\n".join(outputs)
                ) from wrong
        return count

    async def _do(self, step: Step) -> bool:
        text = step.text
        for old, new in self._replace.items():
            text = text.replace(old, new)
        if step.language == "stop":
            terminal = self._terminal(step.word)
            self._open.remove(terminal)
            await terminal.stop()
        elif step.language == "sh":
            if any(each in text for each in self._skip):
                return False
            await self._run(text, goes_on=step.word == "running")
        elif step.language == "text":
            terminal = self._terminal(step.word)
            assert await terminal.prints(_pattern(text)), "this is not printed"
        elif step.word:
            (self._folder / step.word).write_text(text, "utf-8")
        else:
            return False
        return True

    def _terminal(self, word: str) -> Terminal:
        """The last one that has *word* in its commands, or the last of all."""
        if not word:
            assert self._last is not None, "nothing has printed this"
            return self._last
        return [each for each in self._open if word in each.commands][-1]

    async def _run(self, commands: str, *, goes_on: bool) -> None:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-ec",
            commands,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._last = Terminal(commands, process)
        if goes_on:
            self._open.append(self._last)
        else:
            assert await self._last.ends() == 0, "a command has failed"


def _pattern(text: str) -> re.Pattern[str]:
    """The lines of *text*, in their order, with others between them."""
    lines = [
        ".*?".join(map(re.escape, line.strip().split("…")))
        for line in text.splitlines()
        if line.strip()
    ]
    return re.compile(r".*\n(?:.*\n)*?\s*".join(lines))
