# SPDX-License-Identifier: Apache-2.0
"""The operator's commands: a name and JSON in, JSON out.

The command line gives them to a running node through its admin socket, or, where no
node runs, runs them itself on the store.  Either way it is this code.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from chatmotor.core.administration import INVITE_DAYS, Administration, Link
from chatmotor.core.hooks import Hooks
from chatmotor.core.hooks import described as described_hook
from chatmotor.errors import RequestRefused, UnknownOp
from chatmotor.ports.accounts import Account

Answer = dict[str, Any]


class Create(msgspec.Struct):
    """``user.create``"""

    username: str
    password: str | None = None
    display_name: str | None = None
    admin: bool = False


class SetPassword(msgspec.Struct):
    """``user.passwd``"""

    username: str
    password: str


class Named(msgspec.Struct):
    """A command about one account."""

    username: str


class SetAdmin(msgspec.Struct):
    """``user.admin``"""

    username: str
    admin: bool


class Revoke(msgspec.Struct):
    """``user.revoke``"""

    username: str
    device: str


class Page(msgspec.Struct):
    """``user.list``, ``hook.list``"""

    after: str = ""
    limit: int = 100


class Invite(msgspec.Struct):
    """``invite.create``"""

    uses: int = 1
    days: float = INVITE_DAYS


class AddHook(msgspec.Struct):
    """``hook.add``"""

    username: str
    kind: str = "webhook"
    url: str = ""
    types: list[str] = []
    conv: str | None = None


class OfHook(msgspec.Struct):
    """A command about one outgoing hook."""

    hook: str


class Nothing(msgspec.Struct):
    """A command without fields."""


class OperatorCommands:
    """Runs commands; what they do is ``Administration``'s and ``Hooks``'."""

    def __init__(self, administration: Administration, hooks: Hooks) -> None:
        self._administration = administration
        self._hooks = hooks
        self._table: Mapping[str, tuple[type, Callable[[Any], Awaitable[Answer]]]] = {
            "ping": (Nothing, self._ping),
            "user.create": (Create, self._create),
            "user.list": (Page, self._list),
            "user.passwd": (SetPassword, self._passwd),
            "user.admin": (SetAdmin, self._admin),
            "user.reset": (Named, self._reset),
            "user.deactivate": (Named, self._deactivate),
            "user.activate": (Named, self._activate),
            "user.devices": (Named, self._devices),
            "user.revoke": (Revoke, self._revoke),
            "invite.create": (Invite, self._invite),
            "hook.add": (AddHook, self._add_hook),
            "hook.list": (Page, self._list_hooks),
            "hook.remove": (OfHook, self._remove_hook),
            "hook.resume": (OfHook, self._resume_hook),
            "hook.rotate": (OfHook, self._rotate_hook),
            "hook.test": (OfHook, self._test_hook),
        }

    async def run(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """
        Run the command *name*.

        Raises:
            UnknownOp: There is no such command.
            RequestRefused: Of its arguments, or as ``Administration`` says.
            Unavailable, OutcomeUnknown: See the ports.
        """
        if name not in self._table:
            raise UnknownOp("there is no such command; are both of one version?")
        kind, run = self._table[name]
        try:
            given: Any = msgspec.convert(arguments, kind)
        except msgspec.ValidationError as wrong:
            raise RequestRefused(str(wrong)) from None
        return await run(given)

    async def _ping(self, given: Nothing) -> Answer:
        return {}

    async def _create(self, given: Create) -> Answer:
        account = await self._administration.create(
            given.username,
            given.password,
            display_name=given.display_name,
            admin=given.admin,
        )
        return described(account)

    async def _list(self, given: Page) -> Answer:
        limit = min(max(given.limit, 1), 1000)
        found = await self._administration.accounts(after=given.after, limit=limit + 1)
        return {
            "items": [described(account) for account in found[:limit]],
            "more": len(found) > limit,
        }

    async def _passwd(self, given: SetPassword) -> Answer:
        await self._administration.set_password(given.username, given.password)
        return {}

    async def _admin(self, given: SetAdmin) -> Answer:
        await self._administration.set_admin(given.username, admin=given.admin)
        return {}

    async def _reset(self, given: Named) -> Answer:
        return linked(await self._administration.new_reset_link(given.username))

    async def _deactivate(self, given: Named) -> Answer:
        await self._administration.deactivate(given.username)
        return {}

    async def _activate(self, given: Named) -> Answer:
        await self._administration.activate(given.username)
        return {}

    async def _devices(self, given: Named) -> Answer:
        devices = await self._administration.devices(given.username)
        return {
            "items": [
                {"device": each.name, "created": each.ts, "seen": each.seen}
                for each in devices
            ]
        }

    async def _revoke(self, given: Revoke) -> Answer:
        await self._administration.revoke_device(given.username, given.device)
        return {}

    async def _invite(self, given: Invite) -> Answer:
        return linked(
            await self._administration.new_invite(uses=given.uses, days=given.days)
        )

    async def _add_hook(self, given: AddHook) -> Answer:
        hook = await self._hooks.add(
            given.username,
            kind=given.kind,
            url=given.url,
            types=given.types,
            conv=given.conv,
        )
        return {"hook": hook.id, "secret": hook.secret}

    async def _list_hooks(self, given: Page) -> Answer:
        limit = min(max(given.limit, 1), 1000)
        found = await self._hooks.hooks(after=given.after, limit=limit + 1)
        items = [described_hook(hook) for hook in found[:limit]]
        return {"items": items, "more": len(found) > limit}

    async def _remove_hook(self, given: OfHook) -> Answer:
        await self._hooks.remove(given.hook)
        return {}

    async def _resume_hook(self, given: OfHook) -> Answer:
        await self._hooks.resume(given.hook)
        return {}

    async def _rotate_hook(self, given: OfHook) -> Answer:
        hook = await self._hooks.rotate(given.hook)
        return {"secret": hook.secret, "old_until": hook.old_until}

    async def _test_hook(self, given: OfHook) -> Answer:
        return {"error": await self._hooks.test(given.hook)}


def described(account: Account) -> Answer:
    """An account as operators and administrators see it."""
    return {
        "username": account.username,
        "display_name": account.shown_name,
        "admin": account.admin,
        "closed": account.closed,
        "created": account.ts,
    }


def linked(link: Link) -> Answer:
    """A link, and how long it is good."""
    return {"link": link.url, "expires": link.expires}
