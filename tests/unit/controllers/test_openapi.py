# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document is valid, and says what the server has."""

from pathlib import Path

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.controllers.accounts import account_routes
from chatmotor.controllers.openapi import document
from chatmotor.controllers.requests import Edge
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
    routes = account_routes(desk.accounts, desk.administration, Edge())
    served = set()
    for path, controller, *_ in routes:
        if not path.startswith("/v1/") or "openapi" in path:
            continue
        for action in ("activate", "deactivate"):
            shown = path.replace("(activate|deactivate)", action)
            shown = shown.replace("([^/]+)", "{username}")
            for method in ("get", "post", "delete"):
                if method in vars(controller):
                    served.add((method, shown))

    described = {
        (method, path)
        for path, item in document()["paths"].items()
        for method in item
        if path != "/v1/rpc/{op}"
    }
    assert served == described


def test_refusals_are_those_of_the_tree() -> None:
    """Every code has its status; a log-in names what it refuses."""
    log_in = document()["paths"]["/v1/tokens"]["post"]["responses"]

    assert {"201", "400", "401", "403", "409", "413", "429", "503"} == log_in.keys()
    assert "`rate_limited`" == log_in["429"]["description"]
    codes = document()["components"]["schemas"]["Refusal"]["properties"]["code"]["enum"]
    assert {"bad_json", "suspended", "internal"} <= set(codes)
