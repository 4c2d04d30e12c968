# SPDX-License-Identifier: Apache-2.0
"""Which tables a store has: numbered SQL files, and the number that it has reached.

    adapters/migrations/<dialect>/0001_messages.sql, 0002_....sql, ...

A file is run once, whole, in one transaction with its number in ``schema_version``.
A file that was released is never changed.  There is no way back: the way back is the
safety copy, or a backup.  Why not a library: docs/decisions/0007-numbered-sql-files.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chatmotor.errors import OperatorError

MIGRATIONS = Path(__file__).parent / "migrations"

CREATE_VERSION = (
    "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)"
)
READ_VERSION = "SELECT COALESCE(MAX(version), 0) FROM schema_version"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    sql: str


def read_migrations(directory: Path) -> tuple[Migration, ...]:
    """The steps in *directory*, 1, 2, 3 ... without a hole."""
    files = sorted(directory.glob("[0-9]*.sql"))
    found = tuple(
        Migration(int(file.name.partition("_")[0]), file.read_text("utf-8"))
        for file in files
    )
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations in {directory} are not numbered 1, 2, 3 ...")
    return found


def due(migrations: Sequence[Migration], version: int) -> Sequence[Migration]:
    """
    The steps that a store of *version* has not seen.

    Raises:
        OperatorError: The store is newer than this program.
    """
    if version > len(migrations):
        raise OperatorError(
            f"the store was written by a newer Chatmotor: its schema is {version}, and"
            f" this one knows {len(migrations)}; install the newer Chatmotor again, or"
            " restore a backup from before the upgrade"
        )
    return migrations[version:]
