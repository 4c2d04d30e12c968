# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks, which keeps what it gets and answers as a test likes."""

import asyncio
import json
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import tornado.httpserver
import tornado.web
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

DEADLINE_SECONDS = 30.0


class _Handler(tornado.web.RequestHandler):
    def initialize(self, receiver: "Receiver") -> None:
        self._receiver = receiver

    def post(self) -> None:
        receiver = self._receiver
        receiver.take(self.request)
        self.set_status(receiver.status, "As The Test Likes")
        for name, value in receiver.headers.items():
            self.set_header(name, value)
        if receiver.status not in (204, 304):
            self.write(receiver.answer)


class Receiver:
    """
    One receiver; an async context manager.

    Attributes:
        status, headers, answer: What it answers.
        requests: All that have come, also those that it refused.
    """

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.answer = b""
        self.requests: list[HTTPServerRequest] = []
        self.port = port
        self._tls = tls
        self._came = asyncio.Condition()
        self._server: tornado.httpserver.HTTPServer | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[Any]:
        """The events that came, in their order, with repeats."""
        return [json.loads(request.body) for request in self.requests]

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [request.headers["webhook-id"] for request in self.requests]

    async def __aenter__(self) -> Self:
        routes = [(r".*", _Handler, {"receiver": self})]
        application = tornado.web.Application(routes, log_function=lambda _: None)
        self._server = tornado.httpserver.HTTPServer(application, ssl_options=self._tls)
        sockets = bind_sockets(self.port, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.stop()
        await self._server.close_all_connections()

    def take(self, request: HTTPServerRequest) -> None:
        """Keep a request."""
        self.requests.append(request)
        self._waking = asyncio.ensure_future(self._wake())

    async def _wake(self) -> None:
        async with self._came:
            self._came.notify_all()

    async def until(
        self, condition: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS
    ) -> None:
        """Return once *condition* holds, asked at each request that comes."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(condition)
