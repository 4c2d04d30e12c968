# SPDX-License-Identifier: Apache-2.0
"""Commands that come another way than to a port of ours, and their answers."""

from collections.abc import Awaitable, Callable
from typing import Protocol

# Takes who asks, as the carrier vouches for it, and a command; returns the answer to
# it.  Raises StoreUnavailable or OutcomeUnknown where none would be true: the same
# request has to be made again.
Answer = Callable[[str | None, bytes], Awaitable[bytes]]


class RequestSource(Protocol):
    """
    What takes requests in, and has each of them answered at least once.

    A request that is not answered when the node ends is another node's, or this one's
    when it is back; those of one sender are begun in their order, one at a time.
    """

    async def drain(self) -> None:
        """Begin no more; return once those that are under way are answered."""

    async def stop(self) -> None:
        """Give up whatever is left."""
