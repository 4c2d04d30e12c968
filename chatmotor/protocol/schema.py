# SPDX-License-Identifier: Apache-2.0
"""The v1 protocol as JSON Schema (2020-12), made from the structs that define it.

    commands, replies, answers, event_types --> definitions() --> document()
                                                     |
              AsyncAPI, OpenAPI, TypeScript, the reference page <--+

A struct says nothing of what two of its fields have to do with each other: RULES does.
Docstrings become descriptions, and their ``Args`` those of the fields.
"""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final

import msgspec

from chatmotor import __version__, errors
from chatmotor.protocol import (
    account_bodies,
    answers,
    commands,
    event_types,
    replies,
)

Schema = dict[str, Any]
Kind = type[msgspec.Struct]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
LOCAL: Final = "#/$defs/"

_NOT_ON_THE_WIRE: Final = {
    *(commands.Command, commands.Request, replies.Frame, replies.Ephemeral),
    *(answers.Answer, event_types.Event, event_types.UnknownEvent),
}

# Fields that mean the same wherever they are.
_COMMON: Final = {
    "id": "Echoed in the answer.",
    "cid": "The client's own name for this write.",
    "conv": "The id of a conversation.",
    "n": "The number of a message in its conversation.",
    "seq": "A place in the mailbox.",
    "pos": "A place in the log of a group.",
    "ts": "Milliseconds since the Unix epoch, UTC.",
    "expires": "When the token ends: milliseconds since the Unix epoch, UTC.",
    "epoch": "The name of the store's history.",
    "user": "A username.",
    "users": "Usernames.",
    "from": "The sender's username.",
    "actor": "Who did it.",
    "device": "The name of a device.",
    "body": "Any JSON value.",
    "raw": "A text that is kept as it is.",
    "reply_to": "The number of another message of the conversation.",
    "limit": "How many at most.",
    "cursor": "For the next page; null on the last.",
    "more": "Whether there is more.",
    "title": "Of the group.",
    "role": "In the group.",
    "token": "As a log-in gave it.",
    "display_name": "Empty: none.",
    "hook": "The id of a hook.",
    "name": "What a hook is for.",
    "unread": "How many messages come after the own read pointer.",
    "mentions": "0: there is nothing of the kind yet.",
}


def exactly_one(*names: str) -> Schema:
    """One of these fields, and no other of them; null is as good as none."""
    return {"oneOf": [_given(name) for name in names]}


def at_most_one(*names: str) -> Schema:
    """None of these fields, or one."""
    pairs = [
        {"allOf": [_given(name), _given(other)]}
        for at, name in enumerate(names)
        for other in names[at + 1 :]
    ]
    return {"not": {"anyOf": pairs}}


def _given(name: str) -> Schema:
    if name == "body":  # null is a body
        return {"required": [name]}
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


BY_OP: Final[dict[str, type[commands.Command]]] = {
    str(kind.__struct_config__.tag): kind for kind in commands.AnyCommand.__args__
}

RULES: Final[dict[Kind, tuple[Schema, ...]]] = {
    commands.Send: (exactly_one("to", "conv"), exactly_one("body", "raw")),
    commands.History: (at_most_one("before", "after", "around"),),
    answers.MessageItem: (exactly_one("body", "raw"),),
    event_types.MessageNew: (exactly_one("body", "raw"),),
    account_bodies.IncomingMessage: (exactly_one("text", "body"),),
    account_bodies.NewOutgoingHook: (
        {
            "anyOf": [
                {
                    "required": ["url"],
                    "properties": {
                        "kind": {"const": "webhook"},
                        "url": {"minLength": 1},
                    },
                },
                {
                    "required": ["kind"],
                    "properties": {"kind": {"const": "amqp"}, "url": {"const": ""}},
                },
            ]
        },
    ),
}


@cache
def document() -> Schema:
    """The whole schema: a frame of either side; everything by name in ``$defs``."""
    return {
        "$schema": DIALECT,
        "$id": "urn:chatmotor:v1",
        "title": "Chatmotor v1",
        "description": "The frames of /v1/ws. Readers ignore fields that they do not "
        "know, and clients also such frames and types of event.",
        "$comment": f"Made from Chatmotor {__version__}.",
        "anyOf": [{"$ref": LOCAL + "ClientFrame"}, {"$ref": LOCAL + "ServerFrame"}],
        "$defs": definitions(),
    }


def definitions(at: str = LOCAL) -> dict[str, Schema]:
    """
    Every struct of the wire, and what is made of them, by name.

    Args:
        at: What a reference to one of them begins with.
    """
    made = components(named()) | _families()
    made["ErrorFrame"]["properties"]["code"] = {"$ref": "ErrorCode"}
    made["EventPage"]["properties"]["events"]["items"] = {"$ref": "Event"}
    return {name: pointing(made[name], at) for name in sorted(made)}


def components(kinds: dict[Kind, str]) -> dict[str, Schema]:
    """
    The schema of each struct, by its name; a reference is the name alone.

    Args:
        kinds: Also those that are in others.
    """
    refs, found = msgspec.json.schema_components(list(kinds), ref_template="{name}")
    names = {ref["$ref"]: name for ref, name in zip(refs, kinds.values(), strict=True)}
    return {
        name: _renamed(_polished(kind, name, found[ref["$ref"]]), names)
        for ref, (kind, name) in zip(refs, kinds.items(), strict=True)
    }


def pointing(schema: Any, at: str) -> Any:
    """The same, with *at* before the name in each reference."""
    if isinstance(schema, list):
        return [pointing(each, at) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: at + value if key == "$ref" else pointing(value, at)
        for key, value in schema.items()
    }


def named() -> dict[Kind, str]:
    """The structs of the wire, each under the name that the documents give it."""
    modules = (commands, replies, answers, event_types)
    return {kind: name_of(kind) for module in modules for kind in structs_of(module)}


def name_of(kind: Kind) -> str:
    """A command ends with Command, a frame of the server with Frame."""
    if issubclass(kind, commands.Command):
        return kind.__name__ + "Command"
    if issubclass(kind, replies.Frame):
        return str(kind.__struct_config__.tag).capitalize() + "Frame"
    return kind.__name__


def ok_name(op: str) -> str:
    """The frame that answers the command *op*."""
    kind = BY_OP[op]
    if issubclass(kind, commands.Hello):
        return "WelcomeFrame"
    if issubclass(kind, commands.Ping):
        return "PongFrame"
    return kind.__name__ + "Ok"


def error_codes() -> dict[str, type[errors.RequestRefused]]:
    """Each code of an ``error`` or an HTTP refusal, with the class that says it."""
    found: dict[str, type[errors.RequestRefused]] = {}
    for kind in _tree(errors.RequestRefused):
        found.setdefault(kind.code, kind)
    return found


def described(kind: type) -> tuple[str, dict[str, str]]:
    """What the docstring of *kind* says of it, and of each of its fields."""
    text, _, rest = (inspect.getdoc(kind) or "").partition("\nArgs:\n")
    fields: dict[str, str] = {}
    for names, words in re.findall(
        r"^    (\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", rest, re.MULTILINE
    ):
        fields |= dict.fromkeys(names.split(", "), _plain(words))
    return _plain(text), fields


def structs_of(module: ModuleType) -> Iterator[Kind]:
    """Those that are on the wire as they are: no base, and none of Python's own."""
    for kind in vars(module).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, msgspec.Struct)
            and kind.__module__ == module.__name__
            and kind not in _NOT_ON_THE_WIRE
        ):
            yield kind


def _polished(kind: Kind, name: str, schema: Schema) -> Schema:
    """The schema as a reader of another language wants it."""
    words, of_fields = described(kind)
    schema |= {"title": name, "description": words}
    config = kind.__struct_config__
    if config.tag_field:
        schema["properties"][config.tag_field] = {"const": config.tag}
    for field in msgspec.structs.fields(kind):
        found = schema["properties"][field.encode_name]
        own = found.pop("description", None)
        for choice in found.get("anyOf", ()):
            own = choice.pop("description", own)
        said = of_fields.get(field.name) or own or _common(field.encode_name, found)
        if said:
            found["description"] = said
        if found.get("default", 0) is None:
            del found["default"]
            if config.omit_defaults:  # such a struct leaves out, and never says null
                found["anyOf"].remove({"type": "null"})
        if len(found.get("anyOf", ())) == 1:
            found |= found.pop("anyOf")[0]
    if not schema["required"]:
        del schema["required"]
    if kind in RULES:
        schema["allOf"] = list(RULES[kind])
    return schema


def _common(name: str, found: Schema) -> str | None:
    """What a field of this name is, unless it has other structs."""
    has_structs = "$ref" in found or "$ref" in found.get("items", {})
    return None if has_structs else _COMMON.get(name)


def _families() -> dict[str, Schema]:
    """What is put together from the structs."""
    made: dict[str, Schema] = {
        "ClientFrame": _any_of(
            "A frame of a client: a command.", commands.AnyCommand.__args__
        ),
        "ServerFrame": _any_of(
            "A frame of the server; what an `ok` adds depends on the command.",
            replies.AnyFrame.__args__,
        ),
        "Event": _any_of(
            "An event of a log, with `seq` in a mailbox or `pos` in a group's.",
            event_types.KnownEvent.__args__,
        )
        | {"oneOf": [{"required": ["seq"]}, {"required": ["pos"]}]},
        "Ephemeral": _any_of(
            "Something of now, of no log.", replies.AnyEphemeral.__args__
        ),
        "EvFrame": _frame_of("ev", "Event", described(replies.Ev)[0]),
        "EphFrame": _frame_of("eph", "Ephemeral", described(replies.Eph)[0]),
        "Answers": {
            "title": "Answers",
            "description": "What `ok` adds, by command; over HTTP the whole answer.",
            "type": "object",
            "properties": {
                op: {"$ref": name_of(kind)} for op, kind in answers.ANSWERS.items()
            },
        },
        "ErrorCode": {
            "title": "ErrorCode",
            "description": "What was wrong, for programs.",
            "enum": sorted({*error_codes(), "internal"}),
        },
    }
    for op, kind in answers.ANSWERS.items():
        made[ok_name(op)] = {
            "title": ok_name(op),
            "description": f"The answer to `{op}`.",
            "allOf": [{"$ref": "OkFrame"}, {"$ref": name_of(kind)}],
        }
    return {name: {"title": name} | schema for name, schema in made.items()}


def _any_of(words: str, kinds: tuple[Kind, ...]) -> Schema:
    return {
        "description": words,
        "anyOf": [{"$ref": name_of(kind)} for kind in kinds],
    }


def _frame_of(op: str, content: str, words: str) -> Schema:
    head = {"type": "object", "properties": {"op": {"const": op}}, "required": ["op"]}
    return {"description": words, "allOf": [head, {"$ref": content}]}


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: names[value] if key == "$ref" else _renamed(value, names)
        for key, value in schema.items()
    }


def _plain(words: str) -> str:
    """Words of a docstring for readers of Markdown, on one line."""
    words = re.sub(r"``([^`]+)``", r"`\1`", " ".join(words.split()))
    return re.sub(r"(?<![\w*])\*(\w+)\*(?![\w*])", r"`\1`", words)


def _tree(
    root: type[errors.RequestRefused],
) -> Iterator[type[errors.RequestRefused]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from _tree(each)
