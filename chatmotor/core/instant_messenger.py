# SPDX-License-Identifier: Apache-2.0
"""Who may talk, and to whom a text goes.  The one place both are decided.

start_im_session  a user is connected: give it a place at the broker
send_im           a text for a recipient: name it, count it, publish it
stop_im_session   the user is gone
"""

from chatmotor.core.names import canonical_name
from chatmotor.errors import Forbidden, InvalidName
from chatmotor.metrics import Metrics
from chatmotor.ports.broker import Broker, Deliver, Subscription


class InstantMessenger:
    """
    The use case of the classic mode: live messages between names.

    Args:
        allow_guests: Whether a name without an account may connect.  A guest
            is nobody in particular: whoever asks for the name gets it.
    """

    def __init__(self, broker: Broker, metrics: Metrics, *, allow_guests: bool) -> None:
        self._broker = broker
        self._metrics = metrics
        self._allow_guests = allow_guests

    async def start_im_session(self, username: str, on_im: Deliver) -> Subscription:
        """
        Connect *username*; ``on_im`` gets the bytes of every text sent to it.

        Every session of a name gets a copy.  On return the name is reachable,
        as ``Broker.subscribe`` states it.

        Raises:
            InvalidName: Nobody can have this name.
            Forbidden: Guests are not served here.
        """
        name = canonical_name(username)
        if not self._allow_guests:
            raise Forbidden(
                "guests are not allowed here; the operator can set ALLOW_GUESTS"
            )
        return await self._broker.subscribe(name, on_im)

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

    def stop_im_session(self, session: Subscription) -> None:
        """End what ``start_im_session`` began.  Safe to repeat."""
        session.close()
