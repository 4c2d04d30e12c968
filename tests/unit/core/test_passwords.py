# SPDX-License-Identifier: Apache-2.0
"""Which passwords an account may have."""

import unicodedata

import pytest

from chatmotor.adapters.common_passwords import common_passwords
from chatmotor.core.passwords import PasswordRules, password_form
from chatmotor.errors import RequestRefused

RULES = PasswordRules(common_passwords())


def is_accepted(password: str, username: str = "alice") -> bool:
    """Whether alice may have it."""
    try:
        RULES.accept(password, username=username)
    except RequestRefused as refused:
        return refused.field != "password"
    return True


@pytest.mark.parametrize(
    "password",
    [
        "tin-42-w",
        "pass\x00xyz",
        "correct horse battery staple",
        "🐎🔋📎🌂🍋🎈🎻🛶",
        "x" * 64,
        "x" * 256,
        "é" * 128,
        " leading-space",
    ],
)
def test_long_enough_is_enough(password: str) -> None:
    """8 characters to 256 bytes of any script; no capital or digit is asked for."""
    assert is_accepted(password)


@pytest.mark.parametrize(
    "password", ["", "tin-42w", "x" * 257, "é" * 129, "\ud800" * 9]
)
def test_too_short_too_long_and_no_text_are_refused(password: str) -> None:
    """7 characters, 257 bytes, and what is not Unicode text."""
    assert not is_accepted(password)


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "Password1!",
        "12345678",
        "987654321",
        "11111111",
        "abcabcabc",
        "qwertyuiop",
        "1qaz2wsx",
        "trustno1",
        "ILoveYou",
        "princess1",
        "sunshine2024",
        "abcdefgh",
        "alicealice",
        "alice123",
        "!!Alice!!",
    ],
)
def test_what_is_tried_first_is_refused(password: str) -> None:
    """Common words with digits around them, runs, repetitions, the username."""
    assert not is_accepted(password)


def test_a_password_has_one_form() -> None:
    """Composed and decomposed characters are one password (NFC)."""
    composed = unicodedata.normalize("NFC", "größe-über-alles")
    decomposed = unicodedata.normalize("NFD", composed)

    assert composed != decomposed
    assert composed == password_form(decomposed)
    assert composed == RULES.accept(decomposed, username="alice")


def test_the_list_is_lower_case() -> None:
    """It is compared with folded passwords."""
    assert [] == [word for word in common_passwords() if word != word.casefold()]
