# SPDX-License-Identifier: Apache-2.0
"""Accounts and tokens, over HTTP: sign up, log in, renew, log out.

Wire reference: docs/reference/http.md.
"""

import contextlib
import ssl
from typing import Any, TypeVar

import msgspec
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from chatmotor.client.errors import Disconnected, Refused
from chatmotor.client.transport import CONNECT_SECONDS, base_url
from chatmotor.protocol.account_bodies import TokenAnswer, User, UserAnswer

# Passwords are slow to check, on purpose.
ANSWER_SECONDS = 60.0

_Kind = TypeVar("_Kind")


async def sign_up(
    url: str,
    username: str,
    password: str,
    *,
    display_name: str | None = None,
    invite: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> User:
    """
    Make an account.

    Args:
        url: Of the server, ``http(s)://host:port[/prefix]``.
        invite: The code of an invitation, where one is needed.
        tls: Whom to trust; else the system's authorities.

    Raises:
        Refused: ``conflict``: the name is taken; ``forbidden``: not without an
            invitation; ``bad_request``: the name or the password cannot be.
        Disconnected: There was no answer.
    """
    body = {
        "username": username,
        "password": password,
        "display_name": display_name,
        "invite": invite,
    }
    answer = await _post(url, "/v1/accounts", body, tls=tls)
    return _read(answer, UserAnswer).user


async def log_in(
    url: str,
    username: str,
    password: str,
    *,
    device: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> TokenAnswer:
    """
    Log in: a ``token`` for *device*, which is known by this name from then on.

    Without a name it is a new device each time.  Keep the token where nobody else
    reads it, and use it until it ``expires``.

    Raises:
        Refused: ``unauthenticated``: a wrong name or password; ``suspended``;
            ``rate_limited``: too many attempts; ``too_many_devices``.
        Disconnected: There was no answer.
    """
    body = {"username": username, "password": password, "device": device}
    return _read(await _post(url, "/v1/tokens", body, tls=tls), TokenAnswer)


async def renew(
    url: str, token: str, *, tls: ssl.SSLContext | None = None
) -> TokenAnswer:
    """
    Another token for the same device; *token* is good for a few minutes more.

    Raises:
        Refused: ``unauthenticated`` or ``token_expired``: log in again; ``suspended``.
        Disconnected: There was no answer.
    """
    answer = await _post(url, "/v1/tokens/renew", None, token=token, tls=tls)
    return _read(answer, TokenAnswer)


async def log_out(url: str, token: str, *, tls: ssl.SSLContext | None = None) -> None:
    """
    End *token*, its device, and the device's connections.

    Raises:
        Refused: The token is unknown, or has ended.
        Disconnected: There was no answer.
    """
    await _post(url, "/v1/tokens/current", None, token=token, tls=tls, method="DELETE")


async def _post(
    url: str,
    path: str,
    body: dict[str, Any] | None,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    method: str = "POST",
) -> bytes:
    content = {key: value for key, value in (body or {}).items() if value is not None}
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = HTTPRequest(
        base_url(url) + path,
        method=method,
        headers=headers,
        body=msgspec.json.encode(content) if method == "POST" else None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=ANSWER_SECONDS,
        follow_redirects=False,
        ssl_options=tls,
    )
    client = SimpleAsyncHTTPClient(force_instance=True)
    try:
        answer = await client.fetch(request)
    except HTTPClientError as error:
        raise _refusal(error) from None
    except (OSError, StreamClosedError) as error:
        raise Disconnected(f"no answer: {error}") from None
    finally:
        client.close()
    return answer.body


def _refusal(error: HTTPClientError) -> Refused | Disconnected:
    if error.code == 599 or error.response is None:  # Tornado's, for a time-out
        return Disconnected("no answer in time")
    fields = None
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        fields = msgspec.json.decode(error.response.body)
    if not isinstance(fields, dict) or "code" not in fields:
        return Disconnected(f"HTTP {error.code} of something that is no Chatmotor")
    return Refused.from_wire(fields)


def _read(answer: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.MsgspecError:
        raise Disconnected("the answer is of something that is no Chatmotor") from None
