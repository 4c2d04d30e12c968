# SPDX-License-Identifier: Apache-2.0
"""What requests to ``/v1/...`` have in common: who asks, from where, and with what.

    Authorization: Bearer <token>     an account's token, or the server API key with
    Chatmotor-User: <username>        the account that it acts for, percent-encoded

A token is read from this header only, never from the URL or a cookie.  A page of
another origin is refused unless ALLOWED_ORIGINS has it, and then answered with CORS
headers (Fetch standard, 3.2), without credentials and without a wildcard.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import tornado.httputil
import tornado.web

from chatmotor.controllers.base import Controller
from chatmotor.core.accounts import Accounts
from chatmotor.errors import (
    BadJson,
    Forbidden,
    NoSuchUser,
    OperatorError,
    OutcomeUnknown,
    RequestRefused,
    TooLarge,
    Unauthenticated,
)
from chatmotor.ports.accounts import Grant
from chatmotor.protocol.json_text import refuse_repeated_keys, whole_numbers

MAX_CONTENT_BYTES = 64 * 1024
# What is over the limit is read and dropped up to here, so that the answer arrives:
# closing a connection with unread content resets it.
_MAX_DROPPED_BYTES = 1024 * 1024
_PREFLIGHT_SECONDS = 600
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"required field `(?P<field>[^`]+)`")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Edge:
    """
    What is believed about requests.

    Args:
        proxies: Networks whose ``X-Forwarded-For`` is believed.
        allowed_origins: In lower case, beside the request's own.
    """

    proxies: Sequence[Network] = ()
    allowed_origins: frozenset[str] = frozenset()


def trusted_networks(rows: Iterable[str]) -> tuple[Network, ...]:
    """
    The networks of TRUSTED_PROXIES.

    Raises:
        OperatorError: A row is none.
    """
    try:
        return tuple(ipaddress.ip_network(row) for row in rows)
    except ValueError:
        raise OperatorError(
            "TRUSTED_PROXIES must have addresses or networks, as 127.0.0.1, 10.0.0.0/8"
        ) from None


def client_address(
    request: tornado.httputil.HTTPServerRequest, proxies: Sequence[Network]
) -> str:
    """
    Where the request came from.

    Each trusted proxy has added its own peer at the right end of ``X-Forwarded-For``:
    going left, the first address that is no trusted proxy's is the client's.  What
    stands further left the client may have made up.
    """
    address = request.remote_ip or ""
    hops = ",".join(request.headers.get_list("X-Forwarded-For")).split(",")
    while hops and _is_within(address, proxies):
        hop = _bare_address(hops.pop())
        if hop is None:
            break
        address = hop
    return address


def check_origin(
    request: tornado.httputil.HTTPServerRequest, allowed_origins: frozenset[str]
) -> None:
    """
    A page may speak to the host it came from, or where it is allowed by name.

    Programs send no Origin.  RFC 6454; a browser cannot forge the header.

    Raises:
        Forbidden: It is another page.
    """
    origins = request.headers.get_list("Origin")
    if not origins or (len(origins) == 1 and origins[0].lower() in allowed_origins):
        return
    try:
        parts = urlsplit(origins[0])
    except ValueError:
        parts = urlsplit("")
    is_own = (
        len(origins) == 1
        and parts.scheme in ("http", "https")
        and parts.netloc.lower() == request.host.lower()
        and f"{parts.scheme}://{parts.netloc}" == origins[0]
    )
    if not is_own:
        raise Forbidden(
            "pages of this origin may not connect; the operator can add it to "
            "ALLOWED_ORIGINS",
            field="Origin",
        )


def bearer(request: tornado.httputil.HTTPServerRequest) -> str:
    """
    The token of the request (RFC 6750, 2.1).

    Raises:
        Unauthenticated: It has none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("this needs the header Authorization: Bearer <token>")
    return token


async def authenticated(
    handler: tornado.web.RequestHandler, accounts: Accounts
) -> Grant:
    """
    Who asks: the account of the token; or, with the server API key, the account that
    ``Chatmotor-User`` names, as device "api" and never as an administrator.

    Raises:
        Unauthenticated, TokenExpired, Suspended: Nobody, or nobody any more.
        RequestRefused: The server API key without the name of an account.
        NoSuchUser: With the name of none.
        Unavailable, OutcomeUnknown: See ``Accounts.authenticate``.
    """
    token = bearer(handler.request)
    if not accounts.is_server_key(token):
        return await accounts.authenticate(token)
    username = handler.request.headers.get("Chatmotor-User", "")
    if not username:
        raise RequestRefused(
            "the server API key needs the header Chatmotor-User: <username>",
            field="Chatmotor-User",
        )
    # Headers are ASCII; some clients send UTF-8 all the same, others encode it.
    name = username.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return await accounts.act_for(unquote(name))
    except NoSuchUser as refused:
        refused.field = "Chatmotor-User"
        raise


def decode(content: bytes, kind: type[S]) -> S:
    """
    The JSON object in *content*, each field checked against its type.

    Raises:
        BadJson: It is not JSON, or no object.
        RequestRefused: A field is missing or of the wrong type; it is named.
    """
    try:
        content.decode()  # msgspec does not look into fields that are not ours
        found = _decoded(content, kind)
    except msgspec.ValidationError as wrong:
        raise _refusal(str(wrong)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadJson("the content of the request is not JSON") from None
    refuse_repeated_keys(content)
    return found


def _decoded(content: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:
        plain = whole_numbers(content)
        if plain is None:
            raise
        return msgspec.json.decode(plain, type=kind)


@tornado.web.stream_request_body
class ApiController(Controller):
    """
    The base of the controllers of ``/v1/...``.

    Its content is at most 64 KiB; ``content`` is all of it when the method begins.
    """

    content: bytearray
    _edge = Edge()
    _is_too_large = False

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        self._edge = edge

    def prepare(self) -> None:
        """Refuse pages of other sites, and content that is too long to be read."""
        self.content = bytearray()
        self._allow_origin()
        check_origin(self.request, self._edge.allowed_origins)
        declared = self.request.headers.get("Content-Length", "0")
        if declared.isdecimal() and int(declared[:20]) > _MAX_DROPPED_BYTES:
            raise _too_large()
        connection: Any = self.request.connection
        connection.set_max_body_size(_MAX_DROPPED_BYTES)

    def data_received(self, chunk: bytes) -> None:
        """Collect the content, or drop it."""
        if len(self.content) + len(chunk) > MAX_CONTENT_BYTES:
            self._is_too_large = True
            self.content.clear()
        if not self._is_too_large:
            self.content += chunk

    def body(self, kind: type[S]) -> S:
        """
        The content as *kind*.

        Raises:
            TooLarge: It is over 64 KiB.
            BadJson, RequestRefused: As ``decode`` says.
        """
        return decode(self.whole_content(), kind)

    def whole_content(self) -> bytes:
        """
        The content as it came.

        Raises:
            TooLarge: It is over 64 KiB.
        """
        if self._is_too_large:
            raise _too_large()
        return bytes(self.content)

    @property
    def client_address(self) -> str:
        """Where the request came from, see ``client_address``."""
        return client_address(self.request, self._edge.proxies)

    def options(self, *arguments: str) -> None:
        """The browser's question before a request of another origin."""
        if self.get_cors_origin() is not None:
            methods = [each for each in self._methods() if each != "OPTIONS"]
            self.set_header("Access-Control-Allow-Methods", ", ".join(methods))
            self.set_header(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Chatmotor-User",
            )
            self.set_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
        self.set_status(204)
        self.finish()

    def get_cors_origin(self) -> str | None:
        """The allowed origin that asks, if one does."""
        origin = self.request.headers.get("Origin", "")
        return origin if origin.lower() in self._edge.allowed_origins else None

    def done(self) -> None:
        """Answer that it is done, with nothing to say."""
        self.set_status(204)
        self.finish()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """As for every request; and what may have happened is said to be so."""
        self._allow_origin()  # the headers were cleared
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, OutcomeUnknown):
            msg = "the store failed while it wrote; see whether it did, and try again"
            self.answer(500, {"code": "internal", "msg": msg, "retry": True})
        else:
            super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What the store has logged itself is not logged twice."""
        if not isinstance(value, OutcomeUnknown):
            super().log_exception(typ, value, tb)

    def _allow_origin(self) -> None:
        self.set_header("Vary", "Origin")
        origin = self.get_cors_origin()
        if origin is not None:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "Retry-After")


def _too_large() -> TooLarge:
    return TooLarge(f"the content is over {MAX_CONTENT_BYTES} bytes")


def _refusal(said: str) -> RequestRefused:
    """The words of msgspec, with the field apart."""
    found = _PATH.search(said)
    missing = _MISSING.search(said)
    path = found["path"] if found else ""
    field = path or (missing["field"] if missing else "")
    if not field:
        return BadJson("the content of the request is not a JSON object")
    if missing and path:
        field = f"{path}.{missing['field']}"
    return RequestRefused(f"{field}: {_PATH.sub('', said)}", field=field)


def _is_within(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


def _bare_address(hop: str) -> str | None:
    """An address of ``X-Forwarded-For``, without brackets and port."""
    hop = hop.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return None
