# SPDX-License-Identifier: Apache-2.0
"""Accounts over HTTP: sign up, log in and out, passwords, and what administrators do.

    POST   /v1/accounts            POST /v1/tokens     DELETE /v1/tokens/current
    POST   /v1/tokens/renew        POST /v1/password   POST   /v1/password/reset
    POST   /v1/setup
    GET    /v1/openapi.json (and asyncapi, schema)
    GET    /setup, /invite, /reset (the page of links)
    GET    /v1/admin/accounts      POST /v1/admin/accounts/<username>/(de)activate
    POST   /v1/admin/invites       POST /v1/admin/reset-links

The use cases are in core/; here a request becomes a call, and its result an answer.
Reference: docs/reference/http.md.
"""

import logging
from typing import Any

from chatmotor.controllers.documents import DocumentController
from chatmotor.controllers.pages import JoinController
from chatmotor.controllers.requests import ApiController, Edge, authenticated, bearer
from chatmotor.core.accounts import Accounts, LogIn
from chatmotor.core.administration import Administration
from chatmotor.core.operator_commands import described, linked
from chatmotor.errors import Forbidden, NoSuchUser, RequestRefused, Unauthenticated
from chatmotor.ports.accounts import Account, Grant
from chatmotor.protocol.account_bodies import (
    NewInvite,
    NewResetLink,
    PasswordChange,
    PasswordReset,
    SetUp,
    SignUp,
    TokenRequest,
)

MAX_PAGE = 500

_log = logging.getLogger(__name__)


class AccountController(ApiController):
    """The base of the controllers below."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge)
        self._accounts: Accounts = parts["accounts"]
        self._administration: Administration = parts["administration"]

    def note(self, what: str, username: str) -> None:
        """Log who has done what, and from where; %a writes no line breaks."""
        _log.info("%s: %a from %s", what, username, self.client_address)

    def refuse(self, what: str, username: str, refused: RequestRefused) -> None:
        """Log who was refused what.  A flood is refused without a line for each."""
        level = logging.DEBUG if refused.temporary else logging.INFO
        _log.log(
            level,
            "%s refused (%s): %a from %s",
            what,
            refused.code,
            username[:64],
            self.client_address,
        )

    def _is_server(self) -> bool:
        """Whether the server API key is the request's token."""
        if "Authorization" not in self.request.headers:
            return False
        if not self._accounts.is_server_key(bearer(self.request)):
            raise Unauthenticated("this is not the server API key")
        return True

    def _answer_token(self, log_in: LogIn) -> None:
        self.answer(
            201,
            {
                "token": log_in.token,
                "device": log_in.device,
                "expires": log_in.expires,
            },
        )

    def _answer_user(self, account: Account) -> None:
        user = {"username": account.username, "display_name": account.shown_name}
        self.answer(201, {"user": user})


class AccountsController(AccountController):
    """``/v1/accounts``"""

    async def post(self) -> None:
        """Sign up; or, with the server API key, make an account for a user of its."""
        asked = self.body(SignUp)
        try:
            account = await self._make(asked)
        except RequestRefused as refused:
            self.refuse("sign-up", asked.username, refused)
            raise
        self.note("sign-up", account.username)
        self._answer_user(account)

    async def _make(self, asked: SignUp) -> Account:
        if self._is_server():
            return await self._accounts.create_for_server(
                asked.username, asked.password, display_name=asked.display_name
            )
        if asked.password is None:
            raise RequestRefused("an account needs a password", field="password")
        return await self._accounts.sign_up(
            asked.username,
            asked.password,
            address=self.client_address,
            display_name=asked.display_name,
            invite=asked.invite,
        )


class TokensController(AccountController):
    """``/v1/tokens``"""

    async def post(self) -> None:
        """Log in."""
        asked = self.body(TokenRequest)
        try:
            log_in = await self._accounts.log_in(
                asked.username,
                asked.password,
                address=self.client_address,
                device=asked.device,
            )
        except RequestRefused as refused:
            self.refuse("log-in", asked.username, refused)
            raise
        self.note("log-in", asked.username)
        self._answer_token(log_in)


class RenewController(AccountController):
    """``/v1/tokens/renew``"""

    async def post(self) -> None:
        """Another token for the same device."""
        self._answer_token(await self._accounts.renew(bearer(self.request)))


class CurrentTokenController(AccountController):
    """``/v1/tokens/current``"""

    async def delete(self) -> None:
        """Log out."""
        grant = await self._accounts.authenticate(bearer(self.request))
        await self._accounts.log_out(grant)
        self.note("log-out", grant.account.username)
        self.done()


class PasswordController(AccountController):
    """``/v1/password``"""

    async def post(self) -> None:
        """Change the password."""
        grant = await self._accounts.authenticate(bearer(self.request))
        asked = self.body(PasswordChange)
        try:
            await self._accounts.change_password(
                grant, asked.password, asked.new_password
            )
        except RequestRefused as refused:
            self.refuse("change of password", grant.account.username, refused)
            raise
        self.note("change of password", grant.account.username)
        self.done()


class PasswordResetController(AccountController):
    """``/v1/password/reset``"""

    async def post(self) -> None:
        """Set another password, with a reset link."""
        asked = self.body(PasswordReset)
        try:
            await self._accounts.reset_password(
                asked.code, asked.password, address=self.client_address
            )
        except RequestRefused as refused:
            self.refuse("reset of a password", "", refused)
            raise
        self.note("reset of a password", "")
        self.done()


class SetUpController(AccountController):
    """``/v1/setup``"""

    async def post(self) -> None:
        """Make the first administrator."""
        asked = self.body(SetUp)
        try:
            account = await self._accounts.set_up(
                asked.code,
                asked.username,
                asked.password,
                address=self.client_address,
                display_name=asked.display_name,
            )
        except RequestRefused as refused:
            self.refuse("set-up", asked.username, refused)
            raise
        self.note("set-up", account.username)
        self._answer_user(account)


class AdminController(AccountController):
    """The base of what only administrators may do."""

    async def administrator(self) -> Grant:
        """
        Who asks.

        Raises:
            Forbidden: It is no administrator.
            Unauthenticated, TokenExpired, Suspended, Unavailable: It is nobody.
        """
        grant = await authenticated(self, self._accounts)
        if not grant.account.admin:
            refused = Forbidden("only administrators may do this")
            self.refuse(self.request.path, grant.account.username, refused)
            raise refused
        return grant


class AdminAccountsController(AdminController):
    """``/v1/admin/accounts``"""

    async def get(self) -> None:
        """Accounts by username: ``?after=<username>&limit=<number>``."""
        await self.administrator()
        limit = read_number(self.get_query_argument("limit", "100"), "limit", MAX_PAGE)
        found = await self._administration.accounts(
            after=self.get_query_argument("after", ""), limit=limit + 1
        )
        items = [described(account) for account in found[:limit]]
        self.answer(200, {"items": items, "more": len(found) > limit})


class AdminStateController(AdminController):
    """``/v1/admin/accounts/<username>/deactivate`` and ``.../activate``"""

    async def post(self, username: str, action: str) -> None:
        """Deactivate an account, or activate it again."""
        grant = await self.administrator()
        if action == "activate":
            await self._administration.activate(username)
        else:
            account = await self._accounts.profile(username)
            if account.username == grant.account.username:
                raise Forbidden("administrators do not deactivate themselves")
            await self._administration.deactivate(username)
        self.note(f"{action} of {username!a}", grant.account.username)
        self.done()


class AdminInvitesController(AdminController):
    """``/v1/admin/invites``"""

    async def post(self) -> None:
        """Make an invitation link."""
        grant = await self.administrator()
        asked = self.body(NewInvite)
        link = await self._administration.new_invite(uses=asked.uses, days=asked.days)
        self.note("invitation", grant.account.username)
        self.answer(201, linked(link))


class AdminResetLinksController(AdminController):
    """``/v1/admin/reset-links``"""

    async def post(self) -> None:
        """Make a link with which an account's owner sets another password."""
        grant = await self.administrator()
        asked = self.body(NewResetLink)
        try:
            link = await self._administration.new_reset_link(asked.username)
        except NoSuchUser as refused:
            refused.field = "username"
            raise
        self.note(f"reset link of {asked.username!a}", grant.account.username)
        self.answer(201, linked(link))


def account_routes(
    accounts: Accounts, administration: Administration, edge: Edge
) -> list[Any]:
    """The routes of this module, for Tornado."""
    given = {"edge": edge, "accounts": accounts, "administration": administration}
    table: list[tuple[str, type[AccountController]]] = [
        (r"/v1/accounts", AccountsController),
        (r"/v1/tokens", TokensController),
        (r"/v1/tokens/renew", RenewController),
        (r"/v1/tokens/current", CurrentTokenController),
        (r"/v1/password", PasswordController),
        (r"/v1/password/reset", PasswordResetController),
        (r"/v1/setup", SetUpController),
        (r"/v1/admin/accounts", AdminAccountsController),
        (r"/v1/admin/accounts/([^/]+)/(activate|deactivate)", AdminStateController),
        (r"/v1/admin/invites", AdminInvitesController),
        (r"/v1/admin/reset-links", AdminResetLinksController),
    ]
    return [
        *((path, controller, given) for path, controller in table),
        (r"/v1/(openapi|asyncapi|schema)\.json", DocumentController, {"edge": edge}),
        (r"/(?:setup|invite|reset)", JoinController),
    ]


def read_number(text: str, field: str, largest: int) -> int:
    """
    A number from 1 to *largest*, of a parameter in the URL.

    Raises:
        RequestRefused: It is none; *field* names it.
    """
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
    if not 1 <= number <= largest:
        raise RequestRefused(f"{field} is a number from 1 to {largest}", field=field)
    return number
