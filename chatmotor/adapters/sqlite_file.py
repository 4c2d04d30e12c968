# SPDX-License-Identifier: Apache-2.0
"""The SQLite file itself: one process at a time, durable, of the right schema.

    lock --> create 0600 --> check WAL and FULL --> safety copy --> migrate

The lock is a file of its own beside the database, held with flock(2) for as long as
the process lives: a second one is refused, and a killed one leaves nothing behind.
"""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from chatmotor.adapters.store_schema import (
    CREATE_VERSION,
    READ_VERSION,
    Migration,
    due,
)
from chatmotor.errors import OperatorError

BUSY_MILLISECONDS = 5000
# Pages of the log before they are moved into the file, 4 KiB each.
CHECKPOINT_PAGES = 4096
_FULL = 2


class FileLock:
    """
    Keeps other processes from a database.  A context manager.

    Raises:
        OperatorError: Another one has it.
    """

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise OperatorError(
                f"{database.name} is in use by another Chatmotor; stop that one, or"
                " give this one a data directory of its own"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let others have it.  The file stays: to delete it would be a race."""
        os.close(self._file)


def open_writer(path: Path) -> sqlite3.Connection:
    """
    The one connection that writes.

    Raises:
        OperatorError: It would not be durable here.
    """
    # SQLite gives its log and its shared memory the mode of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = _connect(path)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS; no effect elsewhere
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, level) != ("wal", _FULL):
        connection.close()
        raise OperatorError(
            f"SQLite cannot write {path.name} durably: journal mode {mode} in place of"
            " wal; put the data directory on a local disk"
        )
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # Transactions are begun by hand; stop() closes what other threads opened.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    return connection


def read_version(connection: sqlite3.Connection) -> int:
    """The number of the schema; 0 when there is none."""
    known = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"
    ).fetchone()
    version: int = connection.execute(READ_VERSION).fetchone()[0] if known else 0
    return version


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: tuple[Migration, ...]
) -> Path | None:
    """
    Bring the schema up to date.

    Returns:
        The safety copy from before; none when there was nothing to do or to save.

    Raises:
        OperatorError: The schema is newer than this program.
    """
    version = read_version(connection)
    steps = due(migrations, version)
    copy = _safety_copy(connection, path, version) if version and steps else None
    for step in steps:
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{CREATE_VERSION};\n{step.sql}\n"
                f"INSERT INTO schema_version VALUES ({step.number});\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return copy


def _safety_copy(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """A whole copy, which has its name only once it is whole."""
    copy = path.with_name(f"{path.name}.schema-{version}")
    part = copy.with_name(copy.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(part)) as target:
        connection.backup(target)
    part.replace(copy)
    return copy
