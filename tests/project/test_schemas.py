# SPDX-License-Identifier: Apache-2.0
"""The generated documents are what foreign tools take, and what is on the wire.

The reference parser of AsyncAPI, the TypeScript compiler and a validator of JSON
Schema read the files of docs/reference/schema.  That they are fresh:
test_docs.py.
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from chatmotor.protocol import commands, replies, schema
from chatmotor.protocol.answers import ANSWERS, REFUSALS
from tests.harness.npm import DIRECTORY, node_modules
from tests.harness.vectors import each_vector
from tests.project.generate import ROOT, SCHEMAS

SECONDS = 60
HOW_TO = ROOT / "docs" / "howto" / "use-the-schemas.md"
DOCUMENT: dict[str, Any] = json.loads(
    (SCHEMAS / "chatmotor-v1.schema.json").read_text("utf-8")
)
DEFINITIONS = DOCUMENT["$defs"]


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Judges by one definition; patterns are those of ECMA-262."""
    return jsonschema_rs.Draft202012Validator(
        DOCUMENT | {"anyOf": [{"$ref": schema.LOCAL + name}]}
    )


CLIENT, SERVER = validator("ClientFrame"), validator("ServerFrame")


def test_asyncapi_is_what_its_reference_implementation_reads(tmp_path: Path) -> None:
    """One channel; every command is received, and answered where it has an answer."""
    program = tmp_path / "check.mjs"
    program.write_bytes((DIRECTORY / "check_asyncapi.mjs").read_bytes())
    (tmp_path / "node_modules").symlink_to(node_modules())

    found = json.loads(_run("node", str(program), str(SCHEMAS / "asyncapi.json")))

    assert [] == found["problems"]
    assert ["/v1/ws"] == found["channels"]
    assert {op.replace(".", "_") for op in schema.BY_OP} == set(found["received"])
    assert {"onLive", "onEv", "onEph", "onBehind", "onBye", "onError"} == set(
        found["sent"]
    )
    assert ["ConvGetOk", "ErrorFrame"] == found["replies"]["conv_get"]
    assert {*ANSWERS, "hello", "ping"} == {
        op for op in schema.BY_OP if op.replace(".", "_") in found["replies"]
    }


def test_tsc_takes_the_types(tmp_path: Path) -> None:
    """In strict mode; and it refuses what tests/node/types.ts says it must."""
    for path in (SCHEMAS / "chatmotor-v1.d.ts", DIRECTORY / "types.ts"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    compiler = node_modules() / "typescript" / "bin" / "tsc"

    _run(
        *("node", str(compiler), "--strict", "--noEmit", "--target", "es2022"),
        str(tmp_path / "types.ts"),
    )


def test_patterns_are_those_of_ecma() -> None:
    """Browsers compile them, in their strict mode; Python's own would not do there."""
    documents = [json.loads(path.read_text("utf-8")) for path in SCHEMAS.glob("*.json")]
    patterns = sorted(_patterns(documents))
    program = "JSON.parse(process.argv[1]).forEach((each) => new RegExp(each, 'u'))"

    assert [r"^[^\x00]*$"] == [each for each in patterns if "x00]*$" in each]
    _run("node", "-e", program, json.dumps(patterns))


def _patterns(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["pattern"]} if isinstance(part.get("pattern"), str) else set()
        return own.union(*map(_patterns, part.values()))
    if isinstance(part, list):
        return set().union(*map(_patterns, part))
    return set()


@pytest.mark.parametrize("language", ["python", "ts"])
def test_examples_of_the_how_to_work(language: str, tmp_path: Path) -> None:
    """They run, or compile, as they stand, beside the files that they name."""
    page = HOW_TO.read_text("utf-8")
    (example,) = re.findall(
        rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    program = tmp_path / f"example.{language}"
    program.write_text(example, "utf-8")
    for path in SCHEMAS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    if language == "python":
        assert _run(sys.executable, str(program), cwd=tmp_path)
    else:
        compiler = node_modules() / "typescript" / "bin" / "tsc"
        options = ("--strict", "--noEmit", "--target", "es2022")
        _run("node", str(compiler), *options, str(program))


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=SECONDS, cwd=cwd
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_schema_is_one() -> None:
    """By the meta-schema of its dialect."""
    jsonschema_rs.meta.validate(DOCUMENT)


@each_vector("commands_accepted.json")
def test_command_that_is_taken_is_valid(case: dict[str, Any]) -> None:
    """
    Whoever validates before sending is not held up for nothing.

    What two fields have to do with each other is judged later than the vectors say.
    """
    frame = json.loads(case["text"])
    kind = schema.BY_OP[frame["op"]]
    without_rules = DEFINITIONS[schema.name_of(kind)] | {"$defs": DEFINITIONS}
    without_rules.pop("allOf", None)

    assert jsonschema_rs.Draft202012Validator(without_rules).is_valid(frame)
    assert kind in schema.RULES or CLIENT.is_valid(frame)


@each_vector("commands_refused.json")
def test_command_that_is_refused_for_its_form_is_not_valid(
    case: dict[str, Any],
) -> None:
    """What the node would refuse, a client can find out by itself."""
    try:
        frame = json.loads(case["text"])
    except (ValueError, RecursionError):
        return
    if case["code"] == "bad_json" and isinstance(frame, dict):
        return  # a key is there twice, which nobody sees who has read it

    assert not CLIENT.is_valid(frame)


@each_vector("frames.json")
def test_frame_of_the_server_is_valid(case: dict[str, Any]) -> None:
    """And of no other kind than its ``op`` says."""
    frame = json.loads(case["text"])

    assert SERVER.is_valid(frame)
    assert validator(f"{frame['op'].capitalize()}Frame").is_valid(frame)


@each_vector("events.json")
def test_event_is_valid(case: dict[str, Any]) -> None:
    """As a frame, and without ``op`` as an element of ``events``."""
    frame = json.loads(case["text"])

    assert SERVER.is_valid(frame)
    assert validator("EvFrame").is_valid(frame)
    del frame["op"]
    assert validator("Event").is_valid(frame)


@pytest.mark.parametrize(
    "damage",
    [
        {"seq": None},
        {"pos": 4},
        {"n": "7"},
        {"t": "message.old"},
        {"raw": "too"},
        {"from": None},
    ],
    ids=str,
)
def test_event_in_another_form_is_not_valid(damage: dict[str, Any]) -> None:
    """Each of its fields has its type, it has one place, and one content."""
    event = {"t": "message.new", "seq": 3, "ts": 5, "conv": "d.1.2", "n": 7}
    event |= {"from": "ann", "body": None}

    assert validator("Event").is_valid(event)
    assert not validator("Event").is_valid(event | damage)


def test_what_two_fields_have_to_do_with_each_other_is_in_the_schema() -> None:
    """RULES holds; null is as good as no field, but for a body."""
    send = {"op": "send", "id": 1, "cid": "c"}
    history = {"op": "history", "id": 1, "conv": "d.1.2"}
    good = [
        send | {"to": "bob", "body": None},
        send | {"to": None, "conv": "g.1", "body": 1, "raw": None},
        history | {"before": 5, "after": None},
    ]
    bad = [
        send | {"to": "bob"},
        send | {"body": 1},
        send | {"to": "bob", "conv": "g.1", "body": 1},
        send | {"to": "bob", "body": 1, "raw": "x"},
        history | {"before": 5, "around": 5},
    ]

    assert [] == [frame for frame in good if not CLIENT.is_valid(frame)]
    assert [] == [frame for frame in bad if CLIENT.is_valid(frame)]


def test_making_the_documents_changes_nothing() -> None:
    """They are made from the structs each time, and no part of one is shared."""
    first = schema.definitions()
    before = copy.deepcopy(first)
    first["SendCommand"]["properties"]["cid"]["maxLength"] = 1

    assert before == schema.definitions()


def test_every_command_says_what_it_can_be_refused_as() -> None:
    """With codes that there are; and every answer belongs to a command."""
    codes = schema.error_codes()

    assert schema.BY_OP.keys() == REFUSALS.keys()
    assert set() == ANSWERS.keys() - schema.BY_OP.keys()
    assert [] == [
        code for refused in REFUSALS.values() for code in refused if code not in codes
    ]


def test_every_struct_of_the_wire_is_in_the_schema() -> None:
    """A frame that is defined is documented, under a name of its own."""
    kinds = [*commands.AnyCommand.__args__, *replies.AnyFrame.__args__]
    names = [schema.name_of(kind) for kind in kinds]

    assert len(names) == len(set(names))
    assert [] == [name for name in names if name not in DEFINITIONS]
    assert [] == [
        name
        for name, kind in DEFINITIONS.items()
        if not kind.get("description") and name != "Answers"
    ]


def test_a_field_without_a_description_is_one_that_needs_none() -> None:
    """Only fields whose name and choices say it all."""
    silent = {
        field
        for kind in DEFINITIONS.values()
        for field, found in kind.get("properties", {}).items()
        if not {"description", "const", "$ref", "enum"} & found.keys()
        and "$ref" not in found.get("items", {})
    }

    assert {"username", "text"} >= silent


def test_defaults_are_those_of_the_structs() -> None:
    """A limit that is left out is the one that the schema says."""
    history = DEFINITIONS["HistoryCommand"]["properties"]["limit"]
    text = b'{"op":"history","id":1,"conv":"d.1.2"}'
    command = commands.decode_command(text)

    assert isinstance(command, commands.History)
    assert command.limit == history["default"]
    assert msgspec.json.encode(DOCUMENT)
