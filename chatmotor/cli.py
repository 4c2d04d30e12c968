# SPDX-License-Identifier: Apache-2.0
"""The ``chatmotor`` command.  Its options are those of docs/reference/options.md."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from chatmotor import __version__

# What is not asked for is not imported: the server's parts take a moment.
_ELSEWHERE: Final[Mapping[str, str]] = {
    "user": "chatmotor.operator_cli",
    "invite": "chatmotor.operator_cli",
    "hook": "chatmotor.operator_cli",
    "db": "chatmotor.operator_cli",
    "login": "chatmotor.shell.commands",
    "logout": "chatmotor.shell.commands",
    "send": "chatmotor.shell.commands",
    "tail": "chatmotor.shell.commands",
}


class _Commands(click.Group):
    """The commands of this module, and those that are elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        module = _ELSEWHERE.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(module), cmd_name)
        return found


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="chatmotor")
def cli() -> None:
    """Instant messaging you host yourself."""


@cli.command()
@click.option("--host", "TORNADO_HOST", help="Address to listen on.")
@click.option("--port", "TORNADO_LISTEN_PORT", type=int, help="Port; 0: a free one.")
@click.option("--data-dir", "DATA_DIR", help="Directory of this installation's files.")
@click.option("--bindings", help="Python file with interface_bindings.")
@click.option("--workers", "WORKERS", type=int, help="Processes; needs RabbitMQ.")
def serve(bindings: str | None, **options: Any) -> None:
    """
    Serve the WebSocket API until stopped.

    Every option, these and all others, also comes from the environment, as
    CM_TORNADO_LISTEN_PORT=9000, and from config.py in the directory CM_CONFIG_HOME.
    """
    from chatmotor import main  # noqa: PLC0415  # see above

    if bindings is not None:
        os.environ["CM_BINDINGS"] = bindings
    main.run({name: value for name, value in options.items() if value is not None})
