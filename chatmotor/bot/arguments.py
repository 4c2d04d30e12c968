# SPDX-License-Identifier: Apache-2.0
"""What somebody writes after a command, as typed values.  No I/O.

    "10 'green tea'"  --split-->  ["10", "green tea"]  --read-->  (10, "green tea")

``arguments_of`` looks at a function once, when it is registered, and refuses what
nobody could type.  ``split`` takes any text and never raises: an odd quote is a
character like any other.  ``read`` answers with values, or with a WrongArguments that
says in words what is wrong.  What users write is shortened before it is quoted back.
"""

import enum
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

_DOUBLE: Final = '"\u201c\u201d\u201e\u201f\u00ab\u00bb'
# A closing typographic apostrophe begins words of several languages: it opens nothing.
_SINGLE: Final = "'\u2018\u201a\u2039"
_FAMILIES: Final = dict.fromkeys(_DOUBLE, _DOUBLE) | dict.fromkeys(_SINGLE, _SINGLE)
# A quotation ends where a word ends, so that "don't" and 5" are no quotations.
_CLOSING: Final = {
    _DOUBLE: re.compile(f"[{_DOUBLE}](?!\\S)"),
    _SINGLE: re.compile(f"[{_SINGLE}\u2019\u203a](?!\\S)"),
}
_WORD: Final = re.compile(r"\S+")
_SHOWN: Final = 40

_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"} | {
    "s": "seconds"
}
_DURATION: Final = re.compile(r"(?:\d{1,9}[wdhms])+", re.IGNORECASE)
_YES: Final = frozenset({"yes", "on", "true", "1"})
_NO: Final = frozenset({"no", "off", "false", "0"})


class WrongArguments(Exception):
    """
    Somebody has called a command wrongly; the text says what is wrong.

    A command may raise it, too: the text is the reply, with the usage below it.
    """


@dataclass(frozen=True, slots=True)
class Argument:
    """
    One parameter of a command.

    Args:
        kind: What the usage says of it, such as ``number``; empty for a word.
        convert: Makes the value of a word; ValueError and OverflowError mean no.
        rest: It takes all words that are left, also none.
    """

    name: str
    kind: str
    convert: Callable[[str], Any]
    required: bool = True
    rest: bool = False
    default: Any = None

    @property
    def usage(self) -> str:
        """As in a usage line: ``<minutes: number>``, ``[who]``, ``<words…>``."""
        what = f"{self.name}: {self.kind}" if self.kind else self.name
        if self.rest:
            return f"<{what}…>"
        return f"<{what}>" if self.required else f"[{what}]"


def split(text: str) -> list[str]:
    """
    The words of *text*; what stands in quotes, straight or typographic, is one.

    Quotes open at the beginning of a word and close at the end of one.  One that never
    closes is part of its word.  Takes time in proportion to the length.
    """
    words = []
    hopeless = set()
    place = 0
    while found := _WORD.search(text, place):
        start, place = found.span()
        family = _FAMILIES.get(text[start])
        if family is None or family in hopeless:
            words.append(found[0])
        elif closing := _CLOSING[family].search(text, start + 1):
            words.append(text[start + 1 : closing.start()])
            place = closing.end()
        else:
            hopeless.add(family)
            words.append(found[0])
    return words


def read(arguments: Sequence[Argument], words: Sequence[str]) -> tuple[Any, ...]:
    """
    The values for a call, in order.

    Raises:
        WrongArguments: A word is missing, is one too many, or is not of its type.
    """
    values: list[Any] = []
    left = list(words)
    for argument in arguments:
        if argument.rest:
            values += [_convert(argument, word) for word in left]
            left = []
        elif left:
            values.append(_convert(argument, left.pop(0)))
        elif argument.required:
            raise WrongArguments(f"{argument.name} is missing.")
        else:
            values.append(argument.default)
    if left:
        raise WrongArguments(f"{shown(left[0])} is one too many.")
    return tuple(values)


def _convert(argument: Argument, word: str) -> Any:
    try:
        return argument.convert(word)
    except (ValueError, OverflowError):
        kind = argument.kind
        what = kind.replace("|", " or ") if "|" in kind else f"a {kind}"
        raise WrongArguments(f"{argument.name}: {shown(word)} is not {what}.") from None


def shown(word: str) -> str:
    """*word* in quotes, shortened, and with nothing in it that cannot be printed."""
    plain = "".join(char if char.isprintable() else "\ufffd" for char in word)
    return f"\u201c{plain if len(plain) <= _SHOWN else plain[:_SHOWN] + '…'}\u201d"


def arguments_of(function: Callable[..., Any]) -> tuple[Argument, ...]:
    """
    What *function* takes after its context.

    Raises:
        TypeError: It takes no context, or something that cannot be typed: a
            keyword-only parameter, or a type that is not listed in the how-to.
    """
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise TypeError(f"{function.__name__}: {error}; its types must exist") from None
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind is not _ORDINARY:
        raise TypeError(f"{function.__name__} must take a context first")
    return tuple(
        _argument(function.__name__, each, hints.get(each.name, str))
        for each in parameters[1:]
    )


_ORDINARY: Final = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _argument(function: str, parameter: inspect.Parameter, hint: Any) -> Argument:
    where = f"{function}({parameter.name})"
    if parameter.kind not in (_ORDINARY, inspect.Parameter.VAR_POSITIONAL):
        raise TypeError(f"{where}: commands take ordinary parameters and *rest only")
    has_default = parameter.default is not inspect.Parameter.empty
    if _is_optional(hint):
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
        if not has_default:
            raise TypeError(f"{where}: what may be None needs a default")
    kind, convert = _converter(where, hint)
    return Argument(
        name=parameter.name,
        kind=kind,
        convert=convert,
        required=not has_default,
        rest=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
        default=parameter.default if has_default else None,
    )


def _is_optional(hint: Any) -> bool:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return is_union and type(None) in typing.get_args(hint) and len(hint.__args__) == 2


def _converter(where: str, hint: Any) -> tuple[str, Callable[[str], Any]]:
    if typing.get_origin(hint) is Literal:
        return _choice({str(each): each for each in typing.get_args(hint)})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice({each.name.lower(): each for each in hint})
    for known, kind, convert in _TYPES:
        if hint is known:
            return kind, convert
    raise TypeError(
        f"{where}: nobody can type a {hint!r}; see docs/howto/write-a-bot.md"
    )


def _choice(choices: dict[str, Any]) -> tuple[str, Callable[[str], Any]]:
    folded = {name.casefold(): value for name, value in choices.items()}

    def convert(word: str) -> Any:
        if word.casefold() not in folded:
            raise ValueError
        return folded[word.casefold()]

    return "|".join(choices), convert


def _number(word: str) -> int:
    if "_" in word:
        raise ValueError
    return int(word)


def _decimal(word: str) -> float:
    value = float(word.replace(",", "."))
    if "_" in word or not math.isfinite(value):
        raise ValueError
    return value


def _truth(word: str) -> bool:
    folded = word.casefold()
    if folded not in _YES | _NO:
        raise ValueError
    return folded in _YES


def _duration(word: str) -> timedelta:
    if not _DURATION.fullmatch(word):
        raise ValueError
    parts = re.findall(r"(\d+)([a-z])", word.lower())
    return sum(
        (timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts),
        timedelta(),
    )


_TYPES: Final[tuple[tuple[Any, str, Callable[[str], Any]], ...]] = (
    (str, "", str),
    (int, "number", _number),
    (float, "number", _decimal),
    (bool, "yes|no", _truth),
    (timedelta, "duration", _duration),
)
