# SPDX-License-Identifier: Apache-2.0
"""The two kinds of classic WebSocket: a guest's, and that of an account.

    a guest       lives at the broker: what is published to its name is written to it
    an account    reads its mailbox: what was sent while it was away comes first

    text --> destination --> has it an account? --> the store, else the broker

Both write the sender's text, byte for byte, and no other text frame.
Wire reference: docs/reference/classic.md.
"""

import asyncio
import logging
from abc import abstractmethod
from collections import deque

from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.errors import OutcomeUnknown, Unavailable
from chatmotor.node.connection import Connection
from chatmotor.node.feed import Feed
from chatmotor.node.hub import Hub
from chatmotor.node.receipts import DirectEvents
from chatmotor.node.roster import Roster
from chatmotor.ports.accounts import Grant
from chatmotor.ports.broker import Subscription
from chatmotor.ports.messages import Mailbox
from chatmotor.protocol.classic import classic_text, read_destination
from chatmotor.protocol.events import Fragment
from chatmotor.protocol.notices import (
    TAG,
    MailboxNotice,
    RecheckNotice,
    decode_notice,
)
from chatmotor.protocol.presence import ONLINE
from chatmotor.protocol.session import BAD_TOKEN, POSITION_LOST

logger = logging.getLogger(__name__)

FAILED = 1011  # RFC 6455, 7.4.1
TRY_AGAIN_LATER = 1013  # IANA's registry of close codes
# Texts of a client that may wait their turn; then it is read more slowly.
WAITING_TEXTS = 32
# Texts that an account's client may have without having answered a ping.
UNANSWERED_EVENTS = 256


class ClassicConnection(Connection):
    """What both kinds have in common: the way of a text from the client."""

    def __init__(self, hub: Hub, messenger: InstantMessenger) -> None:
        super().__init__(hub)
        self.messenger = messenger
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._sending: asyncio.Task[None] | None = None

    def receive(self, text: bytes) -> None:
        """Send it on; in order, also where the way of one takes longer."""
        destination = read_destination(text)
        if self._sending is None and self.messenger.is_nobodys(destination):
            if not self.messenger.send_im(destination, text):
                self._hub.pause_reading(self)
            return
        self._waiting.append((destination, text))
        if self._sending is None:
            self._sending = self._hub.loop.create_task(self._send_waiting())
        if len(self._waiting) == WAITING_TEXTS:
            self._hub.hold_reading(self)

    @property
    def busy(self) -> bool:
        """Whether a text is on its way into the store."""
        return self._sending is not None

    async def _send_waiting(self) -> None:
        """One after the other; the client is read again once they are on their way."""
        try:
            while self._waiting:
                destination, text = self._waiting.popleft()
                await self._send(destination, text)
        except (Unavailable, OutcomeUnknown):
            self._waiting.clear()
            self.close(TRY_AGAIN_LATER, "the store does not answer; connect again")
        except Exception:
            logger.exception("a classic text could not be sent")
            self._waiting.clear()
            self.close(FAILED, "the server failed")
        finally:
            self._sending = None
            self._hub.release_reading(self)

    @abstractmethod
    async def _send(self, destination: str, text: bytes) -> None:
        """Send one text, once it is its turn."""


class GuestConnection(ClassicConnection):
    """The socket of a name without an account."""

    def __init__(self, hub: Hub, messenger: InstantMessenger, name: str) -> None:
        super().__init__(hub, messenger)
        self._name = name
        self._session: Subscription | None = None

    def attach(self, session: Subscription) -> None:
        """Own *session*: it is paused, resumed and ended with the socket."""
        self._session = session
        if self.congested_since is not None:
            session.pause()

    def deliver(self, body: bytes) -> None:
        """A text for this name; or a notice, which means that it has an account now."""
        if body[:1] != TAG:
            self.send_text(body)
        elif decode_notice(body, epoch=None) is not None:
            self.close(BAD_TOKEN, "this name has an account now; log in")
        else:
            self._metrics.dropped["not_text"] += 1

    async def _send(self, destination: str, text: bytes) -> None:
        if not await self.messenger.send_as_guest(self._name, destination, text):
            self._hub.pause_reading(self)

    def on_slow(self) -> None:
        """Have the broker hold what comes."""
        if self._session is not None:
            self._session.pause()

    def on_clear(self) -> None:
        """Undo ``on_slow``."""
        if self._session is not None:
            self._session.resume()

    def ended(self) -> None:
        """Give up the place at the broker."""
        session, self._session = self._session, None
        if session is not None:
            self.messenger.stop_im_session(session)


class AccountConnection(ClassicConnection):
    """
    The classic socket of an account: a cursor on its mailbox.

    The client cannot acknowledge, so a ping follows what was written, with its place
    in the mailbox; the pong says that the client's machine has all before it, and
    moves the device's cursor.
    """

    presence = ONLINE

    def __init__(
        self, hub: Hub, messenger: InstantMessenger, roster: Roster, grant: Grant
    ) -> None:
        super().__init__(hub, messenger)
        self.grant = grant
        self._roster = roster
        self._slow = False
        self._pinged: int | None = None
        self._answered = max(roster.cursors.of(grant), grant.account.floor)
        self._direct = DirectEvents()
        self.feed = Feed(
            roster.logs,
            Mailbox(grant.account.username),
            self,
            since=self._answered,
            top=grant.account.seq,
        )
        self._session: Subscription | None = None

    async def join(self) -> None:
        """Take a place at the broker, and read what came before it."""
        self._roster.add(self)
        self._session = await self._roster.subscribe(self, self.deliver)
        if not self.is_open:
            self._session.close()

    def deliver(self, body: bytes) -> None:
        """A notice of what is in the mailbox, or the text of an AMQP program."""
        if body[:1] != TAG:
            if self._slow:
                self._metrics.dropped["queue_full"] += 1
            else:
                self.send_text(body)
            return
        notice = self._roster.read_notice(body)
        if isinstance(notice, MailboxNotice):
            seq = notice.seqs.get(self.grant.account.username)
            if seq is not None:
                self.feed.offer(seq, notice.fragment)
        elif isinstance(notice, RecheckNotice):
            self._roster.check_soon(self.grant.account.username)

    # The reader of the feed.

    @property
    def room(self) -> int:
        """None while the client reads too slowly, or does not answer."""
        if self._slow:
            return 0
        return UNANSWERED_EVENTS - (self.feed.sent - self._answered)

    def take(self, at: int, fragment: Fragment) -> None:
        """Write what is a message from somebody else, or from oneself to oneself."""
        self._roster.heed(self.grant.account.username, at, fragment)
        self._direct.add(at, fragment)
        if self._pinged is None:
            self._ping()  # before the text, so that both leave in one write
        text = classic_text(fragment, self.grant.account.username)
        if text is not None:
            self.send_text(text)

    def lose_position(self, reason: str) -> None:
        """Connect again: the next reading begins where the mailbox does."""
        self.close(POSITION_LOST, reason)

    def _ping(self) -> None:
        self._pinged = self.feed.sent
        self._hub.loop.call_soon(self._ping_after_batch)

    def _ping_after_batch(self) -> None:
        if self.is_open:
            self._pinged = self.feed.sent
            self.send_ping(b"%d" % self._pinged)

    def on_pong(self, payload: bytes) -> None:
        """All up to there has arrived."""
        if self._pinged is None or payload != b"%d" % self._pinged:
            return
        self._answered, self._pinged = self._pinged, None
        convs = self._direct.up_to(self._answered)
        self._roster.cursors.move(self.grant, self._answered, convs)
        if self.feed.sent > self._answered:
            self._ping()
        self.feed.pull()

    def on_slow(self) -> None:
        """Take nothing more; it is in the store."""
        self._slow = True

    def on_clear(self) -> None:
        """Undo ``on_slow``."""
        self._slow = False
        self.feed.pull()

    async def _send(self, destination: str, text: bytes) -> None:
        await self._roster.allowance.wait(self.grant.account.username)
        username = self.grant.account.username
        if not await self.messenger.send_as_account(username, destination, text):
            self._hub.pause_reading(self)

    def ended(self) -> None:
        """Leave the roster and the broker."""
        self.feed.stop()
        self._roster.discard(self)
        if self._session is not None:
            self._session.close()
