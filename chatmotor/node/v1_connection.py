# SPDX-License-Identifier: Apache-2.0
"""One v1 WebSocket: commands in, answers and events out.

    text --> command --> send:    store --> ok --> announce
                     `-> others:  Dispatcher.run --> ok | error
    mailbox (Feed), groups (Roster) --> ev, within the window

Rules of the session: protocol/session.py.  What a command does: core/dispatcher.py.
A message costs no task, no future and no timer here.
Wire reference: docs/reference/protocol.md.
"""

import logging
import random
from collections import deque
from time import perf_counter
from typing import Any

import msgspec

from chatmotor.core.dispatcher import Dispatcher, explain
from chatmotor.errors import Forbidden, OutcomeUnknown, RequestRefused
from chatmotor.node import presence_commands
from chatmotor.node.connection import Connection
from chatmotor.node.feed import Feed
from chatmotor.node.greeting import Greeter, Greeting, V1Limits, verdict
from chatmotor.node.hub import Hub
from chatmotor.node.presence_commands import PresenceCommand
from chatmotor.node.receipts import DirectEvents
from chatmotor.node.roster import Roster
from chatmotor.ports.accounts import Grant
from chatmotor.ports.broker import Subscription
from chatmotor.ports.messages import Mailbox, NewMessage, StoredMessage
from chatmotor.ports.store import MessageStore
from chatmotor.protocol import commands, replies, session
from chatmotor.protocol.events import Fragment, mailbox_frame
from chatmotor.protocol.notices import (
    EphemeralNotice,
    MailboxNotice,
    RecheckNotice,
    ephemeral_frame,
)
from chatmotor.protocol.presence import ONLINE, Presence

logger = logging.getLogger(__name__)

# Clients that are closed together come back apart.
RETURN_MS = 2000
# Refusals before the first hello; then the client means no good.
UNGREETED_REFUSALS = 10


class V1Connection(Connection):
    """
    Serves one v1 client.

    Args:
        given: The token that came with the upgrade.

    Attributes:
        presence: How the session stands; none: hidden.
    """

    grant: Grant
    feed: Feed
    presence: Presence | None = ONLINE

    def __init__(
        self,
        hub: Hub,
        *,
        store: MessageStore,
        dispatcher: Dispatcher,
        greeter: Greeter,
        roster: Roster,
        limits: V1Limits,
        given: str | None,
    ) -> None:
        super().__init__(hub)
        self._store = store
        self._dispatcher = dispatcher
        self._announcer = dispatcher.announcer
        self._greeter = greeter
        self._roster = roster
        self._limits = limits
        self._given = given
        self._session = session.Session()
        self._window = session.Window(limits.window_max_events, limits.window_max_bytes)
        self._opened_at = hub.loop.time()
        self._full_since: float | None = None
        self._in_flight = 0
        self._waiting: deque[bytes] = deque()
        self._refusals = 0
        self._replay_to: int | None = None
        self._slow = False
        self._own_events = session.OwnEvents()
        self._direct = DirectEvents()
        # Groups that moved on while there was no room: what was told, what is.
        self._behind: dict[str, tuple[int, int]] = {}
        self._subscription: Subscription | None = None

    # Commands in.

    def receive(self, text: bytes) -> None:
        """Do what *text* asks for, or have it wait until it may be done."""
        if self._waiting or not self._has_room:
            self._waiting.append(text)
            self._hub.hold_reading(self)
        else:
            self._do(text)

    @property
    def busy(self) -> bool:
        """Whether a command waits for its answer."""
        return self._in_flight > 0

    @property
    def _has_room(self) -> bool:
        """
        Whether the next command may be done: hello is done before it, and whoever
        does not read answers gets no more of them.
        """
        greeting = self._session.state is session.State.GREETING
        busy = self._in_flight >= self._limits.commands_in_flight
        return not (greeting or busy or self._slow)

    def _go_on(self) -> None:
        """One command less is under way."""
        self._in_flight -= 1
        self._do_waiting()

    def _do_waiting(self) -> None:
        while self._waiting and self._has_room:
            self._do(self._waiting.popleft())
        if not self._waiting:
            self._hub.release_reading(self)

    def _do(self, text: bytes) -> None:
        try:
            command = commands.decode_command(text)
        except RequestRefused as refused:
            self._refuse(commands.command_id(text), refused)
            return
        try:
            self._run(command)
        except RequestRefused as refused:
            self._refuse(command.id, refused)

    def _run(self, command: commands.AnyCommand) -> None:
        if isinstance(command, commands.Hello):
            self._session.move("hello")
            self._begin(self._greet(command))
            return
        if isinstance(command, commands.Ping):
            self._pong(command)
            return
        if isinstance(command, commands.Pong):
            return
        self._session.require_active()
        if isinstance(command, commands.Send):
            self._send(command)
        elif isinstance(command, commands.Ack):
            self._acknowledge(command)
        elif isinstance(command, commands.Auth):
            self._begin(self._renew(command))
        else:
            self._begin(self._call(command))

    def _begin(self, work: Any) -> None:
        self._in_flight += 1
        self._roster.spawn(work)

    def _refuse(self, reply_to: commands.Id | None, refused: RequestRefused) -> None:
        self._metrics.refused[refused.code] += 1
        self.send_text(replies.error(reply_to, refused))
        if self._session.state is session.State.OPENING:
            self._refusals += 1
            if self._refusals >= UNGREETED_REFUSALS:
                self.close(session.BAD_FRAME, "nothing but refusals, and no hello")

    def _pong(self, command: commands.Ping) -> None:
        reply_to = msgspec.UNSET if command.id is None else command.id
        self.send_text(replies.encode(replies.Pong(id=reply_to)))

    def _send(self, command: commands.Send) -> None:
        message = self._dispatcher.new_message(command, self.grant)
        self._in_flight += 1
        self._metrics.messages_in += 1
        reply_to = command.id
        began = perf_counter()

        def done(answer: StoredMessage | Exception) -> None:
            self._metrics.store_seconds.observe(perf_counter() - began)
            try:
                self._sent(reply_to, message, answer)
            except Exception:  # a defect of ours ends this session, not the store's
                logger.exception("a message was stored, and its answer failed")
                self.close(session.INTERNAL, "the server failed")

        self._own_events.begin(message.cid)
        self._store.send_soon(message, done)

    def _sent(
        self,
        reply_to: commands.Id,
        message: NewMessage,
        answer: StoredMessage | Exception,
    ) -> None:
        """The store has decided; the ``ok`` goes before the message's own event."""
        if isinstance(answer, StoredMessage):
            self.send_text(
                replies.sent(
                    *(reply_to, answer.conv, answer.n, answer.ts),
                    seq=answer.seq,
                    dup=answer.dup,
                )
            )
            self._let_go(message.cid)
            self._dispatcher.typists.wrote(message.sender, answer.conv)
            if not self._announcer.message(message, answer):
                self._hub.pause_reading(self)
        else:
            explain(commands.Send, answer)
            self._fail(reply_to, answer)
            self._let_go(message.cid)
        self._go_on()

    def _let_go(self, cid: str) -> None:
        """A send has its answer; its event, and what had to wait behind it, may go."""
        for frame in self._own_events.end(cid):
            self.send_text(frame)

    def _fail(self, reply_to: commands.Id | None, error: Exception) -> None:
        if isinstance(error, RequestRefused):
            self._refuse(reply_to, error)
        elif isinstance(error, OutcomeUnknown):
            self.close(session.UNAVAILABLE, "the store did not say; ask again")
        else:
            logger.error("a command failed", exc_info=error)
            self.close(session.INTERNAL, "the server failed")

    async def _call(self, command: Any) -> None:
        """Any other command, beside those that come after it."""
        try:
            if isinstance(command, PresenceCommand):
                fields = await presence_commands.run(command, self, self._roster)
            else:
                fields = await self._dispatcher.run(command, self.grant)
            if command.id is not None:
                self.send_text(replies.ok(command.id, fields))
        except Exception as error:  # noqa: BLE001  # every command has its answer
            self._fail(command.id, error)
        finally:
            self._go_on()

    # The session.

    async def _greet(self, hello: commands.Hello) -> None:
        try:
            greeting = await self._greeter.greet(hello, self._given)
            if self.is_open:
                self._welcome(greeting)
        except RequestRefused as refused:
            self._metrics.refused[refused.code] += 1
            self.send_text(replies.error(hello.id, refused))
            self.close(verdict(refused), str(refused))
        except Exception as error:  # noqa: BLE001
            self._fail(hello.id, error)
        finally:
            self._go_on()

    def _welcome(self, greeting: Greeting) -> None:
        welcome = greeting.welcome
        self.grant = greeting.grant
        username = self.grant.account.username
        self._window.max_events = welcome.window
        self.feed = Feed(
            self._roster.logs,
            Mailbox(username),
            self,
            since=greeting.since,
            top=welcome.seq,
        )
        self._session.move("welcome")
        self.send_text(replies.encode(welcome))
        self._roster.add(self)
        self._roster.follow_groups(
            self,
            {each.conv: each.pos for each in greeting.standings},
            seq=welcome.seq,
        )
        if welcome.resumed:
            # What a client resumes from it has.
            self._roster.cursors.move(self.grant, greeting.since)
            if greeting.since > self.grant.cursor:
                self._roster.spawn(self._resume(greeting.since))
        self._replay_to = welcome.seq
        self._become_live()
        self.feed.pull()
        self._roster.spawn(self._subscribe())

    async def _subscribe(self) -> None:
        self._subscription = await self._roster.subscribe(self, self.deliver)
        if not self.is_open:
            self._subscription.close()

    async def _resume(self, since: int) -> None:
        """The acknowledgments of the session before were lost."""
        grant = self.grant
        convs = await self._roster.receipts.between(
            grant.account.username, grant.cursor, since
        )
        self._roster.cursors.move(grant, since, convs)

    async def _renew(self, command: commands.Auth) -> None:
        try:
            grant = await self._greeter.authenticate(command.token)
            if grant.account.username != self.grant.account.username:
                raise Forbidden("this token is of another account", field="token")
            self.grant = grant
            self.send_text(replies.ok(command.id, {"expires": grant.expires}))
        except Exception as error:  # noqa: BLE001
            self._fail(command.id, error)
        finally:
            self._go_on()

    def beat(self, now: float) -> None:
        """Whatever has a deadline."""
        if not self.is_open:
            return
        if self._session.state is not session.State.ACTIVE:
            if now - self._opened_at >= self._limits.hello_seconds:
                self._close_ungreeted()
        elif self.grant.expires <= self._roster.now():
            self.close(session.TOKEN_EXPIRED, "the token has expired")
        elif self._full_since is not None:
            if self.reading_held or self.reading_paused:  # its acks wait, too
                self._full_since = now
            elif now - self._full_since >= self._limits.window_seconds:
                self.close(session.SLOW_CONSUMER, "no ack, and the window is full")

    def _close_ungreeted(self) -> None:
        if self._session.state is session.State.OPENING:
            self.close(session.NO_HELLO, "no hello in time")
        else:  # it was said; the answer is ours, or the store's
            self.close(session.UNAVAILABLE, "hello could not be answered in time")

    # Events out.

    def deliver(self, body: bytes) -> None:
        """A notice from the broker, which anyone may have sent."""
        notice = self._roster.read_notice(body)
        username = self.grant.account.username
        if isinstance(notice, MailboxNotice):
            seq = notice.seqs.get(username)
            if seq is not None:
                self.feed.offer(seq, notice.fragment)
        elif isinstance(notice, EphemeralNotice):
            if (notice.author, notice.device) != (username, self.grant.device):
                self.take_ephemeral(ephemeral_frame(notice))
        elif isinstance(notice, RecheckNotice):
            self._roster.check_soon(username)
        else:
            self._metrics.dropped["no_notice"] += 1

    @property
    def room(self) -> int:
        """Events that may be sent now."""
        return 0 if self._slow else self._window.room

    def take(self, at: int, fragment: Fragment) -> None:
        """The next event of the mailbox."""
        username = self.grant.account.username
        self._roster.heed(username, at, fragment)
        self._direct.add(at, fragment)
        self._event(mailbox_frame(at, fragment, username))
        if at == self._replay_to:
            self._become_live()

    def take_from_group(self, conv: str, pos: int, frame: bytes) -> None:
        """The next event of a group, or, without room, that there is one."""
        told = self._behind.get(conv)
        if told is not None:
            self._behind[conv] = (told[0], pos)
        elif self.room > 0:
            self._event(frame)
        else:
            self._tell_behind(conv, pos)

    def move_on(self, conv: str, pos: int) -> None:
        """The client pulls what it has not got of a group."""
        self._tell(replies.encode(replies.MovedOn(conv=conv, pos=pos)))

    def take_ephemeral(self, text: bytes) -> None:
        """Something of now, which has no place and does not fill the window."""
        if self._slow:
            self._metrics.ephemerals["dropped"] += 1
        else:
            self._metrics.ephemerals["sent"] += 1
            self.send_text(text)

    @property
    def reads(self) -> bool:
        """Whether the client takes what it is sent."""
        return not self._slow

    def lose_position(self, reason: str) -> None:
        """Connect again, and sync."""
        self.close(session.POSITION_LOST, reason)

    def _event(self, frame: bytes) -> None:
        self._window.add(len(frame))
        if self._window.room <= 0 and self._full_since is None:
            self._full_since = self._hub.loop.time()
        self._tell(frame)

    def _tell(self, frame: bytes) -> None:
        """What comes of the logs, in its order, and behind the answers to sends."""
        if not self._own_events.keeps(frame):
            self.send_text(frame)

    def _become_live(self) -> None:
        if self._replay_to == self.feed.sent:
            self._replay_to = None
            self._tell(replies.encode(replies.Live(seq=self.feed.sent)))

    def _tell_behind(self, conv: str, pos: int) -> None:
        self._behind[conv] = (pos, pos)
        self.move_on(conv, pos)

    def _acknowledge(self, ack: commands.Ack) -> None:
        before = self._window.acked
        self._window.acknowledge(ack.h)
        if ack.seq is not None:
            seq = min(ack.seq, self.feed.top)
            self._roster.cursors.move(self.grant, seq, self._direct.up_to(seq))
        if self._window.room > 0:
            self._full_since = None
        elif self._window.acked > before:
            self._full_since = self._hub.loop.time()
        if self.room > 0:
            self._flow()

    def _flow(self) -> None:
        """There is room again."""
        behind, self._behind = self._behind, {}
        for conv, (told, pos) in behind.items():
            if pos > told:
                self.move_on(conv, pos)
        self.feed.pull()

    def on_slow(self) -> None:
        """Take nothing more; it is in the store."""
        self._slow = True

    def on_clear(self) -> None:
        """Undo ``on_slow``."""
        self._slow = False
        self._do_waiting()
        if self._session.state is session.State.ACTIVE and self.room > 0:
            self._flow()

    # The end.

    def say_bye(self, code: int, reason: str) -> None:
        """``bye``, for closes of ours; broken framing has the RFC's codes alone."""
        if code < session.INTERNAL:
            return
        again = session.may_reconnect(code)
        bye = replies.Bye(
            code=code,
            reason=reason,
            reconnect=again,
            after_ms=random.randint(0, RETURN_MS) if again else 0,  # noqa: S311  # jitter
        )
        self.send_text(replies.encode(bye))

    def ended(self) -> None:
        """Leave the roster and the broker."""
        greeted = self._session.state is session.State.ACTIVE
        self._session.move("bye")
        self._waiting.clear()
        if greeted:
            self.feed.stop()
            self._roster.discard(self)
            self._roster.presences.discard(self)
        if self._subscription is not None:
            self._subscription.close()
