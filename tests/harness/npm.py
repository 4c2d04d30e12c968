# SPDX-License-Identifier: Apache-2.0
"""The npm packages of the tests, as tests/node/package-lock.json pins them.

A program in JavaScript finds them in a ``node_modules`` beside it: ``beside`` makes it.
"""

import subprocess
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[1] / "node"
INSTALL_SECONDS = 300.0


def node_modules() -> Path:
    """The directory with the packages, installed when they are not, or are others."""
    lock, installed = DIRECTORY / "package-lock.json", DIRECTORY / "node_modules"
    mark = installed / ".lock-as-installed"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=DIRECTORY,
            check=True,
            capture_output=True,
            timeout=INSTALL_SECONDS,
        )
        mark.write_bytes(lock.read_bytes())
    return installed


def beside(program: Path, directory: Path) -> Path:
    """*program*, copied into *directory*, where it finds the packages."""
    copy = directory / program.name
    copy.write_bytes(program.read_bytes())
    link = directory / "node_modules"
    if not link.exists():
        link.symlink_to(node_modules())
    return copy
