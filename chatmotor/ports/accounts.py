# SPDX-License-Identifier: Apache-2.0
"""Accounts, their devices and tokens, and what guards the way to them.

    account  --has--> devices  --have--> tokens (only a hash of each is stored)
    link     one use or several: an invitation, a new password, the first administrator
    attempt  how often a key (an account, an address) was tried lately, on all nodes

What every adapter promises (tests/contract/test_account_store.py): durable on return,
all or nothing, read your writes, as in ports/store.py.  Nothing here has a cid; after
``OutcomeUnknown`` the caller looks, or asks its user to try again.

Usernames are in their one form (core/names.py); hashes are of ``hash_secret``; times
are milliseconds since the Unix epoch, as arguments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from chatmotor.ports.messages import Logged


class TokenState(StrEnum):
    """What a token is worth now."""

    GOOD = "good"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class LinkKind(StrEnum):
    """What a one-time link is for."""

    SETUP = "setup"
    INVITE = "invite"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Account:
    """
    One account.

    Args:
        seq: Top of its mailbox (0: nothing yet).
        floor: Highest mailbox number that was dropped (0: none).
        password: A hash for the password hasher; none: no log-in by password.
        closed: Deactivated: no token of it is good, and nobody can write to it.
    """

    id: int
    username: str
    seq: int
    ts: int
    floor: int = 0
    display_name: str = ""
    password: str | None = None
    admin: bool = False
    closed: bool = False

    @property
    def shown_name(self) -> str:
        """What people see: the display name, or else the username."""
        return self.display_name or self.username


@dataclass(frozen=True, slots=True)
class NewAccount:
    """
    An account to be created.

    Args:
        link: Hash of the link that allows it, one use of which is taken in the same
            transaction: an invitation, or the set-up of the first administrator, or
            none when nothing needs to allow it.
    """

    username: str
    ts: int
    display_name: str = ""
    password: str | None = None
    admin: bool = False
    link: bytes | None = None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """
    What is to be changed; none leaves it as it is.

    Args:
        link: Hash of the ``reset`` link that allows it; it is used up.
        end_tokens: End every token and device of the account, but those of
        keep: the device of this name.
    """

    username: str
    ts: int
    display_name: str | None = None
    password: str | None = None
    admin: bool | None = None
    closed: bool | None = None
    link: bytes | None = None
    end_tokens: bool = False
    keep: str | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """
    A log-in of a device, which comes to be with its first token.

    Args:
        device: The name that the client gives its device; the same name is the same
            device, with its cursor.
        address: Hash of where the log-in came from (see ``known_address``).
        max_devices: Over it no new device is made.
    """

    username: str
    device: str
    token: bytes
    ts: int
    expires: int
    address: bytes = b""
    max_devices: int = 50


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What a good token allows: to be this account, on this device.

    Args:
        cursor: Highest mailbox number that the device has acknowledged.
        host_token: The token itself, where the host application is to be asked about
            it again; it is never stored.
    """

    account: Account
    device: str
    token: bytes
    expires: int
    cursor: int
    host_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Device:
    """A logged-in client of an account; ``seen``: last log-in or cursor saved."""

    name: str
    ts: int
    seen: int
    cursor: int


@dataclass(frozen=True, slots=True)
class NewLink:
    """
    A link to be made.

    Args:
        username: For ``reset``: whose password.
        uses: How often it can be used.
    """

    kind: LinkKind
    link: bytes
    expires: int
    username: str | None = None
    uses: int = 1


class AccountStore(Protocol):
    """Accounts."""

    async def create_account(self, new: NewAccount) -> Account:
        """
        Create an account.

        Raises:
            Conflict: The username is taken.
            Forbidden: The link is unknown, used up, or has expired, or is of the
                wrong kind: ``setup`` makes administrators and is good only while
                there is none, ``invite`` makes others.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def account(self, username: str) -> Account:
        """
        One account.

        Raises:
            NoSuchUser, StoreUnavailable: See ports/store.py.
        """

    async def accounts(self, *, after: str, limit: int) -> tuple[Account, ...]:
        """Accounts with a username greater than *after* ("": all), by username."""

    async def has_admin(self) -> bool:
        """Whether there is an administrator whose account is not closed."""

    async def change_account(self, change: AccountChange) -> tuple[Logged, ...]:
        """
        Change an account.  A new display name is a ``profile.set`` event of its own
        mailbox, detail ``{"display_name"}``; each device that ends is a
        ``device.gone``, detail ``{"device"}``.

        Raises:
            NoSuchUser: There is none.
            Forbidden: The link is unknown, used, expired, or another account's.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """


class TokenStore(Protocol):
    """Devices and tokens."""

    async def add_token(self, new: NewToken) -> tuple[Grant, tuple[Logged, ...]]:
        """
        Log a device in.  A new device is a ``device.new`` event of the account's
        mailbox, detail ``{"device"}``.

        Raises:
            NoSuchUser: There is no such account.
            Suspended: It is closed.
            TooManyDevices: It has ``max_devices``.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def grant(self, token: bytes, *, now: int) -> Grant:
        """
        What the token with this hash allows.

        Raises:
            Unauthenticated: No such token.
            TokenExpired: It was good once.
            Suspended: Its account is closed.
            StoreUnavailable: See ports/store.py.
        """

    async def token_states(
        self, tokens: Sequence[bytes], *, now: int
    ) -> Mapping[bytes, TokenState]:
        """The state of each, in one query."""

    async def replace_token(
        self, old: bytes, new: bytes, *, expires: int, old_expires: int, now: int
    ) -> Grant:
        """
        A second token for the same device; the old one ends at *old_expires*, or
        earlier, if it did.

        Raises:
            Unauthenticated, TokenExpired, Suspended: As for ``grant``.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def end_device(
        self, username: str, device: str, *, ts: int
    ) -> tuple[Logged, ...]:
        """
        Forget a device, its cursor and its tokens: one ``device.gone`` event.

        Raises:
            NoSuchDevice: There is none of this name.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def devices(self, username: str) -> tuple[Device, ...]:
        """The account's devices, by name."""

    async def save_cursors(
        self, cursors: Mapping[tuple[str, str], int], *, now: int
    ) -> None:
        """
        Move the cursors of (username, device) up; none moves down.  A device that is
        gone is left out.  Safe to repeat.
        """

    async def known_address(self, username: str, address: bytes) -> bool:
        """
        Whether a device of the account, if there is one, logged in last from there.
        The empty address is never known.
        """


class GateStore(Protocol):
    """One-time links, and how often something was tried."""

    async def add_link(self, new: NewLink) -> None:
        """
        Make a link.  A new ``setup`` link ends the earlier ones.

        Raises:
            NoSuchUser: ``username`` has no account.
        """

    async def check_link(self, link: bytes, *, now: int) -> NewLink:
        """
        What an unused link is for.

        Raises:
            Forbidden: It is unknown, used up, or has expired.
        """

    async def take_attempts(
        self, limits: Mapping[str, tuple[int, int]], *, now: int
    ) -> None:
        """
        Count one attempt under each key, unless one of them is exhausted.

        Args:
            limits: By key, how many attempts are allowed in how many milliseconds.
                The time runs from the first attempt that is counted.

        Raises:
            RateLimited: Of a key; none is counted.  It says when to try again.
            StoreUnavailable, OutcomeUnknown: See ports/store.py.
        """

    async def forget_attempts(self, keys: Sequence[str]) -> None:
        """Start again to count, after a success."""

    async def tidy(self, *, now: int) -> None:
        """Delete tokens that expired 30 days ago, links and attempts that are over."""


def hash_secret(secret: str) -> bytes:
    """
    What is stored of a token or link: SHA-256.

    They have 256 random bits, so a slow hash would add nothing.
    """
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
