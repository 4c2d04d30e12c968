# SPDX-License-Identifier: Apache-2.0
"""The rule for each log, where the scenarios do not reach."""

from typing import Any

from chatmotor.client.log_follower import Held, Logs, Pull
from chatmotor.client.memory import GroupPlace, Places
from chatmotor.protocol.event_types import decode_event


def event(conv: str | None, at: int, /, **fields: Any) -> Held:
    """An event of a group, or of the mailbox."""
    given = {"t": "message.new", "ts": 1, "n": at, "from": "bob", "body": at}
    where = {"seq": at, "conv": "d.1"} if conv is None else {"pos": at, "conv": conv}
    return Held(decode_event(given | where | fields), conv, at, 1)


def logs(**groups: int) -> Logs:
    """Those of alice, at 0 in her mailbox."""
    places = {conv: GroupPlace(pos) for conv, pos in groups.items()}
    return Logs("alice", Places("e1", 0, places), placed=True)


def ats(held: list[Held]) -> list[int]:
    """Their numbers."""
    return [each.at for each in held]


def test_what_waits_in_a_group_goes_when_one_is_removed() -> None:
    """It is released, and does not come after one is added again."""
    mine = logs(g=3)
    assert [] == mine.take(event("g", 6))
    gone = {"t": "conv.member", "actor": "bob", "added": [], "conv": "g"}
    gone["removed"] = ["alice"]
    back = {"t": "conv.new", "actor": "bob", "since": 8, "conv": "g"}
    back["title"] = "Tea"

    assert [1] == ats(mine.take(event(None, 1, **gone)))
    assert [6] == ats(mine.let_go())
    assert [] == mine.pulls(0.0, 100)
    assert [2] == ats(mine.take(event(None, 2, **back)))
    assert [9] == ats(mine.take(event("g", 9)))
    assert {} == mine.groups["g"].early


def test_a_fetch_asks_for_the_hole_and_no_more() -> None:
    """What waits beyond it is there already; without room nothing is asked for."""
    mine = logs(g=3)
    mine.take(event("g", 6))
    mine.note("g", 9)

    assert [] == mine.pulls(0.0, 0)
    assert [Pull("g", 3, 2)] == mine.pulls(0.0, 100)
    assert [] == mine.pulls(0.0, 100)
    mine.pulled("g")
    assert [Pull("g", 3, 1)] == mine.pulls(0.0, 1)


def test_fetches_share_the_room() -> None:
    """Eight at a time, for as many events as there is room for in all."""
    mine = logs(**{f"g{n}": 0 for n in range(20)})
    for n in range(20):
        mine.note(f"g{n}", 30)

    assert [30, 30, 30, 10] == [each.limit for each in mine.pulls(0.0, 100)]
    mine.disconnected()
    for n in range(20):
        mine.note(f"g{n}", 1)
    assert 8 == len(mine.pulls(0.0, 100))


def test_a_long_hole_is_fetched_in_pages() -> None:
    """A command asks for at most 500."""
    mine = logs(g=0)
    mine.note("g", 10_000)

    assert [Pull("g", 0, 500)] == mine.pulls(0.0, 1024)


def test_what_waits_at_a_cut_goes_and_comes_again() -> None:
    """It is released once, and taken from the next connection."""
    mine = logs(g=3)
    mine.take(event("g", 6))
    mine.disconnected()

    assert [6] == ats(mine.let_go())
    assert [4, 5] == [*ats(mine.take(event("g", 4))), *ats(mine.take(event("g", 5)))]
    assert [6] == ats(mine.take(event("g", 6)))
