# SPDX-License-Identifier: Apache-2.0
"""The socket of a client: Tornado's WebSocket client, and how a server is reached.

Redirects and proxies are not followed, certificates are verified, and the token is in a
header: a URL is written into logs.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from chatmotor.client.errors import Misused
from chatmotor.protocol.session import BAD_TOKEN, SUSPENDED, TOKEN_EXPIRED

SUBPROTOCOL = "chatmotor.v1"
CONNECT_SECONDS = 10.0
# A page of sync or events; larger than any that a server makes.
FRAME_MAX_BYTES = 64 * 1024 * 1024

_VERDICTS = {
    "token_expired": TOKEN_EXPIRED,
    "unauthenticated": BAD_TOKEN,
    "suspended": SUSPENDED,
}
# Refusals that another try can change.
_PASSING = frozenset({408, 421, 425, 429})


class Unreachable(Exception):
    """
    No connection was made.

    Args:
        code: As of a close, or an HTTP status.
        final: Whether another try would be in vain.
        after: How many seconds the server wants one to wait.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: int = 1006,
        final: bool = False,
        after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.final = final
        self.after = after


class Socket(Protocol):
    """A WebSocket that is open, or was."""

    @property
    def close_code(self) -> int | None:
        """The code of the peer's close frame; none while open, and where none came."""

    @property
    def close_reason(self) -> str | None:
        """What the close frame says."""

    def send(self, text: bytes) -> None:
        """Send a text frame; after the end it is lost, and nothing is raised."""

    def close(self) -> None:
        """Begin to close, with 1000."""

    def abort(self) -> None:
        """End it at once.  Safe to repeat."""


# Called with each text, and with none once the socket has ended.
Receive = Callable[[str | bytes | None], None]


class Connect(Protocol):
    """How a socket is opened; ``Connector`` is the real one."""

    def __call__(
        self, url: str, headers: Mapping[str, str], receive: Receive
    ) -> Awaitable[Socket]:
        """
        Open the WebSocket *url*, ws or wss, with the subprotocol.

        Raises:
            Unreachable: It was refused, or there is nobody.
        """


def base_url(url: str) -> str:
    """
    *url* without a slash at its end.

    Raises:
        Misused: It is no http(s) URL of a server, or has a password or a query.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not parts.hostname:
        raise Misused("the URL of a server is http(s)://host:port[/prefix]")
    if parts.username is not None or parts.query or parts.fragment:
        raise Misused("the URL of a server has no user, no query and no fragment")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def websocket_url(base: str) -> str:
    """Where v1 is spoken."""
    return base.replace("http", "ws", 1) + "/v1/ws"


class Connector:
    """
    Opens sockets with Tornado.

    Args:
        tls: Whom to trust, and with which certificate; else the system's authorities.
        seconds: How long a server may take to answer.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, seconds: float = CONNECT_SECONDS
    ) -> None:
        self._tls = tls
        self._seconds = seconds

    async def __call__(
        self, url: str, headers: Mapping[str, str], receive: Receive
    ) -> Socket:
        """See ``Connect``."""
        request = HTTPRequest(
            url,
            headers=dict(headers),
            connect_timeout=self._seconds,
            request_timeout=self._seconds,
            follow_redirects=False,
            ssl_options=self._tls,
        )
        opening = asyncio.ensure_future(
            websocket_connect(
                request,
                on_message_callback=receive,
                max_message_size=FRAME_MAX_BYTES,
                subprotocols=[SUBPROTOCOL],
            )
        )
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise
        except HTTPClientError as error:
            raise _refusal(error) from None
        except (OSError, StreamClosedError, WebSocketError, ValueError) as error:
            raise Unreachable(_words(error)) from None
        if connection.selected_subprotocol != SUBPROTOCOL:
            TornadoSocket(connection).abort()
            raise Unreachable(
                "what answers there is no Chatmotor", code=400, final=True
            )
        return TornadoSocket(connection)


def _close_late(opening: "asyncio.Future[WebSocketClientConnection]") -> None:
    """Nobody waits for this connection any more."""
    if not opening.cancelled() and opening.exception() is None:
        TornadoSocket(opening.result()).abort()


def _words(error: BaseException) -> str:
    if isinstance(error, StreamClosedError):
        return _words(error.real_error) if error.real_error else "it was closed"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _refusal(error: HTTPClientError) -> Unreachable:
    response = error.response
    if response is None or error.code == 599:  # Tornado's, for a time-out
        return Unreachable(str(error.message or "no answer"))
    fields = None
    with contextlib.suppress(ValueError, RecursionError):
        fields = json.loads(response.body)
    after = response.headers.get("Retry-After", "")
    return refusal(
        error.code,
        fields if isinstance(fields, dict) else {},
        float(after) if after.isascii() and after.isdigit() else None,
    )


def refusal(
    status: int, fields: Mapping[str, Any], retry_after: float | None
) -> Unreachable:
    """What a refused upgrade means; *fields* are those of the answer, if it has any."""
    code = fields.get("code")
    reason = f"HTTP {status}" + (f" {code}" if isinstance(code, str) else "")
    if isinstance(code, str) and code in _VERDICTS:
        return Unreachable(reason, code=_VERDICTS[code])
    if status >= 500 or status in _PASSING:
        return Unreachable(reason, after=retry_after)
    return Unreachable(reason, code=status, final=True)


class TornadoSocket:
    """A ``Socket`` on Tornado's client connection."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        assert connection.protocol is not None
        self._protocol = connection.protocol

    @property
    def close_code(self) -> int | None:
        """See ``Socket``."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str | None:
        """See ``Socket``."""
        return self._connection.close_reason

    def send(self, text: bytes) -> None:
        """See ``Socket``."""
        with contextlib.suppress(WebSocketClosedError):
            written = self._connection.write_message(text)
            # When it fails the socket has ended, and says so.
            written.add_done_callback(asyncio.Future.exception)

    def close(self) -> None:
        """See ``Socket``."""
        self._connection.close(1000)

    def abort(self) -> None:
        """See ``Socket``."""
        self._connection.close()
        if self._protocol.stream is not None:
            self._protocol.stream.close()
