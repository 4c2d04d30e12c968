# SPDX-License-Identifier: Apache-2.0
"""Words become values, or a sentence that says why not."""

import enum
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.bot.arguments import WrongArguments, arguments_of, read, split


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  a  b\nc ", ["a", "b", "c"]),
        ('"green tea" now', ["green tea", "now"]),
        ("'green tea' now", ["green tea", "now"]),
        ("“green tea” now", ["green tea", "now"]),
        ("„grüner Tee“ jetzt", ["grüner Tee", "jetzt"]),
        ("« thé vert » là", [" thé vert ", "là"]),
        ("\u2018green tea\u2019 now", ["green tea", "now"]),
        ('“green tea" now', ["green tea", "now"]),
        ('"" x', ["", "x"]),
        ("don't 5\" it\u2019s", ["don't", '5"', "it\u2019s"]),
        ("say 'tis so", ["say", "'tis", "so"]),
        ('"never closed', ['"never', "closed"]),
        ('a "b c"d e"', ["a", 'b c"d e']),
        ('"', ['"']),
        ('" "', [" "]),
    ],
)
def test_words_are_split_at_spaces_but_for_quotes(
    text: str, expected: list[str]
) -> None:
    """Quotes of any kind hold words together; odd ones are characters."""
    assert expected == split(text)


@given(st.text(alphabet=" \"'“”«ab\n\x00é", max_size=60) | st.text(max_size=60))
def test_any_text_can_be_split(text: str) -> None:
    """No text raises, and outside of quotes nothing but white space is lost."""
    words = split(text)

    assert all(word in text for word in words)


def test_quotes_that_never_close_cost_no_more_than_their_length() -> None:
    """A hostile message of nothing but openings is read once, not once for each."""
    words = split('"a ' * 200_000)

    assert 200_000 == len(words)


def _read(function: Any, text: str) -> tuple[Any, ...]:
    return read(arguments_of(function), split(text))


async def _all_kinds(  # noqa: PLR0917  # one of each
    context: object,
    number: int,
    decimal: float,
    truth: bool,
    choice: Literal["red", "green", 3],
    size: Size,
    span: timedelta,
    word: str,
    maybe: int | None = None,
    *rest: str,
) -> None: ...


def test_each_annotation_makes_its_value() -> None:
    """The types that the how-to lists."""
    expected = (
        -10,
        2.5,
        True,
        "green",
        Size.SMALL,
        timedelta(hours=1, minutes=30),
        "x",
        4,
        "a b",
        "c",
    )

    assert expected == _read(_all_kinds, "-10 2,5 Yes GREEN small 1h30m x 4 'a b' c")
    assert 3 == _read(_all_kinds, "1 1 off 3 large 5s x")[3]


def test_what_is_left_out_has_its_default() -> None:
    """Optional arguments, and a rest of no words."""
    values = _read(_all_kinds, "1 1 no red large 2d x")

    assert (None,) == values[7:]


@pytest.mark.parametrize(
    ("hint", "word", "expected"),
    [
        (int, "1_0", "is not a number"),
        (int, "ten", "is not a number"),
        (int, "9" * 5000, "is not a number"),
        (float, "nan", "is not a number"),
        (float, "1e999", "is not a number"),
        (bool, "maybe", "is not yes or no"),
        (Literal["a", "b"], "c", "is not a or b"),
        (Size, "medium", "is not small or large"),
        (timedelta, "10", "is not a duration"),
        (timedelta, "m", "is not a duration"),
        (timedelta, "999999999w", "is not a duration"),
    ],
)
def test_a_word_of_another_type_is_named(hint: Any, word: str, expected: str) -> None:
    """The answer quotes the word, says what it is not, and stays short."""

    async def command(context: object, what) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    command.__annotations__["what"] = hint

    with pytest.raises(WrongArguments, match=expected) as raised:
        _read(command, word)
    assert str(raised.value).startswith("what: ")
    assert len(str(raised.value)) < 100


async def _remind(context: object, minutes: int, who: str = "me") -> None: ...


def test_too_few_and_too_many_words_are_refused() -> None:
    """Both say which."""
    with pytest.raises(WrongArguments, match=r"^minutes is missing\.$"):
        _read(_remind, "")
    with pytest.raises(WrongArguments, match=r"^“tea” is one too many"):
        _read(_remind, "1 you tea")


def test_what_is_quoted_back_cannot_play_tricks() -> None:
    """Line breaks and characters of control are not repeated."""
    with pytest.raises(WrongArguments) as raised:
        _read(_remind, "'a\n\x1b[2J\u202e'")

    assert "“a\ufffd\ufffd[2J\ufffd”" in str(raised.value)


async def _keyword_only(context: object, *, what: str) -> None: ...
async def _no_context() -> None: ...
async def _odd_type(context: object, what: list[str]) -> None: ...
async def _odd_union(context: object, what: int | str) -> None: ...
async def _none_without_default(context: object, what: int | None) -> None: ...


@pytest.mark.parametrize(
    "function",
    [_keyword_only, _no_context, _odd_type, _odd_union, _none_without_default],
)
def test_what_nobody_can_type_is_refused_at_registration(function: Any) -> None:
    """The author learns it at once, and not from a user."""
    with pytest.raises(TypeError, match=function.__name__):
        arguments_of(function)
