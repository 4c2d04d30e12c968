# SPDX-License-Identifier: Apache-2.0
"""Once an hour: what is too old is dropped from the store.

Every node does it, at another minute; what one has dropped the next does not find.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Protocol

from chatmotor.errors import ChatmotorError
from chatmotor.ports.accounts import GateStore
from chatmotor.ports.store import StoreLife

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0


class HousekeepingStore(StoreLife, GateStore, Protocol):
    """What is asked of the store."""


class Housekeeping:
    """
    Drops old mailbox events, and expired tokens, links and attempts.

    Args:
        now: Milliseconds since the Unix epoch.
        mailbox_ms: How long events are kept in mailboxes.
    """

    def __init__(
        self, store: HousekeepingStore, *, now: Callable[[], int], mailbox_ms: int
    ) -> None:
        self._store = store
        self._now = now
        self._mailbox_ms = mailbox_ms
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, at some moment of the first hour."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; what is half done is done the next time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def clean(self) -> None:
        """Do it now."""
        now = self._now()
        dropped = await self._store.trim(before=now - self._mailbox_ms)
        if dropped:
            logger.info("%d old events were dropped from mailboxes", dropped)
        await self._store.tidy(now=now)

    async def _run(self) -> None:
        await asyncio.sleep(random.uniform(0, EVERY_SECONDS))  # noqa: S311  # jitter
        while True:
            try:
                await self.clean()
            except ChatmotorError as error:
                logger.warning("old events stay for another hour: %s", error)
            except Exception:
                logger.exception("old events could not be dropped")
            await asyncio.sleep(EVERY_SECONDS)
