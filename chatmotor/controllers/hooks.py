# SPDX-License-Identifier: Apache-2.0
"""Outgoing hooks over HTTP, for administrators.

    GET    /v1/admin/hooks          POST /v1/admin/hooks
    DELETE /v1/admin/hooks/<hook>   POST /v1/admin/hooks/<hook>/resume, rotate, test

Reference: docs/reference/webhooks.md.
"""

from typing import Any

from chatmotor.controllers.accounts import MAX_PAGE, AdminController, read_number
from chatmotor.controllers.requests import Edge
from chatmotor.core.accounts import Accounts
from chatmotor.core.administration import Administration
from chatmotor.core.hooks import Hooks, described
from chatmotor.protocol.account_bodies import NewOutgoingHook


class HookController(AdminController):
    """The base of the controllers below."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge, **parts)
        self._hooks: Hooks = parts["hooks"]


class HooksController(HookController):
    """``/v1/admin/hooks``"""

    async def get(self) -> None:
        """Hooks by id: ``?after=<hook>&limit=<number>``."""
        await self.administrator()
        limit = read_number(self.get_query_argument("limit", "100"), "limit", MAX_PAGE)
        found = await self._hooks.hooks(
            after=self.get_query_argument("after", ""), limit=limit + 1
        )
        items = [described(hook) for hook in found[:limit]]
        self.answer(200, {"items": items, "more": len(found) > limit})

    async def post(self) -> None:
        """Make one; its secret is said here only."""
        grant = await self.administrator()
        asked = self.body(NewOutgoingHook)
        hook = await self._hooks.add(
            asked.username,
            kind=asked.kind,
            url=asked.url,
            types=asked.types,
            conv=asked.conv,
        )
        self.note(f"hook {hook.id} of {hook.username!a}", grant.account.username)
        self.answer(201, {"hook": described(hook), "secret": hook.secret})


class HookItemController(HookController):
    """``/v1/admin/hooks/<hook>``"""

    async def delete(self, hook: str) -> None:
        """Remove it."""
        grant = await self.administrator()
        await self._hooks.remove(hook)
        self.note(f"removal of hook {hook!a}", grant.account.username)
        self.done()


class HookActionController(HookController):
    """``/v1/admin/hooks/<hook>/resume``, ``.../rotate`` and ``.../test``"""

    async def post(self, hook: str, action: str) -> None:
        """Switch it on again, give it another secret, or try it."""
        grant = await self.administrator()
        if action == "resume":
            await self._hooks.resume(hook)
            self.done()
        elif action == "rotate":
            changed = await self._hooks.rotate(hook)
            until = changed.old_until
            self.answer(200, {"secret": changed.secret, "old_until": until})
        else:
            error = await self._hooks.test(hook)
            self.answer(200, {"delivered": error is None, "error": error or ""})
        self.note(f"{action} of hook {hook!a}", grant.account.username)


def hook_routes(
    hooks: Hooks, accounts: Accounts, administration: Administration, edge: Edge
) -> list[Any]:
    """The routes of this module, for Tornado."""
    given = {
        "edge": edge,
        "accounts": accounts,
        "administration": administration,
        "hooks": hooks,
    }
    return [
        (r"/v1/admin/hooks", HooksController, given),
        (r"/v1/admin/hooks/([^/]+)", HookItemController, given),
        (
            r"/v1/admin/hooks/([^/]+)/(resume|rotate|test)",
            HookActionController,
            given,
        ),
    ]
