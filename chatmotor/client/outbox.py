# SPDX-License-Identifier: Apache-2.0
"""Messages without an ``ok``: in order, each under its one ``cid``.  No I/O.

    put --> saved --> under way --ok, or refused for good--> done
              ^---- refused for now, or connection lost ----'

Messages to one conversation go one after the other, each after the answer to the one
before, so that a refusal for now cannot let a later one overtake; those to different
conversations go side by side.  A conversation is one lane, whether it is named by its
id or by a username.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chatmotor.client.errors import ClientError, Refused
from chatmotor.client.memory import Book, KeptMessage

# Where a refusal says nothing of when.
RETRY_SECONDS = 1.0
LANES_KNOWN = 10_000

Done = Callable[[Any], None]

_TO = "to "  # no id of a conversation has a space


class _Where(msgspec.Struct):
    conv: str = ""
    to: str | None = None


@dataclass(slots=True, eq=False)
class Lane:
    """One conversation: what waits, and whether there is a message under way."""

    names: set[str]
    waiting: list[tuple[int, "Message"]] = field(default_factory=list)
    busy: int = 0


@dataclass(slots=True, eq=False)
class Message:
    """
    A message, and who waits for its answer.

    Args:
        saved: Whether it is where it has to be before it may be sent.
        done: Called with the fields of ``ok``, or an error.
    """

    kept: KeptMessage
    lane: Lane
    saved: bool
    done: list[Done] = field(default_factory=list)


class Outbox:
    """
    The messages of a client.

    Args:
        book: Where they are kept.
        kept: Those of an earlier run.
    """

    def __init__(self, book: Book, kept: list[KeptMessage]) -> None:
        self._book = book
        self._messages: dict[str, Message] = {}
        self._lanes: dict[str, Lane] = {}
        self._convs: dict[str, str] = {}
        self._ready: list[tuple[int, int, Lane]] = []
        self._under_way: dict[int, Message] = {}
        self._paused_until = 0.0
        # After a refusal for now: one, two, four at a time.
        self._at_once = 1 << 20
        self._number = 0
        self._unheard: list[tuple[str, Refused]] = []
        for each in kept:
            self._number = each.number
            self._add(Message(each, self._lane(_lane_name(each)), saved=True))

    def take_unheard(self) -> list[tuple[str, Refused]]:
        """Refusals that nobody waits for: the cid, and why."""
        unheard, self._unheard = self._unheard, []
        return unheard

    def __len__(self) -> int:
        """How many have no answer."""
        return len(self._messages)

    def put(self, cid: str, content: bytes, done: Done | None) -> None:
        """
        Take a message.

        Args:
            content: See ``KeptMessage``.
            done: Called with its answer, once.

        Raises:
            Refused: ``cid_conflict``: another message waits under this cid.
        """
        message = self._messages.get(cid)
        if message is None:
            self._number += 1
            kept = KeptMessage(self._number, cid, content)
            message = Message(kept, self._lane(_lane_name(kept)), saved=False)
            self._book.put(kept)
            self._add(message)
        elif message.kept.content != content:
            raise Refused(
                "cid_conflict", "another message waits under this cid", field="cid"
            )
        if done is not None:
            message.done.append(done)

    def saved(self, messages: list[KeptMessage]) -> None:
        """These may be sent now."""
        for each in messages:
            message = self._messages.get(each.cid)
            if message is not None:
                message.saved = True

    def next(self, now: float) -> Message | None:
        """The message to send now; call ``begin`` with it."""
        if now < self._paused_until or len(self._under_way) >= self._at_once:
            return None
        while self._ready:
            number, _, lane = self._ready[0]
            if lane.busy or not lane.waiting or lane.waiting[0][0] != number:
                heapq.heappop(self._ready)  # said before; things have changed
                continue
            message = lane.waiting[0][1]
            # They are saved in their order.
            return message if message.saved else None
        return None

    def begin(self, identifier: int, message: Message) -> None:
        """It is sent, as the command *identifier*."""
        heapq.heappop(message.lane.waiting)
        message.lane.busy += 1
        self._under_way[identifier] = message

    @property
    def under_way(self) -> int:
        """How many wait for an answer."""
        return len(self._under_way)

    def is_asked(self, identifier: object) -> bool:
        """Whether a message was sent under this id."""
        return identifier in self._under_way

    def stored(self, identifier: int, answer: Any, conv: str) -> None:
        """An ``ok``: committed, in the conversation *conv*."""
        message = self._end(identifier)
        self._at_once = min(2 * self._at_once, 1 << 20)
        name = _lane_name(message.kept)
        if name.startswith(_TO):
            self.learn(name.removeprefix(_TO), conv)
        self._finish(message, answer)

    def refuse(self, identifier: int, refused: Refused, now: float) -> None:
        """An ``error``; one for now is tried again."""
        message = self._end(identifier)
        if refused.retry:
            wait = RETRY_SECONDS
            if refused.retry_ms is not None:
                wait = refused.retry_ms / 1000
            self._paused_until = max(self._paused_until, now + wait)
            self._at_once = 1
            self._wait_again(message)
        else:
            self._finish(message, refused)

    def give_up(self, message: Message, refused: Refused) -> None:
        """It cannot even be sent."""
        heapq.heappop(message.lane.waiting)
        self._finish(message, refused)

    def disconnected(self) -> None:
        """What is under way has no answer; it is sent again, in its order."""
        for message in self._under_way.values():
            message.lane.busy -= 1
            self._wait_again(message)
        self._under_way.clear()
        self._paused_until = 0.0
        self._at_once = 1 << 20

    def end(self, error: ClientError) -> None:
        """There will be no answers; the messages are kept."""
        for message in self._messages.values():
            for done in message.done:
                done(error)
            message.done.clear()

    def deadline(self, now: float) -> float:
        """When ``next`` should be asked again, if nothing happens before."""
        paused = self._ready and self._paused_until > now
        return self._paused_until if paused else float("inf")

    # Lanes.

    def conv_of(self, username: str) -> str | None:
        """The direct conversation with *username*, if it is known."""
        return self._convs.get(username)

    def learn(self, username: str, conv: str) -> None:
        """The direct conversation with *username* is *conv*: one lane."""
        if self._convs.get(username) == conv:
            return
        if len(self._convs) >= LANES_KNOWN:
            del self._convs[next(iter(self._convs))]
        self._convs[username] = conv
        named = self._lanes.get(_TO + username)
        there = self._lanes.get(conv)
        if named is None or named is there:
            return
        if there is not None:
            for each in there.waiting:
                heapq.heappush(named.waiting, each)
                each[1].lane = named
            named.busy += there.busy
            for message in self._under_way.values():
                if message.lane is there:
                    message.lane = named
            for name in there.names:
                self._lanes[name] = named
            named.names |= there.names
        self._lanes[conv] = named
        named.names.add(conv)
        self._make_ready(named)

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes and name.startswith(_TO):
            name = self._convs.get(name.removeprefix(_TO), name)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane({name})
        return lane

    def _add(self, message: Message) -> None:
        self._messages[message.kept.cid] = message
        self._wait_again(message)

    def _wait_again(self, message: Message) -> None:
        heapq.heappush(message.lane.waiting, (message.kept.number, message))
        self._make_ready(message.lane)

    def _make_ready(self, lane: Lane) -> None:
        if lane.waiting and not lane.busy:
            heapq.heappush(self._ready, (lane.waiting[0][0], id(lane), lane))

    def _end(self, identifier: int) -> Message:
        message = self._under_way.pop(identifier)
        message.lane.busy -= 1
        return message

    def _finish(self, message: Message, answer: Any) -> None:
        lane = message.lane
        del self._messages[message.kept.cid]
        self._book.drop(message.kept.number)
        if lane.waiting or lane.busy:
            self._make_ready(lane)
        else:
            for name in lane.names:
                self._lanes.pop(name, None)
        for done in message.done:
            done(answer)
        if not message.done and isinstance(answer, Refused):
            self._unheard.append((message.kept.cid, answer))


def _lane_name(kept: KeptMessage) -> str:
    where = msgspec.json.decode(kept.content, type=_Where)
    return where.conv if where.to is None else _TO + where.to
