# SPDX-License-Identifier: Apache-2.0
"""Events of a hook as HTTP requests: one POST for each, signed.

    Outgoing --> sign --> resolve, refuse addresses --> POST --> 2xx: delivered
                                                                 410: gone, else: failed

Signed as the Standard Webhooks specification says, version 1: the headers webhook-id,
webhook-timestamp and webhook-signature, which has two signatures while a secret is
replaced.  Redirects are not followed, proxies not used, and of the answer nothing but
its status and Retry-After is looked at.  Addresses that no hook may have
(``is_refused_address``) are refused when they are connected to, whatever a name server
said before.  Reference: docs/reference/webhooks.md.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.httputil import HTTPInputError, HTTPOutputError
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from chatmotor import __version__
from chatmotor.ports.hooks import (
    SECRET_PREFIX,
    Hook,
    Outgoing,
    TargetFailed,
    is_refused_address,
)

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 10.0
_RESOLVE_SHARE = 0.8
MAX_ANSWER_BYTES = 64 * 1024
# Hooks wait for their answers; none waits for another's.
_MAX_CLIENTS = 10_000

_log = logging.getLogger(__name__)


class _Refused(OSError):
    """The name leads to no address that a hook may have, or to none in time."""


class CheckedResolver(Resolver):
    """
    Leaves out the addresses that are refused, at the moment of connecting.

    Args:
        resolver: Knows the addresses; by default the system does.
        seconds: How long it may take.  Less than Tornado waits for a connection, since
            Tornado logs what comes later as a defect.
    """

    def initialize(
        self, resolver: Resolver | None = None, seconds: float = CONNECT_SECONDS
    ) -> None:
        """Called by Tornado with the arguments of the constructor."""
        self._resolver = resolver or Resolver()
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int, family: Any = 0
    ) -> list[tuple[int, Any]]:
        """See ``Resolver.resolve``; raises ``OSError`` where nothing is left."""
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._resolver.resolve(host, port, family)
        except TimeoutError:
            raise _Refused(None, "no answer of a name server in time") from None
        kept = [each for each in found if not is_refused_address(each[1][0])]
        if not kept:
            raise _Refused(None, "hooks may not go to its address")
        return kept

    def close(self) -> None:
        """See ``Resolver.close``."""
        self._resolver.close()


class WebhookSender:
    """
    Makes the targets of webhooks, which share a client.

    Args:
        now: Milliseconds since the Unix epoch.
        request_seconds: How long one request may take, with its answer.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        request_seconds: float = REQUEST_SECONDS,
        resolver: Resolver | None = None,
    ) -> None:
        self._now = now
        self._request_seconds = request_seconds
        self._connect_seconds = min(CONNECT_SECONDS, request_seconds)
        self._resolver = resolver
        self._client: SimpleAsyncHTTPClient | None = None

    def target(self, hook: Hook) -> "WebhookTarget":
        """Where the events of *hook* go."""
        return WebhookTarget(self, hook)

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """
        Make one request.

        Raises:
            TargetFailed: The answer was not 2xx, or there was none.
        """
        answer = _Answer()
        request = HTTPRequest(
            url,
            method="POST",
            body=body,
            headers=headers,
            user_agent=f"Chatmotor/{__version__}",
            connect_timeout=self._connect_seconds,
            request_timeout=self._request_seconds,
            follow_redirects=False,
            decompress_response=False,
            header_callback=answer.take_header,
            streaming_callback=answer.drop,
        )
        try:
            await self._open_client().fetch(request, raise_error=False)
        except (HTTPError, HTTPInputError, HTTPOutputError, OSError, ValueError) as no:
            if not answer.status:  # else it has answered, and then broken off
                raise TargetFailed(_in_words(no)) from None
        answer.judge(self._now())

    def _open_client(self) -> SimpleAsyncHTTPClient:
        if self._client is None:
            self._client = SimpleAsyncHTTPClient(
                force_instance=True,
                max_clients=_MAX_CLIENTS,
                resolver=CheckedResolver(
                    resolver=self._resolver,
                    seconds=_RESOLVE_SHARE * self._connect_seconds,
                ),
                max_body_size=MAX_ANSWER_BYTES,
            )
        return self._client

    def signed(self, hook: Hook, event: Outgoing) -> dict[str, str]:
        """The headers of the request that delivers *event* now."""
        now = self._now()
        seconds = now // 1000
        signatures = [sign(hook.secret, event.id, seconds, event.body)]
        if hook.old_secret and now < hook.old_until:
            signatures.append(sign(hook.old_secret, event.id, seconds, event.body))
        return {
            "Content-Type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(signatures),
        }


class WebhookTarget:
    """See ``Target``."""

    batch_max = 1

    def __init__(self, sender: WebhookSender, hook: Hook) -> None:
        self._sender = sender
        self._hook = hook

    async def deliver(self, batch: Sequence[Outgoing]) -> None:
        """See ``Target.deliver``."""
        for event in batch:
            headers = self._sender.signed(self._hook, event)
            await self._sender.post(self._hook.url, event.body, headers)

    async def close(self) -> None:
        """See ``Target.close``."""


def sign(secret: str, id_: str, seconds: int, body: bytes) -> str:
    """A signature, ``v1,<base64>``; *secret* is ``whsec_<base64>``."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b"%b.%d.%b" % (id_.encode(), seconds, body)
    code = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(code).decode()


class _Answer:
    """Of an answer, as far as it has come."""

    def __init__(self) -> None:
        self.status = 0
        self._retry_after = ""

    def take_header(self, line: str) -> None:
        """The first line, then the headers, then an empty line."""
        if line.startswith("HTTP/"):
            self.status = int(line.split()[1])
        name, _, value = line.partition(":")
        if name.lower() == "retry-after":
            self._retry_after = value.strip()

    def drop(self, chunk: bytes) -> None:
        """The body is nobody's business."""

    def judge(self, now: int) -> None:
        """Raises ``TargetFailed`` unless it is 2xx."""
        if not 200 <= self.status < 300:
            raise TargetFailed(
                f"the answer was {self.status}",
                retry_after=_seconds(self._retry_after, now),
                gone=self.status == 410,
            )


def _seconds(retry_after: str, now: int) -> float | None:
    """What Retry-After means (RFC 9110, 10.2.3): seconds, or a date."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    seconds = (at - datetime.fromtimestamp(now / 1000, UTC)).total_seconds()
    return max(seconds, 0.0)


def _in_words(error: Exception) -> str:
    """For the operator; nothing of the URL, which may have a secret."""
    match error:
        case HTTPTimeoutError():
            return "no answer in time"
        case HTTPError() | HTTPInputError() | HTTPOutputError():
            return "the connection broke, or what came was not HTTP"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason}"
        case OSError():
            return f"it cannot be reached: {error.strerror or 'the connection broke'}"
        case _:
            return "the URL cannot be used"
