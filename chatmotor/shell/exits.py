# SPDX-License-Identifier: Apache-2.0
"""How the commands of this package end: what scripts go by.

     0  done; of ``send``: stored
    64  the command is not used like this
    65  the server refuses what was said
    67  there is no such user or conversation
    75  not now: the server is away or busy; the same can work later
    77  not allowed: no token, or none that is good, or not for this account

The numbers are those of sysexits.h.
"""

import sys
from typing import Any, Final, NoReturn

import click

USAGE: Final = 64
BAD_DATA: Final = 65
NO_SUCH: Final = 67
TRY_AGAIN: Final = 75
NOT_ALLOWED: Final = 77

_BY_CODE: Final = {
    "unauthenticated": NOT_ALLOWED,
    "token_expired": NOT_ALLOWED,
    "forbidden": NOT_ALLOWED,
    "suspended": NOT_ALLOWED,
    "not_member": NOT_ALLOWED,
    "no_such_user": NO_SUCH,
    "no_such_conv": NO_SUCH,
    "internal": TRY_AGAIN,
}


def status_of(code: str, *, retry: bool) -> int:
    """The status for a refusal with this ``code`` of docs/reference/protocol.md."""
    return TRY_AGAIN if retry else _BY_CODE.get(code, BAD_DATA)


def fail(status: int, sentence: str) -> NoReturn:
    """Say one sentence on standard error, and end."""
    click.echo(f"chatmotor: {sentence}", err=True)
    sys.exit(status)


class _WrongUse(click.UsageError):
    exit_code = USAGE


class ShellCommand(click.Command):
    """A command whose wrong use ends with 64, where click would say 2."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """As click does."""
        try:
            return super().make_context(*arguments, **named)
        except click.UsageError as wrong:
            raise _WrongUse(wrong.format_message(), wrong.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """As click does."""
        try:
            return super().invoke(ctx)
        except click.UsageError as wrong:
            raise _WrongUse(wrong.format_message(), wrong.ctx) from None
