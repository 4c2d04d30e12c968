# SPDX-License-Identifier: Apache-2.0
"""The upgrades to a WebSocket: ``/im/<username>`` and ``/v1/ws``.

    subprotocol chatmotor.v1    the v1 protocol; a token may come with the request
    none, on /im/<username>     the classic mode: a guest, or, with a token, an account

Everything that can be refused is refused here, as HTTP with words.  A guest gets its
place at the broker before its 101: whoever sees the WebSocket open can be reached,
also from other nodes.  What an account misses until then is in its mailbox.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

from tornado.iostream import SSLIOStream

from chatmotor.controllers.base import Controller
from chatmotor.controllers.handover import hand_over
from chatmotor.controllers.requests import bearer, check_origin
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.core.names import account_form
from chatmotor.errors import (
    Forbidden,
    RequestRefused,
    TlsInProcess,
    Unavailable,
    UpgradeRequired,
)
from chatmotor.node.classic_connection import AccountConnection, GuestConnection
from chatmotor.node.connection import Connection
from chatmotor.node.greeting import Authenticate
from chatmotor.node.hub import Hub
from chatmotor.node.roster import Roster
from chatmotor.node.v1_connection import V1Connection
from chatmotor.ports.accounts import Grant

SUBPROTOCOL = "chatmotor.v1"


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What the upgrades need."""

    hub: Hub
    messenger: InstantMessenger
    roster: Roster
    authenticate: Authenticate
    v1: Callable[[str | None], V1Connection]
    allowed_origins: frozenset[str]
    sockets_max: int


class InstantMessageWebSocketController(Controller):
    """Upgrades one request and forgets it."""

    def initialize(self, door: FrontDoor) -> None:
        """Called by Tornado with the arguments of the route."""
        self._door = door

    async def get(self, username: str | None = None) -> None:
        """Open the WebSocket, or say why not."""
        v1 = SUBPROTOCOL in self._subprotocols()
        if username is None and not v1:
            raise RequestRefused(
                f"open /v1/ws as a WebSocket with the subprotocol {SUBPROTOCOL}",
                field="Sec-WebSocket-Protocol",
            )
        key = self._check_upgrade()
        if self._subprotocols() and not v1:
            raise RequestRefused(
                f"the subprotocols here are {SUBPROTOCOL} and, for the classic mode, "
                "none",
                field="Sec-WebSocket-Protocol",
            )
        check_origin(self.request, self._door.allowed_origins)
        stream = getattr(self.request.connection, "stream", None)
        if isinstance(stream, SSLIOStream):
            raise TlsInProcess(
                "WebSockets are not served where the application itself has TLS; let "
                "a reverse proxy have it, before the application"
            )
        if not self._door.hub.accepting:
            raise Unavailable("this node is shutting down; connect again")
        token = grant = None
        if "Authorization" in self.request.headers:
            token = bearer(self.request)
            grant = await self._door.authenticate(token)
        if v1:
            await self._hand_over(key, self._door.v1(token), SUBPROTOCOL)
        elif grant is not None:
            await self._open_for_account(key, username or "", grant)
        else:
            await self._open_for_guest(key, username or "")

    async def _open_for_guest(self, key: str, username: str) -> None:
        door = self._door
        connection = GuestConnection(door.hub, door.messenger, username)
        session = await door.messenger.start_im_session(username, connection.deliver)
        connection.attach(session)
        await self._hand_over(key, connection)

    async def _open_for_account(self, key: str, username: str, grant: Grant) -> None:
        door = self._door
        if account_form(username) != grant.account.username:
            raise Forbidden("this token is of another account", field="username")
        if door.roster.count(grant.account.username) >= door.sockets_max:
            raise Unavailable(
                f"the account has {door.sockets_max} connections here; close one"
            )
        connection = AccountConnection(door.hub, door.messenger, door.roster, grant)
        await connection.join()
        await self._hand_over(key, connection)

    async def _hand_over(
        self, key: str, connection: Connection, subprotocol: str | None = None
    ) -> None:
        handed_over = await hand_over(
            self.detach(),
            key,
            connection,
            frame_max_bytes=self._door.hub.limits.frame_max_bytes,
            subprotocol=subprotocol,
        )
        if not handed_over:
            connection.drop()

    def _subprotocols(self) -> list[str]:
        """What the client offers (RFC 6455, 4.2.1)."""
        offered = self.request.headers.get_list("Sec-WebSocket-Protocol")
        return [each.strip() for line in offered for each in line.split(",")]

    def _check_upgrade(self) -> str:
        """
        RFC 6455, 4.2.1: the key, once the request is a proper upgrade.
        """
        headers = self.request.headers
        if self.request.version == "HTTP/1.0":
            raise UpgradeRequired("a WebSocket begins with HTTP/1.1")
        upgrade = headers.get("Upgrade", "").strip().lower()
        connection = headers.get("Connection", "").lower().split(",")
        if upgrade != "websocket" or "upgrade" not in map(str.strip, connection):
            raise UpgradeRequired("open this path as a WebSocket")
        if headers.get("Sec-WebSocket-Version", "").strip() != "13":
            raise UpgradeRequired("WebSocket version 13 is spoken here")
        key = headers.get("Sec-WebSocket-Key", "").strip()
        try:
            size = len(base64.b64decode(key, validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if size != 16:
            raise RequestRefused(
                "Sec-WebSocket-Key must be 16 bytes in base64",
                field="Sec-WebSocket-Key",
            )
        return key
