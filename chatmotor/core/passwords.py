# SPDX-License-Identifier: Apache-2.0
"""Which passwords an account may have (NIST SP 800-63B: length, and none of the usual).

No rule asks for capitals or digits: those make passwords that are usual all the same.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

from chatmotor.errors import RequestRefused

MIN_CHARACTERS = 8
MAX_BYTES = 256
FIELD = "password"

_LOWEST_WORD = 4
_ROWS = ("qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "zxcvbnm", "1234567890")
_RUNS = (*_ROWS, "abcdefghijklmnopqrstuvwxyz", "0123456789", "1qaz2wsx3edc4rfv5tgb")
# The same few characters, again and again; longer ones are not the first guesses.
_REPEATED_CHARACTERS = 20
_REPEATED = re.compile(r"(.{1,4}?)\1+.{0,3}", re.DOTALL)
_FRAME = re.compile(r"^[\W\d_]+|[\W\d_]+$")


class PasswordRules:
    """
    The rules, with a list of passwords and words that many people use.

    Args:
        common: In lower case.
    """

    def __init__(self, common: Iterable[str]) -> None:
        self._common = frozenset(common)

    def accept(self, password: str, *, username: str, field: str = FIELD) -> str:
        """
        The form of a new *password* that is hashed.

        Raises:
            RequestRefused: It is too short or too long, or easily guessed.
        """
        if len(password) < MIN_CHARACTERS:
            raise RequestRefused(
                f"a password has at least {MIN_CHARACTERS} characters", field=field
            )
        form = password_form(password)
        if form is None:
            raise RequestRefused(
                f"a password has at most {MAX_BYTES} bytes of UTF-8", field=field
            )
        if self._is_guessed(form.casefold(), username):
            raise RequestRefused(
                "this password is one of the first that are tried; take another",
                field=field,
            )
        return form

    def _is_guessed(self, password: str, username: str) -> bool:
        word = _FRAME.sub("", password)
        guesses: tuple[Callable[[], bool], ...] = (
            lambda: password in self._common or password in {username, username * 2},
            # A common word, or the username, with digits or signs around it.
            lambda: len(word) >= _LOWEST_WORD and word in self._common | {username},
            lambda: (
                len(password) <= _REPEATED_CHARACTERS
                and _REPEATED.fullmatch(password) is not None
            ),
            lambda: any(_is_run(password, run) for run in _RUNS),
        )
        return any(guess() for guess in guesses)


def password_form(password: str) -> str | None:
    """
    *password* as it is hashed: Unicode NFC, since keyboards make the same characters
    in several ways.  None: no account has it; it is too long, or no text.
    """
    # What has far too many characters is not even normalized: that can take long.
    if len(password) > MAX_BYTES:
        return None
    form = unicodedata.normalize("NFC", password)
    try:
        return form if len(form.encode()) <= MAX_BYTES else None
    except UnicodeEncodeError:
        return None


def _is_run(password: str, run: str) -> bool:
    """Whether *password* is a piece of *run*, forwards or backwards, or goes round."""
    return password in run * 2 or password[::-1] in run * 2
