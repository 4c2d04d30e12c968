# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/rpc/<op>``: each v1 command that has an answer, over HTTP.

The content has the fields of the command, without ``op`` and ``id``; the answer has
those of ``ok``.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chatmotor.controllers.requests import ApiController, Edge, authenticated
from chatmotor.core.accounts import Accounts
from chatmotor.core.dispatcher import Dispatcher
from chatmotor.errors import RequestRefused, TooManyInFlight, Unavailable
from chatmotor.metrics import Metrics
from chatmotor.node.hub import Hub
from chatmotor.ports.accounts import Grant
from chatmotor.protocol.commands import Called, decode_call
from chatmotor.protocol.replies import encode


class InFlight:
    """Requests under way, by account; over HTTP nobody can be read more slowly."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Those of all accounts together."""
        return self._counts.total()

    def begin(self, username: str) -> None:
        """
        One more.

        Raises:
            TooManyInFlight: The account has as many as are allowed.
        """
        if self._counts[username] >= self._limit:
            raise TooManyInFlight("too many requests at once; wait for their answers")
        self._counts[username] += 1

    def end(self, username: str) -> None:
        """One less."""
        self._counts[username] -= 1
        if not self._counts[username]:
            del self._counts[username]

    @contextmanager
    def one(self, username: str) -> Iterator[None]:
        """One more, for as long as it takes; raises what ``begin`` does."""
        self.begin(username)
        try:
            yield
        finally:
            self.end(username)


class CommandController(ApiController):
    """The base of what runs a command for whoever asks, and answers with its fields."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge)
        self._dispatcher: Dispatcher = parts["dispatcher"]
        self._in_flight: InFlight = parts["in_flight"]
        self._metrics: Metrics = parts["metrics"]
        self._hub: Hub = parts["hub"]

    async def post(self, name: str) -> None:
        """Do what *name*, the last part of the path, stands for."""
        try:
            if not self._hub.accepting:
                raise Unavailable("this node is shutting down; ask again")
            fields = await self.run(name)
        except RequestRefused as refused:
            self._metrics.refused[refused.code] += 1
            raise
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(encode(fields))

    @abstractmethod
    async def run(self, name: str) -> dict[str, Any]:
        """The fields of the answer."""

    async def run_for(self, caller: Grant, command: Called) -> dict[str, Any]:
        """Run *command*, if the account has not too many under way."""
        with self._in_flight.one(caller.account.username):
            return await self._dispatcher.run(command, caller)


class RpcController(CommandController):
    """Runs one command, for whoever's token it is."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge, **parts)
        self._accounts: Accounts = parts["accounts"]

    async def run(self, name: str) -> dict[str, Any]:
        """See ``CommandController``; *name* is the ``op``."""
        caller = await authenticated(self, self._accounts)
        return await self.run_for(caller, decode_call(name, self.whole_content()))
