# SPDX-License-Identifier: Apache-2.0
"""The store: the truth about accounts, conversations, messages and their order.

    send(ann -> bob)    --> message (conv, n)  + one event in each mailbox (seq)
    send(ann -> group)  --> message (conv, n)  + one event in the group's log (pos)
    change_members      -->                      one event in the group's log (pos)

What every adapter promises (tests/contract/test_message_store.py):

- **Durable on return.**  What a write returned is on disk: it survives ``kill -9`` of
  this process and of the database (tests/fault/test_store_kill.py) and, as far as the
  disk tells the truth, loss of power.
- **Gapless.**  ``n`` counts 1, 2, 3 ... in a conversation, ``seq`` in a mailbox,
  ``pos`` in a group's log.  No reader ever sees a number without its predecessor.
- **One order.**  In a direct conversation n1 < n2 means seq1 < seq2 in both mailboxes;
  in a group it means pos1 < pos2.  Writes of one caller that waits for each, and writes
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
How it works inside: docs/explanation/store.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

MAX_CID_CHARACTERS = 64
# A direct conversation is named after its two accounts; groups have other names.
DIRECT_PREFIX = "d."


class EventType(StrEnum):
    """What an event of a log says, in the words of the wire."""

    MESSAGE_NEW = "message.new"
    CONV_MEMBER = "conv.member"


@dataclass(frozen=True, slots=True)
class Account:
    """One account, and the top of its mailbox (0: nothing yet)."""

    id: int
    username: str
    seq: int


@dataclass(frozen=True, slots=True)
class NewMessage:
    """
    A message to be stored.

    Args:
        body: JSON text, or with *raw* any text; stored and returned untouched.
        to: Username of the recipient, for a direct message; or else
        conv: Id of a group, or of a direct conversation that exists.
    """

    sender: str
    cid: str
    body: bytes
    ts: int
    to: str | None = None
    conv: str | None = None
    raw: bool = False

    def __post_init__(self) -> None:
        check_text(self.cid, MAX_CID_CHARACTERS)
        if (self.to is None) == (self.conv is None):
            raise ValueError("a message has either a recipient or a conversation")

    def digest(self) -> bytes:
        """What makes it another message; the time does not."""
        where = ("to", self.to) if self.conv is None else ("conv", self.conv)
        form = "raw" if self.raw else "json"
        return _digest("send", *(part or "" for part in where), form, self.body)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """
    The answer to a send: where the message is.

    Args:
        seq: Its place in the sender's mailbox; none in a group.
        peer: The recipient of a direct message to somebody else, and
        peer_seq: its place in that mailbox.
        pos: Its place in the group's log; none in a direct conversation.
        dup: It was stored before this call; all else is the first answer.  A call
            that lost its database in the middle may find its own write, or another
            call's with the same cid, and says false.
    """

    conv: str
    n: int
    ts: int
    seq: int | None = None
    peer: str | None = None
    peer_seq: int | None = None
    pos: int | None = None
    dup: bool = False


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group to be created; the creator is a member whether listed or not."""

    conv: str
    creator: str
    cid: str
    ts: int
    members: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_text(self.cid, MAX_CID_CHARACTERS)
        check_text(self.conv, MAX_CID_CHARACTERS)
        if self.conv.startswith(DIRECT_PREFIX):
            raise ValueError("this id belongs to a direct conversation")

    def digest(self) -> bytes:
        """The id does not count: a retry may bring a fresh one."""
        return _digest("conv.create", *sorted(self.members | {self.creator}))


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Accounts to be added to a group and removed from it; an account is in one set."""

    conv: str
    actor: str
    cid: str
    ts: int
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_text(self.cid, MAX_CID_CHARACTERS)
        if self.add & self.remove:
            raise ValueError("an account is added or removed, not both")

    def digest(self) -> bytes:
        """What makes it another change."""
        add, remove = sorted(self.add), sorted(self.remove)
        return _digest("conv.member", self.conv, *add, "", *remove)


@dataclass(frozen=True, slots=True)
class ChangedGroup:
    """
    The answer to a change of a group.

    Args:
        pos: Top of its log after the change.
        revision: Counts the changes of who is in it, from 1.
        dup: It was made before this call; all else is the first answer.
    """

    conv: str
    pos: int
    revision: int
    dup: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is read; ``cid`` is for the sender's own devices only."""

    conv: str
    n: int
    sender: str
    cid: str
    ts: int
    body: bytes
    raw: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """Who came and who went, sorted, and who did it."""

    actor: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """
    One entry of a log.

    Args:
        at: ``seq`` in a mailbox, ``pos`` in a group's log.
        message: What a ``message.new`` is about.
        membership: What a ``conv.member`` is about.
    """

    at: int
    t: EventType
    conv: str
    ts: int
    message: Message | None = None
    membership: Membership | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events that follow each other without a gap, and the top of their log."""

    events: tuple[Event, ...]
    top: int

    @property
    def more(self) -> bool:
        """Whether the log goes on after this page."""
        return bool(self.events) and self.events[-1].at < self.top


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages by rising ``n``; ``more`` lie beyond, in the direction asked for."""

    messages: tuple[Message, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Tops:
    """The highest ``seq`` of each account and ``pos`` of each group that exists."""

    seqs: Mapping[str, int] = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The log of one account."""

    username: str


@dataclass(frozen=True, slots=True)
class GroupLog:
    """
    The log of one group.

    Args:
        reader: The account that asks, which must be a member; none when the node
            itself asks and sees to it who gets what.
    """

    conv: str
    reader: str | None


class AccountStore(Protocol):
    """Accounts, as far as messages need them."""

    async def add_account(self, username: str, *, ts: int) -> Account:
        """
        The account of *username*, created if there was none.  Safe to repeat.

        Raises:
            StoreUnavailable, OutcomeUnknown: See the module.
        """


class MessageStore(Protocol):
    """Messages and groups.  See the module for what holds for all methods."""

    async def start(self) -> None:
        """
        Open the store; on return it serves.

        Raises:
            OperatorError: It must not be used as it is: durability switched off, a
                schema of another version, a file that another process writes.
        """

    async def stop(self) -> None:
        """Finish the writes begun, refuse new ones, let go of the store."""

    async def send(self, message: NewMessage) -> StoredMessage:
        """
        Store *message* as the next one of its conversation.

        A first direct message creates its conversation.  One to oneself is one
        event.  A group message is one event however many members there are.

        Raises:
            NoSuchUser: Sender or recipient has no account.
            NoSuchConv: No such conversation, or the sender was never in it.
            NotMember: The sender has been removed; also when the removal was
                committed, on any node, while this send was under way.
            CidConflict: The sender used this cid for something else.
            StoreUnavailable, OutcomeUnknown: See the module.
        """

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        """
        Create a group; its first event, pos 1, names the members.

        Raises:
            NoSuchUser: The creator or a member has no account.
            Conflict: Another group has this id.
            CidConflict, StoreUnavailable, OutcomeUnknown: As for ``send``.
        """

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        """
        Add and remove members, as one event.

        The event names those whose state changed; when nobody's did there is no
        event, and the revision stays.  Any member may do it here, oneself may be
        removed: who is allowed what is the caller's rule.

        Raises:
            NoSuchUser, NoSuchConv, NotMember: As for ``send``; nobody is changed.
            CidConflict, StoreUnavailable, OutcomeUnknown: As for ``send``.
        """

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        """
        The first *limit* events after number *since* of *log*.

        Events and top are of one moment.  A *since* above the top gives no event.

        Raises:
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
    ) -> MessagePage:
        """
        The last *limit* messages of *conv*, or the last ones with n < *before*, or
        the first ones with n > *after*; not both.

        Raises:
            NoSuchUser, NoSuchConv, NotMember: The reader may not read it.
            StoreUnavailable: See the module.
        """

    async def tops(self, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
        """
        Where logs end, in one query for all accounts and one for all groups.

        Raises:
            StoreUnavailable: See the module.
        """


class Store(AccountStore, MessageStore, Protocol):
    """What one adapter is."""


def direct_conv(one: int, other: int) -> str:
    """The id of the direct conversation between two account ids."""
    return f"{DIRECT_PREFIX}{min(one, other)}.{max(one, other)}"


def check_text(text: str, max_characters: int) -> None:
    """Refuse what not every store can keep; the wire has said it in better words."""
    if not 0 < len(text) <= max_characters or "\0" in text:
        raise ValueError(f"1 to {max_characters} characters, none of them NUL")
    text.encode()


def _digest(*parts: str | bytes) -> bytes:
    """A hash of *parts* that no other list of parts has."""
    whole = sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        whole.update(b"%d:" % len(encoded))
        whole.update(encoded)
    return whole.digest()
