# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document is valid, and says what the server has."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tornado.web import RequestHandler

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.controllers.accounts import account_routes
from chatmotor.controllers.documents import DocumentController
from chatmotor.controllers.hooks import hook_routes
from chatmotor.controllers.incoming import incoming_routes
from chatmotor.controllers.openapi import document
from chatmotor.controllers.requests import Edge
from chatmotor.protocol.commands import CALLED
from tests.harness.accounts import Desk


def test_the_document_is_valid() -> None:
    """By the OpenAPI 3.1 schema; and it can be written as JSON."""
    made = msgspec.json.decode(msgspec.json.encode(document()))

    assert [] == [
        error.message for error in OpenAPIV31SpecValidator(made).iter_errors()
    ]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_route_is_in_the_document(tmp_path: Path) -> None:
    """With each method that its controller has."""
    desk = Desk(SqliteStore(tmp_path / "chat.db"))
    edge = Edge()
    routes = [
        *account_routes(desk.accounts, desk.administration, edge),
        *hook_routes(desk.hooks, desk.accounts, desk.administration, edge),
        *incoming_routes(edge=edge),
    ]
    served = set()
    for path, controller, *_ in routes:
        if not path.startswith("/v1/") or controller is DocumentController:
            continue
        choices = re.search(r"\((\w+(?:\|\w+)+)\)", path)
        for action in choices[1].split("|") if choices else [""]:
            shown = path.replace(choices[0], action) if choices else path
            name = "{hook}" if "hooks" in path else "{username}"
            shown = shown.replace("([^/]+)", name).replace("(.*)", "{code}")
            for method in ("get", "post", "delete"):
                missing = getattr(RequestHandler, method)  # what 405 answers
                if getattr(controller, method) is not missing:
                    served.add((method, shown))

    described = {
        (method, path)
        for path, item in document()["paths"].items()
        for method in item
        if not path.startswith("/v1/rpc/")
    }
    assert served == described


def test_every_command_over_http_has_a_path_of_its_own() -> None:
    """With its own fields and answer; no content will do where nothing is needed."""
    paths = document()["paths"]
    shown = {path.removeprefix("/v1/rpc/") for path in paths if "/rpc/" in path}
    sync = paths["/v1/rpc/sync"]["post"]

    assert set(CALLED) == shown
    assert not sync["requestBody"]["required"]
    assert paths["/v1/rpc/send"]["post"]["requestBody"]["required"]
    assert "Synced" == _name_of(sync["responses"]["200"])
    assert "SyncFields" == _name_of(sync["requestBody"])


def _name_of(part: dict[str, Any]) -> str:
    reference: str = part["content"]["application/json"]["schema"]["$ref"]
    return reference.rpartition("/")[2]


def test_refusals_are_those_of_the_tree() -> None:
    """Every code has its status; a log-in names what it refuses."""
    log_in = document()["paths"]["/v1/tokens"]["post"]["responses"]

    assert {201, 400, 401, 403, 409, 413, 429, 500, 503} == set(map(int, log_in))
    assert "`rate_limited`" == log_in["429"]["description"]
    codes = document()["components"]["schemas"]["ErrorCode"]["enum"]
    assert {"bad_json", "suspended", "internal"} <= set(codes)
