# SPDX-License-Identifier: Apache-2.0
"""How long to wait before one connects again: full jitter, doubled from try to try."""

from random import Random

BASE_SECONDS = 0.5
CAP_SECONDS = 30.0


class Backoff:
    """
    Waiting times.

    Clients that were disconnected together come back apart, since each waits for any
    time up to a bound.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tries = 0

    def delay(self, at_least: float | None) -> float:
        """
        Seconds until the next try.

        Args:
            at_least: What the server has asked for, different for each client: after a
                first failure it is all there is to wait.
        """
        bound = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(self._tries, 10))
        self._tries += 1
        if at_least is not None and self._tries == 1:
            return at_least
        return max(at_least or 0.0, self._random.random() * bound)

    def reset(self) -> None:
        """A connection has held."""
        self._tries = 0
