# SPDX-License-Identifier: Apache-2.0
"""The part of ``StoreLife`` that is the same in both databases: epoch and trimming."""

import secrets
from functools import partial

from chatmotor.adapters.sql_account_store import RunsScripts
from chatmotor.adapters.sql_script import Script
from chatmotor.adapters.sql_trim import drop, find_old

_READ_EPOCH = "SELECT value FROM meta WHERE name = 'epoch'"
_SET_EPOCH = "UPDATE meta SET value = $1 WHERE name = 'epoch'"


class SqlLife(RunsScripts):
    """The methods are those of ``StoreLife``."""

    _epoch = ""

    @property
    def epoch(self) -> str:
        """See ``StoreLife.epoch``."""
        return self._epoch

    async def ping(self) -> None:
        """
        See ``StoreLife.ping``.

        It reads the epoch: should another process have begun a new one, this one
        knows by the next ping.
        """
        self._epoch = await self._look(_read_epoch)

    async def new_epoch(self) -> str:
        """See ``StoreLife.new_epoch``."""
        epoch = secrets.token_hex(16)
        await self._transact(partial(_set_epoch, epoch))
        self._epoch = epoch
        return epoch

    async def trim(self, *, before: int) -> int:
        """See ``StoreLife.trim``."""
        after: int | None = 0
        dropped = 0
        while after is not None:
            floors, after = await self._look(partial(find_old, after, before))
            if floors:
                dropped += await self._transact(partial(drop, floors))
        return dropped


def _read_epoch() -> Script[str]:
    rows = yield (_READ_EPOCH,)
    epoch: str = rows[0][0]
    return epoch


def _set_epoch(epoch: str) -> Script[None]:
    yield _SET_EPOCH, epoch
