# SPDX-License-Identifier: Apache-2.0
"""Tells the readers of logs, on every node, what has just been stored.

    a direct message   one publish: the recipient, and the sender's other devices
    a group's event    one notice for its key: a copy for each node with members online
    account events     one publish for each hundred accounts
    what is of now     one publish for an account, one notice for a group

Whoever calls has stored it before, and has answered its client.  What is told may be
lost; readers miss nothing by it, since they compare numbers and read the store.
"""

from collections.abc import Callable, Iterable

from chatmotor.ports.broker import Broker
from chatmotor.ports.messages import Logged, NewMessage, StoredMessage
from chatmotor.ports.store import StoreLife
from chatmotor.protocol.events import Fragment, fragment_of, new_message
from chatmotor.protocol.notices import (
    GroupNotice,
    MailboxNotice,
    RecheckNotice,
    encode_notice,
    ephemeral_notice,
)
from chatmotor.protocol.replies import AnyEphemeral

AT_ONCE = 100


def group_key(conv: str) -> str:
    """The key of a group's notices between nodes."""
    return f"g.{conv}"


class Announcer:
    """
    Publishes notices.

    Args:
        on_recheck: Called when an account may have come to be, or tokens have ended,
            for this node's own memory of names.
    """

    def __init__(
        self, broker: Broker, store: StoreLife, on_recheck: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._store = store
        self._on_recheck = on_recheck

    def message(self, message: NewMessage, stored: StoredMessage) -> bool:
        """
        A message that was stored.

        Returns:
            False when the sender should pause, as ``Broker.publish`` states it; for a
            group always true, since nothing is kept of its notices.
        """
        fragment = new_message(message, stored.conv, stored.n, stored.ts)
        if stored.pos is not None:
            self._group(stored.conv, stored.pos, fragment)
            return True
        assert stored.seq is not None
        seqs = {message.sender: stored.seq}
        if stored.peer is not None and stored.peer_seq is not None:
            seqs = {stored.peer: stored.peer_seq} | seqs
        return self.mailboxes(seqs, fragment)

    def mailboxes(self, seqs: dict[str, int], fragment: Fragment) -> bool:
        """An event of these mailboxes; returns what ``message`` does."""
        body = encode_notice(MailboxNotice(self._store.epoch, seqs, fragment))
        return self._broker.publish(tuple(seqs), body)

    def tell(self, logged: Iterable[Logged]) -> None:
        """Everything else that was put into logs."""
        for each in logged:
            fragment = fragment_of(each.event)
            if each.pos is not None and each.event.conv is not None:
                self._group(each.event.conv, each.pos, fragment)
            places = list(each.seqs.items())
            for begin in range(0, len(places), AT_ONCE):
                self.mailboxes(dict(places[begin : begin + AT_ONCE]), fragment)

    def recheck(self, username: str) -> None:
        """Tokens of this account may have ended, or it may have come to be."""
        self._on_recheck()
        self._broker.publish((username,), encode_notice(RecheckNotice(username)))

    # What is of now: of no log, and nobody looks for it when it is lost.

    def ephemeral(
        self, username: str, what: AnyEphemeral, *, author: str = "", device: str = ""
    ) -> None:
        """For the sessions of *username*; but not for *device*, if it is *author*'s."""
        notice = ephemeral_notice(self._store.epoch, what, author=author, device=device)
        self._broker.publish((username,), encode_notice(notice), kept=False)

    def ephemeral_in_group(self, conv: str, what: AnyEphemeral, author: str) -> None:
        """For the sessions of all members but *author*."""
        notice = ephemeral_notice(self._store.epoch, what, author=author)
        self._broker.notify(group_key(conv), encode_notice(notice))

    def _group(self, conv: str, pos: int, fragment: Fragment) -> None:
        body = encode_notice(GroupNotice(self._store.epoch, conv, pos, fragment))
        self._broker.notify(group_key(conv), body)
