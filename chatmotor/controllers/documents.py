# SPDX-License-Identifier: Apache-2.0
"""``/v1/openapi.json``, ``/v1/asyncapi.json``, ``/v1/schema.json``.

The documents are made from the code when they are first asked for; those of this
version are also files, in docs/reference/schema.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from tornado.escape import json_encode

from chatmotor.controllers import openapi
from chatmotor.controllers.requests import ApiController
from chatmotor.protocol import asyncapi, schema

DOCUMENTS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "openapi": openapi.document,
    "asyncapi": asyncapi.document,
    "schema": schema.document,
}


class DocumentController(ApiController):
    """Serves one of them."""

    def get(self, name: str) -> None:
        """The document."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "public, max-age=3600")
        self.finish(_text(name))


@cache
def _text(name: str) -> str:
    return json_encode(DOCUMENTS[name]())
