# SPDX-License-Identifier: Apache-2.0
"""What every request has in common: answers in JSON, headers that keep browsers safe.

An answer never shows a traceback, a path or a version.
"""

import logging
import re
from typing import Any
from urllib.parse import quote

import tornado.web

from chatmotor.errors import MethodNotAllowed, NotFound, RequestRefused

logger = logging.getLogger(__name__)

# In whatever way somebody has misspelt it.
_SECRET_PATH = re.compile(r"(/in/).*", re.IGNORECASE | re.DOTALL)


class Controller(tornado.web.RequestHandler):
    """The base of all request handlers."""

    def set_default_headers(self) -> None:
        """No name of the server; nothing is framed, sniffed or told to others."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """Answer with *body* as JSON."""
        self.set_status(status)
        self.finish(body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Every refusal and failure: ``{code, msg, retry, field?}``."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, RequestRefused):
            for name, value in error.headers.items():
                self.set_header(name, value)
            self.answer(error.status, error.to_wire())
        elif status_code == 405:
            self.set_header("Allow", ", ".join(self._methods()))
            self.answer(405, MethodNotAllowed("this path has no such method").to_wire())
        elif status_code < 500:
            self.answer(
                status_code, RequestRefused("the request is not valid").to_wire()
            )
        else:
            body = {"code": "internal", "msg": "the server failed", "retry": True}
            self.answer(500, body)

    def _methods(self) -> list[str]:
        """The methods that this handler has, as RFC 9110 wants a 405 to say."""
        base = tornado.web.RequestHandler
        return [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower()) is not getattr(base, method.lower())
        ]

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """A refusal is no event; anything else is a defect of ours."""
        if isinstance(value, RequestRefused | tornado.web.HTTPError):
            logger.debug("refused: %s", value)
        else:
            logger.error("request failed", exc_info=(typ, value, tb))


class NotFoundController(Controller):
    """Every path that is not there."""

    def prepare(self) -> None:
        """Refuse, whatever the method."""
        raise NotFound("there is nothing at this path")


def log_request(handler: tornado.web.RequestHandler) -> None:
    """
    The access log: failures as warnings, the rest for debugging; no query, and not the
    secret code of an incoming hook.
    """
    level = logging.WARNING if handler.get_status() >= 500 else logging.DEBUG
    logger.log(
        level,
        "%s %s %d",
        handler.request.method,
        quote(_SECRET_PATH.sub(r"\1-", handler.request.path), safe="/%"),
        handler.get_status(),
    )
