# SPDX-License-Identifier: Apache-2.0
"""The ``chatmotor`` command.  Its options are those of docs/reference/options.md."""

import os
from typing import Any

import click

from chatmotor import __version__, main
from chatmotor.operator_cli import db, invite, user


@click.group()
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
    if bindings is not None:
        os.environ["CM_BINDINGS"] = bindings
    main.run({name: value for name, value in options.items() if value is not None})


cli.add_command(user)
cli.add_command(invite)
cli.add_command(db)
