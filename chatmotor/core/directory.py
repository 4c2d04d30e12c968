# SPDX-License-Identifier: Apache-2.0
"""Which names have an account: asked of the store, and remembered.

An account is never deleted, so a name that has one keeps it.  That a name has none is
remembered for a moment only, since another node may create it.
"""

from collections.abc import Callable

from chatmotor.core.names import account_form
from chatmotor.errors import NoSuchUser
from chatmotor.ports.accounts import AccountStore

NOBODY_SECONDS = 2.0
# Longer than any spelling of a name; it is not kept, since anyone may send it.
_MAX_CHARACTERS = 256
_KEPT = 50_000


class Directory:
    """
    A memory of names.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, store: AccountStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._accounts: dict[str, str] = {}
        self._nobodies: dict[str, float] = {}

    def is_nobodys(self, name: str) -> bool:
        """Whether *name* is known to have no account; false also means "ask"."""
        if len(name) > _MAX_CHARACTERS:
            return True
        until = self._nobodies.get(name)
        return until is not None and self._clock() < until

    async def find(self, name: str) -> str | None:
        """
        The username of the account that *name*, as people write it, means.

        Raises:
            StoreUnavailable: It cannot be asked.
        """
        known = self._accounts.get(name)
        if known is not None or self.is_nobodys(name):
            return known
        return await self.ask(name)

    async def ask(self, name: str) -> str | None:
        """As ``find``, of the store and not of what is remembered."""
        username = account_form(name)
        if username is not None:
            try:
                await self._store.account(username)
            except NoSuchUser:
                username = None
        self._trim()
        if username is None:
            self._nobodies[name] = self._clock() + NOBODY_SECONDS
        else:
            self._accounts[name] = username
        return username

    def forget(self) -> None:
        """An account may have come to be: ask again."""
        self._nobodies.clear()

    def _trim(self) -> None:
        if len(self._accounts) > _KEPT:
            self._accounts.clear()
        if len(self._nobodies) > _KEPT:
            self._nobodies.clear()
