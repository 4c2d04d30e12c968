# SPDX-License-Identifier: Apache-2.0
"""How often and how long hooks do what they do."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """
    Seconds.

    Args:
        beat: Leases are renewed so often.
        lease: A node that was silent for so long has lost its hooks.
        save: Places are saved so often, at most.
        first_retry, last_retry: The shortest and the longest pause after a failure.
        give_up: After nothing but failure for so long a hook is switched off.
        stop: How long a delivery that is under way may take when the node stops.
    """

    beat: float = 5.0
    lease: float = 15.0
    save: float = 0.5
    first_retry: float = 1.0
    last_retry: float = 3600.0
    give_up: float = 5 * 24 * 3600.0
    stop: float = 2.0

    def pause(self, failures: int, retry_after: float | None) -> float:
        """
        How long to wait after that many failures, one after the other.

        At random within a bound that doubles each time, so that hooks that failed
        together do not come back together; but not before the target says.
        """
        bound = min(self.last_retry, self.first_retry * 2.0 ** min(failures, 40))
        pause = random.uniform(self.first_retry, bound)  # noqa: S311  # jitter
        return max(pause, min(retry_after or 0.0, self.last_retry))
