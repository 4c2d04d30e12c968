# SPDX-License-Identifier: Apache-2.0
"""What of a group's log is a hook's own."""

import json
from collections.abc import Sequence

from chatmotor.node.hook_steps import GroupPlaces
from chatmotor.ports.hooks import Hook, HookKind
from chatmotor.ports.messages import Event, EventType, Message

HOOK = Hook(
    *("h1", "ann", False, HookKind.WEBHOOK, 1, "https://example.org"),
    secret="",
    old_secret="",
    old_until=0,
    types=(),
    conv=None,
    on=True,
    revision=1,
    seq=0,
)


def log(*entries: str) -> list[Event]:
    """
    A log from its beginning: "+ann" has come, "-ann" has gone, anything else is said.
    """
    events = []
    for at, entry in enumerate(entries, 1):
        if entry[0] in "+-":
            detail = {"actor": "bob", "added": [], "removed": []}
            detail["added" if entry[0] == "+" else "removed"] = [entry[1:]]
            t, kind = EventType.CONV_MEMBER, {"detail": json.dumps(detail)}
            events.append(Event(at, t, "g.1", 5, detail=kind["detail"]))
        else:
            body = json.dumps(entry).encode()
            message = Message("g.1", at, "bob", "c", 5, body, raw=False)
            t = EventType.MESSAGE_NEW
            events.append(Event(at, t, "g.1", 5, message=message))
    return events


def read(places: GroupPlaces, events: Sequence[Event], count: int) -> list[str]:
    """What is handed over of the next *count* events."""
    place = places.place("g.1")
    assert place is not None
    steps = places.steps(HOOK, "g.1", events[place : place + count])
    found = []
    for step in steps:
        if step.event is not None:
            found.append(json.loads(step.event.body).get("body", "member"))
        places.move("g.1", step.at)
    return found


EVENTS = log("+bob", "+ann", "in", "+cyd", "-ann", "out", "-cyd", "+ann", "back")


def test_what_was_said_meanwhile_is_not_its_own() -> None:
    """From its removal to its return; its own comings are in the mailbox."""
    places = GroupPlaces([("g.1", 2)])

    assert ["in", "member", "back"] == read(places, EVENTS, 99)
    assert (9, 9) == (places.place("g.1"), places.kept("g.1"))


def test_a_page_may_end_in_between() -> None:
    """Whoever reads on knows, by the place that was kept, also after a restart."""
    for cut in range(1, 7):
        places = GroupPlaces([("g.1", 2)])
        first = read(places, EVENTS, cut)
        here = read(places, EVENTS, 99)

        again = GroupPlaces([("g.1", 2)])
        read(again, EVENTS, cut)
        restarted = GroupPlaces([("g.1", again.kept("g.1"))])
        there = read(restarted, EVENTS, 99)

        assert ["in", "member", "back"] == first + here == first + there
        assert 9 == restarted.kept("g.1")


def test_a_page_that_is_read_again_is_read_as_before() -> None:
    """Its place has not moved: the target has failed."""
    places = GroupPlaces([("g.1", 2)])
    places.steps(HOOK, "g.1", EVENTS[2:6])

    assert 2 == places.kept("g.1")
    assert ["in", "member", "back"] == read(places, EVENTS, 99)


def test_a_group_that_it_comes_into_begins_there() -> None:
    """One that it has been in goes on where it was: the log knows the rest."""
    places = GroupPlaces([("g.1", 3)])
    places.enter("g.1", 8)
    places.enter("g.2", 5)

    assert (3, 5, None) == tuple(places.place(each) for each in ("g.1", "g.2", "g.3"))
