# SPDX-License-Identifier: Apache-2.0
"""Measurements to medians, ratios and a Markdown table."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

RELAY = "baseline"
RABBITMQ = "chatmotor-rabbitmq"
EMBEDDED = "chatmotor-embedded"
# With a store: each message is on disk before its ``ok``.
DURABLE = {RABBITMQ: "rabbitmq+postgresql", EMBEDDED: "embedded+sqlite"}

# What a release should reach, as a multiple of the baseline: (subject, in flight).
BARS = {
    (RABBITMQ, 20): 1.4,
    (EMBEDDED, 20): 5.0,
    (DURABLE[RABBITMQ], 1): 0.5,
    (DURABLE[RABBITMQ], 20): 0.5,
    (DURABLE[EMBEDDED], 1): 1.0,
    (DURABLE[EMBEDDED], 20): 1.0,
}
# In the table under the second name.
PROCESSES = {
    "gateway": "gateway",
    "rabbitmq": "RabbitMQ",
    "postgresql": "PostgreSQL",
    "generator": "clients",
}
NONE = "-"
# Of what makes a measurement void; the JSON has everything.
SHOWN = 5
MILLISECONDS = ("p50_ms", "p99_ms", "ok_p50_ms", "ok_p99_ms")


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
        verdict = f"VOID: {'; '.join(self.wrong[:SHOWN])}" if self.wrong else "exact"
        return (
            f"round {self.number}, {self.in_flight:2} in flight, {self.subject:19} "
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
    subjects = (RELAY, RABBITMQ, EMBEDDED, *DURABLE.values())
    for key in sorted(
        {(each.in_flight, each.subject) for each in measured},
        key=lambda key: (key[0], subjects.index(key[1])),
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
                **{
                    name: spread(lambda each, name=name: each.load[name])
                    for name in MILLISECONDS
                },
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
    servers = f"RabbitMQ {machine['rabbitmq']}"
    if "postgresql" in machine:
        servers += f", PostgreSQL {machine['postgresql']}"
    heading = (
        f"{result['clients']} clients in pairs, {result['message_bytes']}-byte "
        f"messages, {result['rounds']} rounds of {result['seconds']:g} s, "
        f"{machine['cpus']} CPUs, Python {machine['python']}, {servers}; "
        "median (least-most)."
    )
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "in flight": lambda row: str(row["in_flight"]),
        "subject": lambda row: row["subject"],
        "messages/s": lambda row: _spread(row["messages_per_second"], ",.0f"),
        "x baseline": lambda row: (
            _spread(row["ratio"], ".2f") if row["subject"] != RELAY else "1"
        ),
        "bar": lambda row: f">= {row['bar']:g}" if row["bar"] else "",
    }
    for name in MILLISECONDS:
        columns[name.replace("_", " ")] = lambda row, name=name: _spread(
            row[name], ".2f"
        )
    for process, title in PROCESSES.items():
        columns[f"µs {title}"] = lambda row, process=process: _spread(
            row["cpu_us"][process], ".1f"
        )
    columns |= {
        "CPUs busy elsewhere": lambda row: _spread(row["other_cpus"], ".1f"),
        "counts": lambda row: f"{row['void']} VOID" if row["void"] else "exact",
    }
    cells = {
        title: [cell(row) for row in result["summary"]]
        for title, cell in columns.items()
    }
    # What this workload does not have gets no column.
    shown = {title: each for title, each in cells.items() if set(each) != {NONE}}
    lines = [
        _line(shown),
        "|---:" + "|---" * (len(shown) - 1) + "|",
        *map(_line, zip(*shown.values(), strict=True)),
    ]
    return "\n".join([heading, "", *lines])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: dict[str, float] | None, form: str) -> str:
    if values is None:
        return NONE
    middle, least, most = (
        format(values[name], form) for name in ("median", "min", "max")
    )
    return f"{middle} ({least}-{most})"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)
