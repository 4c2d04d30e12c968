# SPDX-License-Identifier: Apache-2.0
"""The store: the truth about conversations, messages and their order.

    send(ann -> bob)    --> message (conv, n)  + one event in each mailbox (seq)
    send(ann -> group)  --> message (conv, n)  + one event in the group's log (pos)
    change_members      -->                      one event in the group's log (pos)
                            + one in the mailbox of each who came or went (seq)

What every adapter promises (tests/contract/test_message_store.py):

- **Durable on return.**  What a write returned is on disk: it survives ``kill -9`` of
  this process and of the database (tests/fault/test_store_kill.py) and, as far as the
  disk tells the truth, loss of power.
- **Gapless.**  ``n`` counts 1, 2, 3 ... in a conversation, ``seq`` in a mailbox,
  ``pos`` in a group's log.  No reader ever sees a number without its predecessor,
  except below a mailbox's floor (see ``trim``).
- **One order.**  In a direct conversation n1 < n2 means seq1 < seq2 in both mailboxes;
  in a group it means pos1 < pos2.  Writes of one caller that waits for each, and sends
  begun one after the other on one store object, are stored in that order.
- **Once.**  (account, cid) names one write for ever.  A repeated one writes nothing and
  returns the first answer, with ``dup``; with other content it is a ``CidConflict``.
- **All or nothing.**  A write that raises a ``RequestRefused`` has left no trace and
  never will.  One that raises ``OutcomeUnknown`` may have happened; repeating it with
  its cid tells.  A caller that is cancelled knows nothing either.
- **Read your writes.**  A read begun after a write returned sees it, on every node.

Several processes may share one PostgreSQL database; an SQLite file has one process.
The adapter reconnects by itself and retries what it can decide; a caller repeats after
``StoreUnavailable`` and ``OutcomeUnknown``, with the same cid.

Times are arguments: milliseconds since the Unix epoch.  Usernames and ids are compared
as they are; whoever calls has brought them into their one form.
Accounts, devices and tokens: ports/accounts.py.  Hooks: ports/hooks.py.
How it works inside: docs/explanation/store.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from chatmotor.ports.accounts import AccountStore, GateStore, TokenStore
from chatmotor.ports.hooks import ForwardingStore, HookStore, IncomingStore
from chatmotor.ports.messages import (
    ChangedGroup,
    Conversation,
    ConversationPage,
    EventPage,
    GroupLog,
    GuestMessage,
    Logged,
    Mailbox,
    Member,
    MemberChange,
    MessagePage,
    NewGroup,
    NewMessage,
    Standing,
    StoredMessage,
    Tops,
)

Done = Callable[["StoredMessage | Exception"], None]


class StoreLife(Protocol):
    """Opening, closing and tidying a store."""

    @property
    def epoch(self) -> str:
        """
        Names this history of the store, once it is started: 1 to 64 ASCII characters.
        A store that was restored from a backup gets another (``new_epoch``), and
        clients whose position is of the old one start anew.  A process learns of a
        new one that another has begun with its next ``ping``.
        """

    async def start(self) -> None:
        """
        Open the store; on return it serves.

        Raises:
            OperatorError: It must not be used as it is: durability switched off, a
                schema of another version, a file that another process writes.
        """

    async def stop(self) -> None:
        """Finish the writes begun, refuse new ones, let go of the store."""

    async def ping(self) -> None:
        """
        Return once the store has answered.

        Raises:
            StoreUnavailable: It does not.
        """

    async def new_epoch(self) -> str:
        """Begin another history, after a restore; ``epoch`` is the new one."""

    async def trim(self, *, before: int) -> int:
        """
        Drop the mailbox events older than time *before*; returns how many.

        Whole prefixes only: each mailbox has a floor, the highest number dropped.
        Messages and group logs are kept.
        """


class MessageStore(Protocol):
    """The writes of messages and groups.  See the module for what holds for all."""

    def send_soon(self, message: NewMessage, done: Done) -> None:
        """
        ``send``, with *done* called on the event loop with the answer or the error.

        Cheaper than a coroutine per message.  Calls of *done* come in the order of
        the sends that are stored; a refusal may come earlier.  *done* must not raise.
        """

    async def send(self, message: NewMessage) -> StoredMessage:
        """
        Store *message* as the next one of its conversation.

        A first direct message creates its conversation.  One to oneself is one
        event.  A group message is one event however many members there are.
        The sender's read pointer moves to it.

        Raises:
            NoSuchUser: Sender or recipient has no account.
            Forbidden: The recipient's account is closed, or it is a guest's
                conversation, to which nobody can answer durably.
            Suspended: The sender's account is closed.
            NoSuchConv: No such conversation, or the sender was never in it.
            NotMember: The sender has been removed; also when the removal was
                committed, on any node, while this send was under way.
            CidConflict: The sender used this cid for something else.
            StoreUnavailable, OutcomeUnknown: See the module.
        """

    async def send_from_guest(self, message: GuestMessage) -> StoredMessage:
        """
        Store a guest's text: ``seq`` is none, ``peer`` and ``peer_seq`` say where.

        Raises:
            NoSuchUser: The recipient has no account.
            Forbidden: The recipient's account is closed.
            StoreUnavailable, OutcomeUnknown: See the module.
        """

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        """
        Create a group; its first event, pos 1, is a ``conv.member`` that names all
        members as added.  Each member gets a ``conv.new`` in its mailbox, whose detail
        is ``{"actor", "title", "since"}``; ``since`` is the ``pos`` of that event.

        Raises:
            NoSuchUser: The creator or a member has no account, or a closed one.
            Conflict: Another group has this id.
            QuotaExceeded: More than ``max_members``.
            CidConflict, StoreUnavailable, OutcomeUnknown: As for ``send``.
        """

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        """
        Add and remove members, as one ``conv.member`` event in the group's log, and
        one in the mailbox of each who came (``conv.new``) or went (``conv.member``).
        That one says ``actor``, and names its reader alone as removed: a mailbox need
        not know who else went.

        The event names those whose state changed; when nobody's did there is no
        event, and the revision stays.  Any member may add; an owner or admin may
        remove members, the owner admins too; everyone may remove oneself.  When the
        owner leaves, the longest-standing admin, else member, becomes owner, and the
        event names it as ``owner``.  Whoever comes has nothing unread.

        Raises:
            NoSuchUser, NoSuchConv, NotMember, Suspended: As for ``send``; nobody is
                changed.  A closed account that is to be added is no user.
            Forbidden: The actor's role does not allow it.
            QuotaExceeded: More than ``max_members``.
            CidConflict, StoreUnavailable, OutcomeUnknown: As for ``send``.
        """

    async def mark_read(
        self, username: str, conv: str, n: int, *, ts: int
    ) -> Logged | None:
        """
        Move the account's read pointer up to *n*, at most to the last message.

        Returns:
            The ``conv.read`` event in the account's own mailbox, detail ``{"n"}``;
            none when the pointer was there already.

        Raises:
            NoSuchConv, NotMember, StoreUnavailable, OutcomeUnknown: As for ``send``.
        """


class LogStore(Protocol):
    """The reads.  See the module for what holds for all methods."""

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        """
        The first events after number *since* of *log*: at most *limit*, and at most
        about ``PAGE_BYTES`` of bodies and details, but one if there is one.

        Events and top are of one moment.  A *since* above the top gives no event.

        Raises:
            Trimmed: *since* is below the mailbox's floor.
            NoSuchUser, NoSuchConv, NotMember: There is no such log for the reader.
            StoreUnavailable: See the module.
        """

    async def history(
        self,
        conv: str,
        *,
        reader: str,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
    ) -> MessagePage:
        """
        The last *limit* messages of *conv*, or the last ones with n < *before*, or
        the first ones with n > *after*, or *limit* ones of which half have
        n < *around*; at most one of the three.  ``more`` of *around*: there are
        later ones.

        At most *limit*, and at most about ``PAGE_BYTES`` of bodies: then those that
        are nearest to what was asked for, but one if there is one.

        Raises:
            NoSuchUser, NoSuchConv, NotMember: The reader may not read it.
            StoreUnavailable: See the module.
        """

    async def receipts(
        self, convs: Sequence[str]
    ) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        """
        ``MessagePage.receipts`` of those of *convs* that are direct conversations
        between two accounts, in one query for all of them.  Delivered is at least
        read.

        Raises:
            StoreUnavailable: See the module.
        """

    async def tops(self, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
        """
        Where logs end, in one query for all accounts and one for all groups.

        Raises:
            StoreUnavailable: See the module.
        """

    async def standings(self, username: str) -> tuple[Standing, ...]:
        """
        The groups that the account is in now.

        Raises:
            StoreUnavailable: See the module.
        """

    async def conversations(
        self, username: str, *, after: str, limit: int
    ) -> ConversationPage:
        """
        The account's conversations with an id greater than *after* ("": all), by id
        (code points), with their last messages.  Groups it has left are not there.
        At most *limit*, and at most about ``PAGE_BYTES`` of bodies, but one if there
        is one.

        Raises:
            NoSuchUser, StoreUnavailable: See the module.
        """

    async def conversation(self, conv: str, *, reader: str) -> Conversation:
        """
        One conversation, without its last message.

        Raises:
            NoSuchUser, NoSuchConv, NotMember: The reader may not read it.
            StoreUnavailable: See the module.
        """

    async def members(
        self, conv: str, *, reader: str, after: str, limit: int
    ) -> tuple[Member, ...]:
        """
        Members of a group with a username greater than *after* ("": all), by username.

        Raises:
            NoSuchUser, NoSuchConv, NotMember: The reader may not read it, or it is
                no group.
            StoreUnavailable: See the module.
        """


class Store(
    StoreLife,
    MessageStore,
    LogStore,
    AccountStore,
    TokenStore,
    GateStore,
    HookStore,
    ForwardingStore,
    IncomingStore,
    Protocol,
):
    """What one adapter is."""
