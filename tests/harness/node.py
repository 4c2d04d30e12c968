# SPDX-License-Identifier: Apache-2.0
"""A real Chatmotor process, with its data in a temporary directory.

    async with ChatmotorNode(CM_BROKER="embedded") as node:
        async with node.connect("alice") as alice: ...

The node's output is checked when it ends: a line of level ERROR or a traceback
that the test did not announce fails the test.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect

from tests.harness.ports import free_port

DEADLINE_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]


class ChatmotorNode:
    """
    One node.  Options are given as environment variables, ``CM_BROKER="…"``.

    Attributes:
        url: ``http://127.0.0.1:<port>``.
        first_line: The first line of its output.
        may_fail: Set it when the test provokes errors that the node logs.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._arguments = arguments
        self._directory = Path(tempfile.mkdtemp(prefix="chatmotor-node-"))
        self._admin_port = free_port()
        self._environment = {
            "CM_TORNADO_LISTEN_PORT": str(free_port()),
            "CM_ADMIN_LISTEN_PORT": str(self._admin_port),
            "CM_DATA_DIR": str(self._directory / "data"),
            "CM_ALLOW_GUESTS": "true",
        } | environment
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.first_line = ""
        self.may_fail = False

    async def __aenter__(self) -> Self:
        inherited = {
            name: value for name, value in os.environ.items() if name[:3] != "CM_"
        }
        with (self._directory / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "chatmotor",
                "serve",
                *self._arguments,
                cwd=ROOT,
                env=inherited | self._environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = await self._process.stdout.readline()
        self.first_line = line.decode().rstrip()
        found = re.search(r"http://\S+", self.first_line)
        assert found, f"the node did not start: {self.log()}"
        self.url = found[0].replace("0.0.0.0", "127.0.0.1")
        await self.until(self._answers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        log = self.log()
        shutil.rmtree(self._directory, ignore_errors=True)
        if error is not None:
            print(log, file=sys.stderr)
        elif not self.may_fail:
            assert "Traceback" not in log, log
            assert " ERROR " not in log, log

    async def line(self) -> str:
        """The next line of its output, after the first; empty at its end."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await self._process.stdout.readline()).decode().rstrip()

    @property
    def pid(self) -> int:
        """The process id (of the parent, with several workers)."""
        assert self._process is not None
        return self._process.pid

    def connect(self, username: str, **arguments: Any) -> connect:
        """A WebSocket client of *username*; an async context manager."""
        url = self.url.replace("http", "ws", 1) + "/im/" + quote(username, safe="")
        return connect(url, **({"proxy": None, "compression": None} | arguments))

    def log(self) -> str:
        """What the node has written to standard error."""
        path = self._directory / "log"
        return path.read_text() if path.exists() else ""

    def signal(self, signal_number: signal.Signals) -> None:
        """Send *signal_number* to the node."""
        os.kill(self.pid, signal_number)

    async def wait(self) -> int:
        """The exit code, once the node has ended."""
        assert self._process is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, unless it has ended already; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        """SIGKILL: the machine it ran on is gone."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def start_again(self) -> None:
        """After ``kill`` or ``stop``: the same node, on the same data and port."""
        await self.__aenter__()

    async def operate(self, *arguments: str) -> str:
        """What ``chatmotor`` with *arguments*, an operator's command, has printed."""
        inherited = {
            name: value for name, value in os.environ.items() if name[:3] != "CM_"
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatmotor", *arguments),
            cwd=ROOT,
            env=inherited | self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(DEADLINE_SECONDS):
            output, _ = await process.communicate()
        assert 0 == process.returncode, output.decode()
        return output.decode()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of ``GET path``."""
        return await asyncio.to_thread(_get, self.url + path)

    async def readiness(self) -> dict[str, Any]:
        """What /readyz says."""
        _, body = await self.get("/readyz")
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def until_broker_is(self, state: str) -> None:
        """Return once /readyz names the broker's *state*."""

        async def is_so() -> bool:
            return bool((await self.readiness())["broker"]["state"] == state)

        await self.until(is_so)

    async def metric(self, name: str) -> float:
        """The value of a sample, as ``chatmotor_messages_total{direction="in"}``."""
        _, text = await asyncio.to_thread(
            _get, f"http://127.0.0.1:{self._admin_port}/metrics"
        )
        for line in text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample == name:
                return float(value)
        return 0.0

    async def until(self, condition: Any, seconds: float = DEADLINE_SECONDS) -> None:
        """Await *condition*, asked again and again, or fail at the deadline."""
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            status, _ = await self.get("/healthz")
        except OSError:
            return False
        return status == 200


def _get(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


async def say(sender: ClientConnection, destination: str, content: object) -> str:
    """Send a classic message; the exact text that was sent."""
    text = json.dumps({"destination": destination, "content": content})
    await sender.send(text)
    return text


async def heard(client: ClientConnection, count: int = 1) -> list[Any]:
    """The contents of the next *count* messages, or a failure at the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return [json.loads(await client.recv())["content"] for _ in range(count)]
