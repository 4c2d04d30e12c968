# SPDX-License-Identifier: Apache-2.0
"""The use cases of accounts on a real SQLite file, with a clock that a test sets."""

import asyncio
import http.client
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tornado.httpserver
import tornado.web
from tornado.netutil import bind_sockets

from chatmotor.adapters.common_passwords import common_passwords
from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.controllers.accounts import account_routes
from chatmotor.controllers.base import NotFoundController
from chatmotor.controllers.hooks import hook_routes
from chatmotor.controllers.requests import Edge
from chatmotor.core.account_parts import AccountParts
from chatmotor.core.accounts import Accounts, SignUp
from chatmotor.core.administration import Administration
from chatmotor.core.hooks import Hooks, HookTargets
from chatmotor.core.passwords import PasswordRules
from chatmotor.core.throttle import Throttle
from chatmotor.ports.credentials import HostTokens
from chatmotor.ports.messages import Logged
from tests.fakes.plain_hasher import PlainHasher

PASSWORD = "wobble-tin-42"
OTHER_PASSWORD = "gravel-oak-77"
SERVER_KEY = "k" * 40
HERE = "192.0.2.1"
DEADLINE_SECONDS = 20.0


@dataclass
class Desk:
    """
    Accounts and administration over one store.

    Attributes:
        now: Milliseconds; a test moves it.
        told, rechecked: What was told to readers, and whose sockets were to be checked.
        targets: Of hooks; a test adds what it needs.
        changes: How often the node was told that hooks are others.
    """

    store: SqliteStore
    sign_up: SignUp = SignUp.OPEN
    host_tokens: HostTokens | None = None
    account_attempts: int = 3
    address_attempts: int = 1000
    hasher: PlainHasher = field(default_factory=PlainHasher)
    now: int = 1_700_000_000_000
    told: list[Logged] = field(default_factory=list)
    rechecked: list[str] = field(default_factory=list)
    targets: HookTargets = field(default_factory=HookTargets)
    changes: int = 0

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        parts = AccountParts(
            store=self.store,
            hasher=self.hasher,
            passwords=PasswordRules(common_passwords()),
            throttle=Throttle(
                self.store,
                account_attempts=self.account_attempts,
                address_attempts=self.address_attempts,
            ),
            now=lambda: self.now,
            new_secret=lambda: f"{next(numbers):08}-secret",
            tell=self._tell,
            recheck=self.rechecked.append,
        )
        self.accounts = Accounts(
            parts,
            sign_up=self.sign_up,
            token_ms=1000_000,
            devices_max=3,
            server_key=SERVER_KEY,
            host_tokens=self.host_tokens,
        )
        self.administration = Administration(
            parts,
            url="https://chat.example.org/",
            has_host=self.host_tokens is not None,
        )
        self.hooks = Hooks(
            self.store, self.targets, now=lambda: self.now, changed=self._change
        )

    def _change(self) -> None:
        self.changes += 1

    def _tell(self, logged: Iterable[Logged]) -> None:
        self.told += logged

    async def token(self, username: str = "ann", *, device: str = "phone") -> str:
        """Log in, signing up first where need be; the token."""
        if username not in {each.username for each in await self._accounts()}:
            await self.administration.create(username, PASSWORD)
        log_in = await self.accounts.log_in(
            username, PASSWORD, address=HERE, device=device
        )
        return log_in.token

    async def admin_token(self) -> str:
        """The token of an administrator, boss."""
        await self.administration.create("boss", PASSWORD, admin=True)
        return await self.token("boss")

    async def _accounts(self) -> Any:
        return await self.administration.accounts()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The content, which must be JSON."""
        assert self.headers["content-type"].startswith("application/json")
        return json.loads(self.content)


class Served:
    """A Tornado server with routes on a free port of this machine."""

    def __init__(self, routes: list[Any]) -> None:
        application = tornado.web.Application(
            routes,
            default_handler_class=NotFoundController,
            log_function=lambda handler: None,
        )
        self._server = tornado.httpserver.HTTPServer(
            application, max_body_size=64 * 1024
        )
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.port: int = sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close."""
        self._server.stop()
        await self._server.close_all_connections()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        **headers: str,
    ) -> Answer:
        """Ask; *body* is sent as JSON, or as it is when it is bytes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await asyncio.to_thread(self._ask, method, path, content, sent)

    def _ask(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


def serve_desk(desk: Desk, edge: Edge | None = None) -> Served:
    """The HTTP API of *desk*."""
    edge = edge or Edge()
    routes = [
        *account_routes(desk.accounts, desk.administration, edge),
        *hook_routes(desk.hooks, desk.accounts, desk.administration, edge),
    ]
    return Served(routes)
