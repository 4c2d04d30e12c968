# SPDX-License-Identifier: Apache-2.0
"""How often somebody may try, counted in the store and so on all nodes together.

    of an address        log-ins, sign-ups and uses of links, in an hour
    of an account        log-ins, in 15 minutes; each address that the account has
                         logged in from counts for itself

The second line is so that whoever guesses an account's password from elsewhere stops
nobody who has it.  A name without an account counts like one that has, or the
counting would tell which exist.  Names and addresses are stored as hashes only.
"""

import ipaddress
from hashlib import sha256
from typing import Protocol

from chatmotor.ports.accounts import GateStore, TokenStore

ACCOUNT_MS = 15 * 60 * 1000
ADDRESS_MS = 60 * 60 * 1000
_V6_PREFIX = 64
# A name that nobody can have.
_NOBODY = "-"


class Gate(GateStore, TokenStore, Protocol):
    """What the throttle needs of the store."""


class Throttle:
    """
    Counts attempts.

    Args:
        account_attempts: In 15 minutes, for one account.
        address_attempts: In an hour, from one address.
    """

    def __init__(
        self, store: Gate, *, account_attempts: int, address_attempts: int
    ) -> None:
        self._store = store
        self._account_attempts = account_attempts
        self._address_attempts = address_attempts

    async def take(self, address: str, *, now: int) -> None:
        """
        Count one attempt from *address*.

        Raises:
            RateLimited, StoreUnavailable, OutcomeUnknown: See ``GateStore``.
        """
        await self._store.take_attempts(self._of_address(address), now=now)

    async def take_log_in(
        self, username: str | None, spelled: str, address: str, *, now: int
    ) -> str:
        """
        Count one attempt to log in, before the password is looked at.

        Args:
            username: None: no account can have the name as it was *spelled*.

        Returns:
            The key to forget when it succeeds.

        Raises:
            RateLimited, StoreUnavailable, OutcomeUnknown: See ``GateStore``.
        """
        hashed = hash_address(address)
        key = _key("account", spelled if username is None else username)
        # The question is asked in any case, for it takes time.
        if await self._store.known_address(username or _NOBODY, hashed):
            key = _key("account", username or _NOBODY, hashed.hex())
        limits = {key: (self._account_attempts, ACCOUNT_MS)}
        await self._store.take_attempts(limits | self._of_address(address), now=now)
        return key

    async def take_password(self, username: str, *, now: int) -> str:
        """The same for somebody who is logged in and says the password again."""
        key = _key("password", username)
        limits = {key: (self._account_attempts, ACCOUNT_MS)}
        await self._store.take_attempts(limits, now=now)
        return key

    async def forget(self, key: str) -> None:
        """Start again to count, after a success."""
        await self._store.forget_attempts([key])

    def _of_address(self, address: str) -> dict[str, tuple[int, int]]:
        key = _key("address", hash_address(address).hex())
        return {key: (self._address_attempts, ADDRESS_MS)}


def hash_address(address: str) -> bytes:
    """
    What is stored of an address; of IPv6, of its /64, which is one customer's.

    It keeps addresses out of sight, not secret: there are only 2**32 of IPv4.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return sha256(address.encode("utf-8", "replace")).digest()
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            network = ipaddress.ip_network((parsed, _V6_PREFIX), strict=False)
            return sha256(str(network).encode()).digest()
        parsed = parsed.ipv4_mapped
    return sha256(str(parsed).encode()).digest()


def _key(kind: str, *parts: str) -> str:
    """A short key, whatever people write."""
    whole = "\0".join(parts).encode("utf-8", "surrogatepass")
    return f"{kind}:{sha256(whole).hexdigest()[:32]}"
