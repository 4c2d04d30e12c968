# SPDX-License-Identifier: Apache-2.0
"""Accounts of a host application's users: they come into being with their first token.

    token --identify--> name --its account, made if need be--> Grant
    sockets' tokens --position check--> which of them the host still knows

A token that has an end of its own (a JWT) is judged once for each use.  One that has
none is good as long as the host says so: it is asked again about those with sockets.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from chatmotor.core.account_parts import AccountParts
from chatmotor.core.names import account_name
from chatmotor.errors import (
    Conflict,
    Forbidden,
    InvalidName,
    NoSuchUser,
    TokenExpired,
    Unauthenticated,
    Unavailable,
)
from chatmotor.ports.accounts import (
    Grant,
    NewAccount,
    NewToken,
    TokenState,
    hash_secret,
)
from chatmotor.ports.credentials import HostIdentity, HostTokens

# Where the token names none.
HOST_DEVICE = "jwt"
ASKED_AT_ONCE = 32


class HostUsers:
    """The use cases that have the host's tokens."""

    def __init__(
        self, parts: AccountParts, tokens: HostTokens, *, devices_max: int
    ) -> None:
        self._parts = parts
        self._store = parts.store
        self._tokens = tokens
        self._devices_max = devices_max

    async def authenticate(self, token: str, *, now: int) -> Grant:
        """
        What *token* allows.

        Raises:
            Unauthenticated, TokenExpired, Suspended: Nothing.
            Forbidden: The user has a name that no account can have.
            TooManyDevices: The account has as many as are allowed.
            Unavailable, OutcomeUnknown: See the ports.
        """
        identity = await self._tokens.identify(token)
        hashed = hash_secret(f"{token}\n{identity.lease}" if identity.lease else token)
        try:
            grant = await self._store.grant(hashed, now=now)
        except TokenExpired:
            raise
        except Unauthenticated:  # its first use
            grant = await self._admit(identity, hashed, now=now)
        return replace(grant, host_token=token) if identity.lease else grant

    async def token_states(
        self, grants: Sequence[Grant], *, now: int
    ) -> Mapping[bytes, TokenState]:
        """
        How it is with the token of each: as the store knows, and as the host says.
        What the host does not answer changes nothing.

        Raises:
            StoreUnavailable: See the ports.
        """
        by_token = {grant.token: grant for grant in grants}
        states = dict(await self._store.token_states(list(by_token), now=now))
        asked = [
            grant
            for token, grant in by_token.items()
            if grant.host_token and states.get(token) is TokenState.GOOD
        ]
        count = len(asked)
        # The first alone: it finds out whether the host is away, and that is said once.
        while asked:
            at_once = ASKED_AT_ONCE if len(asked) < count else 1
            some, asked = asked[:at_once], asked[at_once:]
            answers = await asyncio.gather(*map(self._is_still_good, some))
            for grant, is_good in zip(some, answers, strict=True):
                if is_good is False:
                    states[grant.token] = TokenState.UNKNOWN
            if None in answers:
                break
        return states

    async def _is_still_good(self, grant: Grant) -> bool | None:
        """Whether the host still names this account; None: it does not answer."""
        try:
            identity = await self._tokens.identify(grant.host_token)
            return account_name(identity.name) == grant.account.username
        except (Unauthenticated, InvalidName):
            return False
        except Unavailable:
            return None

    async def _admit(self, identity: HostIdentity, hashed: bytes, *, now: int) -> Grant:
        try:
            username = account_name(identity.name)
        except InvalidName as refused:
            raise Forbidden(f"of the token's name: {refused.msg}") from None
        new = NewToken(
            username,
            HOST_DEVICE if identity.device is None else identity.device,
            hashed,
            now,
            identity.expires,
            max_devices=self._devices_max,
        )
        try:
            grant, logged = await self._store.add_token(new)
        except NoSuchUser:
            with suppress(Conflict):  # another request of the same user was first
                await self._parts.create(NewAccount(username, now))
            grant, logged = await self._store.add_token(new)
        self._parts.tell(logged)
        return grant
