# SPDX-License-Identifier: Apache-2.0
"""How often something may be done: token buckets, one for each key, on one node.

The time is an argument's business: ``clock`` gives seconds that never go back.
"""

import asyncio
from collections.abc import Callable

# Floating point: whoever has waited as long as was said has one.
_ENOUGH = 1 - 1e-6
# Buckets in memory; then those that are full again are forgotten.
_KEPT = 10_000


class Allowance:
    """
    Buckets that fill with time.

    Args:
        per_second: How much comes back.
        burst: How much there is at most.
    """

    def __init__(
        self, *, per_second: float, burst: float, clock: Callable[[], float]
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        # By key: what was left, and when.
        self._buckets: dict[str, tuple[float, float]] = {}
        self._sweep_at = _KEPT

    def take(self, key: str) -> float | None:
        """Take one; or the seconds to wait, and nothing is taken."""
        now = self._clock()
        left, at = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        if left < _ENOUGH:
            return (1 - left) / self._per_second
        if len(self._buckets) >= self._sweep_at and key not in self._buckets:
            self._forget_full(now)
        self._buckets[key] = (left - 1, now)
        return None

    async def wait(self, key: str) -> None:
        """Take one as soon as there is one: for those whom no answer can refuse."""
        while (pause := self.take(key)) is not None:  # noqa: ASYNC110  # it is known
            await asyncio.sleep(pause)

    def _forget_full(self, now: float) -> None:
        fills_in = self._burst / self._per_second
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if now - bucket[1] < fills_in
        }
        # Where most are in use, not at each new one.
        self._sweep_at = max(_KEPT, 2 * len(self._buckets))
