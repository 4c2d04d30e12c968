# SPDX-License-Identifier: Apache-2.0
"""What a bot can do: its handlers, as the decorators have collected them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from chatmotor.bot.commands import Command, Handler, command_of, must_be_async
from chatmotor.bot.context import Context

Some = TypeVar("Some", bound=Handler)
Filter = Callable[[Context], bool]


@dataclass(frozen=True, slots=True)
class OnMessage:
    """A handler of messages that are no commands; *wants* chooses among them."""

    function: Handler
    wants: Filter


@dataclass(frozen=True, slots=True)
class OnEvent:
    """A handler of all events of a type."""

    function: Handler
    kind: type


@dataclass(frozen=True, slots=True)
class OnTime:
    """A function that timers call; *alone*: never beside another handler."""

    function: Handler
    alone: bool


@dataclass
class Registry:
    """
    The decorators.  A function is called by its own name in logs and cids.

    Attributes:
        commands: By name and by alias.
    """

    commands: dict[str, Command] = field(default_factory=dict)
    messages: list[OnMessage] = field(default_factory=list)
    events: list[OnEvent] = field(default_factory=list)
    timers: dict[str, OnTime] = field(default_factory=dict)
    tasks: list[Handler] = field(default_factory=list)

    @overload
    def command(self, name: Some) -> Some: ...

    @overload
    def command(
        self, name: str | None = None, *, aliases: Iterable[str] = ()
    ) -> Callable[[Some], Some]: ...

    def command(
        self, name: Any = None, *, aliases: Iterable[str] = ()
    ) -> Callable[[Some], Some] | Some:
        """
        Call the function when somebody writes the prefix and its name.

        Its parameters after the context are the command's arguments, converted by
        their annotations; its docstring is the help.

        Raises:
            TypeError: It is no ``async def``, or takes what cannot be typed.
            ValueError: The name is taken, or none that can be written.
        """
        if callable(name):
            function: Some = name
            return self.command()(function)

        def register(function: Some) -> Some:
            command = command_of(function, name=name, aliases=aliases)
            for each in [command.name, *command.aliases]:
                if each in self.commands:
                    raise ValueError(f"there are two commands {each!r}")
                self.commands[each] = command
            return function

        return register

    @overload
    def message(self, function: Some) -> Some: ...

    @overload
    def message(
        self, function: None = None, *, wants: Filter = ...
    ) -> Callable[[Some], Some]: ...

    def message(
        self, function: Any = None, *, wants: Filter = lambda context: True
    ) -> Any:
        """
        Call the function with each message of others that is no command.

        Args:
            wants: Whether it wants the message of this context.
        """

        def register(function: Some) -> Some:
            must_be_async(function)
            self.messages.append(OnMessage(function, wants))
            return function

        return register if function is None else register(function)

    def event(self, kind: type) -> Callable[[Some], Some]:
        """Call the function with each event of *kind*, the bot's own messages too."""

        def register(function: Some) -> Some:
            must_be_async(function)
            self.events.append(OnEvent(function, kind))
            return function

        return register

    @overload
    def timer(self, function: Some) -> Some: ...

    @overload
    def timer(
        self, function: None = None, *, alone: bool = True
    ) -> Callable[[Some], Some]: ...

    def timer(self, function: Any = None, *, alone: bool = True) -> Any:
        """
        The function is one that ``context.later`` may name.

        Args:
            alone: Like all handlers it runs one at a time.  False: beside others, up
                to 16, for what takes long; it should write values of its own only.

        Raises:
            ValueError: There is one of this name already.
        """

        def register(function: Some) -> Some:
            must_be_async(function)
            if function.__name__ in self.timers:
                raise ValueError(f"there are two timers {function.__name__!r}")
            self.timers[function.__name__] = OnTime(function, alone)
            return function

        return register if function is None else register(function)

    def task(self, function: Some) -> Some:
        """Run the function as long as the bot runs; it gets a context of no event."""
        must_be_async(function)
        self.tasks.append(function)
        return function

    def own_commands(self) -> list[Command]:
        """Each command once, by name."""
        return [
            command
            for name, command in sorted(self.commands.items())
            if name == command.name
        ]
