# SPDX-License-Identifier: Apache-2.0
"""Each checker finds the violation that was planted for it, and nothing else."""

from dataclasses import replace

import pytest

from tests.harness.ledger import (
    Attempt,
    Entry,
    Item,
    Place,
    Stay,
    changed_answers,
    crossed,
    divergent,
    duplicated,
    gaps,
    leaked,
    lost,
    misapplied,
    refused_but_present,
    reordered,
    unexpected,
)


def item(n: int, sender: str = "ann", cid: str | None = None) -> Item:
    """A message; its cid is its number where none is given."""
    cid = str(n) if cid is None else cid
    return Item(n, sender, cid, f'"{cid}"', 100 + n)


def attempt(n: int, **other: object) -> Attempt:
    """The send of ``item(n)``, acknowledged at once, by one connection."""
    made = Attempt(
        *("ann", str(n), f'"{n}"', "ann.1", n, float(n)),
        ended=n + 0.5,
        place=Place("d.1.2", n, 100 + n, n),
    )
    return replace(made, **other)  # type: ignore[arg-type]


ATTEMPTS = [attempt(n) for n in (1, 2, 3)]
LOGS = {"d.1.2": [item(n) for n in (1, 2, 3)]}


def test_nothing_is_found_where_all_is_well() -> None:
    """A retry, a refusal and an undecided attempt are all in order."""
    attempts = [
        *ATTEMPTS,
        attempt(2, dup=True, socket="ann.2", began=9.0, ended=9.1),
        attempt(7, place=None, refusal="not_member"),
        attempt(8, place=None, ended=None),
    ]

    assert [] == lost(attempts, LOGS)
    assert [] == duplicated(LOGS)
    assert [] == changed_answers(attempts)
    assert [] == gaps(LOGS)
    assert [] == divergent({"ann left": LOGS, "bob right": LOGS})
    assert [] == reordered(attempts)
    assert [] == refused_but_present(attempts, LOGS)
    assert [] == unexpected(attempts, LOGS)


@pytest.mark.parametrize(
    "log",
    [
        [item(1), item(2)],
        [item(1), item(2), item(3, cid="other")],
        [item(1), item(2), item(3, sender="bob")],
        [item(1), item(2), replace(item(3), ts=1)],
        [item(1), item(2), replace(item(3), body='"changed"')],
    ],
)
def test_a_lost_message_is_found(log: list[Item]) -> None:
    """Missing, or something else in its place."""
    assert 1 == len(lost(ATTEMPTS, {"d.1.2": log}))


def test_a_message_in_another_conversation_is_lost() -> None:
    """The place of an ``ok`` has the conversation, too."""
    assert 3 == len(lost(ATTEMPTS, {"d.1.3": LOGS["d.1.2"]}))


def test_a_cid_that_is_there_twice_is_found() -> None:
    """In one conversation, or in two."""
    assert 1 == len(duplicated({"a": [item(1), item(2, cid="1")]}))
    assert 1 == len(duplicated({"a": [item(1)], "b": [item(1)]}))
    assert [] == duplicated({"a": [item(1)], "b": [item(1, sender="bob")]})


def test_another_answer_to_the_same_cid_is_found() -> None:
    """Another place, another time, two firsts, or only repeats."""
    again = attempt(1, dup=True)
    for place in (Place("d.1.2", 9, 101, 1), Place("d.1.2", 1, 999, 1)):
        assert 1 == len(changed_answers([attempt(1), replace(again, place=place)]))
    assert 1 == len(changed_answers([attempt(1), attempt(1)]))
    assert 1 == len(changed_answers([again]))
    undecided = attempt(1, place=None, ended=None)
    assert [] == changed_answers([again, undecided])


@pytest.mark.parametrize("numbers", [(1, 3), (1, 2, 2), (2, 3), (2, 1)])
def test_a_hole_or_a_repeat_is_found(numbers: tuple[int, ...]) -> None:
    """``n`` is 1, 2, 3 ..."""
    assert 1 == len(gaps({"a": [item(n) for n in numbers]}))


def test_two_readings_that_differ_are_found() -> None:
    """In length, or in one message."""
    shorter = {"d.1.2": [item(1), item(2)]}
    other = {"d.1.2": [item(1), item(2, cid="x"), item(3)]}

    assert 1 == len(divergent({"ann left": LOGS, "bob right": shorter}))
    assert 1 == len(divergent({"ann left": LOGS, "bob right": other}))


def test_an_order_against_the_clock_is_found() -> None:
    """What was sent after an ``ok`` has the higher number, whoever sent it."""
    first = attempt(1, place=Place("d.1.2", 2, 101, 2), socket="a")
    second = attempt(2, place=Place("d.1.2", 1, 102, 1), socket="b", sender="bob")

    assert 1 == len(reordered([first, second]))
    # Both were under way at once: either order is right.
    assert [] == reordered([replace(first, ended=9.0), second])


def test_an_order_against_the_socket_is_found() -> None:
    """Also where nothing was acknowledged in between."""
    first = attempt(1, place=Place("d.1.2", 2, 101, 2), ended=9.0)
    second = attempt(2, place=Place("d.1.2", 1, 102, 1), ended=9.0)

    assert 1 == len(reordered([first, second]))
    assert [] == reordered([first, replace(second, dup=True)])


def test_numbers_that_cross_are_found() -> None:
    """In a log, each conversation's messages rise one by one."""
    assert [] == crossed("x", [("a", 1), ("b", 7), ("a", 2), ("b", 8)])
    assert 1 == len(crossed("x", [("a", 1), ("a", 3)]))
    assert 2 == len(crossed("x", [("a", 1), ("a", 2), ("a", 1), ("a", 3)]))


LOG = [Entry(n, f"e{n}") for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("applied", "word"),
    [
        ([3], "undelivered"),
        ([], "undelivered"),
        ([4], "misapplied"),
        ([4, 3], "misapplied"),
        ([3, 3, 4], "misapplied"),
        ([2, 3, 4], "misapplied"),
        ([3, 4, 5], "misapplied"),
    ],
)
def test_what_a_device_did_not_present_in_order_is_found(
    applied: list[int], word: str
) -> None:
    """A gap, a repeat, another order, too much, too little."""
    (finding,) = misapplied("phone", 2, [Entry(n, f"e{n}") for n in applied], LOG)

    assert finding.startswith(word)


def test_another_content_is_found() -> None:
    """The number alone is not enough."""
    assert [] == misapplied("phone", 2, LOG[2:], LOG)
    assert 1 == len(misapplied("phone", 2, [LOG[2], Entry(4, "other")], LOG))


def test_a_refused_message_that_appears_is_found() -> None:
    """Unless another attempt with its cid was not refused."""
    refused = attempt(3, place=None, refusal="not_member")
    undecided = attempt(3, place=None, ended=None)

    assert 1 == len(refused_but_present([*ATTEMPTS[:2], refused], LOGS))
    assert [] == refused_but_present([*ATTEMPTS, refused], LOGS)
    assert [] == refused_but_present([refused, undecided], LOGS)


def test_what_nobody_sent_is_found() -> None:
    """Another cid, another sender, another body."""
    for ghost in (item(4), item(3, sender="eve"), replace(item(3), body='"x"')):
        assert 1 == len(unexpected(ATTEMPTS, {"d.1.2": [*LOGS["d.1.2"][:2], ghost]}))


def test_an_event_for_somebody_who_is_not_there_is_found() -> None:
    """Before coming, after going, or never a member."""
    stays = {"g": [Stay(2, 4, 20), Stay(7, None, 70)]}
    inside = [("g", n, 10 * n) for n in (2, 3, 4, 7, 8, 99)]
    late = [("g", 1, 20), ("g", 6, 70)]  # a member by then, who may read it

    assert [] == leaked("ann", inside + late, stays)
    for outside in (("g", 1, 19), ("g", 5, 69), ("g", 6, 60), ("other", 3, 99)):
        assert 1 == len(leaked("ann", [outside], stays))
