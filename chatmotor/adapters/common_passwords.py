# SPDX-License-Identifier: Apache-2.0
"""The list of usual passwords, from the file beside this one."""

from pathlib import Path

_FILE = Path(__file__).with_name("common_passwords.txt")


def common_passwords() -> frozenset[str]:
    """The passwords and words of the list, in lower case."""
    lines = _FILE.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
