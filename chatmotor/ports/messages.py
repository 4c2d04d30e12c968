# SPDX-License-Identifier: Apache-2.0
"""What is said to the store about messages, groups and logs, and what it answers.

Frozen values; ports/store.py has what is promised about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

MAX_CID_CHARACTERS = 64
MAX_MEMBERS = 10_000
# What a page of events, messages or conversations carries at most, give or take: the
# bodies and details, without what is around them.  A first row that is larger comes
# alone.
PAGE_BYTES = 256 * 1024
# A direct conversation is named after its two accounts, one with a guest after the
# account and a hash of the guest's name; groups have other names.
DIRECT_PREFIX = "d."
GUEST_PREFIX = "q."


class EventType(StrEnum):
    """What an event of a log says, in the words of the wire."""

    MESSAGE_NEW = "message.new"
    CONV_NEW = "conv.new"
    CONV_MEMBER = "conv.member"
    CONV_READ = "conv.read"
    PROFILE_SET = "profile.set"
    DEVICE_NEW = "device.new"
    DEVICE_GONE = "device.gone"


class Role(StrEnum):
    """What a member may do in a group."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Event:
    """
    One entry of a log.

    Args:
        at: ``seq`` in a mailbox, ``pos`` in a group's log; 0 in ``Logged``.
        conv: What conversation it is about; none for the account itself.
        message: What a ``message.new`` is about; none for the others, which have
        detail: their further fields, a JSON object as text, e.g. of ``conv.member``
            ``{"actor": "ann", "added": ["bob"], "removed": []}``.
    """

    at: int
    t: EventType
    conv: str | None
    ts: int
    message: "Message | None" = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """
    An event that a write has just put into logs, for whoever tells the readers.

    Args:
        seqs: Its ``seq`` in each mailbox, by username; empty in a group's log.
        pos: Its ``pos`` in the group's log; none in mailboxes.
    """

    event: Event
    seqs: Mapping[str, int] = field(default_factory=dict)
    pos: int | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """
    A message to be stored.

    Args:
        body: JSON text, or with *raw* any text; stored and returned untouched.
        to: Username of the recipient, for a direct message; or else
        conv: Id of a group, or of a direct conversation that exists.
        reply_to: The ``n`` of another message of the conversation; not checked.
    """

    sender: str
    cid: str
    body: bytes
    ts: int
    to: str | None = None
    conv: str | None = None
    raw: bool = False
    reply_to: int | None = None

    def __post_init__(self) -> None:
        check_text(self.cid, MAX_CID_CHARACTERS)
        if (self.to is None) == (self.conv is None):
            raise ValueError("a message has either a recipient or a conversation")

    def digest(self) -> bytes:
        """What makes it another message; the time does not."""
        where = ("to", self.to) if self.conv is None else ("conv", self.conv)
        form = "raw" if self.raw else "json"
        if self.reply_to is not None:
            form += f" reply_to {self.reply_to}"
        return _digest("send", *(part or "" for part in where), form, self.body)


@dataclass(frozen=True, slots=True)
class GuestMessage:
    """
    A classic text of a guest for an account, kept as ``raw``.

    It has a conversation between that guest's name and the account, and one event,
    in the account's mailbox.  A guest has no mailbox, no cid and no second try.
    """

    guest: str
    to: str
    body: bytes
    ts: int


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
    """
    A group to be created; the creator is its owner, whether listed or not.

    Args:
        title: Shown to people; may be empty.
        max_members: Over it the group is not created.
    """

    conv: str
    creator: str
    cid: str
    ts: int
    members: frozenset[str] = frozenset()
    title: str = ""
    max_members: int = MAX_MEMBERS

    def __post_init__(self) -> None:
        check_text(self.cid, MAX_CID_CHARACTERS)
        check_text(self.conv, MAX_CID_CHARACTERS)
        if self.conv.startswith((DIRECT_PREFIX, GUEST_PREFIX)):
            raise ValueError("this id belongs to a direct conversation")

    def digest(self) -> bytes:
        """The id does not count: a retry may bring a fresh one."""
        members = sorted(self.members | {self.creator})
        return _digest("conv.create", self.title, *members)


@dataclass(frozen=True, slots=True)
class MemberChange:
    """
    Accounts to be added to a group and removed from it; an account is in one set.

    Args:
        max_members: Over it nobody is added.
    """

    conv: str
    actor: str
    cid: str
    ts: int
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    max_members: int = MAX_MEMBERS

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
        logged: What the change has put into logs: at most one event of the group,
            one for the mailboxes of those who came (``conv.new``) and one for each
            who went (``conv.member``).  Empty when nothing changed, or ``dup``.
        dup: It was made before this call; all else is the first answer.
    """

    conv: str
    pos: int
    revision: int
    logged: tuple[Logged, ...] = ()
    dup: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """
    A message as it is read; ``cid`` is for the sender's own devices only.

    Args:
        guest: The sender is a guest's name, and no account.
    """

    conv: str
    n: int
    sender: str
    cid: str
    ts: int
    body: bytes
    raw: bool
    guest: bool = False
    reply_to: int | None = None


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
    """
    Messages by rising ``n``; ``more`` lie beyond, in the direction asked for.

    Args:
        receipts: In a direct conversation, of both sides: by username, the highest
            ``n`` that is on a device of it, and the highest that it has read.
    """

    messages: tuple[Message, ...]
    more: bool
    receipts: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How far an account is in a group: ``pos`` and ``n`` are its log's and its last
    message's, ``read`` the account's pointer (0: nothing).
    """

    conv: str
    pos: int
    n: int
    read: int

    @property
    def unread(self) -> int:
        """Messages after the pointer."""
        return self.n - self.read


@dataclass(frozen=True, slots=True)
class Conversation:
    """
    A conversation as one of its accounts sees it.

    Args:
        peer: The other one's username, one's own in notes to oneself, or the guest's
            name (``guest``); none in a group, which has
        title, role, members: its name, the account's role, and how many are in it.
        n: Of the last message.
        pos: Top of the group's log; 0 in a direct conversation.
        read: The account's pointer; an own message moves it, too.
        last: The last message, where it was asked for.
    """

    conv: str
    ts: int
    n: int
    pos: int
    read: int
    peer: str | None = None
    guest: bool = False
    title: str = ""
    role: Role | None = None
    members: int = 0
    last: Message | None = None

    @property
    def unread(self) -> int:
        """Messages after the pointer: last n minus read n."""
        return self.n - self.read


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is in a group now."""

    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """
    Conversations by rising id; ``more`` follow.

    Args:
        seq: Top of the account's mailbox, read before the conversations.
    """

    conversations: tuple[Conversation, ...]
    more: bool
    seq: int


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


def direct_conv(one: int, other: int) -> str:
    """The id of the direct conversation between two account ids."""
    return f"{DIRECT_PREFIX}{min(one, other)}.{max(one, other)}"


def guest_conv(account: int, guest: str) -> str:
    """The id of the conversation between an account and a guest's name."""
    return f"{GUEST_PREFIX}{account}.{sha256(guest.encode()).hexdigest()[:16]}"


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
