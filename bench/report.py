# SPDX-License-Identifier: Apache-2.0
"""Measurements to medians, ratios and a Markdown table."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

RELAY = "baseline"
RABBITMQ = "chatmotor-rabbitmq"
EMBEDDED = "chatmotor-embedded"

# What a release should reach, as a multiple of the baseline: (subject, in flight).
BARS = {(RABBITMQ, 20): 1.4, (EMBEDDED, 20): 5.0}
PROCESSES = ("gateway", "rabbitmq", "generator")


@dataclass(frozen=True, slots=True)
class Measurement:
    """
    One subject under one load.

    Attributes:
        number: The round, from 1.
        load: What the generator reported.
        crossed: Messages that RabbitMQ received and delivered meanwhile.
        wrong: Why it does not count; empty when it does.
    """

    subject: str
    in_flight: int
    number: int
    load: dict[str, Any]
    crossed: dict[str, int]
    wrong: list[str]

    @property
    def speed(self) -> float:
        """Messages per second."""
        return float(self.load["messages_per_second"])

    def cpu_us(self, process: str) -> float | None:
        """Microseconds of CPU that *process* spent per message, if known."""
        seconds = self.load["cpu_seconds"].get(process)
        if seconds is None or not self.load["delivered"]:
            return None
        return float(seconds) * 1e6 / float(self.load["delivered"])

    @property
    def other_cpus(self) -> float | None:
        """CPUs that programs besides the benchmark's used meanwhile, if known."""
        seconds = self.load["cpu_seconds"]["others"]
        return None if seconds is None else seconds / self.load["seconds"]

    def line(self) -> str:
        """For whoever watches."""
        verdict = f"VOID: {'; '.join(self.wrong)}" if self.wrong else "exact"
        return (
            f"round {self.number}, {self.in_flight:2} in flight, {self.subject:18} "
            f"{self.speed:8,.0f}/s, p99 {self.load['p99_ms']} ms, "
            f"{_number(self.other_cpus, '.1f')} CPUs busy elsewhere, "
            f"{self.load['sent']:,} sent, {verdict}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "cpu_us_per_message": {name: self.cpu_us(name) for name in PROCESSES}
        }


def summary(measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """One row for each load and subject, in the order of their first measurement."""
    baseline = {
        (each.number, each.in_flight): each.speed
        for each in measured
        if each.subject == RELAY
    }
    rows = []
    for key in sorted(
        {(each.in_flight, each.subject) for each in measured},
        key=lambda key: (key[0], (RELAY, RABBITMQ, EMBEDDED).index(key[1])),
    ):
        in_flight, subject = key
        same = [each for each in measured if (each.in_flight, each.subject) == key]

        def spread(
            value: Callable[[Measurement], float | None], same: Any = same
        ) -> dict[str, float] | None:
            values = [number for each in same if (number := value(each)) is not None]
            if not values:
                return None
            return {"median": median(values), "min": min(values), "max": max(values)}

        rows.append(
            {
                "in_flight": in_flight,
                "subject": subject,
                "messages_per_second": spread(lambda each: each.speed),
                # Within a round, then the median: noise of the machine cancels out.
                "ratio": spread(
                    lambda each: each.speed / baseline[each.number, each.in_flight]
                ),
                "bar": BARS.get((subject, in_flight)),
                "p50_ms": spread(lambda each: each.load["p50_ms"]),
                "p99_ms": spread(lambda each: each.load["p99_ms"]),
                "cpu_us": {
                    name: spread(lambda each, name=name: each.cpu_us(name))
                    for name in PROCESSES
                },
                "other_cpus": spread(lambda each: each.other_cpus),
                "void": sum(bool(each.wrong) for each in same),
            }
        )
    return rows


def table(result: dict[str, Any]) -> str:
    """The summary for people: median (least-most)."""
    machine = result["machine"]
    heading = (
        f"{result['clients']} clients in pairs, {result['message_bytes']}-byte "
        f"messages, {result['rounds']} rounds of {result['seconds']:g} s, "
        f"{machine['cpus']} CPUs, Python {machine['python']}, "
        f"RabbitMQ {machine['rabbitmq']}; median (least-most)."
    )
    columns = (
        "| in flight | subject | messages/s | x baseline | bar | p50 ms | p99 ms "
        "| CPU µs per message: gateway | RabbitMQ | clients "
        "| CPUs busy elsewhere | counts |"
    )
    lines = [heading, "", columns, "|---:" + "|---" * 11 + "|"]
    for row in result["summary"]:
        cells = [
            str(row["in_flight"]),
            row["subject"],
            _spread(row["messages_per_second"], ",.0f"),
            _spread(row["ratio"], ".2f") if row["subject"] != RELAY else "1",
            f">= {row['bar']:g}" if row["bar"] else "",
            _spread(row["p50_ms"], ".2f"),
            _spread(row["p99_ms"], ".2f"),
            *(_spread(row["cpu_us"][name], ".1f") for name in PROCESSES),
            _spread(row["other_cpus"], ".1f"),
            f"{row['void']} VOID" if row["void"] else "exact",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: dict[str, float] | None, form: str) -> str:
    if values is None:
        return "-"
    middle, least, most = (
        format(values[name], form) for name in ("median", "min", "max")
    )
    return f"{middle} ({least}-{most})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
