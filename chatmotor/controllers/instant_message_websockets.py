# SPDX-License-Identifier: Apache-2.0
"""``GET /im/<username>``: the upgrade of a classic WebSocket.

Everything that can be refused is refused here, as HTTP with words.  Then the name
gets its place at the broker, and only then does the client get its 101: whoever
sees the WebSocket open can be reached, also from other nodes.
"""

import base64
import binascii
from urllib.parse import urlsplit

from chatmotor.controllers.base import Controller
from chatmotor.controllers.handover import hand_over
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.errors import Forbidden, RequestRefused, Unavailable, UpgradeRequired
from chatmotor.node.connection import Connection
from chatmotor.node.hub import Hub


class InstantMessageWebSocketController(Controller):
    """Upgrades one request and forgets it."""

    def initialize(
        self, hub: Hub, messenger: InstantMessenger, allowed_origins: frozenset[str]
    ) -> None:
        """Called by Tornado with the arguments of the route."""
        self._hub = hub
        self._messenger = messenger
        self._allowed_origins = allowed_origins

    async def get(self, username: str) -> None:
        """Open the WebSocket, or say why not."""
        key = self._check_upgrade()
        self._check_origin()
        if not self._hub.accepting:
            raise Unavailable("this node is shutting down; connect again")
        connection = Connection(self._hub)
        session = await self._messenger.start_im_session(username, connection.deliver)
        connection.attach(session)
        handed_over = await hand_over(
            self.detach(),
            key,
            connection,
            frame_max_bytes=self._hub.limits.frame_max_bytes,
        )
        if not handed_over:
            connection.drop()

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
        if "Sec-WebSocket-Protocol" in headers:
            raise RequestRefused(
                "the classic mode has no subprotocol; leave Sec-WebSocket-Protocol out",
                field="Sec-WebSocket-Protocol",
            )
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

    def _check_origin(self) -> None:
        """
        A page may connect to the host it came from, or when it is allowed by name.

        Programs send no Origin.  RFC 6454; a browser cannot forge the header.
        """
        origins = self.request.headers.get_list("Origin")
        if not origins:
            return
        if len(origins) == 1 and origins[0].lower() in self._allowed_origins:
            return
        try:
            parts = urlsplit(origins[0])
        except ValueError:
            parts = urlsplit("")
        same_host = parts.netloc.lower() == self.request.host.lower()
        plain = f"{parts.scheme}://{parts.netloc}" == origins[0]
        if len(origins) > 1 or not (
            parts.scheme in ("http", "https") and same_host and plain
        ):
            raise Forbidden(
                "pages of this origin may not connect; the operator can add it to "
                "ALLOWED_ORIGINS",
                field="Origin",
            )
