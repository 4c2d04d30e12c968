# SPDX-License-Identifier: Apache-2.0
"""A bot's token in a file, renewed long before it expires.

The file's age says when; so a bot that is started often renews as well.  A file that
the bot may not write, such as a mounted secret, is read only: who wrote it renews it.
"""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatmotor.client import Disconnected, Refused, renew

_LOG: Final = logging.getLogger(__name__)
# A token is good for 30 days, by default.
RENEW_SECONDS: Final = 5 * 86400.0
LOOK_SECONDS: Final = 3600.0


class TokenFile:
    """
    The token in the file at *path*.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._read()

    def _read(self) -> str:
        return self._path.read_text("utf-8").strip()

    async def token(self) -> str:
        """What the file says now."""
        return await asyncio.to_thread(self._read)

    async def keep_fresh(self, urls: Sequence[str]) -> None:
        """Renew it at one of *urls* whenever it is old, for ever."""
        while True:
            await self.look(urls)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, urls: Sequence[str]) -> None:
        """
        Renew it if it is old; where no server answers, that is for the next look.
        """
        if not await asyncio.to_thread(self._is_old):
            return
        for url in urls:
            try:
                answer = await renew(url, await self.token())
            except Disconnected:
                continue
            except Refused as refused:
                _LOG.warning("the token cannot be renewed: %s", refused.code)
            else:
                await asyncio.to_thread(self._write, answer.token)
            return

    def _is_old(self) -> bool:
        age = time.time() - self._path.stat().st_mtime
        return age > RENEW_SECONDS and os.access(self._path, os.W_OK)

    def _write(self, token: str) -> None:
        # In its place at once: a half-written token would lock the bot out.
        new = self._path.with_name(self._path.name + ".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(token + "\n", "utf-8")
        new.replace(self._path)
