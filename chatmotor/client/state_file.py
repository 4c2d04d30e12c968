# SPDX-License-Identifier: Apache-2.0
"""The state of a client as a file: SQLite, durable, of one process at a time.

    open --> lock --> read --> write, write, ... --> close

The lock is that of SQLite itself, kept for as long as the file is open: a second
process is refused, and a killed one leaves nothing behind.  The file has the texts of
messages that have no ``ok`` yet, so nobody else may read it; it has no token.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from chatmotor.client.errors import StateFileRefused
from chatmotor.client.memory import (
    Changes,
    GroupPlace,
    KeptMessage,
    Memory,
    Places,
)

VERSION = 1
# "Cmst", so that file(1) and this program know whose it is.
APPLICATION_ID = 0x436D7374
BUSY_MILLISECONDS = 1000

_SCHEMA = """
CREATE TABLE client (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    username TEXT, epoch TEXT, seq INTEGER
);
CREATE TABLE groups (
    conv TEXT PRIMARY KEY, pos INTEGER NOT NULL, member INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, cid TEXT NOT NULL UNIQUE, content BLOB NOT NULL
);
INSERT INTO client (only) VALUES (1);
"""


class StateFile:
    """
    The file at *path*, made if there is none.

    Not for two threads at a time; any one may use it.

    Raises:
        StateFileRefused: Another process has it, or it is not such a file.
    """

    def __init__(self, path: str | Path) -> None:
        self._name = Path(path).name
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StateFileRefused(
                f"{self._name} cannot be opened: {error.strerror}"
            ) from None
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise StateFileRefused(self._explain(error)) from None
        except StateFileRefused:
            self._connection.close()
            raise

    def _explain(self, error: sqlite3.Error) -> str:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return (
                f"{self._name} is in use by another client; stop that one, or give"
                " this one a file of its own"
            )
        return f"{self._name} is no state file of a client: {error}"

    def _prepare(self) -> None:
        run = self._connection.execute
        run(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA fullfsync = ON")  # macOS; no effect elsewhere
        run("BEGIN EXCLUSIVE")  # the lock stays from here on
        empty = run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                run(statement)
            run(f"PRAGMA application_id = {APPLICATION_ID}")
            run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")
        application = run("PRAGMA application_id").fetchone()[0]
        version = run("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise StateFileRefused(f"{self._name} is no state file of a client")
        if version != VERSION:
            raise StateFileRefused(
                f"{self._name} was written by another version; update this program"
            )

    def read(self) -> Memory:
        """What the last run has kept."""
        run = self._connection.execute
        user, epoch, seq = run("SELECT username, epoch, seq FROM client").fetchone()
        places = None
        if epoch is not None:
            groups = {
                conv: GroupPlace(pos, bool(member))
                for conv, pos, member in run("SELECT conv, pos, member FROM groups")
            }
            places = Places(epoch, seq, groups)
        rows = run("SELECT number, cid, content FROM outbox ORDER BY number")
        return Memory(user, places, [KeptMessage(*row) for row in rows])

    def write(self, changes: Changes) -> None:
        """
        Take over *changes*: durable on return, all of them or none.

        Raises:
            sqlite3.Error: They are not.
        """
        run = self._connection.execute
        run("BEGIN")
        try:
            self._write(changes)
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def _write(self, changes: Changes) -> None:
        run, many = self._connection.execute, self._connection.executemany
        if changes.user is not None:
            run("UPDATE client SET username = ?", (changes.user,))
        if changes.replaced is not None:
            new = changes.replaced
            run("UPDATE client SET epoch = ?, seq = ?", (new.epoch, new.seq))
            run("DELETE FROM groups")
            self._put_groups(new.groups)
        if changes.seq is not None:
            run("UPDATE client SET seq = ?", (changes.seq,))
        self._put_groups(changes.groups)
        many(
            "INSERT INTO outbox (number, cid, content) VALUES (?, ?, ?)",
            [(each.number, each.cid, each.content) for each in changes.put],
        )
        many("DELETE FROM outbox WHERE number = ?", [(n,) for n in changes.dropped])

    def _put_groups(self, groups: dict[str, GroupPlace]) -> None:
        self._connection.executemany(
            "INSERT INTO groups (conv, pos, member) VALUES (?, ?, ?)"
            " ON CONFLICT (conv) DO UPDATE SET pos = excluded.pos,"
            " member = excluded.member",
            [(conv, each.pos, each.member) for conv, each in groups.items()],
        )

    def close(self) -> None:
        """Let others have it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
