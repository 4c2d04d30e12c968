# SPDX-License-Identifier: Apache-2.0
"""What a command imports before it does anything: it is what one waits for."""

import os
import subprocess
import sys

import pytest

from chatmotor.cli import cli
from tests.harness.node import ROOT

SERVER = {"tornado", "pika", "picows", "argon2", "injector", "sqlite3", "asyncio"}
_SCRIPT = """
import sys
from chatmotor.cli import cli
try:
    cli(sys.argv[1:], prog_name="chatmotor")
except SystemExit:
    pass
print(*sys.modules)
"""


@pytest.mark.parametrize(
    "arguments", [["send"], ["logout", "--help"], ["serve", "--help"], ["--version"]]
)
def test_a_command_that_needs_no_server_imports_none(arguments: list[str]) -> None:
    """``chatmotor send`` in a loop of a script is over in a moment."""
    # Coverage, where it watches the tests, imports some of these itself.
    environment = {
        name: value for name, value in os.environ.items() if "COVERAGE" not in name
    }
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
    )
    imported = set(done.stdout.decode().splitlines()[-1].split())

    assert "chatmotor.cli" in imported
    assert set() == SERVER & imported


def test_every_command_is_found_by_its_name() -> None:
    """The table of what is elsewhere is right."""
    context = cli.make_context("chatmotor", [], resilient_parsing=True)
    names = cli.list_commands(context)

    assert {"serve", "user", "send", "tail"} <= set(names)
    assert names == [
        command.name
        for name in names
        if (command := cli.get_command(context, name)) is not None
    ]
    assert cli.get_command(context, "sned") is None
