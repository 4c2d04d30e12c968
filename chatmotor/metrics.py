# SPDX-License-Identifier: Apache-2.0
"""What a node counts.  Plain numbers here, so that counting costs nanoseconds.

``controllers/metrics.py`` turns them into the Prometheus text when it is asked.
"""

from bisect import bisect_left
from collections import Counter

_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Histogram:
    """Seconds, counted into buckets; the last bucket has no upper bound."""

    __slots__ = ("counts", "total")

    bounds = _BOUNDS

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count *times* events that took *seconds* each."""
        self.counts[bisect_left(_BOUNDS, seconds)] += times
        self.total += seconds * times


class Metrics:
    """
    The counters of one node.

    Attributes:
        connections: WebSockets open now.
        accepted: WebSockets ever opened.
        closed: Closes by this node, by close code.
        messages_in: Messages read from clients.
        messages_out: Copies written to clients.
        dropped: Copies that reached nobody, by reason: ``no_recipient``,
            ``invalid_name``, ``queue_full``, ``outbox_full``, ``not_text``,
            ``too_large``, ``refused``, ``no_notice``.
        refused: Commands and requests that were refused, by error code.
        store_seconds: From a v1 ``send`` read to its answer of the store.
        publish_seconds: From a message read to the broker's confirm.
        delivery_seconds: From the broker's delivery to the socket's write.
    """

    __slots__ = (
        "accepted",
        "closed",
        "connections",
        "delivery_seconds",
        "dropped",
        "messages_in",
        "messages_out",
        "publish_seconds",
        "refused",
        "store_seconds",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.accepted = 0
        self.closed: Counter[int] = Counter()
        self.messages_in = 0
        self.messages_out = 0
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.store_seconds = Histogram()
        self.publish_seconds = Histogram()
        self.delivery_seconds = Histogram()
