# SPDX-License-Identifier: Apache-2.0
"""Accounts, as their owners use them: sign up, log in, prove who one is, log out.

    password --log_in--> token "cm_..." --authenticate--> Grant
    token of the host application (JWT) --authenticate--> Grant

Only hashes of tokens and passwords are stored.  Every attempt is counted before its
password is looked at, and a name without an account is answered as late, and in the
same words, as a wrong password.  What operators do: core/administration.py.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from chatmotor.core.account_parts import (
    AccountParts,
    accepted_device,
    accepted_display_name,
    sought_name,
)
from chatmotor.core.host_users import HostUsers
from chatmotor.core.names import account_name
from chatmotor.core.passwords import password_form
from chatmotor.core.throttle import hash_address
from chatmotor.errors import (
    Forbidden,
    InvalidName,
    NoSuchUser,
    Suspended,
    Unauthenticated,
)
from chatmotor.ports.accounts import (
    Account,
    AccountChange,
    Device,
    Grant,
    LinkKind,
    NewAccount,
    NewToken,
    TokenState,
    hash_secret,
)
from chatmotor.ports.credentials import HostTokens

TOKEN_PREFIX = "cm_"  # noqa: S105  # so that a leaked one is recognized
API_DEVICE = "api"
# A request that is under way with the old token still ends well.
OLD_TOKEN_MS = 5 * 60 * 1000
_ACT_MS = 5 * 60 * 1000


class SignUp(StrEnum):
    """Who may make an account."""

    OPEN = "open"
    INVITE = "invite"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LogIn:
    """
    What a log-in gives.

    Args:
        token: Said now and never again; of it only a hash is kept.
        expires: Milliseconds since the Unix epoch.
    """

    token: str
    device: str
    expires: int


class Accounts:
    """
    The use cases of people and their programs.

    Args:
        sign_up: Who may make an account.
        token_ms: How long a token is good.
        devices_max: Devices of an account.
        server_key: The server API key; empty: there is none.
        host_tokens: Where the users are those of a host application, what checks its
            tokens; then nobody signs up or logs in here.
    """

    def __init__(
        self,
        parts: AccountParts,
        *,
        sign_up: SignUp,
        token_ms: int,
        devices_max: int,
        server_key: str = "",
        host_tokens: HostTokens | None = None,
    ) -> None:
        self._parts = parts
        self._store = parts.store
        self._sign_up = sign_up
        self._token_ms = token_ms
        self._devices_max = devices_max
        self._server_key = server_key.encode()
        self._host = (
            None
            if host_tokens is None
            else HostUsers(parts, host_tokens, devices_max=devices_max)
        )

    async def sign_up(
        self,
        username: str,
        password: str,
        *,
        address: str,
        display_name: str | None = None,
        invite: str | None = None,
    ) -> Account:
        """
        Make an account for oneself.

        Args:
            invite: The code of an invitation, where SIGN_UP asks for one.

        Raises:
            InvalidName, RequestRefused: Of a field, which it names.
            Forbidden: Sign-up is closed, or the invitation is missing, or no longer
                good, or the users are those of a host application.
            Conflict: The username is taken.
            RateLimited: Of the address.
            Unavailable, OutcomeUnknown: See the ports.
        """
        self._refuse_beside_host()
        if self._sign_up is SignUp.CLOSED:
            raise Forbidden("sign-up is closed here; the operator makes accounts")
        if self._sign_up is SignUp.INVITE and not invite:
            raise Forbidden("sign-up needs an invitation here", field="invite")
        new = self._new_account(username, display_name)
        password = self._parts.passwords.accept(password, username=new.username)
        await self._parts.throttle.take(address, now=new.ts)
        if self._sign_up is SignUp.INVITE and invite is not None:
            new = replace(new, link=hash_secret(invite))
            await self._check_link(invite, LinkKind.INVITE)
        hashed = await self._parts.hasher.hash(password)
        return await self._parts.create(replace(new, password=hashed))

    async def create_for_server(
        self, username: str, password: str | None, *, display_name: str | None = None
    ) -> Account:
        """
        Make an account for a user of the server, whatever SIGN_UP says; without a
        password nobody logs in to it by one.  Who calls has checked the server's key.

        Raises:
            InvalidName, RequestRefused: Of a field, which it names.
            Conflict: The username is taken.
            Unavailable, OutcomeUnknown: See the ports.
        """
        new = self._new_account(username, display_name)
        if password is not None:
            password = self._parts.passwords.accept(password, username=new.username)
            new = replace(new, password=await self._parts.hasher.hash(password))
        return await self._parts.create(new)

    async def set_up(
        self,
        code: str,
        username: str,
        password: str,
        *,
        address: str,
        display_name: str | None = None,
    ) -> Account:
        """
        Make the first administrator, with the code of a set-up link.

        Raises:
            Forbidden: The code is no longer good, or there is an administrator.
            InvalidName, RequestRefused, Conflict, RateLimited, Unavailable,
            OutcomeUnknown: As for ``sign_up``.
        """
        self._refuse_beside_host()
        new = self._new_account(username, display_name)
        password = self._parts.passwords.accept(password, username=new.username)
        await self._parts.throttle.take(address, now=new.ts)
        await self._check_link(code, LinkKind.SETUP)
        hashed = await self._parts.hasher.hash(password)
        return await self._parts.create(
            replace(new, password=hashed, admin=True, link=hash_secret(code))
        )

    async def log_in(
        self, username: str, password: str, *, address: str, device: str | None = None
    ) -> LogIn:
        """
        A token for a device.

        Args:
            device: A name; the same one is the same device.  None: a new device.

        Raises:
            RequestRefused: Of the device's name.
            Unauthenticated: No such account, or not its password.
            Suspended: The account is deactivated.
            TooManyDevices: It has as many as are allowed.
            Forbidden: The users are those of a host application.
            RateLimited: Of the account or the address.
            Unavailable, OutcomeUnknown: See the ports.
        """
        self._refuse_beside_host()
        parts = self._parts
        device = f"device-{parts.new_secret()[:8]}" if device is None else device
        accepted_device(device)
        try:
            sought = account_name(username)
        except InvalidName:
            sought = None
        now = parts.now()
        key = await parts.throttle.take_log_in(sought, username, address, now=now)
        account = None if sought is None else await self._find(sought)
        if account is None or not await self._is_password(account, password):
            if account is None:
                await parts.hasher.verify(None, "")  # as slow as a wrong password
            raise Unauthenticated("the username or the password is wrong")
        log_in = await self._add_token(account, device, address)
        await self._rehash(account, password)
        await parts.throttle.forget(key)
        return log_in

    async def renew(self, token: str) -> LogIn:
        """
        Another token for the same device; the old one ends in five minutes.

        Raises:
            Unauthenticated, TokenExpired, Suspended: Of the old one.
            Forbidden: It is the host application's.
            StoreUnavailable, OutcomeUnknown: See the ports.
        """
        if not token.startswith(TOKEN_PREFIX):
            if self._host is not None:
                raise Forbidden("this token is renewed by the application it is of")
            raise Unauthenticated("the token is not valid")
        now = self._parts.now()
        fresh = self._new_token()
        grant = await self._store.replace_token(
            hash_secret(token),
            hash_secret(fresh),
            expires=now + self._token_ms,
            old_expires=now + OLD_TOKEN_MS,
            now=now,
        )
        return LogIn(fresh, grant.device, grant.expires)

    async def log_out(self, grant: Grant) -> None:
        """
        End the device, its tokens and its sockets.

        Raises:
            NoSuchDevice, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        await self._parts.end_device(grant.account.username, grant.device)

    async def change_password(self, grant: Grant, current: str, new: str) -> None:
        """
        Another password; every other device is logged out.

        Raises:
            Forbidden: *current* is wrong, or the users are those of a host.
            RequestRefused: Of the new one.
            RateLimited: *current* was wrong too often.
            Unavailable, OutcomeUnknown: See the ports.
        """
        self._refuse_beside_host()
        parts = self._parts
        username = grant.account.username
        accepted = parts.passwords.accept(new, username=username, field="new_password")
        key = await parts.throttle.take_password(username, now=parts.now())
        account = await self._store.account(username)
        if not await self._is_password(account, current):
            raise Forbidden("the current password is wrong", field="password")
        hashed = await parts.hasher.hash(accepted)
        await parts.change(
            AccountChange(
                username,
                parts.now(),
                password=hashed,
                end_tokens=True,
                keep=grant.device,
            )
        )
        await parts.throttle.forget(key)

    async def reset_password(self, code: str, password: str, *, address: str) -> None:
        """
        Another password, with the code of a reset link; all devices are logged out.

        Raises:
            Forbidden: The code is not, or no longer, good.
            RequestRefused: Of the password.
            RateLimited: Of the address.
            Unavailable, OutcomeUnknown: See the ports.
        """
        self._refuse_beside_host()
        parts = self._parts
        await parts.throttle.take(address, now=parts.now())
        username = await self._check_link(code, LinkKind.RESET)
        accepted = parts.passwords.accept(password, username=username)
        hashed = await parts.hasher.hash(accepted)
        await parts.change(
            AccountChange(
                username,
                parts.now(),
                password=hashed,
                link=hash_secret(code),
                end_tokens=True,
            )
        )

    async def authenticate(self, token: str) -> Grant:
        """
        What *token*, ours or the host application's, allows.

        A user of the host gets an account with its first token.

        Raises:
            Unauthenticated, TokenExpired, Suspended: It allows nothing.
            Forbidden: The host's user has a name that no account can have.
            TooManyDevices: The host's user has as many as are allowed.
            Unavailable, OutcomeUnknown: See the ports.
        """
        now = self._parts.now()
        if token.startswith(TOKEN_PREFIX):
            return await self._store.grant(hash_secret(token), now=now)
        if self._host is None:
            raise Unauthenticated("the token is not valid")
        return await self._host.authenticate(token, now=now)

    async def token_states(self, grants: Sequence[Grant]) -> Mapping[bytes, TokenState]:
        """
        How it is now with the token of each grant.

        Raises:
            StoreUnavailable: See the ports.
        """
        now = self._parts.now()
        if self._host is not None:
            return await self._host.token_states(grants, now=now)
        tokens = [grant.token for grant in grants]
        return await self._store.token_states(tokens, now=now)

    def is_server_key(self, key: str) -> bool:
        """Whether *key* is the server API key, in constant time."""
        given = key.encode("utf-8", "surrogatepass")
        return bool(self._server_key) and hmac.compare_digest(given, self._server_key)

    async def act_for(self, username: str) -> Grant:
        """
        What the server may do in the name of an account: to be it, as device "api",
        but no administrator.  Who calls has checked the server's key.

        Raises:
            NoSuchUser: There is no such account.
            Suspended: It is deactivated.
            StoreUnavailable: See the ports.
        """
        account = await self._store.account(sought_name(username))
        if account.closed:
            raise Suspended("the account is deactivated")
        expires = self._parts.now() + _ACT_MS
        return Grant(replace(account, admin=False), API_DEVICE, b"", expires, 0)

    async def devices(self, username: str) -> tuple[Device, ...]:
        """The account's devices, by name."""
        return await self._store.devices(sought_name(username))

    async def revoke_device(self, username: str, device: str) -> None:
        """
        Log a device out.

        Raises:
            NoSuchUser, NoSuchDevice, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        await self._parts.end_device(sought_name(username), device)

    async def profile(self, username: str) -> Account:
        """
        The account of this name, in any of its spellings.

        Raises:
            NoSuchUser, StoreUnavailable: See the ports.
        """
        return await self._store.account(sought_name(username))

    async def set_display_name(self, username: str, display_name: str) -> None:
        """
        Show the account under another name.

        Raises:
            RequestRefused: Of the display name.
            NoSuchUser, StoreUnavailable, OutcomeUnknown: See the ports.
        """
        name = accepted_display_name(display_name)
        change = AccountChange(
            sought_name(username), self._parts.now(), display_name=name
        )
        await self._parts.change(change)

    def _refuse_beside_host(self) -> None:
        if self._host is not None:
            raise Forbidden(
                "the users here are those of another application; get a token from it"
            )

    def _new_account(self, username: str, display_name: str | None) -> NewAccount:
        return NewAccount(
            account_name(username),
            self._parts.now(),
            display_name=accepted_display_name(display_name),
        )

    def _new_token(self) -> str:
        return TOKEN_PREFIX + self._parts.new_secret()

    async def _find(self, username: str) -> Account | None:
        try:
            return await self._store.account(username)
        except NoSuchUser:
            return None

    async def _is_password(self, account: Account, password: str) -> bool:
        form = password_form(password)
        known = None if form is None else account.password
        return await self._parts.hasher.verify(known, form or "")

    async def _check_link(self, code: str, kind: LinkKind) -> str:
        """Refuse before the password is hashed; the store decides when it is used."""
        link = await self._store.check_link(hash_secret(code), now=self._parts.now())
        if link.kind is not kind:
            raise Forbidden("the link is for something else")
        return link.username or ""

    async def _add_token(self, account: Account, device: str, address: str) -> LogIn:
        token = self._new_token()
        now = self._parts.now()
        new = NewToken(
            account.username,
            device,
            hash_secret(token),
            now,
            now + self._token_ms,
            address=hash_address(address),
            max_devices=self._devices_max,
        )
        grant, logged = await self._store.add_token(new)
        self._parts.tell(logged)
        if grant.account.password != account.password:
            # It was changed while this log-in was under way, and its tokens ended.
            await self._parts.end_device(account.username, device)
            raise Unauthenticated("the username or the password is wrong")
        return LogIn(token, grant.device, grant.expires)

    async def _rehash(self, account: Account, password: str) -> None:
        """Raise an old hash to today's parameters, while its password is known."""
        known, form = account.password, password_form(password)
        if known is None or form is None or not self._parts.hasher.needs_rehash(known):
            return
        hashed = await self._parts.hasher.hash(form)
        if (await self._store.account(account.username)).password == known:
            await self._parts.change(
                AccountChange(account.username, self._parts.now(), password=hashed)
            )
