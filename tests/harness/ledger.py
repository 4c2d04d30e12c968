# SPDX-License-Identifier: Apache-2.0
"""What was asked of a server, what it keeps, what devices presented: do they agree?

    attempts (sends and their answers)  --.
    logs (histories, read to the end)   ----> checkers --> findings, none if all is well
    presented (what each device applied) -'

Pure functions, after Jepsen's ``total-queue`` and ``kafka`` checkers.  A finding is a
sentence; G1 to G5 are those of the README.  tests/unit/harness/ has a planted violation
for each.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Findings = list[str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an ``ok`` says that a message is."""

    conv: str
    n: int
    ts: int
    seq: int | None = None


@dataclass(slots=True)
class Attempt:
    """
    One ``send``, as its client knows it.

    Args:
        body: What was to be stored, as canonical JSON.
        socket: The connection, and
        order: how many sends that connection had made before.
        began, ended: By one clock for all; ended is none while there is no answer.
        place: From the ``ok``; none when the send was refused, or is undecided.
        refusal: The code of the ``error``.
    """

    sender: str
    cid: str
    body: str
    socket: str
    order: int
    began: float
    ended: float | None = None
    place: Place | None = None
    dup: bool = False
    refusal: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one message, however often it is sent."""
        return self.sender, self.cid


@dataclass(frozen=True, slots=True)
class Item:
    """A message as some history has it; the test puts the cid into the body, too."""

    n: int
    sender: str
    cid: str
    body: str
    ts: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of a log, with its ``seq`` or ``pos``; content is canonical JSON."""

    at: int
    content: str


Log = Sequence[Item]
Logs = Mapping[str, Log]


# G1: what was acknowledged is there.


def lost(attempts: Iterable[Attempt], logs: Logs) -> Findings:
    """Each ``ok`` names the place where exactly that message is."""
    found = []
    items = {(conv, item.n): item for conv, log in logs.items() for item in log}
    for each in attempts:
        if each.place is None:
            continue
        place = each.place
        expected = Item(place.n, each.sender, each.cid, each.body, place.ts)
        there = items.get((place.conv, place.n))
        if there != expected:
            found.append(f"lost: {expected} of {place.conv}, there is {there}")
    return found


# G2: a cid is one message, and has one answer.


def duplicated(logs: Logs) -> Findings:
    """No cid is in the histories twice, in one conversation or in two."""
    counts = Counter((item.sender, item.cid) for log in logs.values() for item in log)
    return [f"duplicated: {key} {n} times" for key, n in counts.items() if n > 1]


def changed_answers(attempts: Iterable[Attempt]) -> Findings:
    """
    All answers to a cid are equal, but for ``dup``, which one of them does not have;
    two only where an attempt is undecided, whose answer was lost with its connection.
    """
    found = []
    for key, tries in _by_key(attempts).items():
        answered = [each for each in tries if each.place is not None]
        places = {each.place for each in answered}
        if len(places) > 1:
            found.append(f"changed answer: {key} is at {places}")
        first = sum(not each.dup for each in answered)
        undecided = any(_is_undecided(each) for each in tries)
        if first > 1 or (answered and first == 0 and not undecided):
            found.append(f"changed answer: {first} of {len(answered)} first: {key}")
    return found


# G3: one order.


def gaps(logs: Logs) -> Findings:
    """``n`` counts 1, 2, 3 ... without a hole and without a repeat."""
    found = []
    for conv, log in logs.items():
        numbers = [item.n for item in log]
        if numbers != list(range(1, len(log) + 1)):
            wrong = next(
                (pair for pair in enumerate(numbers, 1) if pair[0] != pair[1]), None
            )
            found.append(f"gap: {conv} has (expected, found) {wrong}")
    return found


def divergent(readings: Mapping[str, Logs]) -> Findings:
    """
    Whoever reads a conversation, by whichever node and in whichever pages, reads the
    same.  Readings are named by who and where.
    """
    found = []
    first: dict[tuple[str, int], tuple[str, Item]] = {}
    length: dict[str, tuple[str, int]] = {}
    for name, logs in readings.items():
        for conv, log in logs.items():
            whose, size = length.setdefault(conv, (name, len(log)))
            if size != len(log):
                found.append(
                    f"divergent: {conv} has {size} by {whose}, {name} reads {len(log)}"
                )
            for item in log:
                whose, other = first.setdefault((conv, item.n), (name, item))
                if other != item:
                    found.append(
                        f"divergent: {conv} {item} by {name}, {other} by {whose}"
                    )
    return found


def reordered(attempts: Iterable[Attempt]) -> Findings:
    """
    In each conversation, what was sent after an ``ok`` comes after its message; and
    what one connection has sent comes in the order in which it was sent.
    """
    found: Findings = []
    placed: dict[str, dict[tuple[str, str], list[Attempt]]] = {}
    for key, tries in _by_key(attempts).items():
        places = [each.place for each in tries if each.place is not None]
        if places:
            placed.setdefault(places[0].conv, {})[key] = tries
    for conv, messages in placed.items():
        found += _against_the_clock(conv, messages)
        found += _against_the_socket(conv, messages)
    return found


def _against_the_clock(
    conv: str, messages: Mapping[tuple[str, str], list[Attempt]]
) -> Iterator[str]:
    rows = sorted(
        (_n(tries), min(each.began for each in tries), _known_at(tries), key)
        for key, tries in messages.items()
    )
    earliest = float("inf")
    what: object = None
    for n, began, known, key in reversed(rows):
        if earliest < began:
            yield f"reordered: {conv} {n} {key} was sent after the ok to {what}"
        if known < earliest:
            earliest, what = known, (n, key)


def _against_the_socket(
    conv: str, messages: Mapping[tuple[str, str], list[Attempt]]
) -> Iterator[str]:
    by_socket: dict[str, list[tuple[int, int, object]]] = defaultdict(list)
    for key, tries in messages.items():
        # A message that was also sent elsewhere, or before, may be older.
        if len(tries) == 1 and not tries[0].dup:
            by_socket[tries[0].socket].append((tries[0].order, _n(tries), key))
    for socket, sends in by_socket.items():
        for (_, one, first), (_, other, second) in pairwise(sorted(sends)):
            if other < one:
                yield f"reordered: {socket} sent {first} before {second} to {conv}"


def crossed(name: str, numbers: Iterable[tuple[str, int]]) -> Findings:
    """
    In a log, the messages of each conversation come by rising ``n`` without a hole:
    n1 < n2 implies seq1 < seq2, or pos1 < pos2.

    Args:
        numbers: (conv, n) of each ``message.new`` in the order of the log.
    """
    found = []
    last: dict[str, int] = {}
    for conv, n in numbers:
        if conv in last and n != last[conv] + 1:
            found.append(f"crossed: {name} has {conv} {n} after {last[conv]}")
        last[conv] = n
    return found


# G4: every device presents everything, once, in order.


def misapplied(
    device: str, start: int, applied: Sequence[Entry], log: Sequence[Entry]
) -> Findings:
    """
    What a device has applied is what the log has after *start*, to its end.

    Finds gaps, repeats, other orders, other contents, and what did not arrive.
    """
    expected = [entry for entry in log if entry.at > start]
    for mine, theirs in zip(applied, expected, strict=False):
        if mine.at != theirs.at:
            return [f"misapplied: {device} has {mine.at} where {theirs.at} is next"]
        if mine.content != theirs.content:
            return [f"misapplied: {device} has {mine}, the log {theirs}"]
    if len(applied) < len(expected):
        missing = expected[len(applied)].at
        return [f"undelivered: {device} has nothing from {missing} on"]
    if len(applied) > len(expected):
        return [
            f"misapplied: {device} has {applied[len(expected)]}, the log ends before"
        ]
    return []


# G5: a refusal is final.


def refused_but_present(attempts: Iterable[Attempt], logs: Logs) -> Findings:
    """A cid that was refused each time is in no history."""
    refused = {
        key
        for key, tries in _by_key(attempts).items()
        if all(each.refusal is not None for each in tries)
    }
    return [
        f"refused but present: {item} in {conv}"
        for conv, log in logs.items()
        for item in log
        if (item.sender, item.cid) in refused
    ]


def unexpected(attempts: Iterable[Attempt], logs: Logs) -> Findings:
    """Nothing is in a history that nobody sent, and nothing else than what was sent."""
    sent = {(*each.key, each.body) for each in attempts}
    return [
        f"unexpected: {item} in {conv}"
        for conv, log in logs.items()
        for item in log
        if (item.sender, item.cid, item.body) not in sent
    ]


# G9, in passing: groups are for their members.


@dataclass(frozen=True, slots=True)
class Stay:
    """
    An account was a member from ``pos`` *came* to *went*, where it was removed.

    Args:
        ts: When it came, in milliseconds.
    """

    came: int
    went: int | None
    ts: int


def leaked(
    account: str,
    pushed: Iterable[tuple[str, int, int]],
    stays: Mapping[str, Sequence[Stay]],
) -> Findings:
    """
    An account is sent events of a group only of the time when it was a member; or,
    since members may read what was before them, of an earlier time, once it is one.

    Args:
        pushed: (conv, pos, when) of what was sent to it.
        stays: By group, in their order.
    """
    return [
        f"leaked: {account} was sent {pos} of {conv}, and was there {stays.get(conv)}"
        for conv, pos, when in pushed
        if not any(
            (each.came <= pos and (each.went is None or pos <= each.went))
            or (pos < each.came and each.ts <= when)
            for each in stays.get(conv, ())
        )
    ]


def _by_key(attempts: Iterable[Attempt]) -> dict[tuple[str, str], list[Attempt]]:
    tries: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for each in attempts:
        tries[each.key].append(each)
    return tries


def _is_undecided(attempt: Attempt) -> bool:
    return attempt.place is None and attempt.refusal is None


def _n(tries: Sequence[Attempt]) -> int:
    return next(each.place.n for each in tries if each.place is not None)


def _known_at(tries: Sequence[Attempt]) -> float:
    """When somebody first knew that the message is there."""
    return min(
        each.ended
        for each in tries
        if each.place is not None and each.ended is not None
    )
