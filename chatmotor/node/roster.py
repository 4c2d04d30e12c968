# SPDX-License-Identifier: Apache-2.0
"""Who is logged in on this node, which groups concern them, and what they missed.

    broker --notice of a group--> its members here        (group.py)
    sockets that come and go --> how accounts stand       (presences.py)
    position check --tops, token states--> mailboxes, groups, closed sockets

RabbitMQ brings most things at once; the position check, every POSITION_CHECK_SECONDS
and whenever RabbitMQ is back, finds in the store what it did not bring: events, and
tokens that have ended.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, Protocol

import msgspec

from chatmotor.core.allowance import Allowance
from chatmotor.errors import (
    ChatmotorError,
    NoSuchConv,
    NotMember,
    StoreUnavailable,
)
from chatmotor.node.cursors import Cursors
from chatmotor.node.feed import Feed
from chatmotor.node.group import Group
from chatmotor.node.presences import Presences, Present
from chatmotor.node.receipts import Receipts
from chatmotor.ports.accounts import Grant, TokenState, TokenStore
from chatmotor.ports.broker import Broker, Subscription
from chatmotor.ports.store import LogStore, StoreLife
from chatmotor.protocol.events import Fragment
from chatmotor.protocol.notices import (
    EphemeralNotice,
    GroupNotice,
    NodesNotice,
    Notice,
    decode_notice,
)
from chatmotor.protocol.session import BAD_TOKEN, SUSPENDED, TOKEN_EXPIRED

logger = logging.getLogger(__name__)

GROUP_PREFIX = "g."
CURSOR_SECONDS = 1.0
CHECK_SOON_SECONDS = 0.02
RETURN_SECONDS = 3.0
RETRY_SECONDS = 1.0

TokenStates = Callable[[Sequence[Grant]], Awaitable[Mapping[bytes, TokenState]]]

_VERDICTS = {
    TokenState.EXPIRED: (TOKEN_EXPIRED, "the token has expired"),
    TokenState.SUSPENDED: (SUSPENDED, "the account is deactivated"),
    TokenState.UNKNOWN: (BAD_TOKEN, "the token was revoked"),
}


class RosterStore(StoreLife, LogStore, TokenStore, Protocol):
    """What the roster asks of the store."""


class LoggedIn(Present, Protocol):
    """A socket of an account."""

    grant: Grant
    feed: Feed

    def close(self, code: int, reason: str) -> None:
        """End it."""


class GroupReader(LoggedIn, Protocol):
    """A socket that wants the events of groups, too, and what is of now."""

    def take_from_group(self, conv: str, pos: int, frame: bytes) -> None:
        """The next event of a group's log, as a frame."""

    def move_on(self, conv: str, pos: int) -> None:
        """A group's log goes up to *pos*, and some of it was not sent."""

    def take_ephemeral(self, text: bytes) -> None:
        """An ``eph``; it is dropped when the client reads too slowly."""


class Roster:
    """
    The logged-in sockets of one node.

    Args:
        now: Milliseconds since the Unix epoch.
        on_gone: Called with an account whose last socket here has ended.
        token_states: How it is with the tokens of grants; by default as the store says.
    """

    def __init__(
        self,
        store: RosterStore,
        broker: Broker,
        allowance: Allowance,
        *,
        presences: Presences,
        receipts: Receipts,
        on_gone: Callable[[str], None],
        now: Callable[[], int],
        check_seconds: float,
        token_states: TokenStates | None = None,
    ) -> None:
        self.logs: LogStore = store
        self.allowance = allowance
        self.now = now
        self.cursors = Cursors(store, now, on_saved=receipts.touch_all)
        self.presences = presences
        self.receipts = receipts
        self._on_gone = on_gone
        self._store = store
        self._broker = broker
        self._check_seconds = check_seconds
        self._token_states = token_states or self._stored_token_states
        self._sockets: dict[str, set[LoggedIn]] = {}
        self._readers: dict[str, set[GroupReader]] = {}
        self._groups: dict[str, Group] = {}
        self._groups_of: dict[str, set[str]] = {}
        # By username, up to where in its mailbox that is so.
        self._groups_as_of: dict[str, int] = {}
        self._soon: set[str] = set()
        self._all_soon = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat: asyncio.Task[None] | None = None
        self._stopped = False

    # Life.

    def start(self) -> None:
        """Begin to check positions and to save cursors."""
        self._beat = asyncio.get_running_loop().create_task(self._run())
        self.spawn(self.presences.start())

    async def stop(self) -> None:
        """Save the cursors; check nothing more, and begin nothing."""
        self._stopped = True
        self.presences.stop()
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait({self._beat})
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with contextlib.suppress(ChatmotorError):
            await self.cursors.save()

    def count(self, username: str) -> int:
        """The sockets of an account on this node."""
        return len(self._sockets.get(username, ()))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* beside everything else; its failure is logged."""
        if self._stopped:  # the process may live on, and timers with it
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, ChatmotorError):
            logger.warning("given up: %s", error)
        else:
            logger.error("failed", exc_info=error)

    # Sockets come and go.

    def add(self, socket: LoggedIn) -> None:
        """A socket of an account is open."""
        self._sockets.setdefault(socket.grant.account.username, set()).add(socket)
        self.stands(socket)

    def stands(self, socket: LoggedIn) -> None:
        """A socket has come or gone, or its client says that it stands otherwise."""
        username = socket.grant.account.username
        self.presences.changed(username, self._sockets.get(username, ()))

    def follow_groups(
        self, socket: GroupReader, positions: Mapping[str, int], *, seq: int
    ) -> None:
        """
        *socket* takes the events of its account's groups after these positions.

        Args:
            positions: As they were when the mailbox had come to *seq*, or later.
        """
        username = socket.grant.account.username
        self._readers.setdefault(username, set()).add(socket)
        if seq < self._groups_as_of.get(username, 0):
            return  # another socket has told of later changes
        self._groups_as_of[username] = seq
        for conv in self._groups_of.get(username, set()) - positions.keys():
            self.leave(username, conv)
        for conv, pos in positions.items():
            self._follow(username, conv, pos)

    def discard(self, socket: LoggedIn) -> None:
        """A socket is gone.  Safe to repeat."""
        username = socket.grant.account.username
        # Its device may come back at once, perhaps to another node.
        self.spawn(self.cursors.save())
        _discard(self._sockets, username, socket)
        _discard(self._readers, username, socket)
        self.stands(socket)
        if username not in self._sockets:
            self._on_gone(username)
        if username not in self._readers:
            self._groups_as_of.pop(username, None)
            for conv in self._groups_of.pop(username, ()):
                self._leave(username, conv)

    async def subscribe(
        self, socket: LoggedIn, deliver: Callable[[bytes], None]
    ) -> Subscription:
        """
        A place at the broker for *socket*.  What was stored before it had one is
        looked for in the store.
        """
        username = socket.grant.account.username
        subscription = await self._broker.subscribe(username, deliver)
        self.check_soon(username)
        return subscription

    # Groups.

    def on_notice(self, key: str, body: bytes) -> None:
        """A notice from the broker, which anyone may have sent."""
        notice = self.read_notice(body)
        group = self._groups.get(key.removeprefix(GROUP_PREFIX))
        if isinstance(notice, GroupNotice):
            if group is not None and notice.conv == group.conv:
                group.feed.offer(notice.pos, notice.fragment)
        elif isinstance(notice, EphemeralNotice):
            if group is not None:
                group.tell(notice)
        elif isinstance(notice, NodesNotice):
            self.presences.on_notice(notice)

    def read_notice(self, body: bytes) -> Notice | None:
        """The notice in *body*, if it is one about this store."""
        return decode_notice(body, self._store.epoch)

    def readers(self, username: str) -> Iterable[GroupReader]:
        """The sockets of *username* that take events of groups."""
        return tuple(self._readers.get(username, ()))

    def position(self, conv: str) -> int:
        """Up to where this node has handed on a group's events; 0: not followed."""
        group = self._groups.get(conv)
        return group.feed.sent if group is not None else 0

    def heed(self, username: str, seq: int, fragment: Fragment) -> None:
        """
        Event *seq* of an account's mailbox may make it a member, or none.

        Each of its sockets reads it, one perhaps much later, or in a replay: it counts
        once, and only beyond what ``follow_groups`` was told.
        """
        if not fragment.concerns_members or username not in self._readers:
            return
        if seq <= self._groups_as_of.get(username, 0):
            return
        self._groups_as_of[username] = seq
        try:
            event = fragment.fields()
            if event["t"] == "conv.new":
                self._follow(username, event["conv"], event["since"])
            elif username in event["removed"]:
                self.leave(username, event["conv"])
        except (msgspec.MsgspecError, KeyError):
            logger.warning("an event of membership lacks what it needs")

    def leave(self, username: str, conv: str) -> None:
        """The account is not in the group any more."""
        self._groups_of.get(username, set()).discard(conv)
        self._leave(username, conv)

    def _follow(self, username: str, conv: str, pos: int) -> None:
        self._groups_of.setdefault(username, set()).add(conv)
        group = self._groups.get(conv)
        if group is None:
            group = self._groups[conv] = Group(self, conv, pos=pos)
            self.spawn(self._watch(group))
        elif group.feed.sent > pos and username not in group.members:
            # Among what this node has handed on since may have been its removal.
            self.spawn(self._join_late(username, group, pos))
            return
        group.members[username] = max(pos, group.members.get(username, 0))

    async def _join_late(self, username: str, group: Group, pos: int) -> None:
        """Join once the store has said that the account is a member; pull the rest."""
        while conv := self._still_wanted(username, group):
            try:
                await self.logs.conversation(conv, reader=username)
            except (NotMember, NoSuchConv):
                self.leave(username, conv)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if self._still_wanted(username, group):
                    group.members[username] = max(pos, group.members.get(username, 0))
                    for reader in self.readers(username):
                        reader.move_on(conv, group.feed.sent)
                return

    def _still_wanted(self, username: str, group: Group) -> str | None:
        """The group's id, as long as the account follows it here."""
        follows = group.conv in self._groups_of.get(username, ())
        return group.conv if follows and self._groups.get(group.conv) is group else None

    async def _watch(self, group: Group) -> None:
        if self._groups.get(group.conv) is not group:
            return  # left again before this began
        await self._broker.watch(GROUP_PREFIX + group.conv)
        if self._groups.get(group.conv) is group:
            # What was stored before the key was bound has gone past this node.
            tops = await self._store.tops([], [group.conv])
            group.feed.look(tops.positions.get(group.conv, 0))

    def _leave(self, username: str, conv: str) -> None:
        group = self._groups.get(conv)
        if group is None:
            return
        group.members.pop(username, None)
        if not group.members:
            group.feed.stop()
            del self._groups[conv]
            self._broker.unwatch(GROUP_PREFIX + conv)

    # The position check.

    def check_soon(self, username: str) -> None:
        """Look into the store for what this account, or its sockets, have missed."""
        if not self._soon:
            asyncio.get_running_loop().call_later(CHECK_SOON_SECONDS, self._check_those)
        self._soon.add(username)

    def check_all_soon(self) -> None:
        """The broker is back: look for everything that it did not bring."""
        self.presences.hello()
        if self._all_soon:
            return
        self._all_soon = True
        loop = asyncio.get_running_loop()
        loop.call_later(CHECK_SOON_SECONDS, self._check_all_now)
        # Again, once the other nodes are back, too, and no longer keep to themselves.
        loop.call_later(RETURN_SECONDS, self._check_all_now)

    def _check_all_now(self) -> None:
        self._all_soon = False
        self.spawn(self._check_all())

    def _check_those(self) -> None:
        usernames, self._soon = self._soon, set()
        self.spawn(self._check_tokens(self._sockets_of(usernames)))
        self.spawn(self._check_positions(tuple(usernames), ()))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_check = loop.time() + self._pause()
        while True:
            await asyncio.sleep(CURSOR_SECONDS)
            try:
                with contextlib.suppress(ChatmotorError):  # they are kept
                    await self.cursors.save()
                    await self.receipts.tell()
                if loop.time() >= next_check:
                    next_check = loop.time() + self._pause()
                    await self._check_all()
            except StoreUnavailable:
                logger.warning("the position check waits: no answer of the store")
            except Exception:
                logger.exception("cursors or the position check failed")

    def _pause(self) -> float:
        # Jittered: nodes that began together do not ask together.
        return self._check_seconds * random.uniform(0.8, 1.2)  # noqa: S311

    async def _check_all(self) -> None:
        # First what the store alone answers: a host application may take its time.
        await self._check_positions(tuple(self._sockets), tuple(self._groups))
        await self._check_tokens(self._sockets_of(self._sockets))

    async def _check_positions(
        self, usernames: Sequence[str], convs: Sequence[str]
    ) -> None:
        if not usernames and not convs:
            return
        tops = await self._store.tops(usernames, convs)
        for username, seq in tops.seqs.items():
            for socket in tuple(self._sockets.get(username, ())):
                socket.feed.look(seq)
        for conv, pos in tops.positions.items():
            group = self._groups.get(conv)
            if group is not None:
                group.feed.look(pos)

    async def _check_tokens(self, sockets: Sequence[LoggedIn]) -> None:
        asked = [(socket, socket.grant) for socket in sockets]
        if not asked:
            return
        states = await self._token_states([grant for _, grant in asked])
        for socket, grant in asked:
            verdict = _VERDICTS.get(states.get(grant.token, TokenState.UNKNOWN))
            # It may have another token by now.
            if verdict is not None and socket.grant.token == grant.token:
                socket.close(*verdict)

    async def _stored_token_states(
        self, grants: Sequence[Grant]
    ) -> Mapping[bytes, TokenState]:
        tokens = list({grant.token for grant in grants})
        return await self._store.token_states(tokens, now=self.now())

    def _sockets_of(self, usernames: Iterable[str]) -> list[LoggedIn]:
        return [each for name in usernames for each in self._sockets.get(name, ())]


def _discard(table: dict[str, set[Any]], key: str, member: object) -> None:
    members = table.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del table[key]
