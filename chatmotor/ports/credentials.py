# SPDX-License-Identifier: Apache-2.0
"""What proves who somebody is, beside our own tokens: passwords, a host's tokens."""

from dataclasses import dataclass
from typing import Protocol


class PasswordHasher(Protocol):
    """Slow hashes of passwords, computed beside the event loop."""

    async def hash(self, password: str) -> str:
        """
        A salted hash of *password*, with its parameters in it.

        Raises:
            Unavailable: Too many others wait; nothing was computed.
        """

    async def verify(self, known: str | None, password: str) -> bool:
        """
        Whether *known* is a hash of *password*.

        Without a hash the answer is no, and takes as long.

        Raises:
            Unavailable: Too many others wait; nothing was computed.
        """

    def needs_rehash(self, known: str) -> bool:
        """Whether *known* was made with other parameters than today's."""


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """
    Whom a token of the host application names.

    Args:
        name: As the host spells it; not yet in the form of a username.
        device: The name that it gives the device, or none.
        expires: Milliseconds since the Unix epoch.
        lease: Where the token has no end of its own, what is good until ``expires``:
            with another lease it is another token.  The host is asked about such a
            token again as long as it has sockets.
    """

    name: str
    device: str | None
    expires: int
    lease: str = ""


class HostTokens(Protocol):
    """Tokens that a host application signs for its own users."""

    async def identify(self, token: str) -> HostIdentity:
        """
        Whom *token* names, once its signature and all its limits hold.

        Raises:
            Unauthenticated: It is none of the host's, or not for here, or not yet.
            TokenExpired: It was good once.
            Unavailable: The host's keys cannot be read now.
        """
