# SPDX-License-Identifier: Apache-2.0
"""Log-ins for the suites about accounts: short, and at the times they share.

Nearly everything happens at 2 to 9; what is good then is good until ``LATER``.
"""

from chatmotor.ports.accounts import Grant, NewToken, TokenStore, hash_secret

LATER = 1000
LINK = hash_secret("link")


def token(number: int) -> bytes:
    """The hash of a token; each number's is another."""
    return hash_secret(f"token {number}")


def new_token(
    username: str = "ann", device: str = "phone", number: int = 1
) -> NewToken:
    """A log-in at 5, from a place of its own."""
    return NewToken(
        *(username, device, token(number), 5, LATER),
        address=hash_secret(f"address {number}"),
    )


async def log_in(
    store: TokenStore, username: str, device: str = "phone", number: int = 1
) -> Grant:
    """What ``new_token`` grants."""
    grant, _ = await store.add_token(new_token(username, device, number))
    return grant
