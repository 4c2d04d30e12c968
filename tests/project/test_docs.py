# SPDX-License-Identifier: Apache-2.0
"""The docs say what the code does, and their links lead somewhere."""

import ast
import configparser
import re
import tomllib
import unicodedata
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from chatmotor import errors
from chatmotor.metrics import Metrics
from chatmotor.options import options
from chatmotor.ports.messages import EventType
from chatmotor.protocol import commands, replies, session
from chatmotor.protocol.frames import NEVER_SENT
from tests.project.generate import FILES, OPTIONS_PAGE, ROOT, SCHEMAS

DOCS = ROOT / "docs"
PROTOCOL_PAGE = DOCS / "reference" / "protocol.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
MAX_RECORD_LINES = 40

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_OWN_PROTOCOL = re.compile(r"\]\((?:\.\./|docs/|reference/)*protocol\.md(?=[#)])")
_HEADING = re.compile(r"^#{1,6} +(.*?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# "a fab task" is English, not a command.
_TASK = re.compile(r"\bfab (?!tasks?\b)([a-z]+(?:_[a-z]+)*)\b")
# Only codes a server may send (RFC 6455, 7.4.1) or that are this project's own.
_CLOSE_CODES = {*range(1000, 1016), *range(4000, 4016), *range(4500, 4516)}
_SESSION = "chatmotor.protocol.session"
_V1_ONLY = {
    ROOT / "chatmotor" / "protocol" / "session.py",
    ROOT / "chatmotor" / "node" / "v1_connection.py",
    *(ROOT / "chatmotor" / "client").glob("*.py"),
}

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def _prose(path: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", _text(path))


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives to *heading*."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    kept = (
        char
        for char in plain.lower()
        if char in "-_ " or unicodedata.category(char)[0] in "LN"
    )
    return "".join(kept).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    return {_anchor(heading) for heading in _HEADING.findall(_prose(page))}


def _broken_links(page: Path) -> list[str]:
    broken = []
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            broken.append(target)
    return broken


def test_every_option_has_a_section() -> None:
    """An option that is not in the reference does not exist for its users."""
    sections = _HEADING.findall(_text(OPTIONS_PAGE))

    assert list(options()) == sections[1:]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_generated_file_is_fresh(path: Path) -> None:
    """It is, byte for byte, what ``fab docs`` writes now."""
    assert FILES[path]().encode() == path.read_bytes(), "run: fab docs"


def test_nothing_else_is_among_the_generated_files() -> None:
    """A document that is made no more is not left behind."""
    assert {path for path in FILES if path.parent == SCHEMAS} == set(SCHEMAS.iterdir())


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that exists, and a heading in it."""
    assert [] == _broken_links(page)


@each_page
def test_the_docs_stand_alone(page: Path) -> None:
    """No page needs a file outside this repository to be understood."""
    outside = re.findall(
        r"/work/|/home/\w+|\.\./shared|\bissues? #?\d|(?:design|protocol|reliability"
        r"|fine-print|style)\.md",
        _OWN_PROTOCOL.sub("", _text(page)),
    )

    assert [] == outside


def test_every_close_code_is_explained() -> None:
    """
    A client's author finds each code the server sends in the reference of the wire;
    those that both wires share, or that the classic one has alone, in the classic one.
    """
    everywhere = set((ROOT / "chatmotor").rglob("*.py"))
    classic = _rows("classic.md")

    assert {1000, 1002, 1013, 4001, 4502} <= _close_codes(everywhere - _V1_ONLY)
    assert {4003, 4500, 4501} <= _close_codes(everywhere)
    assert set() == _close_codes(everywhere - _V1_ONLY) - classic
    assert set() == _close_codes(everywhere) - classic - _rows("protocol.md")


def test_every_close_code_of_v1_is_explained_beside_its_verdict() -> None:
    """Whoever writes a v1 client needs no other page to know what a code means."""
    shown = _close_codes({ROOT / "chatmotor/protocol/session.py"})

    assert {4000, 4002, 4505} <= shown
    assert set() == shown - _rows("protocol.md")


def _close_codes(modules: set[Path]) -> set[int]:
    """The close codes in *modules*, as numbers or by their names in the session."""
    found: set[int] = set()
    for path in modules:
        for node in ast.walk(ast.parse(_text(path))):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                found.add(node.value)
            elif isinstance(node, ast.ImportFrom) and node.module == _SESSION:
                found.update(
                    value
                    for each in node.names
                    if type(value := getattr(session, each.name)) is int
                )
    return (found & _CLOSE_CODES) - NEVER_SENT


def _rows(page: str) -> set[int]:
    """The codes that have a row of a table in *page*."""
    rows = re.findall(r"^\| (\d{4}) \|", _text(DOCS / "reference" / page), re.MULTILINE)
    return set(map(int, rows))


def test_every_error_code_is_explained() -> None:
    """A row for each code that a v1 frame or an HTTP answer can have."""
    page = _text(PROTOCOL_PAGE)
    codes = {kind.code for kind in _tree_of(errors.RequestRefused)} | {"internal"}
    rows = set(re.findall(r"^\| `(\w+)` \| \d{3} \|", page, re.MULTILINE))
    http_only = {
        *("not_found", "method_not_allowed", "upgrade_required"),
        "tls_in_process",
    }

    assert {"bad_request", "cid_conflict", "unavailable"} <= codes
    assert codes == rows | http_only
    assert [] == sorted(code for code in http_only if f"`{code}`" not in page)


def test_every_error_code_has_its_status_and_its_retry() -> None:
    """What the table says of a code is what the class says."""
    page = _text(PROTOCOL_PAGE)
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (yes|no) \|", page, re.MULTILINE)
    found = {code: (int(status), retry == "yes") for code, status, retry in rows}
    kinds = _tree_of(errors.RequestRefused)

    assert [] == [
        kind.code
        for kind in kinds
        if kind.code in found and found[kind.code] != (kind.status, kind.temporary)
    ]


def _tree_of(kind: type[errors.RequestRefused]) -> list[type[errors.RequestRefused]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _tree_of(sub))]


def test_every_command_is_explained_with_its_fields() -> None:
    """A client's author finds each command, and each of its fields."""
    page = _text(PROTOCOL_PAGE)
    known = {
        kind.__struct_config__.tag: {
            each.encode_name for each in msgspec.structs.fields(kind)
        }
        for kind in get_args(commands.AnyCommand)
    }
    fields = set().union(*known.values())

    assert {"hello", "send", "conv.create"} <= known.keys()
    assert [] == sorted(op for op in known if f"`{op}`" not in page)
    assert [] == sorted(field for field in fields if f"`{field}`" not in page)


def test_every_frame_of_the_server_is_explained_with_its_fields() -> None:
    """The same for what the server sends."""
    page = _text(PROTOCOL_PAGE)
    kinds = get_args(replies.AnyFrame)
    fields = {
        each.encode_name for kind in kinds for each in msgspec.structs.fields(kind)
    }
    names = {kind.__struct_config__.tag for kind in kinds}

    assert {"welcome", "ok", "bye"} <= names
    assert [] == sorted(op for op in names if f"`{op}`" not in page)
    assert [] == sorted(field for field in fields if f"`{field}`" not in page)


def test_every_type_of_event_is_explained() -> None:
    """And for each event of a log."""
    page = _text(PROTOCOL_PAGE)

    assert [] == [each.value for each in EventType if f"`{each.value}`" not in page]


def test_every_announced_limit_is_explained() -> None:
    """What ``welcome.limits`` has is in the table, beside its option."""
    container = ast.parse(_text(ROOT / "chatmotor" / "node_routes.py"))
    announced = {
        str(key.value)
        for node in ast.walk(container)
        if isinstance(node, ast.keyword)
        and node.arg == "announced"
        and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    }
    table = _text(PROTOCOL_PAGE).partition("\n## Limits\n")[2].partition("\n## ")[0]

    assert "body_bytes" in announced
    assert [] == sorted(each for each in announced if f"`{each}`" not in table)


def test_every_metric_is_explained() -> None:
    """An operator finds each metric, and each reason to drop, in the how-to."""
    collector = _text(ROOT / "chatmotor" / "controllers" / "metrics.py")
    names = set(re.findall(r'"(chatmotor_\w+)"', collector))
    reasons = set(re.findall(r"``(\w+)``", Metrics.__doc__ or ""))
    page = _text(DOCS / "howto" / "operate.md")

    assert {"chatmotor_connections", "queue_full"} <= names | reasons
    assert [] == sorted(name for name in names | reasons if f"`{name}" not in page)


def test_the_import_table_names_every_layer() -> None:
    """The picture of the house has every layer that import-linter enforces."""
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    layers = {layer.strip() for row in contract["layers"] for layer in row.split("|")}
    page = _text(DOCS / "explanation" / "house.md")

    assert [] == sorted(
        layer for layer in layers if f"`{layer.removeprefix('chatmotor.')}`" not in page
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.stem))
def test_a_decision_record_is_short(record: Path) -> None:
    """A decision fits on a screen: what, why, what was given up, how we would know."""
    text = _text(record)

    assert len(text.splitlines()) <= MAX_RECORD_LINES
    for heading in ("Context", "Decision", "What we gave up", "How we would know"):
        assert f"\n## {heading}" in text
    assert re.search(r"^- Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)


def test_decision_records_are_listed() -> None:
    """The index of the decisions has them all."""
    index = _text(DOCS / "decisions" / "README.md")

    assert [] == [record.name for record in RECORDS if f"({record.name})" not in index]


def test_every_page_is_in_the_index() -> None:
    """Whoever begins at docs/README.md finds every page."""
    index = _text(DOCS / "README.md")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]

    assert [] == [
        page
        for page in pages
        if page != "README.md"
        and not re.match(r"decisions/\d", page)
        and f"({page})" not in index
    ]


def test_every_fab_task_in_the_docs_exists() -> None:
    """A command that the docs give can be typed."""
    fabfile = ast.parse(_text(ROOT / "fabfile.py"))
    tasks = {
        node.name
        for node in fabfile.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    mentioned = {
        task
        for page in [*PAGES, ROOT / "Makefile"]
        for task in _TASK.findall(_text(page))
    }

    assert {"runserver", "test_units", "test_integration"} <= mentioned
    assert set() == mentioned - tasks


def test_task_names_keep_their_underscores() -> None:
    """``fab test_units`` is what the first Chatmotor had; fabric would say dashes."""
    settings = _text(ROOT / "fabric.yaml")

    assert re.search(r"^tasks:\n  auto_dash_names: false$", settings, re.MULTILINE)


def test_the_tests_in_the_security_table_exist() -> None:
    """A defense that is claimed has a test of that name in that file."""
    page = _text(ROOT / "SECURITY.md")
    claims = re.findall(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)", page)

    assert claims
    assert [] == [
        name for name, file in claims if f"def {name}(" not in _text(ROOT / file)
    ]


@pytest.mark.parametrize(
    "page",
    [*(DOCS / "tutorials").glob("*.md"), *(DOCS / "howto").glob("*.md")],
    ids=lambda page: str(page.stem),
)
def test_python_in_the_docs_compiles(page: Path) -> None:
    """A block that is marked as Python is Python."""
    for language, code in _FENCE.findall(_text(page)):
        if language == "python":
            compile(code, str(page), "exec")


def test_the_docs_name_the_logger_that_the_sample_has() -> None:
    """The how-to's way to JSON logs works with the sample ``logging.cfg``."""
    sample = configparser.RawConfigParser()
    sample.read_string(_text(ROOT / "configuration" / "logging.cfg"))

    assert "chatmotor.json_log.JsonFormatter" == sample["formatter_json"]["class"]
    assert "formatter" in sample["handler_console"]
