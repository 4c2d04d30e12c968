# SPDX-License-Identifier: Apache-2.0
"""What schemathesis is told of Chatmotor: who asks, and what exists.

It runs as a process of its own and imports this module (SCHEMATHESIS_HOOKS); the
environment says where the node is.  Requests are its own, but for names of what exists
here: some ids, usernames and devices are put in place of made-up ones, and those that
the run itself needs are left alone.
"""

import json
import os
import urllib.request
import zlib
from typing import Any

import schemathesis
from hypothesis import strategies as st

Case = schemathesis.Case[Any]

_SCENE = json.loads(os.environ["CHATMOTOR_TEST_SCENE"])
_URL, _KEY = _SCENE["url"], _SCENE["key"]
_CONVS: list[str] = _SCENE["convs"]
# Accounts that ask, and one that may be changed by administrators.
_ASKS, _LOGS_OUT, _ADMIN, _VICTIM = _SCENE["accounts"]
_TOKENS: dict[str, str] = _SCENE["tokens"]
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def _visible(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(
        st.characters(codec="utf-8", categories=["L", "N", "P", "S"]),
        min_size=least,
        max_size=most,
    )


# What the documents call by a format, since no type can say it.
_number = st.integers(10_000, 99_999)
schemathesis.openapi.format("username", _number.map("user{}z".format))
schemathesis.openapi.format("password", _number.map("gravel-{}-oak".format))
schemathesis.openapi.format("visible", _visible(1, 64))
# A name that nobody has (RFC 6761, 6.4).
schemathesis.openapi.format("webhook-url", _number.map("https://a.invalid/{}".format))


@schemathesis.auth(refresh_interval=None)
class Asker:
    """A token of somebody who may do it; for a log-out, one of its own."""

    def get(self, case: Case, _: Any) -> dict[str, str]:
        path = case.operation.path
        if path.startswith("/v1/admin"):
            return _bearer(_TOKENS[_ADMIN])
        if path.startswith("/v1/tokens/"):
            return _bearer(_log_in(_LOGS_OUT))
        if path == "/v1/accounts":
            return _bearer(_KEY)
        if _often(case):
            return _bearer(_KEY) | {"Chatmotor-User": _ASKS}
        return _bearer(_TOKENS[_ASKS])

    def set(self, case: Case, data: dict[str, str], _: Any) -> None:
        case.headers.update(data)


@schemathesis.hook
def before_call(_: Any, case: Case, __: Any) -> None:
    """Names of what exists, in place of such as could exist."""
    if case.path_parameters and case.path_parameters.get("username") in (
        *(_ASKS, _LOGS_OUT, _ADMIN),
    ):
        case.path_parameters["username"] = _VICTIM
    if case.path == "/v1/in/{code}" and _often(case):
        case.path_parameters["code"] = _SCENE["code"]
    if not isinstance(case.body, dict):
        return
    body: dict[str, Any] = case.body
    if body.get("kind") == "amqp":  # which needs RabbitMQ
        body |= {"kind": "webhook", "url": "https://a.invalid/amqp"}
    if body.get("device") == _SCENE["device"] and "password" not in body:
        body["device"] = "other"
    if _is_text(body.get("conv")) and _often(body["conv"]):
        body["conv"] = _CONVS[len(body["conv"]) % len(_CONVS)]
    for name in ("to", "user"):
        if _is_text(body.get(name)) and _often(body[name]):
            body[name] = _VICTIM
    if isinstance(body.get("users"), list) and all(map(_is_text, body["users"])):
        body["users"] = [_VICTIM for _ in body["users"]]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and "\0" not in value


def _often(value: object) -> bool:
    """Half of the time, and for the same value always the same."""
    return zlib.crc32(repr(value).encode("utf-8", "replace")) % 2 == 0


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _log_in(username: str) -> str:
    body = {"username": username, "password": _SCENE["password"], "device": "laptop"}
    request = urllib.request.Request(_URL + "/v1/tokens", json.dumps(body).encode())
    with _open(request) as answer:
        token: str = json.loads(answer.read())["token"]
    return token
