# SPDX-License-Identifier: Apache-2.0
"""One request to a server, and its answer.  The standard library is enough for it.

A token goes to the URL that was named and nowhere else: redirects are not followed.
"""

import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

ANSWER_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 1024 * 1024


class NotNow(Exception):
    """
    There is no answer, or one that says to come again.

    Attributes:
        retry_seconds: When.
        is_open: It may have been done all the same.
    """

    def __init__(
        self, said: str, *, retry_seconds: float = 1.0, is_open: bool = False
    ) -> None:
        super().__init__(said)
        self.retry_seconds = retry_seconds
        self.is_open = is_open


class Refusal(Exception):
    """An answer that is final; ``code`` is for programs."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """Nowhere."""


def call(
    url: str,
    path: str,
    fields: Mapping[str, Any] | None,
    *,
    token: str | None = None,
    method: str = "POST",
    seconds: float = ANSWER_SECONDS,
    expected: Sequence[str] = (),
) -> dict[str, Any]:
    """
    Ask once.

    Args:
        expected: What an answer of Chatmotor has.

    Raises:
        NotNow, Refusal: It was not done, or nobody knows.
    """
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = None if fields is None else json.dumps(fields).encode()
    request = urllib.request.Request(  # noqa: S310  # the scheme was checked
        url + path, content, headers, method=method
    )
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=seconds) as answer:
            content, is_empty = answer.read(MAX_ANSWER_BYTES), answer.status == 204
    except urllib.error.HTTPError as refused:
        with refused:
            raise _refusal(refused, url) from None
    except urllib.error.URLError as failed:
        raise _unreached(failed.reason, url) from None
    except (OSError, http.client.HTTPException) as failed:
        said = f"{url} did not answer: {str(failed) or type(failed).__name__}"
        raise NotNow(said, is_open=True) from None
    found: dict[str, Any] | None = {} if is_empty else _decoded(content)
    if found is None or not found.keys() >= set(expected):
        # Somebody else: a captive portal, a proxy's page.
        raise NotNow(f"{url} does not answer as Chatmotor does", is_open=True)
    return found


def call_until(deadline: float, *arguments: Any, **named: Any) -> dict[str, Any]:
    """
    Ask until there is an answer, or *deadline*, of ``time.monotonic``, has passed.
    For what can be repeated.

    Raises:
        NotNow, Refusal: As ``call`` says, of the last attempt.
    """
    is_open = False
    while True:
        left = deadline - time.monotonic()
        try:
            return call(*arguments, **named, seconds=max(0.1, left))
        except NotNow as not_now:
            is_open = not_now.is_open = is_open or not_now.is_open
            if time.monotonic() + not_now.retry_seconds >= deadline:
                raise
            time.sleep(not_now.retry_seconds)


def _unreached(reason: object, url: str) -> NotNow | Refusal:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refusal("forbidden", f"{url} has no certificate that is trusted here")
    said = getattr(reason, "strerror", None) or reason
    is_open = not isinstance(reason, ConnectionRefusedError | socket.gaierror)
    return NotNow(f"{url} cannot be reached: {said}", is_open=is_open)


def _decoded(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refusal(refused: urllib.error.HTTPError, url: str) -> NotNow | Refusal:
    answer = _decoded(refused.read(MAX_ANSWER_BYTES)) or {}
    code, said = str(answer.get("code", "")), str(answer.get("msg", ""))
    if not code:
        said = f"{url} answers {refused.code}, and not as Chatmotor does"
        if refused.code >= 500:  # of a proxy whose server is away
            return NotNow(said, is_open=True)
        return Refusal("not_found", said)
    if answer.get("retry") is True:
        retry_ms = answer.get("retry_ms")
        seconds = retry_ms / 1000 if isinstance(retry_ms, int) else 1.0
        return NotNow(said, retry_seconds=seconds, is_open=code == "internal")
    return Refusal(code, said)
