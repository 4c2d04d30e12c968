# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501, RUF001  # prose in Markdown: one sentence per line, and signs
"""docs/reference/frames.md: every frame of v1, field by field, from the JSON Schema."""

import json
from collections.abc import Iterator
from typing import Any

from chatmotor.protocol import commands, replies, schema
from chatmotor.protocol.answers import ANSWERS, REFUSALS
from chatmotor.protocol.event_types import EVENT_TYPES
from chatmotor.protocol.session import CLOSE_CODES, may_reconnect

Schema = dict[str, Any]

_INTRODUCTION = """\
# Frames, field by field

<!-- Written by `fab docs` from chatmotor/protocol. Edit the structs there, not this file. -->

Every command, frame, event and code of the v1 protocol, as the server's own definitions have them.
What they do, and in which order they come: [the v1 protocol](protocol.md).
The same for programs: [JSON Schema, AsyncAPI, OpenAPI, TypeScript](../howto/use-the-schemas.md).

A field is required unless there is a `?` after it.
Numbers are whole, from 0 to 2⁵³ − 1, where nothing else is said; lengths are in characters.
Every command can be refused as `bad_request` and as `unavailable`, and before `welcome` as `unauthenticated`.

- [Commands](#commands)
- [Frames of the server](#frames-of-the-server)
- [Types of event](#types-of-event)
- [Ephemeral](#ephemeral)
- [Parts](#parts)
- [Error codes](#error-codes)
- [Close codes](#close-codes)
"""
_LARGEST = 2**53 - 1
_NO_NUL = r"^[^\x00]*$"


def frames_page() -> str:
    """The whole page."""
    return _INTRODUCTION + "\n".join(_Page(schema.definitions()).lines()) + "\n"


class _Page:
    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._all = definitions
        self._anchors: dict[str, str] = {}
        self._parts = [
            name
            for kind, name in schema.named().items()
            if not issubclass(kind, commands.Command | replies.Frame)
            and not kind.__struct_config__.tag
            and name not in ("Nothing", *map(schema.name_of, ANSWERS.values()))
        ]

    def lines(self) -> Iterator[str]:
        yield from self._commands()
        yield from self._frames()
        yield from self._tagged(
            "Types of event",
            {tag: schema.name_of(kind) for tag, kind in EVENT_TYPES.items()},
            "Event",
        )
        yield from self._tagged(
            "Ephemeral",
            {
                str(kind.__struct_config__.tag): schema.name_of(kind)
                for kind in replies.AnyEphemeral.__args__
            },
            "Eph",
        )
        yield from ("", "## Parts", "", "What stands in fields of the others.")
        for name in self._parts:
            yield from ("", f"### {name}", "", *self._struct(name))
        yield from self._codes()

    def _commands(self) -> Iterator[str]:
        yield from ("", "## Commands")
        for op, kind in schema.BY_OP.items():
            yield from ("", f"### {op}", "")
            yield from self._struct(schema.name_of(kind), without="op")
            if op in commands.CALLED:
                yield from ("", f"Over HTTP: `POST /v1/rpc/{op}`, without `id`.")
            if op in ANSWERS:
                yield from ("", *self._ok(op))
            elif op in ("hello", "ping"):
                name = schema.ok_name(op).removesuffix("Frame").lower()
                yield from ("", f"Answered by [`{name}`](#frame-{name}).")
            if REFUSALS[op]:
                codes = ", ".join(f"`{code}`" for code in sorted(REFUSALS[op]))
                yield from ("", f"Refused: {codes}.")

    def _ok(self, op: str) -> Iterator[str]:
        found = self._all[schema.name_of(ANSWERS[op])]
        if not found["properties"]:
            yield "`ok` adds nothing."
            return
        yield "`ok` adds:"
        yield ""
        yield from self._table(found)

    def _frames(self) -> Iterator[str]:
        yield from ("", "## Frames of the server")
        for kind in replies.AnyFrame.__args__:
            name = schema.name_of(kind)
            op = str(kind.__struct_config__.tag)
            yield from ("", f"### Frame {op}", "")
            if kind is replies.Ev:
                yield self._all[name]["description"]
                yield "Its further fields are those of its [type](#types-of-event)."
            elif kind is replies.Eph:
                yield self._all[name]["description"]
                yield "Types: [ephemeral](#ephemeral)."
            else:
                yield from self._struct(name, without="op")

    def _tagged(self, title: str, names: dict[str, str], word: str) -> Iterator[str]:
        yield from ("", f"## {title}")
        for tag, name in names.items():
            yield from ("", f"### {word} {tag}", "")
            yield from self._struct(name, without="t")

    def _struct(self, name: str, *, without: str = "") -> Iterator[str]:
        found = self._all[name]
        yield found["description"]
        if set(found["properties"]) - {without}:
            yield ""
            yield from self._table(found, without=without)
        for rule in found.get("allOf", ()):
            yield from ("", self._rule(rule))

    def _table(self, found: Schema, *, without: str = "") -> Iterator[str]:
        yield "| field | type | |"
        yield "|---|---|---|"
        for name, field in found["properties"].items():
            if name == without:
                continue
            mark = "" if name in found.get("required", ()) else "?"
            words = field.get("description", "")
            if field.get("default") not in (None, "", [], {}, False):
                words = f"{words} Without it {json.dumps(field['default'])}.".strip()
            yield f"| `{name}`{mark} | {self._type(field)} | {words} |"

    def _rule(self, rule: Schema) -> str:
        if "oneOf" in rule:
            names = [each["required"][0] for each in rule["oneOf"]]
            return f"Exactly one of {_listed(names, 'and')}."
        pairs = [
            each["required"][0]
            for both in rule["not"]["anyOf"]
            for each in both["allOf"]
        ]
        return f"At most one of {_listed(list(dict.fromkeys(pairs)), 'and')}."

    def _type(self, field: Schema) -> str:
        if "$ref" in field:
            return self._named(field["$ref"].removeprefix(schema.LOCAL))
        if "const" in field:
            return f"`{field['const']}`"
        if "enum" in field:
            return _listed([str(each) for each in field["enum"]], "or")
        if "anyOf" in field:
            return " or ".join(dict.fromkeys(map(self._type, field["anyOf"])))
        kinds = {
            "string": _text,
            "integer": _number,
            "number": lambda _: "number",
            "boolean": lambda _: "true or false",
            "null": lambda _: "null",
            "array": self._list,
            "object": self._map,
        }
        return kinds[field["type"]](field) if "type" in field else "any JSON value"

    def _named(self, name: str) -> str:
        if name == "ErrorCode":
            return "[a code](#error-codes)"
        if name == "Event":
            return "[an event](#types-of-event)"
        return f"[{name}](#{name.lower()})"

    def _list(self, field: Schema) -> str:
        if "prefixItems" in field:
            return f"list: {', '.join(map(self._type, field['prefixItems']))}"
        of = self._type(field["items"]) if "items" in field else "any JSON value"
        return f"list{_bounds(field, 'minItems', 'maxItems', '')} of {of}"

    def _map(self, field: Schema) -> str:
        return f"object: name to {self._type(field['additionalProperties'])}"

    def _codes(self) -> Iterator[str]:
        yield from ("", "## Error codes", "", "| code | status | retry | |")
        yield "|---|---|---|---|"
        for code, kind in sorted(schema.error_codes().items()):
            words, _ = schema.described(kind)
            retry = "yes" if kind.temporary else "no"
            yield f"| `{code}` | {kind.status} | {retry} | {words} |"
        yield "| `internal` | 500 | yes | Over HTTP only: a defect, or nobody knows whether it was written. |"
        yield from ("", "## Close codes", "", "| code | connect again | cause |")
        yield "|---|---|---|"
        for number, words in CLOSE_CODES.items():
            again = "yes" if may_reconnect(number) else "no"
            yield f"| {number} | {again} | {words} |"


def _text(field: Schema) -> str:
    return "text" + _bounds(field, "minLength", "maxLength", " characters")


def _number(field: Schema) -> str:
    if field.get("maximum") == _LARGEST:
        return "number, from 1" if field.get("minimum") else "number"
    return "number" + _bounds(field, "minimum", "maximum", "")


def _bounds(field: Schema, lowest: str, largest: str, unit: str) -> str:
    said = []
    if largest in field:
        least = f"{field[lowest]} to" if field.get(lowest) else "at most"
        said.append(f"{least} {field[largest]}{unit}")
    if field.get("pattern") == _NO_NUL:
        said.append("no NUL")
    return f" ({', '.join(said)})" if said else ""


def _listed(names: list[str], word: str) -> str:
    shown = [f"`{name}`" for name in names]
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if shown[1:] else shown[0]
