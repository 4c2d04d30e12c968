# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL: own port, own data, own end.

    with PrivatePostgres() as server:
        dsn = await server.create_database()

It can be killed like a machine that loses power, and started again on the same data.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from tests.harness.ports import free_port

START_SECONDS = 30.0
STOP_SECONDS = 20.0


def _program(name: str) -> str:
    """Of the newest PostgreSQL that is installed."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(packaged[-1]) if packaged else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; run make test")
    return found


def _user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


class PrivatePostgres:
    """
    One server.  A context manager: started on entry, gone on exit.

    Args:
        settings: Lines of ``postgresql.conf``, for example ``fsync = off``.
    """

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="chatmotor-postgres-"))
        self._settings = settings
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            shutil.chown(self._directory, "postgres", "postgres")
        subprocess.run(
            [
                *(_program("initdb"), "-D", str(self._directory / "data")),
                *("-U", "chatmotor", "--auth=trust", "--encoding=UTF8"),
                *("--locale=C.UTF-8", "--no-sync", "--data-checksums"),
            ],
            check=True,
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            **_user(),
        )
        with (self._directory / "data" / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                "unix_socket_directories = ''\nshared_buffers = 32MB\n"
            )
            conf.writelines(f"{each}\n" for each in self._settings)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process id of the server; the others are its children."""
        assert self._server is not None
        return self._server.pid

    def dsn(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Where *database* is; with *port*, by way of a proxy."""
        return f"postgresql://chatmotor@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it, and return once it answers."""
        if self._server is not None:
            return
        with (self._directory / "out").open("ab") as out:
            self._server = subprocess.Popen(
                [_program("postgres"), "-D", str(self._directory / "data")],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_user(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "out").read_text()[-4000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to all its processes: the machine it ran on is gone."""
        server, self._server = self._server, None
        if server is None:
            return
        # Each process of PostgreSQL has a session of its own.
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        for pid in (server.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.wait(STOP_SECONDS)

    async def create_database(self) -> str:
        """The dsn of a new, empty database."""
        name = f"test{next(self._numbers)}"
        async with connected(self.dsn()) as connection:
            await connection.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def _answers(self) -> bool:
        """Whether it serves queries, not only connections."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                # A start-up packet for a user that does not exist: 'E' 57P03 while
                # the server starts, another error once it serves.
                body = b"\0\3\0\0user\0nobody\0database\0postgres\0\0"
                probe.sendall((len(body) + 4).to_bytes(4, "big") + body)
                answer = probe.recv(4096)
        except OSError:
            return False
        return bool(answer) and b"57P03" not in answer


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(dsn, timeout=START_SECONDS)
    try:
        yield connection
    finally:
        await connection.close()


class CommitCutter:
    """
    A way to PostgreSQL that breaks, when told to, just as a COMMIT passes.

    Attributes:
        cut: "before" breaks in place of passing it on, "after" once it is passed on
            and before the answer comes back.  Each time once; then none.
    """

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self.cut: str | None = None
        self.cuts = 0
        self._server_port = server_port
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._listener is not None
        self._listener.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(self._pass_on(there, writer))
        await self._requests(reader, back, answers)
        answers.cancel()
        back.close()
        writer.close()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        while some := await self._read(reader):
            cut = self.cut if b"COMMIT\0" in some else None
            if cut is not None:
                self.cut = None
                self.cuts += 1
                answers.cancel()
                if cut == "after":
                    back.write(some)
                    await back.drain()
                return
            back.write(some)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while some := await self._read(reader):
            writer.write(some)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(65536)
        except OSError:
            return b""
