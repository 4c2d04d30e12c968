# SPDX-License-Identifier: Apache-2.0
"""Accounts, tokens and gates as plain dicts: what the SQL stores are compared with.

It keeps every promise of ``ports/accounts.py`` but durability.  Mailboxes belong to
``MemoryStore``, which inherits from this and provides the three hooks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chatmotor.errors import (
    Conflict,
    Forbidden,
    NoSuchDevice,
    NoSuchUser,
    RateLimited,
    Suspended,
    TokenExpired,
    TooManyDevices,
    Unauthenticated,
)
from chatmotor.ports.accounts import (
    Account,
    AccountChange,
    Device,
    Grant,
    LinkKind,
    NewAccount,
    NewLink,
    NewToken,
    TokenState,
)
from chatmotor.ports.messages import Event, EventType, Logged

THIRTY_DAYS_MS = 30 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class _Token:
    username: str
    device: str
    expires: int


class MemoryAccounts:
    """See the module."""

    def __init__(self) -> None:
        # seq and floor of these are those of the mailboxes: see _account.
        self._accounts: dict[str, Account] = {}
        self._devices: dict[tuple[str, str], Device] = {}
        self._addresses: dict[tuple[str, str], bytes] = {}
        self._tokens: dict[bytes, _Token] = {}
        self._links: dict[bytes, NewLink] = {}
        self._attempts: dict[str, tuple[int, int]] = {}

    def _check_open(self) -> None:
        """Hook: raise ``StoreUnavailable`` when the store is stopped."""
        raise NotImplementedError

    def _log_in_mailbox(self, username: str, event: Event) -> int:
        """Hook: append *event* to the account's mailbox; returns its seq."""
        raise NotImplementedError

    def _mailbox_bounds(self, username: str) -> tuple[int, int]:
        """Hook: the account's seq and floor; (0, 0) for a new account."""
        raise NotImplementedError

    async def create_account(self, new: NewAccount) -> Account:
        self._check_open()
        kind = LinkKind.SETUP if new.admin else LinkKind.INVITE
        if new.link is not None and self._good_link(new.link, new.ts).kind != kind:
            raise Forbidden("the link is of the wrong kind")
        if new.username in self._accounts:
            raise Conflict("taken")
        if new.link is not None:
            self._spend(new.link)
        created = Account(
            *(len(self._accounts) + 1, new.username, 0, new.ts, 0),
            *(new.display_name, new.password, new.admin),
        )
        self._accounts[new.username] = created
        return self._account(new.username)

    async def account(self, username: str) -> Account:
        self._check_open()
        return self._account(username)

    async def accounts(self, *, after: str, limit: int) -> tuple[Account, ...]:
        self._check_open()
        found = sorted(each for each in self._accounts if each > after)
        return tuple(self._account(each) for each in found[:limit])

    async def has_admin(self) -> bool:
        self._check_open()
        return self._has_admin()

    async def change_account(self, change: AccountChange) -> tuple[Logged, ...]:
        self._check_open()
        before = self._account(change.username)
        if change.link is not None:
            link = self._good_link(change.link, change.ts)
            if (link.kind, link.username) != (LinkKind.RESET, change.username):
                raise Forbidden("the link is for something else")
            self._spend(change.link)
        columns = ("display_name", "password", "admin", "closed")
        values = {name: getattr(change, name) for name in columns}
        self._accounts[change.username] = replace(
            before, **{name: new for name, new in values.items() if new is not None}
        )
        logged = []
        if change.display_name not in {None, before.display_name}:
            detail = {"display_name": change.display_name}
            logged.append(self._log(change, EventType.PROFILE_SET, detail))
        if change.end_tokens:
            names = {each.name for each in await self.devices(change.username)}
            for name in sorted(names - {change.keep}):
                logged += await self.end_device(change.username, name, ts=change.ts)
        return tuple(logged)

    async def add_token(self, new: NewToken) -> tuple[Grant, tuple[Logged, ...]]:
        self._check_open()
        if self._account(new.username).closed:
            raise Suspended("closed")
        key = (new.username, new.device)
        is_new = key not in self._devices
        if is_new and len(await self.devices(new.username)) >= new.max_devices:
            raise TooManyDevices("as many as are allowed")
        logged: tuple[Logged, ...] = ()
        if is_new:
            self._devices[key] = Device(new.device, new.ts, new.ts, cursor=0)
            detail = {"device": new.device}
            logged = (self._log(new, EventType.DEVICE_NEW, detail),)
        self._devices[key] = replace(self._devices[key], seen=new.ts)
        self._addresses[key] = new.address
        self._tokens[new.token] = _Token(new.username, new.device, new.expires)
        return self._grant(new.token), logged

    async def grant(self, token: bytes, *, now: int) -> Grant:
        self._check_open()
        self._check_token(token, now)
        return self._grant(token)

    async def token_states(
        self, tokens: Sequence[bytes], *, now: int
    ) -> Mapping[bytes, TokenState]:
        self._check_open()
        return {each: self._state(each, now) for each in tokens}

    async def replace_token(
        self, old: bytes, new: bytes, *, expires: int, old_expires: int, now: int
    ) -> Grant:
        self._check_open()
        self._check_token(old, now)
        token = self._tokens[old]
        self._tokens[old] = replace(token, expires=min(token.expires, old_expires))
        self._tokens[new] = replace(token, expires=expires)
        return self._grant(new)

    async def end_device(
        self, username: str, device: str, *, ts: int
    ) -> tuple[Logged, ...]:
        self._check_open()
        if (username, device) not in self._devices:
            raise NoSuchDevice("none of this name")
        del self._devices[username, device], self._addresses[username, device]
        self._tokens = {
            token: each
            for token, each in self._tokens.items()
            if (each.username, each.device) != (username, device)
        }
        event = Event(0, EventType.DEVICE_GONE, None, ts, detail=_json(device=device))
        return (Logged(event, {username: self._log_in_mailbox(username, event)}),)

    async def devices(self, username: str) -> tuple[Device, ...]:
        self._check_open()
        return tuple(
            device
            for (owner, _), device in sorted(self._devices.items())
            if owner == username
        )

    async def save_cursors(
        self, cursors: Mapping[tuple[str, str], int], *, now: int
    ) -> None:
        self._check_open()
        for key in cursors.keys() & self._devices.keys():
            device = self._devices[key]
            cursor, seen = max(device.cursor, cursors[key]), max(device.seen, now)
            self._devices[key] = replace(device, cursor=cursor, seen=seen)

    async def known_address(self, username: str, address: bytes) -> bool:
        self._check_open()
        return address != b"" and any(
            (username, address) == (owner, known)
            for (owner, _), known in self._addresses.items()
        )

    async def add_link(self, new: NewLink) -> None:
        self._check_open()
        if new.username is not None:
            self._account(new.username)
        if new.kind is LinkKind.SETUP:
            self._links = {
                link: each
                for link, each in self._links.items()
                if each.kind is not LinkKind.SETUP
            }
        self._links[new.link] = new

    async def check_link(self, link: bytes, *, now: int) -> NewLink:
        self._check_open()
        return self._good_link(link, now)

    async def take_attempts(
        self, limits: Mapping[str, tuple[int, int]], *, now: int
    ) -> None:
        self._check_open()
        counted = {}
        waits = []
        for key, (limit, window_ms) in limits.items():
            count, expires = self._attempts.get(key, (0, now))
            if expires <= now:
                count, expires = 0, now + window_ms
            counted[key] = (count + 1, expires)
            if count >= limit:
                waits.append(expires - now)
        if waits:
            raise RateLimited("too many", retry_ms=max(waits))
        self._attempts |= counted

    async def forget_attempts(self, keys: Sequence[str]) -> None:
        self._check_open()
        for key in keys:
            self._attempts.pop(key, None)

    async def tidy(self, *, now: int) -> None:
        self._check_open()
        self._tokens = {
            token: each
            for token, each in self._tokens.items()
            if each.expires > now - THIRTY_DAYS_MS
        }
        self._links = {
            link: each
            for link, each in self._links.items()
            if each.expires > now and each.uses > 0
        }
        self._attempts = {
            key: each for key, each in self._attempts.items() if each[1] > now
        }

    def _account(self, username: str) -> Account:
        if username not in self._accounts:
            raise NoSuchUser(username)
        seq, floor = self._mailbox_bounds(username)
        return replace(self._accounts[username], seq=seq, floor=floor)

    def _has_admin(self) -> bool:
        return any(each.admin and not each.closed for each in self._accounts.values())

    def _log(
        self,
        cause: AccountChange | NewToken,
        t: EventType,
        detail: Mapping[str, str | None],
    ) -> Logged:
        event = Event(0, t, None, cause.ts, detail=_json(**detail))
        seq = self._log_in_mailbox(cause.username, event)
        return Logged(event, {cause.username: seq})

    def _state(self, token: bytes, now: int) -> TokenState:
        if token not in self._tokens:
            return TokenState.UNKNOWN
        if self._tokens[token].expires <= now:
            return TokenState.EXPIRED
        closed = self._accounts[self._tokens[token].username].closed
        return TokenState.SUSPENDED if closed else TokenState.GOOD

    def _check_token(self, token: bytes, now: int) -> None:
        match self._state(token, now):
            case TokenState.UNKNOWN:
                raise Unauthenticated("unknown")
            case TokenState.EXPIRED:
                raise TokenExpired("expired")
            case TokenState.SUSPENDED:
                raise Suspended("closed")

    def _grant(self, token: bytes) -> Grant:
        found = self._tokens[token]
        cursor = self._devices[found.username, found.device].cursor
        account = self._account(found.username)
        return Grant(account, found.device, token, found.expires, cursor)

    def _good_link(self, link: bytes, now: int) -> NewLink:
        found = self._links.get(link)
        if found is None or found.uses < 1 or found.expires <= now:
            raise Forbidden("not valid")
        if found.kind is LinkKind.SETUP and self._has_admin():
            raise Forbidden("there is an administrator")
        return found

    def _spend(self, link: bytes) -> None:
        self._links[link] = replace(self._links[link], uses=self._links[link].uses - 1)


def _json(**detail: str | None) -> str:
    return json.dumps(detail, ensure_ascii=False)
