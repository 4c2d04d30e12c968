# SPDX-License-Identifier: Apache-2.0
"""``/v1/openapi.json``: the HTTP API as an OpenAPI 3.1 document.

It is made from the structs that requests are read with and from the tree of errors, so
it says what the server does.  ``operations`` is the table of paths.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from chatmotor import __version__, errors
from chatmotor.controllers.requests import ApiController
from chatmotor.protocol import account_bodies as bodies

REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One method of one path.

    Args:
        says: What it does, one line.
        token: Who may: "account", "admin", "server" (the key, which is not needed),
            or nobody in particular.
        body, answer: Structs, or none.
        refused: Codes that are particular to it.
        query: Names of parameters in the URL.
    """

    method: str
    path: str
    says: str
    status: int = 200
    token: str | None = None
    body: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    refused: tuple[str, ...] = ()
    query: tuple[str, ...] = field(default=())


OPERATIONS = (
    Operation(
        *("post", "/v1/accounts", "Sign up."),
        status=201,
        token="server",  # noqa: S106  # a kind of token
        body=bodies.SignUp,
        answer=bodies.UserAnswer,
        refused=("forbidden", "conflict", "rate_limited"),
    ),
    Operation(
        *("post", "/v1/tokens", "Log in."),
        status=201,
        body=bodies.TokenRequest,
        answer=bodies.TokenAnswer,
        refused=(
            *("unauthenticated", "forbidden", "suspended"),
            *("too_many_devices", "rate_limited"),
        ),
    ),
    Operation(
        *("post", "/v1/tokens/renew", "Another token for the same device."),
        status=201,
        token="account",  # noqa: S106
        answer=bodies.TokenAnswer,
    ),
    Operation(
        *("delete", "/v1/tokens/current", "Log out."),
        status=204,
        token="account",  # noqa: S106
    ),
    Operation(
        *("post", "/v1/password", "Change the password."),
        status=204,
        token="account",  # noqa: S106
        body=bodies.PasswordChange,
        refused=("forbidden", "rate_limited"),
    ),
    Operation(
        *("post", "/v1/password/reset", "Set another password, with a reset link."),
        status=204,
        body=bodies.PasswordReset,
        refused=("forbidden", "rate_limited"),
    ),
    Operation(
        *("post", "/v1/setup", "Make the first administrator, with the set-up link."),
        status=201,
        body=bodies.SetUp,
        answer=bodies.UserAnswer,
        refused=("forbidden", "conflict", "rate_limited"),
    ),
    Operation(
        *("get", "/v1/admin/accounts", "List accounts by username."),
        token="admin",  # noqa: S106
        answer=bodies.AccountList,
        query=("after", "limit"),
    ),
    Operation(
        *("post", "/v1/admin/accounts/{username}/deactivate", "Close an account."),
        status=204,
        token="admin",  # noqa: S106
        refused=("no_such_user",),
    ),
    Operation(
        *("post", "/v1/admin/accounts/{username}/activate", "Open it again."),
        status=204,
        token="admin",  # noqa: S106
        refused=("no_such_user",),
    ),
    Operation(
        *("post", "/v1/admin/invites", "Make an invitation link."),
        status=201,
        token="admin",  # noqa: S106
        body=bodies.NewInvite,
        answer=bodies.LinkAnswer,
    ),
    Operation(
        *("post", "/v1/admin/reset-links", "Make a link for another password."),
        status=201,
        token="admin",  # noqa: S106
        body=bodies.NewResetLink,
        answer=bodies.LinkAnswer,
        refused=("no_such_user",),
    ),
)


class OpenApiController(ApiController):
    """Serves the document."""

    def get(self) -> None:
        """The document."""
        self.answer(200, document())


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    structs = [
        struct
        for operation in OPERATIONS
        for struct in (operation.body, operation.answer)
        if struct is not None
    ]
    _, schemas = msgspec.json.schema_components(
        [*dict.fromkeys(structs), bodies.Refusal], ref_template=REFERENCE
    )
    schemas["Refusal"]["properties"]["code"]["enum"] = sorted(_statuses())
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    paths["/v1/rpc/{op}"] = {"post": _rpc()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Chatmotor",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "serverKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    content = {} if operation.answer is None else {"content": _json(operation.answer)}
    needs_token = operation.token in {"account", "admin"}
    codes = {"bad_request", *operation.refused, "unavailable"}
    if operation.body is not None:
        codes |= {"bad_json", "too_large"}
    if needs_token:
        codes |= {"unauthenticated", "token_expired", "suspended"}
    if operation.token == "admin":  # noqa: S105
        codes.add("forbidden")
    described: dict[str, Any] = {
        "operationId": _identifier(operation),
        "summary": operation.says,
        "responses": {
            str(operation.status): {"description": "Done.", **content},
            **_refusals(codes),
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    if needs_token:
        described["security"] = [{"token": []}]
    elif operation.token is not None:
        described["security"] = [{}, {"serverKey": []}]
    parameters = [_parameter(name, "query") for name in operation.query]
    if "{username}" in operation.path:
        parameters.append(_parameter("username", "path"))
    if parameters:
        described["parameters"] = parameters
    return described


def _rpc() -> dict[str, Any]:
    anything = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "rpc",
        "summary": "A command of the v1 protocol: its fields, without op and id.",
        "security": [{"token": []}, {"serverKey": []}],
        "parameters": [
            _parameter("op", "path"),
            _parameter("Chatmotor-User", "header"),
        ],
        "requestBody": {"required": True, "content": anything},
        "responses": {
            "200": {"description": "The fields of ok.", "content": anything},
            **_refusals(_statuses()),
        },
    }


def _refusals(codes: Iterable[str]) -> dict[str, Any]:
    """By HTTP status; those with one status are told apart by their code."""
    statuses = _statuses()
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(statuses[code], []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in by_status[status]),
            "content": _json(bodies.Refusal),
        }
        for status in sorted(by_status)
    }


@cache
def _statuses() -> dict[str, int]:
    """The HTTP status of each code."""
    found = {each.code: each.status for each in _tree(errors.RequestRefused)}
    return found | {"internal": 500}


def _tree(
    root: type[errors.RequestRefused],
) -> Iterator[type[errors.RequestRefused]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from _tree(each)


def _json(struct: type[msgspec.Struct]) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(name=struct.__name__)}
    return {"application/json": {"schema": schema}}


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": "integer" if name == "limit" else "string"},
    }


def _identifier(operation: Operation) -> str:
    words = operation.path.removeprefix("/v1/").replace("{username}", "")
    parts = words.replace("/", " ").replace("-", " ").split()
    return operation.method + "".join(part.capitalize() for part in parts)
