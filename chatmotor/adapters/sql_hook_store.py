# SPDX-License-Identifier: Apache-2.0
"""``HookStore``, ``ForwardingStore`` and ``IncomingStore`` by scripts, for both stores.

The scripts: sql_hooks.py, sql_incoming.py.
"""

from collections.abc import Collection, Mapping
from functools import partial

from chatmotor.adapters import sql_hooks, sql_incoming
from chatmotor.adapters.sql_account_store import RunsScripts
from chatmotor.ports.accounts import Account
from chatmotor.ports.hooks import (
    Hook,
    HookChange,
    HookKind,
    Incoming,
    NewHook,
    NewIncoming,
    Progress,
)


class SqlHooks(RunsScripts):
    """For a store to inherit from."""

    async def add_hook(self, new: NewHook) -> Hook:
        """See ``HookStore.add_hook``."""
        return await self._transact(partial(sql_hooks.add_hook, new))

    async def hook(self, id_: str) -> Hook:
        """See ``HookStore.hook``."""
        return await self._look(partial(sql_hooks.find_hook, id_))

    async def hooks(self, *, after: str, limit: int) -> tuple[Hook, ...]:
        """See ``HookStore.hooks``."""
        return await self._look(partial(sql_hooks.read_hooks, after, limit))

    async def change_hook(self, change: HookChange) -> Hook:
        """See ``HookStore.change_hook``."""
        return await self._transact(partial(sql_hooks.change_hook, change))

    async def remove_hook(self, id_: str) -> None:
        """See ``HookStore.remove_hook``."""
        await self._transact(partial(sql_hooks.remove_hook, id_))

    async def lease_hooks(
        self, owner: str, kinds: Collection[HookKind], *, now: int, until: int
    ) -> tuple[Hook, ...]:
        """See ``ForwardingStore.lease_hooks``."""
        make = partial(sql_hooks.lease_hooks, owner, kinds, now=now, until=until)
        return await self._transact(make)

    async def release_hooks(self, owner: str) -> None:
        """See ``ForwardingStore.release_hooks``."""
        await self._transact(partial(sql_hooks.release_hooks, owner))

    async def hook_positions(self, id_: str) -> Mapping[str, int]:
        """See ``ForwardingStore.hook_positions``."""
        return await self._look(partial(sql_hooks.hook_positions, id_))

    async def save_progress(self, progress: Progress) -> bool:
        """See ``ForwardingStore.save_progress``."""
        return await self._transact(partial(sql_hooks.save_progress, progress))

    async def add_incoming(self, new: NewIncoming) -> Incoming:
        """See ``IncomingStore.add_incoming``."""
        return await self._transact(partial(sql_incoming.add_incoming, new))

    async def incoming(self, conv: str, *, reader: str) -> tuple[Incoming, ...]:
        """See ``IncomingStore.incoming``."""
        return await self._look(partial(sql_incoming.read_incoming, conv, reader))

    async def remove_incoming(self, id_: str, *, actor: str) -> None:
        """See ``IncomingStore.remove_incoming``."""
        await self._transact(partial(sql_incoming.remove_incoming, id_, actor))

    async def incoming_by_code(self, code: bytes) -> tuple[Incoming, Account] | None:
        """See ``IncomingStore.incoming_by_code``."""
        return await self._look(partial(sql_incoming.incoming_by_code, code))
