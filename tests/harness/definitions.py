# SPDX-License-Identifier: Apache-2.0
"""Holds what the server says against the definitions of the protocol.

More strictly than a client may: a field, a type of event or a code that is not defined
is wrong here, so that the definitions cannot lag behind the server.
"""

import copy
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from chatmotor.protocol import event_types, replies, schema
from chatmotor.protocol.answers import ANSWERS, REFUSALS

Frame = dict[str, Any]

# What every command can be refused as.
_ALWAYS = {"bad_json", "bad_request", "unavailable", "unauthenticated"}
_OVER_HTTP = {"token_expired", "suspended", "too_large", "too_many_in_flight"}
_OVER_HTTP |= {"forbidden", "no_such_user", "internal"}
_EPHEMERAL = {
    each.__struct_config__.tag: each for each in replies.AnyEphemeral.__args__
}


def wrong_frame(frame: Frame, asked: str | None = None) -> str | None:
    """
    What is wrong with a frame of the server, if anything.

    Args:
        asked: The command that it answers, where that is known.
    """
    op, rest = frame["op"], {k: v for k, v in frame.items() if k != "op"}
    if op == "ok" and asked in ANSWERS:
        rest.pop("id", None)
        return _wrong(rest, ANSWERS[asked])
    if op == "ok":
        return None if "id" in frame else "an ok without an id"
    if op == "ev":
        kind = event_types.EVENT_TYPES.get(frame.get("t"))
        return _wrong(rest, kind) or _one_place(frame)
    if op == "eph":
        return _wrong(rest, _EPHEMERAL.get(frame.get("t")))
    if op == "error" and asked in REFUSALS:
        allowed = _ALWAYS | set(REFUSALS[asked])
        if frame["code"] not in allowed:
            return f"{asked} is not said to be refused as {frame['code']}"
    kinds = {each.__struct_config__.tag: each for each in replies.AnyFrame.__args__}
    return _wrong(frame, kinds.get(op))


def wrong_answer(op: str, answer: Frame) -> str | None:
    """The same for the answer to ``POST /v1/rpc/<op>``."""
    return _wrong(answer, ANSWERS.get(op))


def wrong_refusal(op: str, code: str) -> str | None:
    """The same for its refusal."""
    allowed = _ALWAYS | _OVER_HTTP | set(REFUSALS.get(op, ())) | {"unknown_op"}
    return None if code in allowed else f"{op} is not said to be refused as {code}"


def _one_place(frame: Frame) -> str | None:
    return None if ("seq" in frame) != ("pos" in frame) else "an event has one place"


def _wrong(fields: Frame, kind: type[msgspec.Struct] | None) -> str | None:
    if kind is None:
        return "nothing of this name is defined"
    found = next(_validator(schema.name_of(kind)).iter_errors(fields), None)
    if found is not None:
        path = ".".join(map(str, found.instance_path))
        return f"{schema.name_of(kind)}: {path}: {found.message}"
    try:
        msgspec.json.decode(msgspec.json.encode(fields), type=kind)
    except msgspec.ValidationError as error:
        return f"{schema.name_of(kind)}: {error}"
    return None


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        {"$ref": schema.LOCAL + name, "$defs": _closed_definitions()}
    )


@cache
def _closed_definitions() -> dict[str, Any]:
    """The definitions, in which no object has more fields than it says."""
    found = copy.deepcopy(schema.definitions())
    for each in found.values():
        if "properties" in each:
            each["additionalProperties"] = False
    return found
