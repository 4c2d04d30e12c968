# SPDX-License-Identifier: Apache-2.0
"""TypeScript types of the v1 protocol, from its JSON Schema.

An object becomes an interface, a union of frames a type that ``op`` or ``t`` tells
apart.  Bounds and patterns are words only: TypeScript has no types for them.
"""

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from chatmotor.protocol import schema
from chatmotor.protocol.session import CLOSE_CODES, may_reconnect

Schema = dict[str, Any]

_INTRODUCTION = """\
// The Chatmotor v1 protocol: every frame of either side.
// Written by `fab docs` from chatmotor/protocol. Edit the structs there, not this file.
// Readers ignore fields that they do not know, and clients also such frames and events.
"""
_PRIMITIVES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "array": "Array<unknown>",
    "object": "Record<string, unknown>",
}


def types() -> str:
    """The whole file."""
    blocks = [_INTRODUCTION]
    definitions = schema.definitions()
    blocks += [
        "\n".join(_declared(name, found)) + "\n" for name, found in definitions.items()
    ]
    blocks.append("\n".join(_close_codes()) + "\n")
    return "\n".join(blocks)


def _declared(name: str, found: Schema) -> Iterator[str]:
    yield from _comment(found.get("description", ""))
    if name == "Answers":  # a table of types
        yield "export interface Answers {"
        for op, answer in found["properties"].items():
            yield f"  {json.dumps(op)}: {_type(answer)};"
        yield "}"
    elif "properties" in found and "allOf" not in found:
        yield f"export interface {name} {{"
        yield from _fields(found)
        yield "}"
    elif "properties" in found:
        loose = _in_rules(found)
        yield f"export type {name} = {{"
        yield from _fields(found, without=loose)
        rules = [_rule(rule, found) for rule in found["allOf"] if "oneOf" in rule]
        yield "}" + "".join(f" & {rule}" for rule in rules) + ";"
    else:
        yield f"export type {name} ={_alternatives(found)};"


def _fields(found: Schema, *, without: frozenset[str] = frozenset()) -> Iterator[str]:
    required = found.get("required", [])
    for name, field in found["properties"].items():
        if name in without:
            continue
        yield from (f"  {line}" for line in _comment(field.get("description", "")))
        mark = "" if name in required else "?"
        yield f"  {name}{mark}: {_type(field)};"


def _in_rules(found: Schema) -> frozenset[str]:
    return frozenset(
        name
        for rule in found["allOf"]
        for choice in rule.get("oneOf", ())
        for name in choice["required"]
    )


def _rule(rule: Schema, found: Schema) -> str:
    """Exactly one of some fields, as a union of objects."""
    names = [choice["required"][0] for choice in rule["oneOf"]]
    choices = []
    for name in names:
        fields = [f"{name}: {_without_null(_type(found['properties'][name]))}"]
        fields += [f"{other}?: undefined" for other in names if other != name]
        choices.append("{ " + "; ".join(fields) + " }")
    return "(" + " | ".join(choices) + ")"


def _without_null(words: str) -> str:
    return words.removesuffix(" | null")


def _type(found: Schema) -> str:
    for key, words in _BY_KEY.items():
        if key in found:
            return words(found)
    return _PRIMITIVES[found["type"]] if "type" in found else "unknown"


def _alternatives(found: Schema) -> str:
    """A type of its own, one alternative on each line."""
    choices = [_type(each) for each in found.get("anyOf", ())]
    choices += [json.dumps(each) for each in found.get("enum", ())]
    if not choices:
        return " " + _type(found)
    return "".join(f"\n  | {each}" for each in choices)


def _object(found: Schema) -> str:
    return "{ " + " ".join(line.strip() for line in _fields(found)) + " }"


_BY_KEY: dict[str, Callable[[Schema], str]] = {
    "$ref": lambda found: str(found["$ref"].removeprefix(schema.LOCAL)),
    "const": lambda found: json.dumps(found["const"]),
    "enum": lambda found: " | ".join(map(json.dumps, found["enum"])),
    "allOf": lambda found: " & ".join(map(_type, found["allOf"])),
    "anyOf": lambda found: " | ".join(dict.fromkeys(map(_type, found["anyOf"]))),
    "prefixItems": lambda found: f"[{', '.join(map(_type, found['prefixItems']))}]",
    "items": lambda found: f"Array<{_type(found['items'])}>",
    "properties": _object,
    "additionalProperties": lambda found: (
        f"Record<string, {_type(found['additionalProperties'])}>"
    ),
}


def _comment(words: str) -> list[str]:
    if not words:
        return []
    lines = textwrap.wrap(words, 78)
    if len(lines) == 1:
        return [f"/** {lines[0]} */"]
    return ["/**", *(f" * {line}" for line in lines), " */"]


def _close_codes() -> Iterator[str]:
    """The codes and the verdicts, as types: a client's own table is checked by them."""
    for name, words, verdict in (
        ("ReconnectCode", "Close codes after which to connect again.", True),
        ("TerminalCode", "Close codes after which to stay away.", False),
    ):
        codes = [code for code in CLOSE_CODES if may_reconnect(code) is verdict]
        yield f"/** {words} */"
        yield f"export type {name} ="
        for code in codes:
            yield f"  /** {CLOSE_CODES[code]} */"
            yield f"  | {code}" + (";" if code == codes[-1] else "")
        yield ""
    yield "export type CloseCode = ReconnectCode | TerminalCode;"
