# SPDX-License-Identifier: Apache-2.0
"""The thread that writes to SQLite: a transaction for all that waits, then the next.

    loop:    put(write) ... put(write)                     done(answer), each
                  |              |                               ^
    thread:  BEGIN IMMEDIATE, each write, COMMIT (fsync) --------'  one call per batch

While the disk is busy with one commit the next batch gathers, so the slower the disk,
the larger the batches: nothing is tuned and nobody waits for a timer.

A write that is refused has written nothing, and its neighbours go on.  When anything
else fails the transaction is rolled back and each write is tried once more in one of
its own, so that the one that cannot be written fails alone.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatmotor.adapters.sqlite_tables import Tables
from chatmotor.errors import OutcomeUnknown, RequestRefused, StoreUnavailable

_log = logging.getLogger(__name__)

# What a caller did wrong, not the disk.
_BUGS = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


@dataclass(slots=True)
class _Write:
    """Something to do in a transaction, who waits for it, and what came of it."""

    apply: Callable[[Tables], Any]
    done: Callable[[Any], None]
    answer: Any = None


class Writer:
    """
    Group commit on one connection, which it closes in the end.

    Args:
        connection: From ``sqlite_file.open_writer``, with the schema up to date.
        loop: Where results are delivered.
    """

    def __init__(
        self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._connection = connection
        self._tables = Tables(connection)
        self._loop = loop
        self._changed = threading.Condition()
        self._waiting: list[_Write] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sqlite-writer")

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, apply: Callable[[Tables], Any], done: Callable[[Any], None]) -> None:
        """
        Have *apply* done in the next transaction; call it on the loop.

        *done* gets what it returns, or the error, on the loop; it must not raise.
        """
        with self._changed:
            if self._closing:
                raise StoreUnavailable("the store is closed")
            self._waiting.append(_Write(apply, done))
            if len(self._waiting) == 1:
                self._changed.notify()

    def close(self) -> None:
        """Write what waits, then end.  Blocks: not for the loop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while batch := self._take():
            self._write(batch)
            self._tables.trim()
            try:
                self._loop.call_soon_threadsafe(_settle, batch)
            except RuntimeError:  # the loop is closed, and nobody waits
                _log.debug("%d writes have nobody to answer to", len(batch))

    def _take(self) -> list[_Write]:
        """All that waits; nothing, once the end has come."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            batch, self._waiting = self._waiting, []
        return batch

    def _write(self, batch: list[_Write]) -> None:
        """Give each write of *batch* its answer; never raises."""
        try:
            self._transaction(batch)
        except Exception as error:  # noqa: BLE001  # the thread must live
            if len(batch) == 1:
                batch[0].answer = _for_the_caller(error)
                return
            _log.warning("a batch of %d is written one by one: %r", len(batch), error)
            for write in batch:
                self._write([write])

    def _transaction(self, batch: list[_Write]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write in batch:
                try:
                    write.answer = write.apply(self._tables)
                except RequestRefused as refused:
                    write.answer = refused
            self._tables.flush()
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise OutcomeUnknown("the commit failed") from error
        except BaseException:
            self._tables.forget()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _settle(batch: list[_Write]) -> None:
    for write in batch:
        write.done(write.answer)


def _for_the_caller(error: Exception) -> Exception:
    """
    What a failed write is to whoever asked for it.

    A commit that failed may have left its mark in the log: should the process die
    before the next one overwrites it, the write is there after all.
    """
    if isinstance(error, OutcomeUnknown):
        _log.error("the store cannot commit: %r", error.__cause__)
        return error
    if isinstance(error, sqlite3.Error) and not isinstance(error, _BUGS):
        _log.error("the store cannot write: %r", error)
        return StoreUnavailable("the store cannot write now; try again")
    return error
