# SPDX-License-Identifier: Apache-2.0
"""How commands are called, and what /help says."""

import pytest

from chatmotor.bot.commands import Call, call_in, command_of, nearest, overview


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/remind", Call("remind")),
        ("/Remind 10  tea ", Call("remind", None, "10  tea")),
        ("/remind\n10", Call("remind", None, "10")),
        ("/remind@Helper 10", Call("remind", "helper", "10")),
        ("/été", Call("été")),
        ("remind", None),
        ("", None),
        ("/", None),
        ("/ remind", None),
        ("//remind", None),
        ("/usr/bin/env", None),
        ("/3 x", None),
        ("/remind@", None),
        ("/" + "x" * 33, None),
        (" /remind", None),
    ],
)
def test_a_call_is_the_prefix_and_a_name(text: str, expected: Call | None) -> None:
    """What only looks like one is a message."""
    assert expected == call_in(text, "/")


def test_any_prefix_will_do() -> None:
    """Also one of several characters."""
    assert Call("help") == call_in("bot!help", "bot!")


async def remind(context: object, minutes: int, who: str = "me", *words: str) -> None:
    """
    Say something again later.

    A second paragraph is for programmers.

    Args:
        minutes: how long to wait,
            in minutes
        words: what to say
        nobody: is no parameter
    """


def test_the_usage_shows_types_defaults_and_the_rest() -> None:
    """One line, as a user would type it."""
    command = command_of(remind)

    assert "/remind <minutes: number> [who] <words…>" == command.usage("/")


def test_help_is_the_docstring() -> None:
    """Its first paragraph, and what it says of the arguments."""
    command = command_of(remind, name="Later", aliases=["l"])

    assert (
        "/later <minutes: number> [who] <words…>\n"
        "Say something again later.\n"
        "minutes: how long to wait, in minutes\n"
        "words: what to say\n"
        "Also: /l"
    ) == command.help("/")


def test_the_overview_has_a_line_for_each_command() -> None:
    """Usage and summary; a command without a docstring has its usage."""

    async def ping(context: object) -> None: ...

    text = overview([command_of(remind), command_of(ping)], "/")

    assert (
        "/remind <minutes: number> [who] <words…> - Say something again later.\n"
        "/ping\n"
        "/help <command> says more."
    ) == text


def test_a_misspelled_name_has_a_neighbour() -> None:
    """And one that is like nothing has none."""
    assert "remind" == nearest("remnid", ["remind", "poll"])
    assert None is nearest("xyz", ["remind", "poll"])


def test_a_command_must_be_async_and_have_a_name_to_be_called_by() -> None:
    """Both are the author's errors, and raised at once."""

    def plain(context: object) -> None: ...

    async def fine(context: object) -> None: ...

    with pytest.raises(TypeError, match="plain must be async def"):
        command_of(plain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no name for a command: 'a b'"):
        command_of(fine, name="a b")
