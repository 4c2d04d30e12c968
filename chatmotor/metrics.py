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
            ``too_large``, ``refused``, ``no_notice``, ``no_answer``.
        refused: Commands and requests that were refused, by error code.
        ephemerals: ``eph`` frames, by what became of them: ``sent``, or ``dropped``
            since the client read too slowly.
        watched: Accounts whose presence somebody on this node watches.
        hook_deliveries, hook_failures: Events that targets of outgoing hooks have
            taken, and attempts that failed, by kind of hook.
        hooks_off: Hooks that this node has switched off.
        hooks: Outgoing hooks that this node forwards now, and
        hook_lag_seconds: the age of the oldest event that one of them waits with.
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
        "ephemerals",
        "hook_deliveries",
        "hook_failures",
        "hook_lag_seconds",
        "hooks",
        "hooks_off",
        "messages_in",
        "messages_out",
        "publish_seconds",
        "refused",
        "store_seconds",
        "watched",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.accepted = 0
        self.closed: Counter[int] = Counter()
        self.messages_in = 0
        self.messages_out = 0
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.ephemerals: Counter[str] = Counter()
        self.watched = 0
        self.hook_deliveries: Counter[str] = Counter()
        self.hook_failures: Counter[str] = Counter()
        self.hooks_off = 0
        self.hooks = 0
        self.hook_lag_seconds = 0.0
        self.store_seconds = Histogram()
        self.publish_seconds = Histogram()
        self.delivery_seconds = Histogram()
