# SPDX-License-Identifier: Apache-2.0
"""Bodies: what some reader could not read is refused before it is stored."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.errors import RequestRefused
from chatmotor.protocol import json_text
from tests.harness.vectors import each_vector

Case = dict[str, Any]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abn"), inner, max_size=3)
    ),
    max_leaves=8,
)


@each_vector("bodies.json")
def test_body_is_checked_for_what_some_reader_could_not_read(case: Case) -> None:
    """One bad body would close each of its readers, for ever."""
    body = case["body"].encode()
    if case["code"] is None:
        json_text.check_body(body)
        return
    with pytest.raises(RequestRefused) as refused:
        json_text.check_body(body)

    assert (case["code"], "body") == (refused.value.code, refused.value.field)


@given(values, st.integers(0, 20))
def test_depth_is_what_a_reader_sees(value: Any, lists: int) -> None:
    """Every list and object counts one, brackets in strings none."""
    for _ in range(lists):
        value = ["[", value, '"{']

    def depth(of: Any) -> int:
        inner = of.values() if isinstance(of, dict) else of
        if not isinstance(of, dict | list):
            return 0
        return 1 + max(map(depth, inner), default=0)

    body = json.dumps(value, ensure_ascii=False).encode()

    assert depth(value) == json_text._depth(body)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (b'{"n":5.0}', b'{"n":5}'),
        (b'{"n":-3.000,"x":"1.0"}', b'{"n":-3,"x":"1.0"}'),
        (b'{"body":1.0,"n":2.0}', b'{"body":1.0,"n":2}'),
        (b'{"body":1.0}', None),
        (b'{"n":5.5,"x":[1.0]}', None),
        (b"[1.0]", None),
        (b'{"n":1.0', None),
    ],
)
def test_number_that_is_whole_is_written_as_one(text: bytes, plain: bytes) -> None:
    """To JSON, 5.0 and 5 are one number; a body is nobody's but the clients'."""
    assert plain == json_text.whole_numbers(text)
