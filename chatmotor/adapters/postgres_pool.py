# SPDX-License-Identifier: Apache-2.0
"""Runs scripts on PostgreSQL: a few connections, made again whenever they break.

    look      BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY ... COMMIT: one moment
    transact  BEGIN ... COMMIT, and once more when another transaction was in the way
              or the server went away before COMMIT

Sends do not come here: postgres_writer.py gathers them.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from chatmotor.adapters.postgres_link import AWAY, COMMAND_SECONDS, CROSSED, connect
from chatmotor.adapters.sql_script import Script, run_on_postgres
from chatmotor.errors import (
    OperatorError,
    OutcomeUnknown,
    RequestRefused,
    StoreUnavailable,
)
from chatmotor.ports.messages import ChangedGroup

READERS = 4
WRITERS = 4
_PAUSE_SECONDS = 0.1
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Attempt:
    """How far a transaction has come."""

    committing: bool = False


class Pool:
    """
    At most ``READERS`` reads and ``WRITERS`` transactions at a time; others wait.

    Args:
        patience_seconds: How long a call waits for a server that is away.
    """

    def __init__(self, dsn: str, *, patience_seconds: float) -> None:
        self._dsn = dsn
        self._patience_seconds = patience_seconds
        self._free: list[Any] = []
        self._reads = asyncio.Semaphore(READERS)
        self._writes = asyncio.Semaphore(WRITERS)
        self._closing = False

    async def look(self, make: Callable[[], Script[T]]) -> T:
        """See ``RunsScripts._look``."""
        self._check_open()
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience_seconds
        while True:
            try:
                async with asyncio.timeout(COMMAND_SECONDS), self._reads:
                    return await self._run(_SNAPSHOT, make, _Attempt())
            except (*AWAY, *CROSSED, OperatorError) as error:
                if clock() >= deadline:
                    raise _unavailable(error) from error
            await _pause()

    async def transact(self, make: Callable[[], Script[T]], *, again: bool) -> T:
        """See ``SqlMessages._transact``."""
        self._check_open()
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience_seconds
        in_doubt = False
        while True:
            attempt = _Attempt()
            try:
                async with asyncio.timeout(COMMAND_SECONDS), self._writes:
                    result = await self._run("BEGIN", make, attempt)
                return _own(result) if in_doubt else result
            except CROSSED as error:
                _log.info("a transaction is replayed: %s", error)
                cause: Exception = error
            except (*AWAY, OperatorError) as error:
                in_doubt |= attempt.committing
                cause = error
            if in_doubt and (not again or clock() >= deadline):
                raise OutcomeUnknown("the connection broke during COMMIT") from cause
            if clock() >= deadline:
                raise _unavailable(cause) from cause
            await _pause()

    async def close(self) -> None:
        """Refuse new calls, finish the transactions begun, hang up."""
        self._closing = True
        for _ in range(WRITERS):
            await self._writes.acquire()
        while self._free:
            self._free.pop().terminate()

    def _check_open(self) -> None:
        if self._closing:
            raise StoreUnavailable("the store is closed")

    async def _run(
        self, begin: str, make: Callable[[], Script[T]], attempt: _Attempt
    ) -> T:
        own = self._free.pop() if self._free else await connect(self._dsn)
        try:
            await own.execute(begin)
            try:
                result = await run_on_postgres(own, make())
            except (RequestRefused, *CROSSED):
                await own.execute("ROLLBACK")
                raise
            attempt.committing = True
            await own.execute("COMMIT")
        except BaseException as error:
            # These have been rolled back; after anything else, who knows.
            sane = isinstance(error, (RequestRefused, *CROSSED))
            self._let_go(own, sane=sane and not attempt.committing)
            raise
        self._let_go(own, sane=True)
        return result

    def _let_go(self, own: Any, *, sane: bool) -> None:
        if sane and not self._closing:
            self._free.append(own)
        else:
            own.terminate()


def _own(result: T) -> T:
    """What was in doubt and is found there now, this call has written."""
    if isinstance(result, ChangedGroup):
        return replace(result, dup=False)
    return result


async def _pause() -> None:
    await asyncio.sleep(_PAUSE_SECONDS * random.random())  # noqa: S311  # jitter


def _unavailable(error: Exception) -> StoreUnavailable:
    _log.warning("PostgreSQL does not answer: %r", error)
    return StoreUnavailable("the store does not answer; try again")
