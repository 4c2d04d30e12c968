# SPDX-License-Identifier: Apache-2.0
"""A whole Chatmotor in the running event loop: on loopback, on a free port, for a test.

It is the node that ``chatmotor serve`` runs, with the embedded broker and SQLite in a
temporary directory.  Anyone may sign up, passwords are hashed fast, and the rates that
protect an installation do not slow a test down.
"""

import asyncio
import contextlib
import random
import socket
import tempfile
from collections.abc import Mapping
from typing import Any, Final, Self

import tornado.httpserver
import tornado.web
from tornado.netutil import bind_sockets

from chatmotor.adapters.argon2_hasher import Argon2Hasher
from chatmotor.client import Client
from chatmotor.embed import Chatmotor
from chatmotor.errors import Conflict
from chatmotor.node_routes import HTTP_LIMITS

HOST: Final = "127.0.0.1"
PASSWORD: Final = "correct horse battery"  # noqa: S105  # of nobody
LIVE_SECONDS: Final = 20.0
PORTS: Final = range(12_000, 32_000)
_OPTIONS: Final[Mapping[str, Any]] = {
    "SIGN_UP": "open",
    "ALLOW_GUESTS": "true",
    "SENDS_PER_SECOND": 1_000_000,
    "SENDS_BURST": 1_000_000,
    "GUEST_SENDS_PER_SECOND": 1_000_000,
    "LOOKUPS_PER_MINUTE": 1_000_000,
    "LOGIN_ATTEMPTS": 1_000,
    "ADDRESS_ATTEMPTS": 1_000_000,
}


class TestServer:
    """
    A server for one test, or for several.

    Args:
        options: Of docs/reference/options.md, as keywords: they win.

    Attributes:
        chat: The node; see ``chatmotor.embed.Chatmotor``.
    """

    __test__ = False  # for pytest, which would take the name for that of a test

    chat: Chatmotor

    def __init__(self, **options: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="chatmotor-test-")
        self._options = {"DATA_DIR": self._directory.name, **_OPTIONS, **options}
        self._port = 0
        self._server: tornado.httpserver.HTTPServer | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._clients: list[Client] = []

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, the same for as long as the server lives."""
        return f"http://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        await self._start()
        self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.close()
        self.cut()
        await self._stop()
        self._directory.cleanup()

    async def user(self, username: str, **arguments: Any) -> Client:
        """
        A client of *username*, live; the account is made if there is none.  It is
        closed with the server, at the latest.

        Args:
            arguments: Of ``Client``, as ``state``.
        """
        client = Client(self.url, token=await self.token(username), **arguments)
        self._clients.append(client)
        await client.start()
        async with asyncio.timeout(LIVE_SECONDS):
            await client.until_live()
        return client

    async def token(self, username: str, *, device: str = "test") -> str:
        """
        A token of *username*, whose password is ``PASSWORD``; the account is made if
        there is none.
        """
        accounts = self.chat.node.accounts
        with contextlib.suppress(Conflict):
            await accounts.create_for_server(username, PASSWORD)
        log_in = await accounts.log_in(username, PASSWORD, address=HOST, device=device)
        return log_in.token

    def cut(self) -> None:
        """Cut every wire, without a word, and let nobody connect, until ``mend``."""
        server, self._server = self._server, None
        if server is None:
            return
        server.stop()
        closing = asyncio.ensure_future(server.close_all_connections())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self.chat.node.hub.drop_all()

    def mend(self) -> None:
        """Let clients connect, after ``cut``."""
        if self._server is not None:
            return
        sockets = self._bind()
        application = tornado.web.Application(self.chat.routes())
        self._server = tornado.httpserver.HTTPServer(application, **HTTP_LIMITS)
        self._server.add_sockets(sockets)

    async def restart(self) -> None:
        """
        End the server, without a word to anybody, and start it again on the same data
        and the same port.  What was stored is still there.
        """
        self.cut()
        await self._stop()
        await self._start()
        self.mend()

    def _bind(self) -> list[socket.socket]:
        """
        The listening socket.  Its port is below those that systems give to clients:
        after a cut it must be free, and a client that is just connecting could have it.
        """
        while True:
            port = self._port or random.choice(PORTS)  # noqa: S311
            try:
                sockets = bind_sockets(port, HOST, family=socket.AF_INET)
            except OSError:
                if self._port:
                    raise
                continue
            self._port = port
            return sockets

    async def _start(self) -> None:
        # As strong as Argon2 is for nobody.
        hasher = Argon2Hasher(memory_kib=8, passes=1)
        self.chat = Chatmotor(self._options, hasher=hasher)
        await self.chat.start()

    async def _stop(self) -> None:
        if self._closing:
            await asyncio.wait(self._closing)
        await self.chat.stop(drain=False)
