# SPDX-License-Identifier: Apache-2.0
"""How a program reads events: one is handled when the next one is asked for."""

from typing import Generic, Self, TypeVar

from chatmotor.client.driver import Driver
from chatmotor.client.errors import Misused
from chatmotor.client.log_follower import Held
from chatmotor.client.session import CLOSED_BY_US

Kind_co = TypeVar("Kind_co", covariant=True)


class EventReader(Generic[Kind_co]):
    """An async iterator; see ``Client.events``."""

    def __init__(self, driver: Driver, *, ephemeral: bool) -> None:
        self._driver = driver
        self._session = driver.session
        self._session.inbox.takes_ephemeral = ephemeral
        self._last: Held | None = None
        self._waits = False
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Kind_co:
        """
        The next event; the one before is handled.

        Raises:
            SessionEnded: There will be none.
            Misused: Another reader has taken over, or waits here already.
        """
        self.settle()
        if self._waits:
            raise Misused("another task waits for the next event")
        session = self._session
        if not (session.inbox.has_events or self._over):
            self._waits = True
            try:
                await self._driver.until(
                    lambda: (
                        session.inbox.has_events
                        or session.ended is not None
                        or self._over
                    )
                )
            finally:
                self._waits = False
        if session.ended is not None and session.ended.code == CLOSED_BY_US:
            raise StopAsyncIteration
        if self._over:
            raise Misused("another reader has taken over")
        held = session.inbox.next_event()
        if held is None:
            raise session.end_error()
        self._last = held
        return held.event  # type: ignore[return-value]  # what takes_ephemeral lets in

    def settle(self) -> None:
        """The event that was taken last is handled."""
        held, self._last = self._last, None
        if held is not None:
            self._session.handled(held, self._driver.now())
            self._driver.wake()

    def retire(self) -> None:
        """Another reader takes over."""
        self.settle()
        self._over = True
        self._driver.wake()
