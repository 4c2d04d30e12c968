# SPDX-License-Identifier: Apache-2.0
"""What the nodes of one store tell each other about the presence of accounts.

    hello, beat, bye   on NODES_KEY: who is there
    changes            on NODES_KEY: how accounts of this node stand, in batches
    question           on NODES_KEY, or to one node: how do these stand with you?
    answer             to the node that has asked

Each node picks from the changes those of the accounts that are watched there.  Nothing
is published as long as no other node watches anybody.  A notice that is lost is made
good when the link is back: each side asks the other again.
Why all changes go to all nodes: docs/decisions/0014-presence-goes-to-all-nodes.md.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from chatmotor.node.presence_table import PresenceTable
from chatmotor.ports.broker import Broker
from chatmotor.ports.store import StoreLife
from chatmotor.protocol.notices import (
    AskNotice,
    NodeNotice,
    NodesNotice,
    PresenceNotice,
    encode_notice,
)
from chatmotor.protocol.presence import Presence

NODES_KEY = "p"
ANSWER_SECONDS = 0.5
# Changes or questions in one notice.
AT_ONCE = 1000
_BEATS = 3  # in the time after which a silent node is gone


@dataclass(slots=True)
class _Neighbour:
    """
    Another node.

    Args:
        heard_at: When it was last heard of.
        watches: Whether it wants to know of changes.
    """

    heard_at: float
    watches: bool = False


@dataclass(slots=True)
class _Question:
    """
    Args:
        missing: The nodes that have not answered.
        answered: Done when all have, or their time is over.
    """

    users: frozenset[str]
    missing: set[str]
    answered: asyncio.Future[None]


class Neighbours:
    """
    The other nodes, as one sees them.

    Args:
        answer: How an account stands on this node, for another one that asks.
        node: This one's name, which no other has.
        silent_seconds: A node of which nothing is heard for so long is gone.
    """

    def __init__(
        self,
        broker: Broker,
        store: StoreLife,
        table: PresenceTable,
        *,
        answer: Callable[[str], Presence | None],
        node: str,
        silent_seconds: float,
    ) -> None:
        self._broker = broker
        self._store = store
        self._table = table
        self._answer = answer
        self._node = node
        self._silent_seconds = silent_seconds
        self._beat_seconds = silent_seconds / _BEATS
        self._others: dict[str, _Neighbour] = {}
        self._questions: dict[int, _Question] = {}
        self._numbers = itertools.count(1)
        self._beat_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # Life.

    async def start(self) -> None:
        """Begin to listen, and to say that this node is there."""
        await self._broker.watch(NODES_KEY)
        await self._broker.watch(_key(self._node))
        self._beat_at = asyncio.get_running_loop().time()
        self._beat()

    def hello(self) -> None:
        """The broker is there, or back: what was said meanwhile is asked for."""
        self._say("hello")
        for node in self._others:
            self._ask_one(node)

    def stop(self) -> None:
        """Say good-bye; the accounts that were here may come back elsewhere."""
        if self._timer is not None:
            self._timer.cancel()
        self._say("bye")

    def _say(
        self, what: Literal["hello", "beat", "bye"], *, to: str | None = None
    ) -> None:
        watches = len(self._table) > 0
        notice = NodeNotice(self._store.epoch, self._node, what, watches)
        self._notify(notice, to=to)

    def _notify(self, notice: NodesNotice, *, to: str | None = None) -> None:
        key = NODES_KEY if to is None else _key(to)
        self._broker.notify(key, encode_notice(notice))

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now, late = loop.time(), loop.time() - self._beat_at > self._beat_seconds
        self._beat_at = now + self._beat_seconds
        self._timer = loop.call_later(self._beat_seconds, self._beat)
        self._say("beat")
        for node, other in tuple(self._others.items()):
            if late:  # this process was stopped: it cannot know who was silent
                other.heard_at = now
            elif now - other.heard_at >= self._silent_seconds:
                self._lose(node, grace=False)

    def _lose(self, node: str, *, grace: bool) -> None:
        del self._others[node]
        for number in tuple(self._questions):
            self._has_answered(node, number)
        self._table.lose(node, grace=grace)

    # Notices out.

    def tell(self, changes: Mapping[str, Presence | None]) -> None:
        """These accounts of this node stand otherwise than before."""
        if not any(other.watches for other in self._others.values()):
            return
        for some in _parts(changes):
            users = {username: changes[username] for username in some}
            self._notify(PresenceNotice(self._store.epoch, self._node, users))

    def ask(self, usernames: Collection[str]) -> None:
        """Ask the other nodes how these stand, who are watched here from now on."""
        if not usernames or not self._others:
            return
        loop = asyncio.get_running_loop()
        for some in _parts(usernames):
            number = next(self._numbers)
            self._questions[number] = _Question(
                frozenset(some), set(self._others), loop.create_future()
            )
            loop.call_later(ANSWER_SECONDS, self._end, number)
            self._notify(AskNotice(self._store.epoch, self._node, number, some))

    async def until_answered(self, usernames: frozenset[str]) -> None:
        """Return once what was asked about these is answered, or ANSWER_SECONDS on."""
        waited_for = [
            question.answered
            for question in self._questions.values()
            if not question.users.isdisjoint(usernames)
        ]
        if waited_for:
            await asyncio.wait(waited_for)

    def _ask_one(self, node: str) -> None:
        """What this node knows of *node* may be old."""
        for some in _parts(self._table):
            self._notify(AskNotice(self._store.epoch, self._node, 0, some), to=node)

    def _has_answered(self, node: str, number: int) -> None:
        question = self._questions.get(number)
        if question is not None:
            question.missing.discard(node)
            if not question.missing:
                self._end(number)

    def _end(self, number: int) -> None:
        question = self._questions.pop(number, None)
        if question is not None:
            question.answered.set_result(None)

    # Notices in.

    def on_notice(self, notice: NodesNotice) -> None:
        """From any node, also this one."""
        if notice.node == self._node:
            return
        if isinstance(notice, NodeNotice):
            self._on_node(notice)
        elif isinstance(notice, AskNotice):
            self._heard_of(notice.node).watches = True
            users = {username: self._answer(username) for username in notice.users}
            self._notify(
                PresenceNotice(self._store.epoch, self._node, users, notice.number),
                to=notice.node,
            )
        else:
            self._heard_of(notice.node)
            for username, presence in notice.users.items():
                self._table.hear(notice.node, username, presence)
            self._has_answered(notice.node, notice.answer)

    def _on_node(self, notice: NodeNotice) -> None:
        if notice.what == "bye":
            if notice.node in self._others:
                self._lose(notice.node, grace=True)
            return
        known = notice.node in self._others
        self._heard_of(notice.node).watches = notice.watches
        if notice.what == "hello":
            self._say("beat", to=notice.node)
            if known:
                self._ask_one(notice.node)

    def _heard_of(self, node: str) -> _Neighbour:
        now = asyncio.get_running_loop().time()
        other = self._others.get(node)
        if other is None:
            other = self._others[node] = _Neighbour(now)
            self._ask_one(node)
        other.heard_at = now
        return other


def _key(node: str) -> str:
    """Of what is for one node alone."""
    return f"n.{node}"


def _parts(usernames: Iterable[str]) -> Iterable[list[str]]:
    """In lists of at most AT_ONCE."""
    left = iter(usernames)
    while some := list(islice(left, AT_ONCE)):
        yield some
