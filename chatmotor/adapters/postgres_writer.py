# SPDX-License-Identifier: Apache-2.0
"""The task that writes to PostgreSQL: a transaction for all that waits, then the next.

    put ... put --> [ batch ] --BEGIN, postgres_sends.py, COMMIT--> done(answer), each
                        ^                       |
                        `-- replay, at most ----'  crossed by another transaction,
                            PATIENCE_SECONDS       or the server went away

A batch that did not reach COMMIT has written nothing and is simply done again.  When
the connection broke during COMMIT nobody knows; doing it again finds out, because the
locks make it wait until the server has ended the first attempt, and then the cids are
either there or they are not.  Only when there was no server to ask in time is the
answer ``OutcomeUnknown``.
"""

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from chatmotor.adapters.postgres_accounts import CACHED, Accounts
from chatmotor.adapters.postgres_link import AWAY, COMMAND_SECONDS, CROSSED, connect
from chatmotor.adapters.postgres_sends import Answer, SendBatch
from chatmotor.errors import OperatorError, OutcomeUnknown, StoreUnavailable
from chatmotor.ports.messages import NewMessage, StoredMessage
from chatmotor.ports.store import Done

# Shorter than what clients of HTTP and the deadline of hello allow.
PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.05
_PAUSE_MAX_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Write:
    """What to write, who waits for it and until when."""

    message: NewMessage
    done: Done
    deadline: float
    in_doubt: bool = False

    def settle(self, answer: StoredMessage | Exception) -> None:
        if self.in_doubt and isinstance(answer, StoredMessage):
            # What is found there now, this call has written.
            answer = replace(answer, dup=False)
        self.done(answer)


class Writer:
    """
    Group commit on one connection, made again whenever it breaks.

    Args:
        patience_seconds: How long a write waits for a server that is away.
    """

    def __init__(
        self,
        dsn: str,
        accounts: Accounts,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._accounts = accounts
        self._patience_seconds = patience_seconds
        self._connection: Any = None
        self._known: set[str] = set()
        self._waiting: list[_Write] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="postgres-writer")

    def put(self, message: NewMessage, done: Done) -> None:
        """
        Have *message* stored in the next transaction.

        *done* gets the answer, or the error; it must not raise.
        """
        if self._closing:
            raise StoreUnavailable("the store is closed")
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        self._waiting.append(_Write(message, done, deadline))
        self._wake.set()

    async def close(self) -> None:
        """Write what waits, then end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            self._wake.clear()
            if not self._waiting:
                await self._wake.wait()
                continue
            batch, self._waiting = self._waiting, []
            await self._write(batch)
            self._accounts.trim()
            if len(self._known) > CACHED:
                self._known.clear()
        await self._hang_up()

    async def _write(self, batch: list[_Write]) -> None:
        """Settle each write of *batch*; never raises."""
        pause = _PAUSE_SECONDS
        while batch:
            try:
                batch = await self._attempt(batch)
            except CROSSED as error:
                _log.info("a batch of %d is replayed: %s", len(batch), error)
            except (*AWAY, OperatorError) as error:
                _log.warning("PostgreSQL does not answer: %r", error)
                await asyncio.sleep(pause * random.random())  # noqa: S311  # jitter
                pause = min(pause * 2, _PAUSE_MAX_SECONDS)
            except Exception as error:  # noqa: BLE001  # the task must live
                await self._one_by_one(batch, error)
                return
            else:
                continue
            batch = _patient(batch)

    async def _one_by_one(self, batch: list[_Write], error: Exception) -> None:
        """Let the write that cannot be done fail alone."""
        if len(batch) == 1:
            _log.error("PostgreSQL cannot write this: %r", error)
            batch[0].settle(error)
            return
        _log.warning("a batch of %d is written one by one: %r", len(batch), error)
        for write in batch:
            await self._write([write])

    async def _attempt(self, batch: list[_Write]) -> list[_Write]:
        """One transaction.  Returns those that must wait for the next one."""
        if self._connection is None:
            self._connection = await connect(self._dsn)
        connection = self._connection
        sends = SendBatch(self._accounts, self._known, [x.message for x in batch])
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await connection.execute("BEGIN")
                answers = await sends.run(connection)
                doubted = [write.in_doubt for write in batch]
                for write, answer in zip(batch, answers, strict=True):
                    write.in_doubt |= _is_new(answer)
                await connection.execute("COMMIT")
        except BaseException as error:
            await self._roll_back(error)
            raise
        sends.committed()
        later = []
        for write, answer, in_doubt in zip(batch, answers, doubted, strict=True):
            write.in_doubt = in_doubt
            if answer is None:
                later.append(write)
            else:
                write.settle(answer)
        return later

    async def _roll_back(self, error: BaseException) -> None:
        """Be ready for the next BEGIN, on this connection or without one."""
        sane = isinstance(error, asyncpg.PostgresError) and not isinstance(error, AWAY)
        if sane and not self._connection.is_closed():
            with contextlib.suppress(*AWAY):
                await self._connection.execute("ROLLBACK")
                return
        self._connection.terminate()
        self._connection = None

    async def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*AWAY):
                await self._connection.close(timeout=1)
            self._connection = None


def _patient(batch: list[_Write]) -> list[_Write]:
    """Those that may try again; the others get the answer that is true now."""
    now = asyncio.get_running_loop().time()
    for write in batch:
        if write.deadline <= now:
            if write.in_doubt:
                write.settle(OutcomeUnknown("the connection broke during COMMIT"))
            else:
                write.settle(StoreUnavailable("the store does not answer; try again"))
    return [write for write in batch if write.deadline > now]


def _is_new(answer: Answer) -> bool:
    """Whether the transaction writes something for this answer."""
    return isinstance(answer, StoredMessage) and not answer.dup
