# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/rpc/<op>``: each v1 command that has an answer, over HTTP.

The content has the fields of the command, without ``op`` and ``id``; the answer has
those of ``ok``.
"""

from collections import Counter
from typing import Any

from chatmotor.controllers.requests import (
    MAX_CONTENT_BYTES,
    ApiController,
    Edge,
    authenticated,
)
from chatmotor.core.accounts import Accounts
from chatmotor.core.dispatcher import Dispatcher
from chatmotor.errors import RequestRefused, TooLarge, TooManyInFlight, Unavailable
from chatmotor.metrics import Metrics
from chatmotor.node.hub import Hub
from chatmotor.protocol.commands import decode_call
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


class RpcController(ApiController):
    """Runs one command."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge)
        self._accounts: Accounts = parts["accounts"]
        self._dispatcher: Dispatcher = parts["dispatcher"]
        self._in_flight: InFlight = parts["in_flight"]
        self._metrics: Metrics = parts["metrics"]
        self._hub: Hub = parts["hub"]

    async def post(self, op: str) -> None:
        """Do it for whoever's token it is."""
        try:
            fields = await self._run(op)
        except RequestRefused as refused:
            self._metrics.refused[refused.code] += 1
            raise
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(encode(fields))

    async def _run(self, op: str) -> dict[str, Any]:
        if not self._hub.accepting:
            raise Unavailable("this node is shutting down; ask again")
        caller = await authenticated(self, self._accounts)
        if self._is_too_large:
            raise TooLarge(f"the content is over {MAX_CONTENT_BYTES} bytes")
        command = decode_call(op, bytes(self.content))
        username = caller.account.username
        self._in_flight.begin(username)
        try:
            return await self._dispatcher.run(command, caller)
        finally:
            self._in_flight.end(username)
