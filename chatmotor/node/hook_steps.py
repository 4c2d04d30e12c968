# SPDX-License-Identifier: Apache-2.0
"""What of a log is for a hook: a page of events becomes steps.

A step moves the hook's place, and most have something to hand over before.

A group's log says itself from where to where the account was in the group: events
between its removal and its return are not its own.  The place that is kept stays before
the removal, so that whoever reads on from there finds it, too.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chatmotor.ports.hooks import Hook, Outgoing
from chatmotor.ports.messages import Event, EventType
from chatmotor.protocol.events import Fragment, fragment_of, item
from chatmotor.protocol.replies import encode

TRIMMED = "hook.trimmed"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a log has come to, when that was, and what to hand over before."""

    at: int
    ts: int
    event: Outgoing | None = None


def step(hook: Hook, event: Event, fragment: Fragment, group: str | None) -> Step:
    """The step over *event*, of the log of *group* or else of the mailbox."""
    if (hook.types and event.t not in hook.types) or (
        hook.conv is not None and event.conv != hook.conv
    ):
        return Step(event.at, event.ts)
    # The time makes it another id where a store that was restored from a backup gives
    # the same number again, to another event.  Dots separate what is signed.
    log = "s" if group is None else group.replace(".", "-")
    id_ = f"{hook.id}-{log}-{event.at}-{event.ts}"
    place = "seq" if group is None else "pos"
    body = bytes(item(place, event.at, fragment, hook.username))
    outgoing = Outgoing(id_, event.t.value, group, event.at, body)
    return Step(event.at, event.ts, outgoing)


def trimmed(hook: Hook, floor: int, now: int) -> Step:
    """The step over what the store has dropped, which the target is told of."""
    body = encode({"seq": floor, "t": TRIMMED, "ts": now})
    id_ = f"{hook.id}-trimmed-{floor}"
    return Step(floor, now, Outgoing(id_, TRIMMED, None, floor, body))


class GroupPlaces:
    """
    A hook's places in groups.

    Args:
        places: By conv.
    """

    def __init__(self, places: Iterable[tuple[str, int]] = ()) -> None:
        self._places = dict(places)
        # Where the account has left a group since: the place before its removal.
        self._left_at: dict[str, int] = {}

    def enter(self, conv: str, since: int) -> None:
        """The account has come into a group: for the first time, or its log tells."""
        self._places.setdefault(conv, since)

    def place(self, conv: str) -> int | None:
        """Up to where the log has been read; none: it is not to be."""
        return self._places.get(conv)

    def kept(self, conv: str) -> int:
        """What to save."""
        place = self._places[conv]
        return min(place, self._left_at.get(conv, place))

    def move(self, conv: str, at: int) -> None:
        """The log has been read up to there."""
        self._places[conv] = at

    def steps(self, hook: Hook, conv: str, events: Iterable[Event]) -> Sequence[Step]:
        """The steps over what follows the place."""
        username = hook.username
        left_at = self._left_at.get(conv)
        if left_at is not None and self._places[conv] <= left_at:
            left_at = None  # it is read again, from before the removal
        steps = []
        for event in events:
            told = left_at is None
            if event.t is EventType.CONV_MEMBER:
                change = json.loads(event.detail or "{}")
                if username in change["removed"]:
                    left_at, told = event.at - 1, False
                elif username in change["added"]:
                    left_at, told = None, False  # the mailbox has a conv.new
            if told:
                steps.append(step(hook, event, fragment_of(event), conv))
            else:
                steps.append(Step(event.at, event.ts))
        if left_at is None:
            self._left_at.pop(conv, None)
        else:
            self._left_at[conv] = left_at
        return steps
