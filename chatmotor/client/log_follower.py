# SPDX-License-Identifier: Apache-2.0
"""The rule of the client, for the mailbox and for each group alike.  No I/O.

    next number -> take | not above the place -> ignore | else -> fetch ``events``

Events that come beyond a hole wait for it to be filled.  What is in the mailbox says
which groups the account is in.  Wire reference: docs/reference/protocol.md.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chatmotor.client.memory import GroupPlace, Places, Reset
from chatmotor.protocol.event_types import (
    AnyEvent,
    ConvMember,
    ConvNew,
    MessageNew,
)
from chatmotor.protocol.replies import AnyEphemeral

PULLED_AT_ONCE = 500
PULLS = 8


@dataclass(slots=True)
class Held:
    """
    Something for the application that it has not handled.

    Args:
        conv: The group, or none: it is of the mailbox.
        at: Its number in the log; 0: it is of none.
        socket: Which connection has brought it; 0: it was pulled.
    """

    event: AnyEvent | AnyEphemeral | Reset
    conv: str | None = None
    at: int = 0
    socket: int = 0


@dataclass(slots=True)
class LogFollower:
    """
    One log.

    Attributes:
        place: The last event that was taken.
        top: How far the log is known to reach.
        early: Events beyond the next one.
        paused: Whether events wait, as they come.
        reserved: How many events were asked for; 0: there is no request under way.
        member: Whether the account may read it.
        unread_above: Messages up to this ``n`` are not news.
    """

    place: int
    top: int = 0
    early: dict[int, Held] = field(default_factory=dict)
    paused: bool = False
    reserved: int = 0
    not_before: float = 0.0
    member: bool = True
    unread_above: int | None = None

    @property
    def lacks(self) -> bool:
        """Whether there is something that has to be fetched."""
        return self.member and not self.paused and self.place < self.top

    @property
    def missing(self) -> int:
        """How many events the hole has."""
        end = min(self.early) - 1 if self.early else self.top
        return end - self.place

    def offer(self, held: Held) -> list[Held] | None:
        """
        An event of this log.  Returns those that are next now; none, if it is known.
        """
        at = held.at
        if at <= self.place or at in self.early:
            return None
        if at > self.place + 1 or self.paused:
            self.top = max(self.top, at)
            self.early[at] = held
            return []
        self.place = at
        if not self.early:
            return [held]
        return [held, *self._next_ones()]

    def go_on(self) -> list[Held]:
        """Undo ``paused``; what is next now."""
        self.paused = False
        return list(self._next_ones())

    def _next_ones(self) -> Iterator[Held]:
        while (held := self.early.pop(self.place + 1, None)) is not None:
            self.place = held.at
            yield held

    def is_news(self, held: Held) -> bool:
        """Whether the application is to see it."""
        if self.unread_above is None:
            return True
        event = held.event
        if isinstance(event, MessageNew) and event.n > self.unread_above:
            self.unread_above = None
            return True
        return False


@dataclass(frozen=True, slots=True)
class Pull:
    """A request for ``events``."""

    conv: str | None
    since: int
    limit: int


class Logs:
    """
    All logs of an account, in one epoch.

    Args:
        user: Whose mailbox it is.
        places: Where to begin.
        placed: Whether the places in groups are known; else everything waits for
            ``place_groups``.
    """

    def __init__(self, user: str, places: Places, *, placed: bool) -> None:
        self.epoch = places.epoch
        self.base = places.seq
        self.mailbox = LogFollower(places.seq, paused=not placed)
        self.groups = {
            conv: LogFollower(each.pos, member=each.member)
            for conv, each in places.groups.items()
        }
        self._user = user
        # Of groups that one is not in, as far as is known: first and last event.
        self._strangers: dict[str, tuple[int, int]] = {}
        self._lacking: dict[str | None, LogFollower] = {}
        self._let_go: list[Held] = []

    # What comes.

    def take(self, held: Held) -> list[Held]:
        """
        An event that came or was pulled.  Returns what the application gets next.

        What it never gets, because it is known, or comes again, is in ``let_go``.
        """
        log = self._log(held.conv)
        if log is None:
            self.note(held.conv, held.at)
            self._let_go.append(held)
            return []
        run = log.offer(held)
        if run is None:
            self._let_go.append(held)
            return []
        if not run:
            self._lacking[held.conv] = log
        return self._news(log, run)

    def let_go(self) -> list[Held]:
        """What will not be handled, since the last time that this was asked."""
        free, self._let_go = self._let_go, []
        return free

    def note(self, conv: str | None, at: int) -> None:
        """A log reaches *at*; what is missing is fetched when there is room."""
        log = self._log(conv)
        if log is not None:
            log.top = max(log.top, at)
            if log.place < at:
                self._lacking[conv] = log
        elif conv is not None:
            first, last = self._strangers.get(conv, (at, at))
            self._strangers[conv] = min(first, at), max(last, at)

    def _log(self, conv: str | None) -> LogFollower | None:
        if conv is None:
            return self.mailbox
        log = self.groups.get(conv)
        return log if log is not None and log.member else None

    def _news(self, log: LogFollower, run: list[Held]) -> list[Held]:
        news = []
        for held in run:
            if held.conv is None:
                self._heed(held.event)
            if log.is_news(held):
                news.append(held)
            else:
                self._let_go.append(held)
        return news

    def _heed(self, event: AnyEvent | AnyEphemeral | Reset) -> None:
        """The mailbox says which groups the account is in."""
        if isinstance(event, ConvNew):
            self._join(event.conv, event.since)
        elif isinstance(event, ConvMember) and self._user in event.removed:
            self.leave(event.conv)

    def _join(self, conv: str, since: int) -> None:
        _, top = self._strangers.pop(conv, (0, 0))
        log = self.groups.setdefault(conv, LogFollower(since))
        log.member = True
        log.place = max(log.place, since)
        self.note(conv, top)

    def leave(self, conv: str) -> None:
        """The group may not be read any more, or not until the mailbox says so."""
        log = self.groups.get(conv)
        if log is not None:
            # Its place is kept: whoever is added again goes on from there.
            log.member = False
            log.top = log.place
            self._let_go += log.early.values()
            log.early.clear()

    # Where the groups are.

    def place_groups(
        self, groups: Iterable[tuple[str, int, int, int]], *, unread: bool
    ) -> None:
        """
        Begin with the *groups* of ``sync``: (conv, pos, read, unread) each.

        Args:
            unread: Begin at what was not read; else with what is new.
        """
        for conv, pos, read, new in groups:
            first, last = self._strangers.pop(conv, (pos + 1, pos))
            # A message is an event: the one after the n that was read has pos > n.
            begin = min(read, pos) if unread and new else min(pos, first - 1)
            log = self.groups[conv] = LogFollower(begin)
            if unread and new:
                log.unread_above = read
            self.note(conv, max(pos, last))

    def go_on(self) -> list[Held]:
        """The groups are placed; what the application gets of the mailbox now."""
        return self._news(self.mailbox, self.mailbox.go_on())

    def is_missing(self, conv: str | None) -> bool:
        """Whether there is more in the log than was taken."""
        return self._follower(conv).lacks

    def places(self) -> Places:
        """How far it is in each group; of the mailbox, where it has begun."""
        return Places(
            self.epoch,
            self.base,
            {
                conv: GroupPlace(log.place, log.member)
                for conv, log in self.groups.items()
            },
        )

    # What is to be fetched.

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not any(log.lacks for log in self._lacking.values())

    def pulls(self, now: float, room: int) -> list[Pull]:
        """Requests to make now, for at most *room* events in all."""
        found: list[Pull] = []
        if not self._lacking:
            return found
        under_way = [log for log in self._lacking.values() if log.reserved]
        room -= sum(log.reserved for log in under_way)
        count = PULLS - len(under_way)
        for conv, log in list(self._lacking.items()):
            if log.reserved:
                continue
            if not log.lacks:
                if not log.paused:
                    del self._lacking[conv]
            elif room > 0 and count > 0 and log.not_before <= now:
                log.reserved = min(log.missing, room, PULLED_AT_ONCE)
                room -= log.reserved
                count -= 1
                found.append(Pull(conv, log.place, log.reserved))
        return found

    def pulled(self, conv: str | None) -> None:
        """The answer to a pull has come."""
        self._follower(conv).reserved = 0

    def wait(self, conv: str | None, until: float) -> None:
        """Do not pull it again before."""
        self._follower(conv).not_before = until

    def deadline(self, now: float) -> float:
        """When a log that was to wait may be pulled again."""
        waits = (log.not_before for log in self._lacking.values())
        return min((each for each in waits if each > now), default=float("inf"))

    def place_in(self, conv: str | None) -> int:
        """How far it is there."""
        return self._follower(conv).place

    def _follower(self, conv: str | None) -> LogFollower:
        return self.mailbox if conv is None else self.groups[conv]

    def disconnected(self) -> None:
        """What was asked for will not come; what waits for it is let go, and comes."""
        for log in (self.mailbox, *self.groups.values()):
            log.reserved = 0
            log.not_before = 0.0
            self._let_go += log.early.values()
            log.early.clear()
            log.top = log.place
        self._strangers.clear()
        self._lacking.clear()
