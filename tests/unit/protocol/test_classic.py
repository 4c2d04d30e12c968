# SPDX-License-Identifier: Apache-2.0
"""The one key that is ours, read from texts that are right and wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.errors import FrameRefused, NoDestination, NotJson
from chatmotor.protocol.classic import read_destination

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def verdict(text: bytes) -> str | int:
    """The destination, or the close code of the refusal."""
    try:
        return read_destination(text)
    except FrameRefused as refused:
        return refused.close_code


def strictly(text: bytes) -> str | int:
    """The same by another reader: RFC 8259, a member that repeats counts last."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        value = json.loads(text.decode(), parse_constant=refuse, parse_int=float)
    except ValueError:
        return 1007
    destination = value.get("destination") if isinstance(value, dict) else None
    return destination if isinstance(destination, str) else 1008


@given(
    destination=st.text(st.characters(exclude_categories=["Cs"])),
    others=st.dictionaries(st.text(), json_values),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 3),
)
def test_destination_is_read_whatever_else_the_text_has(
    destination: str, others: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    """Every other key belongs to the clients, and any JSON layout will do."""
    document = others | {"destination": destination}
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)

    assert destination == read_destination(text.encode("utf-8", "replace"))


@given(json_values)
def test_json_without_a_string_destination_is_refused_with_1008(value: Any) -> None:
    """JSON of any kind, but not a message."""
    if isinstance(value, dict):
        value.pop("destination", None)

    with pytest.raises(NoDestination):
        read_destination(json.dumps(value).encode())


@given(
    st.text(
        st.sampled_from('{}[]:,"\\ud80destinatione.+-1 \t\n\x00\x0b\ufeff'), max_size=40
    )
    | st.builds(
        lambda before, middle, after: (
            before + '{"destination": "a"' + middle + "}" + after
        ),
        st.text(max_size=3),
        st.text(max_size=20),
        st.text(max_size=3),
    )
)
def test_verdict_is_that_of_rfc_8259(text: str) -> None:
    """The quick reader and the slow one together judge as a strict reader does."""
    sent = text.encode("utf-8", "replace")

    assert strictly(sent) == verdict(sent)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"destination": "bob", "x": "\\ud83d"}', "bob"),
        (b'{"destination": "\\ud83d"}', "\ud83d"),
        (b'{"destination": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"destinatio\\u006e": "bob"}', "bob"),
        (b'{"destination": "a", "destination": "b"}', "b"),
        (b'{"destination": 1, "destination": "b"}', "b"),
        (b'{"destination": "a", "destination": 1}', 1008),
        (b'{"destination": "bob", "n": ' + b"9" * 5000 + b"}", "bob"),
        (b'{"destination": "bob", "n": 1e999}', "bob"),
        (b' \t\r\n{"destination": ""} ', ""),
        (b'{"destination": "a"', 1007),
        (b'{"destination": 1, "x": }', 1007),
        (b'{"destination": "a", "x": NaN}', 1007),
        (b'{"destination": "a", "x": -Infinity}', 1007),
        (b'{"destination": "a", "x": 01}', 1007),
        (b'{"destination": "a", "x": "\x01"}', 1007),
        (b'{"destination": "a",}', 1007),
        (b"{'destination': 'a'}", 1007),
        (b'\xef\xbb\xbf{"destination": "a"}', 1007),
    ],
)
def test_corner_of_json(text: bytes, expected: str | int) -> None:
    """What RFC 8259 allows is read; what it does not is 1007 before it is 1008."""
    assert expected == verdict(text)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
def test_other_encodings_of_json_are_not_json(encoding: str) -> None:
    """A text frame is UTF-8; in UTF-8 these are NULs between letters."""
    text = '{"destination": "bob"}'.encode(encoding)

    with pytest.raises(NotJson):
        read_destination(text.decode("latin-1").encode())


@pytest.mark.parametrize("depth", [30_000])
@pytest.mark.parametrize("closed", [False, True])
def test_deep_nesting_is_refused_and_costs_no_stack(
    depth: int, *, closed: bool
) -> None:
    """A text that no reader can walk is refused in words."""
    text = b'{"destination": "a", "x": ' + b"[" * depth
    if closed:
        text += b"]" * depth + b"}"

    assert verdict(text) in {1007, 1008}
