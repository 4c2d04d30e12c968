# SPDX-License-Identifier: Apache-2.0
"""The house rules that a machine can judge.  The rest: CONTRIBUTING.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 500
MAX_BODY_LINES = 60
# Those that speak to the operator's terminal.
MAY_PRINT = {"main.py", "cli.py"}

MODULES = sorted((ROOT / "chatmotor").rglob("*.py"))
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT))
)

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _body_lines(function: FunctionDef) -> int:
    """Lines from the first statement after the docstring to the last one."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def test_the_modules_are_found() -> None:
    """The rules below are checked on the package, not on nothing."""
    assert {"main.py", "options.py"} <= {path.name for path in MODULES}


@each_module
def test_a_file_has_at_most_500_lines(path: Path) -> None:
    """A file that one cannot hold in one's head is split."""
    lines = len(path.read_text("utf-8").splitlines())

    assert lines <= MAX_FILE_LINES


@each_module
def test_a_function_body_has_at_most_60_lines(path: Path) -> None:
    """A function fits on a screen, its docstring not counted."""
    too_long = {
        node.name: _body_lines(node)
        for node in ast.walk(_tree(path))
        if isinstance(node, FunctionDef) and _body_lines(node) > MAX_BODY_LINES
    }

    assert {} == too_long


@each_module
def test_a_module_says_what_it_is(path: Path) -> None:
    """Every module begins with a docstring."""
    assert ast.get_docstring(_tree(path))


@each_module
def test_nothing_prints_but_the_command(path: Path) -> None:
    """Everything else logs, so that the operator decides where it goes."""
    prints = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]

    assert path.name in MAY_PRINT or [] == prints
