# SPDX-License-Identifier: Apache-2.0
"""Commands: how they are called, and what is said about them.  No I/O.

    "/remind@helper 10 tea"  --call_in-->  Call("remind", at="helper", rest="10 tea")
    a function's docstring   --command_of-->  its summary and its arguments, for /help

A text that only looks like a command ("/", "/ x", "/usr/bin") is none.
"""

import difflib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chatmotor.bot.arguments import Argument, arguments_of, read, split

Handler = Callable[..., Awaitable[Any]]

# Bounded, so that looking for a name that is near costs little.
_NAME: Final = r"[^\W\d_][\w-]{0,31}"
_CALL: Final = re.compile(rf"({_NAME})(?:@(\S{{1,64}}))?(?:\s+(.*))?", re.DOTALL)
_PARAMETER: Final = re.compile(r"\*?(\w+): +(\S.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """
    A message that calls a command.

    Args:
        name: As it was written, in lower case.
        at: The bot that is meant; None: whoever hears it.
        rest: What stands after it.
    """

    name: str
    at: str | None = None
    rest: str = ""


def call_in(text: str, prefix: str) -> Call | None:
    """The call that *text* is, if it is one."""
    if not text.startswith(prefix):
        return None
    found = _CALL.fullmatch(text.rstrip(), len(prefix))
    if found is None:
        return None
    name, at, rest = found.groups(default="")
    return Call(name.lower(), at.lower() or None, rest)


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command.

    Args:
        summary: The first paragraph of its docstring.
        explained: By argument, what the docstring says about it.
    """

    name: str
    function: Handler
    arguments: Sequence[Argument]
    aliases: Sequence[str] = ()
    summary: str = ""
    explained: dict[str, str] = field(default_factory=dict)

    def usage(self, prefix: str) -> str:
        """``/remind <minutes: number> <words…>``."""
        return " ".join([prefix + self.name, *(each.usage for each in self.arguments)])

    def read(self, rest: str) -> tuple[Any, ...]:
        """
        The values for the function's parameters after the context.

        Raises:
            WrongArguments: See ``arguments.read``.
        """
        return read(self.arguments, split(rest))

    def help(self, prefix: str) -> str:
        """All there is to say: usage, summary, arguments, other names."""
        lines = [self.usage(prefix)]
        if self.summary:
            lines.append(self.summary)
        lines += [f"{name}: {text}" for name, text in self.explained.items()]
        if self.aliases:
            lines.append("Also: " + ", ".join(prefix + each for each in self.aliases))
        return "\n".join(lines)


def command_of(
    function: Handler, *, name: str | None = None, aliases: Iterable[str] = ()
) -> Command:
    """
    The command that *function* is.

    Raises:
        TypeError: It is no ``async def``, or takes what cannot be typed.
        ValueError: A name that nobody could call.
    """
    must_be_async(function)
    names = [name or function.__name__, *aliases]
    for each in names:
        if not re.fullmatch(_NAME, each):
            raise ValueError(f"no name for a command: {each!r}")
    first, *others = [each.lower() for each in names]
    arguments = arguments_of(function)
    summary, explained = _docs(inspect.getdoc(function) or "", arguments)
    return Command(first, function, arguments, others, summary, explained)


def must_be_async(function: Handler) -> None:
    """
    Raises:
        TypeError: *function* is no ``async def``.
    """
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{getattr(function, '__name__', function)} must be async def")


def _docs(text: str, arguments: Sequence[Argument]) -> tuple[str, dict[str, str]]:
    """The first paragraph, and the lines ``name: text`` with those that go on them."""
    summary, _, rest = text.partition("\n\n")
    known = {each.name for each in arguments}
    explained: dict[str, str] = {}
    current = ""
    indent = 0
    for line in rest.splitlines():
        depth = len(line) - len(line.lstrip())
        found = _PARAMETER.fullmatch(line.strip())
        if found and found[1] in known:
            current, indent = found[1], depth
            explained[current] = found[2]
        elif current and line.strip() and depth > indent:
            explained[current] += " " + line.strip()
        else:
            current = ""
    return " ".join(summary.split()), explained


def overview(commands: Iterable[Command], prefix: str) -> str:
    """One line for each of *commands*, and how to learn more."""
    lines = [
        each.usage(prefix) + (f" - {each.summary}" if each.summary else "")
        for each in commands
    ]
    return "\n".join([*lines, f"{prefix}help <command> says more."])


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of *known* that somebody who wrote *name* may have meant."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)
