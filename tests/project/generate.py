# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  # prose in Markdown: one sentence per line
"""Writes the files of the docs that are made from the code.

    chatmotor.options.options()  -->  docs/reference/options.md
    chatmotor.protocol           -->  docs/reference/frames.md, docs/reference/schema/

``fab docs`` runs it; tests/project/test_docs.py fails when a file is stale.
"""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chatmotor.cli import serve
from chatmotor.controllers import openapi
from chatmotor.options import Option, options
from chatmotor.protocol import asyncapi, schema
from tests.project.frames_page import frames_page
from tests.project.typescript import types

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SCHEMAS = REFERENCE / "schema"
OPTIONS_PAGE = REFERENCE / "options.md"

_INTRODUCTION = """\
# Options

<!-- Written by `fab docs` from chatmotor/options.py. Edit that file, not this one. -->

A value comes, the last one winning, from the default, from `config.py` in the directory `CM_CONFIG_HOME`, from the environment, and from the command line.
A key of `config.py` that is no option, or a value of the wrong type or out of bounds, refuses to start in one sentence.
In the environment an option is called `CM_` and its name.
A `CM_` variable that is no option refuses to start when it looks like a misspelled one, and is otherwise ignored with a warning.
A secret can also be given as a file: `CM_<NAME>_FILE` holds the path, and a line break at the file's end does not count.
`CM_CONFIG_HOME` (the directory of `config.py` and `logging.cfg`) and `CM_BINDINGS` (the Python file with `interface_bindings`) are read from the environment only; `--bindings` sets the second one.

The sample configuration is `configuration/config.py`; it is also what `chatmotor serve` uses when `CM_CONFIG_HOME` is not set.
"""

_TYPES = {
    bool: "true or false (in the environment also 1, 0, yes, no, on, off)",
    int: "whole number",
    float: "number",
    str: "text",
    list: "list of texts (in the environment separated by commas)",
    dict: "dictionary (in the environment as JSON)",
}


def options_page() -> str:
    """The whole page, one section per option."""
    flags = {each.name: each.opts[0] for each in serve.params}
    sample = _sample_configuration()
    table = options()
    lines = [_INTRODUCTION, "| option | default | unit |", "|---|---|---|"]
    lines += [
        f"| [`{row.name}`](#{row.name.lower()}) | {_value(row.default)} | {row.unit} |"
        for row in table.values()
    ]
    for row in table.values():
        lines += ["", *_section(row, flags.get(row.name), sample)]
    return "\n".join(lines) + "\n"


def _section(row: Option, flag: str | None, sample: dict[str, Any]) -> Iterator[str]:
    yield f"## {row.name}"
    yield ""
    yield row.doc
    yield ""
    yield f"- Type: {_TYPES[row.type]}"
    if row.unit:
        yield f"- Unit: {row.unit}"
    yield f"- Default: {_value(row.default)}"
    if row.name in sample and sample[row.name] != row.default:
        yield f"- In the sample configuration: {_value(sample[row.name])}"
    if row.minimum is not None and row.maximum is not None:
        yield f"- Bounds: {_number(row.minimum)} to {_number(row.maximum)}"
    if row.choices:
        yield "- Choices: " + ", ".join(f"`{choice}`" for choice in row.choices)
    names = [f"CM_{row.name}"] + [f"CM_{row.name}_FILE"] * row.secret
    yield "- Environment: " + ", ".join(f"`{name}`" for name in names)
    if flag is not None:
        yield f"- Command line: `{flag}`"
    if row.secret:
        yield "- Secret: never printed"
    yield f"- Why: {row.why}"


def _value(value: Any) -> str:
    """*value* as ``config.py`` would have it."""
    return f"`{value!r}`".replace("'", '"')


def _number(bound: float) -> str:
    return f"{bound:g}" if bound != int(bound) else str(int(bound))


def _sample_configuration() -> dict[str, Any]:
    found = runpy.run_path(str(ROOT / "configuration" / "config.py"))
    return dict(found["CONFIGURATION"])


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


FILES: dict[Path, Callable[[], str]] = {
    OPTIONS_PAGE: options_page,
    REFERENCE / "frames.md": frames_page,
    SCHEMAS / "chatmotor-v1.d.ts": types,
    SCHEMAS / "chatmotor-v1.schema.json": lambda: _json(schema.document()),
    SCHEMAS / "asyncapi.json": lambda: _json(asyncapi.document()),
    SCHEMAS / "openapi.json": lambda: _json(openapi.document()),
}


def write() -> None:
    """All of them."""
    for path, made in FILES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(made(), "utf-8")


if __name__ == "__main__":
    write()
