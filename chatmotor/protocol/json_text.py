# SPDX-License-Identifier: Apache-2.0
"""What JSON text may be here, beyond RFC 8259: each of its readers reads the same.

A number, a character or a nesting that some reader could not take is refused, and so
is a key that occurs twice in an envelope, since it means two things.
"""

import json
import math
import re
from typing import Any, Final

import msgspec

from chatmotor.errors import BadJson, RequestRefused

MAX_DEPTH: Final = 16

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_WHOLE = re.compile(rb"(-?[0-9]{1,17})\.0+")

# Each string is taken whole, so that reading takes a time in proportion to the text.
_STRINGS = re.compile(rb'"((?:[^"\\]++|\\.)*+)"(\s*+:)?')
_LONG_NUMBER = re.compile(rb"[0-9]{300}")
# A key may be followed by white space.
_SPACED = re.compile(rb'"[ \t\n\r]')


def whole_numbers(text: bytes) -> bytes | None:
    """
    The object *text* with ``5`` in place of ``5.0``, which is the same number to JSON;
    None when it has nothing of the kind.  A ``body`` stays as it is.
    """
    try:
        fields = _fields_of(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    whole = {
        key: msgspec.Raw(match[1])
        for key, value in fields.items()
        if key != "body" and (match := _WHOLE.fullmatch(value))
    }
    return msgspec.json.encode(fields | whole) if whole else None


def check_body(body: bytes) -> None:
    """
    Refuse a body that some reader could not read: it would close every one of them.

    Raises:
        RequestRefused: It is nested deeper than ``MAX_DEPTH``, or has a number or a
            character that not every JSON reader takes.
    """
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise RequestRefused(
            f"the body is nested deeper than {MAX_DEPTH} levels", field="body"
        )
    try:
        msgspec.json.decode(body)
        if _LONG_NUMBER.search(body):
            json.loads(body, parse_int=_within_a_double)
    except (msgspec.MsgspecError, OverflowError):
        raise RequestRefused(
            "the body has a number that is out of range, or half a character",
            field="body",
        ) from None


def _within_a_double(digits: str) -> float:
    """Raises ``OverflowError`` for what many a JSON reader would take for infinite."""
    number = float(digits)
    if math.isinf(number):
        raise OverflowError
    return number


def _depth(body: bytes) -> int:
    """How deep *body*, valid JSON, is nested; brackets in strings do not count."""
    depth = deepest = 0
    plain = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body)
    for bracket in re.findall(rb"[\[\]{}]", plain):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def refuse_repeated_keys(text: bytes) -> None:
    """
    Two values of one key would mean one to us and another to somebody else.

    Raises:
        BadJson: The outermost object of *text*, valid JSON, has a key twice.

    Keys are counted wherever they are; only when one occurs twice, or is written
    with an escape, is it worth to look which object it is in.
    """
    if b"\\" not in text and not _SPACED.search(text):
        # Each key ends with the two bytes ``":``, and begins after the quote before
        # them.  What else ends so, begins a string: at most it counts as one more.
        heads = text.split(b'":')
        heads.pop()
        if len({head.rpartition(b'"')[2] for head in heads}) == len(heads):
            return
    keys = [string for string, colon in _STRINGS.findall(text) if colon]
    if len(set(keys)) == len(keys) and not any(b"\\" in key for key in keys):
        return
    depth = 0

    def judge(pairs: list[tuple[str, Any]]) -> set[str]:
        nonlocal depth
        depth = len({key for key, _ in pairs}) - len(pairs)
        return {key for key, _ in pairs}

    try:
        # The outermost object is judged last.
        json.loads(text, object_pairs_hook=judge, parse_int=float)
    except RecursionError:
        raise BadJson("it is nested too deeply") from None
    if depth:
        raise BadJson("a key occurs twice")
