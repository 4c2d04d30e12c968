# SPDX-License-Identifier: Apache-2.0
"""One outgoing hook at work: from the logs of its account to its target.

    broker, position check --> there is more --> store, a page --> target --> place

It reads the mailbox and the groups as a client does, one page at a time, and hands over
one batch after the other.  A place moves on once the target has answered; what it has
answered for and is not saved comes again, with the same ids, should the node die.
When the target fails, the page is dropped, and read again at the next attempt.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from chatmotor.errors import (
    ChatmotorError,
    NoSuchConv,
    NotMember,
    OutcomeUnknown,
    StoreUnavailable,
    Trimmed,
)
from chatmotor.metrics import Metrics
from chatmotor.node.feed import Feed
from chatmotor.node.hook_pace import Pace
from chatmotor.node.hook_steps import GroupPlaces, Step, step, trimmed
from chatmotor.node.roster import Roster
from chatmotor.ports.accounts import Account, AccountStore, Grant
from chatmotor.ports.broker import Subscription
from chatmotor.ports.hooks import (
    ForwardingStore,
    Hook,
    Progress,
    Target,
    TargetFailed,
)
from chatmotor.ports.messages import EventPage, EventType, GroupLog, Mailbox
from chatmotor.ports.store import LogStore
from chatmotor.protocol.events import Fragment, fragment_of
from chatmotor.protocol.notices import TAG, MailboxNotice, RecheckNotice

logger = logging.getLogger(__name__)

PAGE_EVENTS = 100
RETRY_SECONDS = 1.0


class HooksStore(ForwardingStore, LogStore, AccountStore, Protocol):
    """What is asked of the store."""


@dataclass(frozen=True, slots=True)
class HookParts:
    """
    What all hooks of a node share.

    Args:
        owner: Names the node in leases.
        now: Milliseconds since the Unix epoch.
        recheck: Called when the account may have been closed.
    """

    store: HooksStore
    roster: Roster
    metrics: Metrics
    owner: str
    now: Callable[[], int]
    recheck: Callable[[], None]
    pace: Pace


class _Later(Exception):
    """The target has failed; not before ``next_try``."""


class _Over(Exception):
    """The hook is another node's, switched off, or removed; or this node stops."""


class HookRun:
    """
    The hook, as long as it is this node's.

    Attributes:
        hook: As an operator has left it.
        lease_ends: By the clock of the event loop.
        waiting_since: When the oldest event was stored that is known not to have been
            delivered; none: there is none.
    """

    def __init__(
        self, hook: Hook, parts: HookParts, target: Target, *, lease_ends: float
    ) -> None:
        self.hook = hook
        self.lease_ends = lease_ends
        self.waiting_since: int | None = None
        self._parts = parts
        self._target = target
        self._retired: list[Target] = []
        self._seq = hook.seq
        self._groups = GroupPlaces()
        self._unsaved: set[str | None] = set()
        self._is_news = False  # whether what is unsaved was delivered
        self._saved_at = 0.0
        # Logs with more in them, in the order in which they are read; none: mailbox.
        self._ahead: dict[str | None, None] = {}
        self._woken = asyncio.Event()
        self._kicked = asyncio.Event()
        self._failures = hook.failures
        self._failing_since = hook.failing_since
        self._next_try = hook.next_try
        self._error = hook.error
        self._stopping = False
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        # As the roster wants its readers: it has no token, and is no socket.  Nothing
        # is taken from the feed, for want of room.
        self.grant = Grant(Account(0, hook.username, hook.seq, 0), "", b"", 0, 0)
        mailbox = Mailbox(hook.username)
        self.feed = Feed(parts.roster.logs, mailbox, self, since=hook.seq, top=hook.seq)

    # Life.

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def ended(self) -> bool:
        """Whether it has, by itself or not."""
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """End, after the delivery that is under way, if that does not take long."""
        assert self._task is not None
        self._stopping = True
        self._woken.set()
        self._kicked.set()
        await asyncio.wait({self._task}, timeout=self._parts.pace.stop)
        self._task.cancel()
        await asyncio.wait({self._task})

    def change(self, hook: Hook, target: Target) -> None:
        """An operator has changed it: try again at once, the new way."""
        self.hook = hook
        self._retired.append(self._target)
        self._target = target
        self._failures, self._failing_since, self._next_try = 0, None, 0
        self._kicked.set()

    # What wakes it.

    def deliver(self, body: bytes) -> None:
        """A notice from the broker for the account."""
        notice = self._parts.roster.read_notice(body) if body[:1] == TAG else None
        if isinstance(notice, MailboxNotice):
            self.check(notice.seqs.get(self.hook.username, 0))
        elif isinstance(notice, RecheckNotice):
            self._parts.recheck()

    def check(self, seq: int) -> None:
        """The mailbox is known to reach *seq*."""
        if seq > self._seq:
            self._wake(None)

    def take_from_group(self, conv: str, pos: int, frame: bytes) -> None:
        """See ``GroupReader.take_from_group``."""
        self.move_on(conv, pos)

    def move_on(self, conv: str, pos: int) -> None:
        """See ``GroupReader.move_on``."""
        place = self._groups.place(conv)
        if place is not None and pos > place:
            self._wake(conv)

    def _wake(self, log: str | None) -> None:
        self._ahead[log] = None
        self._woken.set()

    # What the roster and the feed want of a reader, and never call here.

    @property
    def room(self) -> int:
        """None: what the hook hands over it reads itself."""
        return 0

    @property
    def presence(self) -> None:
        """None: its account is not online for it."""

    def take_ephemeral(self, text: bytes) -> None:
        """See ``GroupReader.take_ephemeral``."""

    def take(self, at: int, fragment: Fragment) -> None:
        """See ``Reader.take``."""

    def lose_position(self, reason: str) -> None:
        """See ``Reader.lose_position``."""

    def close(self, code: int, reason: str) -> None:
        """See ``LoggedIn.close``."""

    # Reading.

    async def _run(self) -> None:
        try:
            await self._insist(self._begin)
            while True:
                await self._insist(self._forward)
        except _Over:
            pass
        except Exception:
            logger.exception("hook %s failed", self.hook.id)
        finally:
            await self._leave()

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work*, again after a pause where the store does not answer."""
        while True:
            try:
                await work()
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(RETRY_SECONDS * (0.5 + random.random()))  # noqa: S311  # jitter
            else:
                return

    async def _begin(self) -> None:
        """Take a place at the broker; what was stored before it is read now."""
        parts, username = self._parts, self.hook.username
        account = await parts.store.account(username)
        tops = {each.conv: each.pos for each in await parts.store.standings(username)}
        places = await parts.store.hook_positions(self.hook.id)
        self._groups = GroupPlaces(places.items())
        parts.roster.follow_groups(self, tops, seq=account.seq)
        if self._subscription is None:
            subscribe = parts.roster.subscribe
            self._subscription = await subscribe(self, self.deliver)
        self._wake(None)
        for conv, pos in tops.items():
            self.move_on(conv, pos)

    async def _forward(self) -> None:
        """Wait for the time of the next attempt, or for more; then hand over."""
        if self._stopping:
            raise _Over
        pause = (self._next_try - self._parts.now()) / 1000
        if pause > 0:
            self._kicked.clear()
            await _wait(self._kicked, min(pause, self._parts.pace.last_retry))
        elif not self._ahead:
            self._woken.clear()
            await self._woken.wait()
        else:
            try:
                await self._read_on()
            except _Later:
                return
            self.waiting_since = None
            # What is not wanted moves the place, too, and need not be saved at once.
            if self._unsaved and (
                self._is_news or self._is_time(self._parts.pace.beat)
            ):
                await self._save()

    async def _read_on(self) -> None:
        while self._ahead and not self._stopping:
            log = next(iter(self._ahead))
            del self._ahead[log]
            try:
                more = await self._read(log)
            except BaseException:
                self._ahead[log] = None
                raise
            if more:
                self._ahead[log] = None

    async def _read(self, log: str | None) -> bool:
        """Hand over a page of a log; whether there is more."""
        try:
            page, steps = await (
                self._read_mailbox() if log is None else self._read_group(log)
            )
        except Trimmed:
            await self._skip_trimmed()
            return True
        except (NoSuchConv, NotMember):
            return False  # until it comes back; its place stays
        await self._hand_over(log, steps)
        return page.more

    async def _read_mailbox(self) -> tuple[EventPage, Sequence[Step]]:
        username = self.hook.username
        page = await self._parts.store.events(
            Mailbox(username), since=self._seq, limit=PAGE_EVENTS
        )
        steps = []
        for event in page.events:
            fragment = fragment_of(event)
            self._parts.roster.heed(username, event.at, fragment)
            if event.t is EventType.CONV_NEW and event.conv is not None:
                self._enter(event.conv, fragment)
            steps.append(step(self.hook, event, fragment, None))
        return page, steps

    async def _read_group(self, conv: str) -> tuple[EventPage, Sequence[Step]]:
        since = self._groups.place(conv)
        if since is None:
            return EventPage((), 0), ()
        page = await self._parts.store.events(
            GroupLog(conv, self.hook.username), since=since, limit=PAGE_EVENTS
        )
        return page, self._groups.steps(self.hook, conv, page.events)

    def _enter(self, conv: str, fragment: Fragment) -> None:
        """The account has come into a group, for the first time or again."""
        if self.hook.conv in {None, conv}:
            self._groups.enter(conv, fragment.fields()["since"])
            self._unsaved.add(conv)
            self._ahead[conv] = None

    async def _skip_trimmed(self) -> None:
        """The hook was off for so long that the store has dropped what is next."""
        floor = (await self._parts.store.account(self.hook.username)).floor
        logger.warning("hook %s: events up to %d are gone", self.hook.id, floor)
        await self._hand_over(None, [trimmed(self.hook, floor, self._parts.now())])

    # Handing over.

    async def _hand_over(self, log: str | None, steps: Sequence[Step]) -> None:
        batch: list[Step] = []
        for each in steps:
            if each.event is not None:
                batch.append(each)
                if len(batch) >= self._target.batch_max:
                    await self._deliver(batch)
                    batch = []
            if not batch:
                await self._move(log, each.at)
        if batch:
            await self._deliver(batch)
            await self._move(log, steps[-1].at)

    async def _move(self, log: str | None, at: int) -> None:
        if log is None:
            self._seq = at
        else:
            self._groups.move(log, at)
        self._unsaved.add(log)
        if self._is_news and self._is_time(self._parts.pace.save):
            await self._save()

    async def _deliver(self, batch: Sequence[Step]) -> None:
        """
        Hand *batch* over, while the lease is good.

        Raises:
            _Later: The target has failed, which is saved.
            _Over: It was the last time.
        """
        self.waiting_since = batch[0].ts
        if self._stopping:
            raise _Over
        if _clock() >= self.lease_ends:
            raise StoreUnavailable("the lease of the hook was not renewed")
        while self._retired:
            await self._retired.pop().close()
        metrics, kind = self._parts.metrics, self.hook.kind.value
        try:
            await self._target.deliver([x.event for x in batch if x.event is not None])
        except TargetFailed as failed:
            metrics.hook_failures[kind] += 1
            await self._fail(failed)
        metrics.hook_deliveries[kind] += len(batch)
        self._is_news = True
        if self._failures:
            logger.info("hook %s is delivered again", self.hook.id)
            self._saved_at = 0.0  # save that, too, at once
        self._failures, self._failing_since = 0, None
        self._next_try, self._error = 0, ""

    async def _fail(self, failed: TargetFailed) -> NoReturn:
        pace, now = self._parts.pace, self._parts.now()
        self._failures += 1
        self._error = failed.msg
        if self._failing_since is None:
            self._failing_since = now
        pause = pace.pause(1 if failed.full else self._failures, failed.retry_after)
        self._next_try = now + int(pause * 1000) + 1
        off = failed.gone or now - self._failing_since >= pace.give_up * 1000
        if off:
            self._parts.metrics.hooks_off += 1
            logger.warning("hook %s is switched off: %s", self.hook.id, failed.msg)
        elif self._failures == 1:
            logger.warning("hook %s: %s; it is tried again", self.hook.id, failed.msg)
        await self._save(on=not off)
        raise _Over if off else _Later

    async def _save(self, *, on: bool = True) -> None:
        """
        Save where it is, and how it is with the target.

        Raises:
            _Over: It is not this node's any more.
            StoreUnavailable, OutcomeUnknown: See ``ForwardingStore.save_progress``.
        """
        saving, self._unsaved = self._unsaved, set()
        progress = Progress(
            *(self.hook.id, self._parts.owner, self._seq),
            {conv: self._groups.kept(conv) for conv in saving if conv is not None},
            on=on,
            failures=self._failures,
            failing_since=self._failing_since,
            next_try=self._next_try,
            error=self._error,
        )
        try:
            saved = await self._parts.store.save_progress(progress)
        except BaseException:
            self._unsaved |= saving
            raise
        self._saved_at, self._is_news = _clock(), False
        if not saved:
            raise _Over

    async def _leave(self) -> None:
        """Save, and give up the places at the broker and in the roster."""
        try:
            if self._unsaved:
                await self._save()
        except (_Over, ChatmotorError):
            logger.debug("hook %s: its last deliveries may be repeated", self.hook.id)
        if self._subscription is not None:
            self._subscription.close()
        self._parts.roster.discard(self)
        for target in (*self._retired, self._target):
            await target.close()

    def _is_time(self, seconds: float) -> bool:
        """Whether the last save was so long ago."""
        return _clock() >= self._saved_at + seconds


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _clock() -> float:
    return asyncio.get_running_loop().time()
