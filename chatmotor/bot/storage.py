# SPDX-License-Identifier: Apache-2.0
"""What a bot remembers: values, timers, and which events it has handled.

    Storage   an SQLite file, or memory.  Writes are on disk when they return.
    Draft     the same values as one handler sees them.  Its writes wait.
    settle    the drafts and timers of an event, and that it is handled: together.

That is why a counter of a handler counts each event once, although the event itself
may come twice: either the event is marked as handled and its writes are there, or
neither is, and the handler runs again.  Replies are not in it; their cids see to that.
One process has the file at a time.  The calls block for as long as a small write takes.
"""

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

_TABLES = """
CREATE TABLE IF NOT EXISTS bot_value (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS bot_place (log TEXT PRIMARY KEY, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bot_timer (
    origin TEXT PRIMARY KEY,
    due REAL NOT NULL,
    timer TEXT NOT NULL,
    conv TEXT,
    arguments TEXT NOT NULL,
    unasked_ts INTEGER
);
CREATE INDEX IF NOT EXISTS bot_timer_due ON bot_timer (due);
"""


@dataclass(frozen=True, slots=True)
class Timer:
    """
    A call that is due at a time.

    Args:
        origin: What set it, and the how-manieth of that; its one name.
        due: Seconds since the Unix epoch.
        timer: The name of the function.
        arguments: JSON, a list.
        unasked_ts: Of the event of an unasked handler that has set it; see brake.py.
    """

    origin: str
    due: float
    timer: str
    conv: str | None
    arguments: str
    unasked_ts: int | None = None


class Storage(MutableMapping[str, Any]):
    """
    Values by key, both chosen by the bot's author; a value is anything JSON can hold.

    What is read is a copy: change it, then put it back under its key.

    Args:
        path: A file, made if need be, readable by its owner only; None: memory.

    Raises:
        OSError, sqlite3.Error: It cannot be opened, or is another program's file.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.touch(mode=0o600)
        # Transactions are begun here by hand, and last for no await.
        self._database = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file; safe to repeat."""
        self._database.close()

    def __getitem__(self, key: str) -> Any:
        text = self.read(key)
        if text is None:
            raise KeyError(key)
        return msgspec.json.decode(text)

    def __setitem__(self, key: str, value: Any) -> None:
        self._write(key, encode(value))

    def __delitem__(self, key: str) -> None:
        if self.read(key) is None:
            raise KeyError(key)
        self._write(key, None)

    def __iter__(self) -> Iterator[str]:
        rows = self._database.execute("SELECT key FROM bot_value ORDER BY key")
        return iter([key for (key,) in rows.fetchall()])

    def __len__(self) -> int:
        (count,) = self._database.execute("SELECT count(*) FROM bot_value").fetchone()
        return int(count)

    def read(self, key: str) -> str | None:
        """The JSON under *key*."""
        row = self._database.execute(
            "SELECT value FROM bot_value WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else str(row[0])

    def _write(self, key: str, text: str | None) -> None:
        if text is None:
            self._database.execute("DELETE FROM bot_value WHERE key = ?", (key,))
        else:
            self._database.execute(
                "INSERT INTO bot_value VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, text),
            )

    def handled(self, log: str) -> int:
        """The place in *log* up to which events are handled; 0: none."""
        row = self._database.execute(
            "SELECT place FROM bot_place WHERE log = ?", (log,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def forget_places(self) -> None:
        """The logs begin anew: the server's store was restored."""
        self._database.execute("DELETE FROM bot_place")

    def settle(
        self,
        drafts: Iterable["Draft"],
        *,
        log: str | None = None,
        place: int = 0,
        done: str | None = None,
    ) -> None:
        """
        In one transaction: the writes and timers of *drafts*, that *log* is handled
        up to *place*, and that the timer of the origin *done* has rung.
        """
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for draft in drafts:
                for key, text in draft.changes.items():
                    self._write(key, text)
                for timer in draft.timers:
                    self._database.execute(
                        "INSERT OR REPLACE INTO bot_timer VALUES (?, ?, ?, ?, ?, ?)",
                        dataclasses.astuple(timer),
                    )
            if log is not None:
                self._database.execute(
                    "INSERT INTO bot_place VALUES (?, ?)"
                    " ON CONFLICT (log) DO UPDATE SET place = excluded.place",
                    (log, place),
                )
            if done is not None:
                self._database.execute(
                    "DELETE FROM bot_timer WHERE origin = ?", (done,)
                )
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise

    def timers(self, limit: int) -> list[Timer]:
        """Those that are due first."""
        rows = self._database.execute(
            "SELECT origin, due, timer, conv, arguments, unasked_ts FROM bot_timer"
            " ORDER BY due, origin LIMIT ?",
            (limit,),
        )
        return [Timer(*row) for row in rows.fetchall()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Draft(MutableMapping[str, Any]):
    """The values of *base*, with changes that are not written yet."""

    base: Storage
    changes: dict[str, str | None] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)

    def __getitem__(self, key: str) -> Any:
        text = self.changes[key] if key in self.changes else self.base.read(key)
        if text is None:
            raise KeyError(key)
        return msgspec.json.decode(text)

    def __setitem__(self, key: str, value: Any) -> None:
        self.changes[key] = encode(value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self.changes[key] = None

    def __iter__(self) -> Iterator[str]:
        keys = set(self.base) | self.changes.keys()
        return iter(
            sorted(key for key in keys if self.changes.get(key, "") is not None)
        )

    def __len__(self) -> int:
        return len(list(iter(self)))


def encode(value: Any) -> str:
    """
    *value* as JSON.

    Raises:
        TypeError: JSON cannot hold it.
    """
    return msgspec.json.encode(value).decode()
