# SPDX-License-Identifier: Apache-2.0
"""``python -m chatmotor`` is the ``chatmotor`` command."""

from chatmotor.cli import cli

cli(prog_name="chatmotor")
