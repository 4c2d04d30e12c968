# SPDX-License-Identifier: Apache-2.0
"""What operators and administrators do to accounts.

They make accounts and one-time links, and deactivate; they never see a password or a
token of somebody else.  A link's code stands after ``#``, so that browsers send it to
no server and no proxy logs it:

    https://chat.example.org/invite#<code>   an account, for whoever has it
    https://chat.example.org/reset#<code>    another password for one account
    https://chat.example.org/setup#<code>    the first administrator
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatmotor.core.account_parts import (
    AccountParts,
    accepted_display_name,
    sought_name,
)
from chatmotor.core.names import account_name
from chatmotor.errors import Forbidden, RequestRefused
from chatmotor.ports.accounts import (
    Account,
    AccountChange,
    Device,
    LinkKind,
    NewAccount,
    NewLink,
    hash_secret,
)

MINUTE_MS = 60 * 1000
DAY_MS = 24 * 60 * MINUTE_MS
RESET_MS = 15 * MINUTE_MS
SETUP_MS = DAY_MS
INVITE_DAYS = 7
MAX_INVITE_DAYS = 365
MAX_USES = 10_000
PAGE = 100


@dataclass(frozen=True, slots=True)
class Link:
    """A link to be handed to a person; ``expires`` in ms since the Unix epoch."""

    url: str
    expires: int


class Administration:
    """
    The use cases of operators.

    Args:
        url: How people reach this installation, ``https://host``.
        has_host: The users are those of a host application: no passwords, no links.
    """

    def __init__(self, parts: AccountParts, *, url: str, has_host: bool) -> None:
        self._parts = parts
        self._store = parts.store
        self._url = url.rstrip("/")
        self._has_host = has_host

    @property
    def url(self) -> str:
        """How people reach this installation, without a slash at its end."""
        return self._url

    def serve_at(self, url: str) -> None:
        """The node listens at *url*: links begin with it, if with nothing better."""
        self._url = self._url or url.rstrip("/")

    async def create(
        self,
        username: str,
        password: str | None,
        *,
        display_name: str | None = None,
        admin: bool = False,
    ) -> Account:
        """
        Make an account, whatever SIGN_UP says.

        Raises:
            InvalidName, RequestRefused: Of a field, which it names.
            Conflict: The username is taken.
            Unavailable, OutcomeUnknown: See the ports.
        """
        name = account_name(username)
        return await self._parts.create(
            NewAccount(
                name,
                self._parts.now(),
                display_name=accepted_display_name(display_name),
                password=await self._hashed(password, name),
                admin=admin,
            )
        )

    async def set_password(self, username: str, password: str) -> None:
        """
        Another password; all devices are logged out.

        Raises:
            NoSuchUser: There is no such account.
            RequestRefused: Of the password.
            Unavailable, OutcomeUnknown: See the ports.
        """
        name = sought_name(username)
        hashed = await self._hashed(password, name)
        await self._parts.change(
            AccountChange(name, self._parts.now(), password=hashed, end_tokens=True)
        )

    async def deactivate(self, username: str) -> None:
        """
        Close the account: its tokens are good for nothing, nobody can write to it.

        Raises:
            NoSuchUser, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        change = AccountChange(sought_name(username), self._parts.now(), closed=True)
        await self._parts.change(change)

    async def activate(self, username: str) -> None:
        """
        Open a deactivated account again.  Its devices log in anew.

        Raises:
            NoSuchUser, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        await self._parts.change(
            AccountChange(
                sought_name(username), self._parts.now(), closed=False, end_tokens=True
            )
        )

    async def set_admin(self, username: str, *, admin: bool) -> None:
        """
        Make the account an administrator, or one no longer.

        Raises:
            NoSuchUser, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        change = AccountChange(sought_name(username), self._parts.now(), admin=admin)
        await self._parts.change(change)

    async def accounts(
        self, *, after: str = "", limit: int = PAGE
    ) -> Sequence[Account]:
        """
        Accounts with a username greater than *after*, by username.

        Raises:
            StoreUnavailable: See the ports.
        """
        return await self._store.accounts(after=after, limit=limit)

    async def devices(self, username: str) -> Sequence[Device]:
        """
        The devices of an account.

        Raises:
            NoSuchUser, StoreUnavailable: See the ports.
        """
        name = sought_name(username)
        await self._store.account(name)
        return await self._store.devices(name)

    async def revoke_device(self, username: str, device: str) -> None:
        """
        Log a device out.

        Raises:
            NoSuchUser, NoSuchDevice, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        name = sought_name(username)
        await self._store.account(name)
        await self._parts.end_device(name, device)

    async def new_invite(self, *, uses: int = 1, days: float = INVITE_DAYS) -> Link:
        """
        A link with which *uses* people can make an account.

        Raises:
            RequestRefused: Of the numbers.
            Forbidden: The users are those of a host application.
            StoreUnavailable, OutcomeUnknown: See the ports.
        """
        if not 1 <= uses <= MAX_USES:
            raise RequestRefused(
                f"an invitation has 1 to {MAX_USES} uses", field="uses"
            )
        if not 0 < days <= MAX_INVITE_DAYS:
            raise RequestRefused(
                f"an invitation is good for at most {MAX_INVITE_DAYS} days",
                field="days",
            )
        return await self._new_link(LinkKind.INVITE, int(days * DAY_MS), uses=uses)

    async def new_reset_link(self, username: str) -> Link:
        """
        A link with which the owner of an account sets another password, for 15 minutes.

        Raises:
            NoSuchUser: There is no such account.
            Forbidden: The users are those of a host application.
            StoreUnavailable, OutcomeUnknown: See the ports.
        """
        return await self._new_link(
            LinkKind.RESET, RESET_MS, username=sought_name(username)
        )

    async def new_setup_link(self) -> Link | None:
        """
        A link for the first administrator, for 24 hours; it ends the earlier ones.
        None: there is an administrator, or the users are those of a host application.

        Raises:
            StoreUnavailable, OutcomeUnknown: See the ports.
        """
        if self._has_host or await self._store.has_admin():
            return None
        return await self._new_link(LinkKind.SETUP, SETUP_MS)

    async def _new_link(
        self, kind: LinkKind, ms: int, *, username: str | None = None, uses: int = 1
    ) -> Link:
        if self._has_host:
            raise Forbidden("the users here are those of another application")
        code = self._parts.new_secret()
        expires = self._parts.now() + ms
        await self._store.add_link(
            NewLink(kind, hash_secret(code), expires, username=username, uses=uses)
        )
        return Link(f"{self._url}/{kind.value}#{code}", expires)

    async def _hashed(self, password: str | None, username: str) -> str | None:
        if password is None:
            return None
        accepted = self._parts.passwords.accept(password, username=username)
        return await self._parts.hasher.hash(accepted)
