# SPDX-License-Identifier: Apache-2.0
"""What a client keeps from one run to the next: places, and messages without an ``ok``.

    Memory    as it is
    Changes   what a file has to take over, all of it in one transaction

Places are those of events that the application has handled.  No I/O happens here.
"""

from dataclasses import dataclass, field

import msgspec


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """
    The events between the last one and the next are not to be had.

    Args:
        reason: ``epoch``: the store is another one, or was restored from a backup;
            ``trimmed``: the client was away for longer than the mailbox is kept.

    Read again what you show (``sync``, ``history``); events go on from now.
    """

    reason: str


@dataclass(slots=True)
class GroupPlace:
    """How far the client is in a group's log, and whether it is in the group now."""

    pos: int
    member: bool = True


@dataclass(slots=True)
class Places:
    """Of one epoch: the place in the mailbox, and in each group."""

    epoch: str
    seq: int
    groups: dict[str, GroupPlace] = field(default_factory=dict)


@dataclass(slots=True)
class KeptMessage:
    """
    A message without an answer.

    Args:
        number: Rises from message to message.
        content: The fields of ``send`` but ``op`` and ``id``, as a JSON object; the
            same bytes each time, since the server compares them.
    """

    number: int
    cid: str
    content: bytes


@dataclass(slots=True)
class Memory:
    """
    What a client keeps.

    Args:
        user: Whose it is; none before the first welcome.
        places: None before the first welcome.
    """

    user: str | None = None
    places: Places | None = None
    messages: list[KeptMessage] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """
    What has changed since the last time: *replaced* before all others.

    Args:
        put, dropped: Messages that came, and the numbers of those that are done.
        groups: New places in groups.
    """

    user: str | None = None
    replaced: Places | None = None
    seq: int | None = None
    groups: dict[str, GroupPlace] = field(default_factory=dict)
    put: list[KeptMessage] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(
            self.put
            or self.dropped
            or self.groups
            or self.seq is not None
            or self.replaced is not None
            or self.user is not None
        )


class Book:
    """The places of what was handled, and the changes that a file does not have yet."""

    def __init__(self, memory: Memory) -> None:
        self.user = memory.user
        self.places = memory.places
        self._changes = Changes()

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._changes)

    def take_changes(self) -> Changes:
        """What is to be written now."""
        changes, self._changes = self._changes, Changes()
        return changes

    def belong_to(self, user: str) -> None:
        """The account whose places these are."""
        self.user = self._changes.user = user

    def replace(self, places: Places) -> None:
        """Other places, of a first start or of another epoch."""
        self.places = places
        self._changes.replaced = Places(
            places.epoch,
            places.seq,
            {
                conv: GroupPlace(each.pos, each.member)
                for conv, each in places.groups.items()
            },
        )
        self._changes.seq = None
        self._changes.groups.clear()

    def move_mailbox(self, seq: int) -> None:
        """The event *seq* was handled."""
        assert self.places is not None
        self.places.seq = self._changes.seq = seq

    def move_group(self, conv: str, pos: int, *, member: bool | None = None) -> None:
        """The event *pos* was handled, or one is a *member* or none any more."""
        assert self.places is not None
        place = self.places.groups.setdefault(conv, GroupPlace(pos))
        place.pos = max(place.pos, pos)
        if member is not None:
            place.member = member
        self._changes.groups[conv] = place

    def put(self, message: KeptMessage) -> None:
        """A message to be sent."""
        self._changes.put.append(message)

    def drop(self, number: int) -> None:
        """A message that has its answer."""
        self._changes.dropped.append(number)
