# SPDX-License-Identifier: Apache-2.0
"""What ``ok`` adds, command by command; over HTTP it is the whole answer.

One struct for each command, which is its definition: the generated documents and the
client are made from them, and tests hold what the server says against them.  A field
that is not always there has a default.
Wire reference: docs/reference/protocol.md.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from chatmotor.protocol.replies import UserPresence

Role = Literal["member", "admin", "owner"]


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What all answers have in common: nothing."""


class Nothing(Answer, kw_only=True):
    """It was done, and there is nothing to say."""


class MessageItem(Answer, kw_only=True):
    """
    A message as it is read: its address, its sender, and a body or a raw text.

    Args:
        cid: For the sender's own devices only.
        from_guest: The sender is a guest, and no account.
    """

    conv: str
    n: int
    ts: int
    sender: str = msgspec.field(name="from")
    body: Any = UNSET
    raw: str | UnsetType = UNSET
    reply_to: int | None = None
    cid: str | None = None
    from_guest: bool = False


class ConversationItem(Answer, kw_only=True):
    """
    A conversation as one of its accounts sees it.

    Args:
        ts: When it began: milliseconds since the Unix epoch, UTC.
        n: Its last message; 0: none.
        read: The own read pointer.
        user: Of all but groups: the other one's name, or one's own in notes to oneself.
        title, role, members, pos: Of a group: its title, the own role, how many are in
            it, and the last event of its log.
        last: In ``sync``: the last message, if there is one.
    """

    conv: str
    ts: int
    type: Literal["direct", "group", "guest"]
    n: int
    read: int
    unread: int
    mentions: int
    user: str | None = None
    title: str | None = None
    role: Role | None = None
    members: int | None = None
    pos: int | None = None
    last: MessageItem | None = None


class ChangedItem(Answer, kw_only=True):
    """
    A group after a change, with the fields of a conversation; of one that the caller
    was removed from meanwhile only ``conv``.

    Args:
        ts: When it began: milliseconds since the Unix epoch, UTC.
        n: Its last message; 0: none.
        read: The own read pointer.
        members: How many are in it.
        pos: The last event of its log.
    """

    conv: str
    ts: int | None = None
    type: Literal["group"] | None = None
    title: str | None = None
    role: Role | None = None
    members: int | None = None
    pos: int | None = None
    n: int | None = None
    read: int | None = None
    unread: int | None = None
    mentions: int | None = None


class UserItem(Answer, kw_only=True):
    """
    An account as everybody sees it.

    Args:
        display_name: Without one, the username.
    """

    username: str
    display_name: str


class HookItem(Answer, kw_only=True):
    """
    An incoming hook of a conversation.

    Args:
        hook: Its id.
        user: Who has made it, and writes what comes.
        ts: When it was made.
    """

    hook: str
    conv: str
    name: str
    user: str
    ts: int


class NewHookItem(HookItem, kw_only=True):
    """
    One that was just made.

    Args:
        url: Whoever has it can write into the conversation.
    """

    url: str


class DeviceItem(Answer, kw_only=True):
    """
    One of the account's devices; ``ts``: since when, ``seen``: the last time.

    Args:
        ts: The first log-in.
        seen: The last log-in or acknowledgment.
        current: It asks.
    """

    device: str
    ts: int
    seen: int
    current: bool


class MemberItem(Answer, kw_only=True):
    """Somebody who is in a group."""

    user: str
    role: Role


class Place(Answer, kw_only=True):
    """A place in the mailbox, of a history of the store."""

    epoch: str
    seq: int


class Renewed(Answer, kw_only=True):
    """``auth``: until when the session may go on."""

    expires: int


class Sent(Answer, kw_only=True):
    """
    ``send``: committed, and where it is.  ``seq`` for a direct message only.

    Args:
        dup: It was there already.
        seq: Of a direct message: its place in the own mailbox.
    """

    conv: str
    n: int
    ts: int
    dup: bool
    seq: int | None = None


class Synced(Answer, kw_only=True, omit_defaults=False):
    """
    ``sync``: a page of a snapshot that stands at ``at``.

    Args:
        contacts: Empty; for what does not exist yet.
        blocks: Empty, too.
    """

    at: Place
    convs: list[ConversationItem]
    contacts: list[Any]
    blocks: list[Any]
    cursor: str | None


class EventPage(Answer, kw_only=True):
    """``events``: in the form of ``ev`` without ``op``."""

    events: list[dict[str, Any]]
    more: bool


class HistoryPage(Answer, kw_only=True):
    """
    ``history``: messages by rising ``n``; ``receipts``: [delivered, read].

    Args:
        more: Whether there are others in the direction asked for.
        receipts: Of a direct conversation, by username: delivered, read.
    """

    items: list[MessageItem]
    more: bool
    receipts: dict[str, tuple[int, int]]


class Changed(Answer, kw_only=True):
    """``conv.create``, ``conv.invite``, ``conv.remove``: the group as it is now."""

    conv: ChangedItem


class ConversationPage(Answer, kw_only=True):
    """
    ``conv.get``; ``members`` and ``cursor`` for a group only.

    Args:
        members: By username.
        cursor: For the next page; null on the last.
    """

    conv: ConversationItem
    members: list[MemberItem] | UnsetType = UNSET
    cursor: str | UnsetType | None = UNSET


class HookMade(Answer, kw_only=True):
    """``hook.create``; its URL is told here only."""

    hook: NewHookItem


class HookList(Answer, kw_only=True):
    """``hook.list``."""

    hooks: list[HookItem]


class DeviceList(Answer, kw_only=True):
    """``device.list``."""

    devices: list[DeviceItem]


class Profile(Answer, kw_only=True):
    """``user.get``, ``user.set``."""

    user: UserItem


class UsersFound(Answer, kw_only=True):
    """``user.find``: nobody, or one."""

    users: list[UserItem]


class Snapshot(Answer, kw_only=True):
    """``watch``: how those who are watched now stand."""

    snapshot: list[UserPresence]


ANSWERS: Final[dict[str, type[Answer]]] = {
    "auth": Renewed,
    "send": Sent,
    "read": Nothing,
    "typing": Nothing,
    "signal": Nothing,
    "presence": Nothing,
    "watch": Snapshot,
    "unwatch": Nothing,
    "sync": Synced,
    "events": EventPage,
    "history": HistoryPage,
    "conv.create": Changed,
    "conv.get": ConversationPage,
    "conv.invite": Changed,
    "conv.remove": Changed,
    "conv.leave": Nothing,
    "hook.create": HookMade,
    "hook.list": HookList,
    "hook.remove": Nothing,
    "device.list": DeviceList,
    "device.revoke": Nothing,
    "user.get": Profile,
    "user.set": Profile,
    "user.find": UsersFound,
}

_OF_CONVERSATIONS = ("no_such_conv", "not_member")
_OF_CHANGES = (
    *("no_such_user", *_OF_CONVERSATIONS, "suspended"),
    *("quota_exceeded", "cid_conflict", "forbidden"),
)
# What each command can be refused as, beside bad_json, bad_request and unavailable.
REFUSALS: Final[dict[str, tuple[str, ...]]] = {
    "hello": (
        *("unauthenticated", "token_expired", "suspended", "unsupported_version"),
        *("quota_exceeded", "forbidden", "too_many_devices"),
    ),
    "auth": ("unauthenticated", "token_expired", "suspended", "forbidden"),
    "ack": (),
    "ping": (),
    "pong": (),
    "send": (
        *("too_large", "rate_limited", "no_such_user", "forbidden"),
        *(*_OF_CONVERSATIONS, "cid_conflict", "suspended"),
    ),
    "read": _OF_CONVERSATIONS,
    "typing": _OF_CONVERSATIONS,
    "signal": ("too_large", "rate_limited", "no_such_user"),
    "presence": (),
    "watch": ("no_such_user", "quota_exceeded"),
    "unwatch": ("no_such_user",),
    "sync": (),
    "events": ("trimmed", *_OF_CONVERSATIONS),
    "history": _OF_CONVERSATIONS,
    "conv.create": ("no_such_user", "suspended", "quota_exceeded", "cid_conflict"),
    "conv.get": _OF_CONVERSATIONS,
    "conv.invite": _OF_CHANGES,
    "conv.remove": _OF_CHANGES,
    "conv.leave": _OF_CHANGES,
    "hook.create": (*_OF_CONVERSATIONS, "forbidden", "quota_exceeded"),
    "hook.list": (*_OF_CONVERSATIONS, "forbidden"),
    "hook.remove": ("no_such_hook", "forbidden"),
    "device.list": (),
    "device.revoke": ("no_such_device",),
    "user.get": ("no_such_user", "rate_limited"),
    "user.set": ("suspended",),
    "user.find": ("rate_limited",),
}
