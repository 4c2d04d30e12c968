# SPDX-License-Identifier: Apache-2.0
"""``/metrics``: the node's counters in Prometheus' text format, admin port only."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from chatmotor.controllers.base import Controller
from chatmotor.metrics import Histogram, Metrics
from chatmotor.ports.broker import Broker, Phase


class MetricsController(Controller):
    """Answers one scrape."""

    def initialize(self, registry: CollectorRegistry) -> None:
        """Called by Tornado with the arguments of the route."""
        self._registry = registry

    def get(self) -> None:
        """Every family, with its help text."""
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest(self._registry))


def registry(metrics: Metrics, broker: Broker) -> CollectorRegistry:
    """A registry of this node's numbers, its process's and its garbage collector's."""
    collected = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=collected)
    GCCollector(registry=collected)
    collected.register(_NodeCollector(metrics, broker))
    return collected


class _NodeCollector(Collector):
    def __init__(self, metrics: Metrics, broker: Broker) -> None:
        self._metrics = metrics
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield GaugeMetricFamily(
            "chatmotor_connections", "WebSockets open now.", metrics.connections
        )
        yield CounterMetricFamily(
            "chatmotor_connections_accepted",
            "WebSockets ever opened.",
            metrics.accepted,
        )
        yield _counters(
            "chatmotor_connections_closed",
            "WebSockets that this node closed, by close code.",
            code=metrics.closed,
        )
        yield _counters(
            "chatmotor_messages",
            "Messages read from clients (in) and copies written to them (out).",
            direction={"in": metrics.messages_in, "out": metrics.messages_out},
        )
        yield _counters(
            "chatmotor_messages_dropped",
            "Messages that reached nobody, by reason.",
            reason=metrics.dropped,
        )
        yield _counters(
            "chatmotor_refused",
            "Commands of v1 sessions that were refused, by error code.",
            code=metrics.refused,
        )
        yield from _of_now(metrics)
        yield from _of_hooks(metrics)
        yield _histogram(
            "chatmotor_store_seconds",
            "From a v1 send read to the answer of the store.",
            metrics.store_seconds,
        )
        yield _histogram(
            "chatmotor_publish_seconds",
            "From a message read to the broker's confirm.",
            metrics.publish_seconds,
        )
        yield _histogram(
            "chatmotor_delivery_seconds",
            "From the broker's delivery to the socket's write.",
            metrics.delivery_seconds,
        )
        state = self._broker.state
        broker = GaugeMetricFamily(
            "chatmotor_broker_state",
            "1 for the broker's present state.",
            labels=["broker", "state"],
        )
        for phase in Phase:
            broker.add_metric([state.kind, phase.value], float(phase is state.phase))
        yield broker


def _of_now(metrics: Metrics) -> Iterator[Metric]:
    yield _counters(
        "chatmotor_ephemerals",
        "eph frames that were sent, and dropped for a client that reads slowly.",
        result={"sent": 0, "dropped": 0} | metrics.ephemerals,
    )
    yield GaugeMetricFamily(
        "chatmotor_watched_accounts",
        "Accounts whose presence somebody on this node watches.",
        metrics.watched,
    )


def _of_hooks(metrics: Metrics) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "chatmotor_hooks", "Outgoing hooks that this node forwards.", metrics.hooks
    )
    yield GaugeMetricFamily(
        "chatmotor_hook_lag_seconds",
        "Age of the oldest event that an outgoing hook of this node waits with.",
        metrics.hook_lag_seconds,
    )
    yield _counters(
        "chatmotor_hook_deliveries",
        "Events that targets of outgoing hooks have taken, by kind of hook.",
        kind=metrics.hook_deliveries,
    )
    yield _counters(
        "chatmotor_hook_failures",
        "Attempts to hand events to a target that failed, by kind of hook.",
        kind=metrics.hook_failures,
    )
    yield CounterMetricFamily(
        "chatmotor_hooks_off",
        "Hooks that this node has switched off: gone, or failing for too long.",
        metrics.hooks_off,
    )


def _counters(
    name: str, documentation: str, **by_label: Mapping[Any, int]
) -> CounterMetricFamily:
    """A family with one label and a counter for each of its values."""
    ((label, counts),) = by_label.items()
    family = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([str(value)], count)
    return family


def _histogram(name: str, documentation: str, histogram: Histogram) -> Metric:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    cumulative = accumulate(histogram.counts)
    return HistogramMetricFamily(
        name,
        documentation,
        buckets=list(zip(bounds, cumulative, strict=True)),
        sum_value=histogram.total,
    )
