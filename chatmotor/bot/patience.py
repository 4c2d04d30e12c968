# SPDX-License-Identifier: Apache-2.0
"""How long a handler may take.  What it spends on sending does not count.

While the server is away a reply waits, for hours if need be, and that is right.  A
handler that waits for something else holds up all that come after it.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class Patience:
    """
    A time-out that stands still in ``waiting``.

        async with Patience(60.0) as patience:     # TimeoutError after 60 s
            with patience.waiting(): ...

    Args:
        seconds: The handler's own time; None: without end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._left = seconds
        self._timeout = asyncio.timeout(seconds)
        self._waits = 0
        self._over = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        await self._timeout.__aexit__(kind, error, trace)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The clock of the handler stands still in here; may be nested."""
        now = asyncio.get_running_loop().time
        deadline = self._timeout.when()
        if self._waits == 0 and deadline is not None:
            self._left = deadline - now()
            self._set(None)
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if self._waits == 0 and self._left is not None:
                self._set(now() + self._left)

    def _set(self, deadline: float | None) -> None:
        # A task that the handler has left behind may still be sending.
        if not self._over and not self._timeout.expired():
            self._timeout.reschedule(deadline)
