# SPDX-License-Identifier: Apache-2.0
"""The HTTP API as an OpenAPI 3.1 document.

It is made from the structs that requests are read with and from the tree of errors, so
it says what the server does.  ``OPERATIONS`` is the table of paths; each command that
is answered has one more, ``/v1/rpc/<op>``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chatmotor import __version__
from chatmotor.protocol import account_bodies as bodies
from chatmotor.protocol import schema
from chatmotor.protocol.answers import ANSWERS, REFUSALS, Sent
from chatmotor.protocol.commands import CALLED, Command

REFERENCE = "#/components/schemas/"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


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
        query: Of ``PARAMETERS``, those in the URL.
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
    Operation(
        *("get", "/v1/admin/hooks", "List outgoing hooks by id."),
        token="admin",  # noqa: S106
        answer=bodies.OutgoingHookList,
        query=("after-hook", "limit"),
    ),
    Operation(
        *("post", "/v1/admin/hooks", "Have an account's events go to a target."),
        status=201,
        token="admin",  # noqa: S106
        body=bodies.NewOutgoingHook,
        answer=bodies.OutgoingHookMade,
        refused=("no_such_user", "no_such_conv", "not_member", "conflict"),
    ),
    Operation(
        *("delete", "/v1/admin/hooks/{hook}", "Remove an outgoing hook."),
        status=204,
        token="admin",  # noqa: S106
        refused=("no_such_hook",),
    ),
    Operation(
        *("post", "/v1/admin/hooks/{hook}/resume", "Switch it on, and try now."),
        status=204,
        token="admin",  # noqa: S106
        refused=("no_such_hook",),
    ),
    Operation(
        *("post", "/v1/admin/hooks/{hook}/rotate", "Give it another secret."),
        token="admin",  # noqa: S106
        answer=bodies.HookSecret,
        refused=("no_such_hook",),
    ),
    Operation(
        *("post", "/v1/admin/hooks/{hook}/test", "Have its target take a test event."),
        token="admin",  # noqa: S106
        answer=bodies.HookTried,
        refused=("no_such_hook",),
    ),
    Operation(
        *("post", "/v1/in/{code}", "Write into the conversation of an incoming hook."),
        body=bodies.IncomingMessage,
        answer=Sent,
        refused=(
            *("not_found", "forbidden", "rate_limited", "cid_conflict"),
            "too_many_in_flight",
        ),
    ),
)


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    paths |= {f"/v1/rpc/{op}": {"post": _call(op)} for op in CALLED}
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
            "schemas": _schemas(paths),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of an account's device.",
                },
                "serverKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The server API key; for commands with the header "
                    "Chatmotor-User.",
                },
            },
        },
    }


def _schemas(paths: dict[str, Any]) -> dict[str, Any]:
    """Those that *paths* need, and those that these need."""
    all_of_them = schema.definitions(REFERENCE)
    of_bodies = schema.components(
        {kind: kind.__name__ for kind in schema.structs_of(bodies)}
    )
    of_bodies["Refusal"]["properties"]["code"] = {"$ref": "ErrorCode"}
    all_of_them |= {
        name: schema.pointing(each, REFERENCE) for name, each in of_bodies.items()
    }
    for op, kind in CALLED.items():
        all_of_them[_fields_name(op)] = _fields(all_of_them[schema.name_of(kind)])
    needed: dict[str, Any] = {}
    asked = _references(paths)
    while asked:
        name = asked.pop()
        if name not in needed:
            needed[name] = all_of_them[name]
            asked |= _references(needed[name])
    return dict(sorted(needed.items()))


def _references(part: Any) -> set[str]:
    if isinstance(part, list):
        return set().union(*map(_references, part))
    if not isinstance(part, dict):
        return set()
    found = set().union(*map(_references, part.values()))
    reference = part.get("$ref")
    return found | {reference.removeprefix(REFERENCE)} if reference else found


def _fields(command: dict[str, Any]) -> dict[str, Any]:
    """A command without ``op`` and ``id``, as it is sent over HTTP."""
    properties = {
        name: each
        for name, each in command["properties"].items()
        if name not in ("op", "id")
    }
    required = [name for name in command["required"] if name in properties]
    fields = command | {"properties": properties, "required": required}
    fields["title"] = fields["title"].replace("Command", "Fields")
    return fields


def _fields_name(op: str) -> str:
    return f"{CALLED[op].__name__}Fields"


def _described(operation: Operation) -> dict[str, Any]:
    needs_token = operation.token in {"account", "admin"}
    codes = {"bad_request", "forbidden", *operation.refused, "unavailable", "internal"}
    if operation.body is not None:
        codes |= {"bad_json", "too_large"}
    if needs_token:
        codes |= {"unauthenticated", "token_expired", "suspended"}
    elif operation.token is not None:
        codes |= {"unauthenticated"}
    if operation.token == "admin":  # noqa: S105
        codes.add("no_such_user")
    described: dict[str, Any] = {
        "operationId": _identifier(operation),
        "summary": operation.says,
        "responses": {
            str(operation.status): _done(operation.answer),
            **_refusals(codes),
        },
    }
    if operation.body is not None:
        described["requestBody"] = _content_of(operation.body, operation.body.__name__)
    if needs_token:
        described["security"] = [{"token": []}]
    elif operation.token is not None:
        described["security"] = [{}, {"serverKey": []}]
    parameters = [PARAMETERS[name] for name in operation.query]
    parameters += [PARAMETERS[name] for name in _PLACEHOLDER.findall(operation.path)]
    if parameters:
        described["parameters"] = parameters
    return described


def _call(op: str) -> dict[str, Any]:
    """``POST /v1/rpc/<op>``."""
    codes = {
        *("bad_json", "bad_request", "too_large", *REFUSALS[op]),
        *("unauthenticated", "token_expired", "suspended", "forbidden"),
        *("no_such_user", "too_many_in_flight", "unavailable", "internal"),
    }
    words, _ = schema.described(CALLED[op])
    return {
        "operationId": op.replace(".", "_"),
        "summary": words,
        "security": [{"token": []}, {"serverKey": []}],
        "parameters": [PARAMETERS["Chatmotor-User"]],
        "requestBody": _content_of(CALLED[op], _fields_name(op)),
        "responses": {"200": _done(ANSWERS[op]), **_refusals(codes)},
    }


PARAMETERS: dict[str, dict[str, Any]] = {
    "after": {
        "name": "after",
        "in": "query",
        "description": "What comes beyond this username.",
        "schema": {"type": "string"},
    },
    "after-hook": {
        "name": "after",
        "in": "query",
        "description": "What comes beyond this id of a hook.",
        "schema": {"type": "string", "pattern": "^[ -~]*$", "maxLength": 64},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "How many at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
    },
    "username": {
        "name": "username",
        "in": "path",
        "required": True,
        "description": "In any spelling of it.",
        "schema": {"type": "string", "minLength": 1},
    },
    "hook": {
        "name": "hook",
        "in": "path",
        "required": True,
        "description": "The id of an outgoing hook.",
        "schema": {"type": "string", "minLength": 1},
    },
    "code": {
        "name": "code",
        "in": "path",
        "required": True,
        "description": "The secret code of an incoming hook.",
        "schema": {"type": "string", "minLength": 1},
    },
    "Chatmotor-User": {
        "name": "Chatmotor-User",
        "in": "header",
        "description": "With the server API key: the account that it acts for, "
        "percent-encoded.",
        "schema": {"type": "string"},
    },
}


def _refusals(codes: Iterable[str]) -> dict[str, Any]:
    """By HTTP status; those with one status are told apart by their code."""
    statuses = {code: kind.status for code, kind in schema.error_codes().items()}
    statuses["internal"] = 500
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(statuses[code], []).append(code)
    found: dict[str, Any] = {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in by_status[status]),
            "content": _json("Refusal"),
        }
        for status in sorted(by_status)
    }
    if "rate_limited" in codes:
        found["429"]["headers"] = {
            "Retry-After": {
                "description": "Seconds, of `rate_limited`.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return found


def _done(answer: type[msgspec.Struct] | None) -> dict[str, Any]:
    if answer is None:
        return {"description": "Done."}
    return {"description": "Done.", "content": _json(answer.__name__)}


def _content_of(kind: type[msgspec.Struct], name: str) -> dict[str, Any]:
    """No content is as good as ``{}`` to a command, and only to a command."""
    fields = {each.name for each in msgspec.structs.fields(kind) if each.required}
    is_needed = not issubclass(kind, Command) or bool(fields - {"id"})
    return {"required": is_needed, "content": _json(name)}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE + name}}}


def _identifier(operation: Operation) -> str:
    words = _PLACEHOLDER.sub("", operation.path.removeprefix("/v1/"))
    parts = words.replace("/", " ").replace("-", " ").split()
    return operation.method + "".join(part.capitalize() for part in parts)
