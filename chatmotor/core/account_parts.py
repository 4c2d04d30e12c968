# SPDX-License-Identifier: Apache-2.0
"""What the use cases of accounts are made of, and the few steps that they share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from chatmotor.core.names import account_name
from chatmotor.core.passwords import PasswordRules
from chatmotor.core.throttle import Throttle
from chatmotor.errors import Conflict, InvalidName, NoSuchUser, RequestRefused
from chatmotor.ports.accounts import (
    Account,
    AccountChange,
    AccountStore,
    GateStore,
    NewAccount,
    TokenStore,
)
from chatmotor.ports.credentials import PasswordHasher
from chatmotor.ports.messages import Logged

MAX_DISPLAY_NAME = 64
MAX_DEVICE_NAME = 64


class AccountsStore(AccountStore, TokenStore, GateStore, Protocol):
    """The part of the store that is about accounts."""


@dataclass(frozen=True)
class AccountParts:
    """
    What the use cases need.

    Args:
        now: Milliseconds since the Unix epoch.
        new_secret: Another text of at least 256 random bits, fit for a URL.
        tell: Tells readers what was put into logs.
        recheck: Has every node look again at the sockets of this account, and at
            whether there is one.
    """

    store: AccountsStore
    hasher: PasswordHasher
    passwords: PasswordRules
    throttle: Throttle
    now: Callable[[], int]
    new_secret: Callable[[], str]
    tell: Callable[[Iterable[Logged]], None]
    recheck: Callable[[str], None]

    async def create(self, new: NewAccount) -> Account:
        """
        Create an account.

        Raises:
            Conflict, Forbidden, StoreUnavailable, OutcomeUnknown: See ``AccountStore``.
        """
        try:
            account = await self.store.create_account(new)
        except Conflict:
            raise Conflict("this username is taken", field="username") from None
        self.recheck(account.username)
        return account

    async def change(self, change: AccountChange) -> None:
        """
        Change an account, and let everybody know who must.

        Raises:
            NoSuchUser, Forbidden, StoreUnavailable, OutcomeUnknown: See
                ``AccountStore``.
        """
        self.tell(await self.store.change_account(change))
        if change.end_tokens or change.closed is not None:
            self.recheck(change.username)

    async def end_device(self, username: str, device: str) -> None:
        """
        Log a device out.

        Raises:
            NoSuchDevice, StoreUnavailable, OutcomeUnknown: See ``TokenStore``.
        """
        self.tell(await self.store.end_device(username, device, ts=self.now()))
        self.recheck(username)


def sought_name(username: str) -> str:
    """
    The form of a username that somebody looks for.

    Raises:
        NoSuchUser: No account can have it.
    """
    try:
        return account_name(username)
    except InvalidName:
        raise NoSuchUser("there is no such user", field="username") from None


def accepted_display_name(name: str | None) -> str:
    """
    A display name as it is stored; none is "".

    Raises:
        RequestRefused: It is too long, or has characters that nobody sees.
    """
    name = name or ""
    is_short = len(name) <= MAX_DISPLAY_NAME
    name = name.strip()
    if not is_short or not name.isprintable():
        raise RequestRefused(
            f"a display name has at most {MAX_DISPLAY_NAME} characters, all of them "
            "visible",
            field="display_name",
        )
    return name


def accepted_device(name: str) -> str:
    """
    A device's name.

    Raises:
        RequestRefused: It is empty or too long, or has characters that nobody sees.
    """
    if not 0 < len(name.strip()) <= len(name) <= MAX_DEVICE_NAME or not (
        name.isprintable()
    ):
        raise RequestRefused(
            f"a device's name has 1 to {MAX_DEVICE_NAME} visible characters",
            field="device",
        )
    return name
