# SPDX-License-Identifier: Apache-2.0
"""Accounts, tokens and gates in a store that speaks SQL: which script, how run.

    SqliteStore, PostgresStore      run a script in a transaction of theirs
          |
    SqlAccounts                     which script a call is
          |
    sql_accounts.py, sql_tokens.py, sql_gates.py

The promises: ports/accounts.py.  Rows and hashes never leave these files.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from chatmotor.adapters import sql_accounts, sql_gates, sql_tokens
from chatmotor.adapters.sql_account_rows import find_account, has_admin
from chatmotor.adapters.sql_script import Script
from chatmotor.ports.accounts import (
    Account,
    AccountChange,
    Device,
    Grant,
    NewAccount,
    NewLink,
    NewToken,
    TokenState,
)
from chatmotor.ports.messages import Logged

T = TypeVar("T")


class RunsScripts(ABC):
    """What a database must be able to do here."""

    @abstractmethod
    async def _transact(
        self, make: Callable[[], Script[T]], *, moves: Iterable[str] = ()
    ) -> T:
        """
        Run a script that writes, in one transaction; a retry makes it anew.

        Args:
            moves: Usernames and conversations of which it may change what a store
                may keep in memory: their counters, and whether an account is closed.

        Raises:
            RequestRefused: The script did; nothing is written.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    @abstractmethod
    async def _look(self, make: Callable[[], Script[T]]) -> T:
        """
        Run a script that only reads; a retry makes it anew.

        Raises:
            RequestRefused: The script did.
            StoreUnavailable: See ports/store.py.
        """


class _Accounts(RunsScripts):
    """See ``AccountStore``."""

    async def create_account(self, new: NewAccount) -> Account:
        """See ``AccountStore.create_account``."""
        return await self._transact(partial(sql_accounts.create_account, new))

    async def account(self, username: str) -> Account:
        """See ``AccountStore.account``."""
        return await self._look(partial(find_account, username))

    async def accounts(self, *, after: str, limit: int) -> tuple[Account, ...]:
        """See ``AccountStore.accounts``."""
        return await self._look(partial(sql_accounts.accounts, after, limit))

    async def has_admin(self) -> bool:
        """See ``AccountStore.has_admin``."""
        return await self._look(has_admin)

    async def change_account(self, change: AccountChange) -> tuple[Logged, ...]:
        """See ``AccountStore.change_account``."""
        make = partial(sql_accounts.change_account, change)
        return await self._transact(make, moves=[change.username])


class _Tokens(RunsScripts):
    """See ``TokenStore``."""

    async def add_token(self, new: NewToken) -> tuple[Grant, tuple[Logged, ...]]:
        """See ``TokenStore.add_token``."""
        make = partial(sql_tokens.add_token, new)
        return await self._transact(make, moves=[new.username])

    async def grant(self, token: bytes, *, now: int) -> Grant:
        """See ``TokenStore.grant``."""
        return await self._look(partial(sql_tokens.grant, token, now=now))

    async def token_states(
        self, tokens: Sequence[bytes], *, now: int
    ) -> Mapping[bytes, TokenState]:
        """See ``TokenStore.token_states``."""
        return await self._look(partial(sql_tokens.token_states, tokens, now=now))

    async def replace_token(
        self, old: bytes, new: bytes, *, expires: int, old_expires: int, now: int
    ) -> Grant:
        """See ``TokenStore.replace_token``."""
        times = {"expires": expires, "old_expires": old_expires, "now": now}
        return await self._transact(
            partial(sql_tokens.replace_token, old, new, **times)
        )

    async def end_device(
        self, username: str, device: str, *, ts: int
    ) -> tuple[Logged, ...]:
        """See ``TokenStore.end_device``."""
        make = partial(sql_tokens.end_device, username, device, ts=ts)
        return await self._transact(make, moves=[username])

    async def devices(self, username: str) -> tuple[Device, ...]:
        """See ``TokenStore.devices``."""
        return await self._look(partial(sql_tokens.devices, username))

    async def save_cursors(
        self, cursors: Mapping[tuple[str, str], int], *, now: int
    ) -> None:
        """See ``TokenStore.save_cursors``."""
        for rows in sql_tokens.cursor_chunks(cursors, now=now):
            await self._transact(partial(sql_tokens.save_cursors, rows))

    async def known_address(self, username: str, address: bytes) -> bool:
        """See ``TokenStore.known_address``."""
        return await self._look(partial(sql_tokens.known_address, username, address))


class _Gates(RunsScripts):
    """See ``GateStore``."""

    async def add_link(self, new: NewLink) -> None:
        """See ``GateStore.add_link``."""
        await self._transact(partial(sql_gates.add_link, new))

    async def check_link(self, link: bytes, *, now: int) -> NewLink:
        """See ``GateStore.check_link``."""
        return await self._look(partial(sql_gates.check_link, link, now=now))

    async def take_attempts(
        self, limits: Mapping[str, tuple[int, int]], *, now: int
    ) -> None:
        """See ``GateStore.take_attempts``."""
        make = partial(sql_gates.take_attempts, limits, now=now)
        while not await self._transact(make):
            pass  # somebody else was the first, so the next try is not

    async def forget_attempts(self, keys: Sequence[str]) -> None:
        """See ``GateStore.forget_attempts``."""
        await self._transact(partial(sql_gates.forget_attempts, keys))

    async def tidy(self, *, now: int) -> None:
        """See ``GateStore.tidy``."""
        for kept in sql_gates.KEPT:
            at, after = now - kept.keep_ms, ""
            while True:
                find = partial(sql_gates.find_over, kept, at=at, after=after)
                keys = await self._look(find)
                if not keys:
                    break
                await self._transact(partial(sql_gates.delete_over, kept, keys, at=at))
                after = keys[-1]


class SqlAccounts(_Accounts, _Tokens, _Gates):
    """
    ``AccountStore``, ``TokenStore`` and ``GateStore``, for a store to inherit from.
    """
