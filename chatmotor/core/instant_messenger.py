# SPDX-License-Identifier: Apache-2.0
"""Who may talk in the classic mode, and to whom a text goes.  Both are decided here.

start_im_session  a guest is connected: give it a place at the broker
send_im           a text for a name without an account: publish it, to whoever is there
send_as_guest     a text of a guest for any name: an account gets it stored
send_as_account   a text of an account for any name
stop_im_session   the guest is gone
"""

import secrets
from collections.abc import Callable

from chatmotor.core.allowance import Allowance
from chatmotor.core.announcer import Announcer
from chatmotor.core.directory import Directory
from chatmotor.core.names import canonical_name
from chatmotor.errors import Forbidden, InvalidName, RequestRefused, Unauthenticated
from chatmotor.metrics import Metrics
from chatmotor.ports.broker import Broker, Deliver, Subscription
from chatmotor.ports.messages import GuestMessage, Message, NewMessage
from chatmotor.ports.store import MessageStore
from chatmotor.protocol.events import message_fragment


class InstantMessenger:
    """
    The use case of the classic mode.

    Args:
        guests: How much each guest may have stored.
        now: Milliseconds since the Unix epoch.
        allow_guests: Whether a name without an account may connect.  A guest
            is nobody in particular: whoever asks for the name gets it.
    """

    def __init__(
        self,
        broker: Broker,
        metrics: Metrics,
        store: MessageStore,
        directory: Directory,
        announcer: Announcer,
        *,
        guests: Allowance,
        now: Callable[[], int],
        allow_guests: bool,
    ) -> None:
        self._broker = broker
        self._metrics = metrics
        self._store = store
        self._directory = directory
        self._announcer = announcer
        self._guests = guests
        self._now = now
        self._allow_guests = allow_guests

    async def start_im_session(self, username: str, on_im: Deliver) -> Subscription:
        """
        Connect the guest *username*; ``on_im`` gets the bytes of every text sent to it.

        Every session of a name gets a copy.  On return the name is reachable,
        as ``Broker.subscribe`` states it.

        Raises:
            InvalidName: Nobody can have this name.
            Unauthenticated: It has an account, and no guest is let in as one.
            Forbidden: Guests are not served here.
            StoreUnavailable: It is not known whether it has one.
        """
        name = canonical_name(username)
        has_account = Unauthenticated(
            "this name has an account: connect with its token, as"
            " Authorization: Bearer <token>"
        )
        if await self._directory.find(name) is not None:
            raise has_account
        if not self._allow_guests:
            raise Forbidden(
                "guests are not allowed here; the operator can set ALLOW_GUESTS"
            )
        session = await self._broker.subscribe(name, on_im)
        # An account that comes to be from now on closes this session by a notice; one
        # that another node has made a moment ago is in the store.
        try:
            if await self._directory.ask(name) is not None:
                raise has_account
        except BaseException:
            session.close()
            raise
        return session

    def is_nobodys(self, name: str) -> bool:
        """Whether *name* is known to have no account; false also means "ask"."""
        return self._directory.is_nobodys(name)

    def send_im(self, recipient_name: str, text: bytes) -> bool:
        """
        Send *text* to every session of *recipient_name*, on every node.

        A name that nobody has, or can have, is like one that is offline: the
        text is dropped and counted.

        Returns:
            False when the sender should pause, as ``Broker.publish`` states it.
        """
        self._metrics.messages_in += 1
        try:
            name = canonical_name(recipient_name)
        except InvalidName:
            self._metrics.dropped["invalid_name"] += 1
            return True
        return self._broker.publish((name,), text)

    async def send_as_guest(self, guest: str, recipient_name: str, text: bytes) -> bool:
        """
        Send *text* of *guest*; for an account it is stored, and marked as a guest's,
        once the guest's allowance lets it.

        Returns:
            What ``send_im`` does.

        Raises:
            StoreUnavailable, OutcomeUnknown: It was not stored, or nobody knows.
        """
        username = await self._directory.find(recipient_name)
        if username is None:
            return self.send_im(recipient_name, text)
        self._metrics.messages_in += 1
        guest = canonical_name(guest)  # one guest, one conversation
        await self._guests.wait(guest)
        message = GuestMessage(guest, username, text, self._now())
        try:
            stored = await self._store.send_from_guest(message)
        except RequestRefused as refused:
            self._drop(refused)
            return True
        assert stored.peer_seq is not None
        fragment = message_fragment(
            Message(
                *(stored.conv, stored.n, guest, "", stored.ts, text),
                raw=True,
                guest=True,
            )
        )
        return self._announcer.mailboxes({username: stored.peer_seq}, fragment)

    async def send_as_account(
        self, sender: str, recipient_name: str, text: bytes
    ) -> bool:
        """
        Send *text* of an account; to another account it is stored, to a guest not.

        Returns, raises:
            As ``send_as_guest``.
        """
        username = await self._directory.find(recipient_name)
        if username is None:
            return self.send_im(recipient_name, text)
        self._metrics.messages_in += 1
        # The client has no name for it, so it cannot try again.
        cid = secrets.token_urlsafe(24)
        message = NewMessage(sender, cid, text, self._now(), to=username, raw=True)
        try:
            stored = await self._store.send(message)
        except RequestRefused as refused:
            self._drop(refused)
            return True
        return self._announcer.message(message, stored)

    def stop_im_session(self, session: Subscription) -> None:
        """End what ``start_im_session`` began.  Safe to repeat."""
        session.close()

    def _drop(self, refused: RequestRefused) -> None:
        """A classic client gets no errors; what can work later is the caller's."""
        if refused.temporary:
            raise refused
        self._metrics.dropped["refused"] += 1
