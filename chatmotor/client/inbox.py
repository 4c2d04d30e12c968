# SPDX-License-Identifier: Apache-2.0
"""Events on their way to the application: held, handled, acknowledged.  No I/O.

    ev, events --> Logs: the rule --> held --> application --> handled: kept, and acked

At most a window of events is held of those that were pushed, and as many of those that
were pulled.  What comes beyond is let go, and fetched when there is room again.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from chatmotor.client.acks import Acks
from chatmotor.client.errors import Refused
from chatmotor.client.log_follower import Held, Logs, Pull
from chatmotor.client.memory import Book, Places, Reset
from chatmotor.protocol.event_types import ConvMember, ConvNew, MessageNew, decode_event
from chatmotor.protocol.replies import AnyEphemeral, Welcome

First = Literal["new", "device"]

EPHEMERAL_MAX = 256
RETRY_SECONDS = 1.0


class Broken(Exception):
    """The server has sent what cannot be; the connection is given up."""


class _Group(msgspec.Struct):
    """What is needed of an element of ``sync.convs``; other types have other fields."""

    conv: str
    type: str = ""
    user: str | None = None
    pos: int = 0
    read: int = 0
    unread: int = 0


class _Page(msgspec.Struct):
    convs: list[_Group]
    cursor: str | None = None


@dataclass(slots=True)
class _Start:
    """Another place to begin at, until the groups' places are known."""

    logs: Logs
    reason: str | None
    groups: list[tuple[str, int, int, int]]


class Inbox:
    """
    The events of a client.

    Args:
        book: Where its places are kept.
        window: How many events may be held.
        first: Where to begin without a place.

    Attributes:
        directs: Usernames and their direct conversations that were seen, to be taken.
        takes_ephemeral: Whether anybody wants what is not kept.
    """

    def __init__(
        self, book: Book, *, window: int, first: First, counts: Counter[str]
    ) -> None:
        self.window = window
        self.takes_ephemeral = False
        self.directs: list[tuple[str, str]] = []
        self._book = book
        self._first = first
        self._counts = counts
        self._logs: Logs | None = None
        if book.user is not None and book.places is not None:
            self._logs = Logs(book.user, book.places, placed=True)
        self._queue: deque[Held] = deque()
        # Events that wait behind a Reset are of places that are not kept yet.
        self._behind_reset: Places | None = None
        # What is held, of any connection: pushed or pulled.
        self._pushed = self._pulled = 0
        # Events of this connection for which there was no room.
        self._owed = 0
        self._ephemeral = 0
        self._socket = 0
        self._acks = Acks()
        self._start: _Start | None = None

    # A connection comes and goes.

    def resume(self) -> Any:
        """The ``resume`` of the next hello."""
        if self._logs is None:
            return "device" if self._first == "device" else None
        known = self._logs.places()
        seq = known.seq
        # To resume counts as an ack, so it is from what was handled; but behind a Reset
        # nothing was.
        if self._behind_reset is None and self._book.places is not None:
            seq = self._book.places.seq
        groups = {conv: each.pos for conv, each in known.groups.items() if each.member}
        return {"epoch": known.epoch, "seq": seq, "groups": groups}

    def begin(self, welcome: Welcome) -> bool:
        """
        A session begins.  Returns whether ``sync`` has to be asked.

        Raises:
            Broken: It goes on where the client never was.
        """
        start = welcome.seq - welcome.replay if welcome.resumed else welcome.seq
        self._socket += 1
        self._acks = Acks(max(1, welcome.window), start)
        if self._logs is None or not welcome.resumed:
            places = Places(welcome.epoch, start)
            logs = Logs(welcome.user, places, placed=False)
            self._start = _Start(logs, welcome.reason, [])
            return True
        if self._logs.epoch != welcome.epoch:
            raise Broken("resumed in another epoch")
        for each in welcome.behind:
            self._logs.note(each.conv, each.pos)
        return False

    def disconnected(self) -> None:
        """What was on its way comes again."""
        self._socket += 1
        self._acks = Acks()
        self._owed = 0
        for logs in (self._logs, None if self._start is None else self._start.logs):
            if logs is not None:
                logs.disconnected()
                self._let_go(logs, 0.0)
        self._start = None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that is known to exist."""
        return self._start is None and self._logs is not None and self._logs.complete

    # What comes.

    @property
    def _following(self) -> Logs:
        logs = self._logs if self._start is None else self._start.logs
        assert logs is not None
        return logs

    def take_event(self, frame: dict[str, Any], now: float) -> None:
        """
        An ``ev``.

        Raises:
            Broken, msgspec.ValidationError: It is none.
        """
        held = _held(frame, self._socket)
        self._acks.arrive(now)
        if self._pushed >= self.window:
            self._owed += 1
            self._following.note(held.conv, held.at)
        else:
            self._pushed += 1
            self._hand_on(held, now)

    def _hand_on(self, held: Held, now: float) -> None:
        """Take an event; the application gets what is next, and what is known goes."""
        logs = self._following
        self._enqueue(logs.take(held))
        self._let_go(logs, now)

    def _let_go(self, logs: Logs, now: float) -> None:
        for each in logs.let_go():
            self._release(each, now)
            self._counts["events ignored"] += 1

    def _enqueue(self, news: list[Held]) -> None:
        for held in news:
            event = held.event
            if (
                isinstance(event, MessageNew)
                and held.conv is None
                and event.sender != self._book.user
                and not event.from_guest
            ):
                self.directs.append((event.sender, event.conv))
        self._queue.extend(news)

    def move_on(self, conv: str, pos: int) -> None:
        """A ``behind``."""
        self._following.note(conv, pos)

    def take_ephemeral(self, frame: dict[str, Any]) -> None:
        """An ``eph``; of a type that is not known, it is counted."""
        try:
            self.add_ephemeral(msgspec.convert(frame, AnyEphemeral))
        except msgspec.ValidationError:
            self._counts["ephemeral unknown"] += 1

    def add_ephemeral(self, event: AnyEphemeral) -> None:
        """For the application, if it takes such and has taken the last ones."""
        if not self.takes_ephemeral:
            return
        if self._ephemeral >= EPHEMERAL_MAX:
            self._counts["ephemeral dropped"] += 1
            return
        self._ephemeral += 1
        self._queue.append(Held(event))

    # What is fetched.

    def pulls(self, now: float) -> list[Pull]:
        """What to ask of ``events`` now."""
        if self._start is not None or self._logs is None:
            return []
        return self._logs.pulls(now, self.window - self._pulled)

    def take_pulled(self, pull: Pull, answer: Mapping[str, Any], now: float) -> None:
        """
        The ``ok`` to *pull*.

        Raises:
            Broken, msgspec.ValidationError: It does not have what comes next.
        """
        logs = self._following
        logs.pulled(pull.conv)
        events = answer.get("events")
        if not isinstance(events, list):
            raise Broken("events has no list")
        for fields in events:
            if not isinstance(fields, dict):
                raise Broken("an event is no object")
            held = _held(fields, 0)
            if held.conv != pull.conv:
                raise Broken("an event of another log")
            self._pulled += 1
            self._hand_on(held, now)
        if logs.place_in(pull.conv) == pull.since and logs.is_missing(pull.conv):
            raise Broken("events has not what comes next")

    def pull_refused(self, pull: Pull, refused: Refused, now: float) -> None:
        """
        The ``error`` to *pull*.

        Raises:
            Broken: A new session has to say where one is.
        """
        logs = self._following
        logs.pulled(pull.conv)
        if refused.retry:
            wait = RETRY_SECONDS
            if refused.retry_ms is not None:
                wait = max(refused.retry_ms / 1000, 0.01)
            logs.wait(pull.conv, now + wait)
        elif pull.conv is not None and refused.code in ("not_member", "no_such_conv"):
            logs.leave(pull.conv)
            self._let_go(logs, now)
        else:
            raise Broken(f"events refused: {refused.code}")

    def take_sync(self, answer: Mapping[str, Any], now: float) -> str | None:
        """
        A page of ``sync``; the cursor of the next one, if there is one.

        Raises:
            msgspec.ValidationError: It is none.
        """
        start = self._start
        assert start is not None
        page = msgspec.convert(answer, _Page)
        for each in page.convs:
            if each.type == "group":
                start.groups.append((each.conv, each.pos, each.read, each.unread))
            elif each.type == "direct" and each.user is not None:
                self.directs.append((each.user, each.conv))
        if page.cursor is None:
            self._begin_anew(start, now)
        return page.cursor

    def _begin_anew(self, start: _Start, now: float) -> None:
        """All places are known: the application may have what has come since."""
        logs, self._start = start.logs, None
        logs.place_groups(start.groups, unread=start.reason is None)
        if self._logs is None and start.reason in (None, "first"):
            self._book.replace(logs.places())
        else:
            self._behind_reset = logs.places()
            self._queue.append(Held(Reset(reason=start.reason or "epoch")))
        self._logs = logs
        self._enqueue(logs.go_on())
        self._let_go(logs, now)

    # What the application takes.

    @property
    def has_events(self) -> bool:
        """Whether there is something for the application."""
        return bool(self._queue)

    def next_event(self) -> Held | None:
        """What the application gets now; call ``handled`` once it has done with it."""
        return self._queue.popleft() if self._queue else None

    def handled(self, held: Held, now: float) -> None:
        """The application has done with it: its place is kept, and acknowledged."""
        event = held.event
        if isinstance(event, Reset):
            assert self._behind_reset is not None
            self._book.replace(self._behind_reset)
            self._behind_reset = None
        elif not held.at:
            self._ephemeral -= 1
            return
        elif held.conv is not None:
            self._book.move_group(held.conv, held.at)
        else:
            self._book.move_mailbox(held.at)
            if isinstance(event, ConvNew):
                self._book.move_group(event.conv, event.since, member=True)
            elif isinstance(event, ConvMember) and self._book.user in event.removed:
                self._book.move_group(event.conv, 0, member=False)
        self._release(held, now)

    def _release(self, held: Held, now: float) -> None:
        if held.at and held.socket == 0:
            self._pulled -= 1
        elif held.at:
            self._pushed -= 1
            if held.socket == self._socket:
                self._acks.release(now)
            # Room for one more; for all, once nothing is held.
            for _ in range(min(1, self._owed) if self._pushed else self._owed):
                self._owed -= 1
                self._acks.release(now)
        self._acks.moved(now)

    # What is acknowledged.

    def ack(self, now: float, *, last: bool = False) -> dict[str, int] | None:
        """The fields of an ``ack`` to send now, if it is time, or the *last* one."""
        seq = None  # behind a Reset, and before the first place, nothing is handled
        places = self._book.places
        if self._start is None and self._behind_reset is None and places is not None:
            seq = places.seq
        return self._acks.last(seq) if last else self._acks.due(now, seq)

    def deadline(self, now: float) -> float:
        """When there will be something to do, if nothing happens before."""
        pulls = float("inf") if self._logs is None else self._logs.deadline(now)
        return min(self._acks.deadline(), pulls)


def _held(fields: dict[str, Any], socket: int) -> Held:
    """
    An event, and where it stands.

    Raises:
        Broken, msgspec.ValidationError: It has no type, no time or no place.
    """
    event = decode_event(fields)
    seq, pos, conv = event.seq, event.pos, fields.get("conv")
    if isinstance(seq, int) and seq > 0:
        return Held(event, None, seq, socket)
    if isinstance(pos, int) and pos > 0 and isinstance(conv, str):
        return Held(event, conv, pos, socket)
    raise Broken("an event has no place")
