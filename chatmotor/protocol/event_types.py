# SPDX-License-Identifier: Apache-2.0
"""Each type of event of the logs, as a typed value.

The server puts events together from bytes (protocol/events.py) and never needs these;
clients read them with ``decode_event``, the generated documents are made from them, and
tests hold the bytes against them.  Wire reference: docs/reference/protocol.md.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType


class Event(
    msgspec.Struct, kw_only=True, tag_field="t", frozen=True, omit_defaults=True
):
    """
    What all events have: a place, ``seq`` in the mailbox or ``pos`` in the log of the
    group ``conv``, and a time, milliseconds since the Unix epoch.
    """

    ts: int
    seq: int | UnsetType = UNSET
    pos: int | UnsetType = UNSET


class MessageNew(Event, kw_only=True, tag="message.new", frozen=True):
    """
    A message.

    Args:
        sender: The username, or with *from_guest* a guest's name; on the wire ``from``.
        body, raw: One of the two, as it was sent.
        cid: For the sender's own devices only.
        from_guest: The sender is a guest, and no account.
    """

    conv: str
    n: int
    sender: str = msgspec.field(name="from")
    body: Any = UNSET
    raw: str | UnsetType = UNSET
    reply_to: int | None = None
    cid: str | None = None
    from_guest: bool = False

    @property
    def text(self) -> str | None:
        """What there is to read: the body if it is a string, or the raw text."""
        if isinstance(self.body, str):
            return self.body
        return self.raw if isinstance(self.raw, str) else None


class ConvNew(Event, kw_only=True, tag="conv.new", frozen=True):
    """
    The account is in a group now.

    Args:
        since: Its events after this ``pos`` are new.
    """

    conv: str
    actor: str
    since: int
    title: str


class ConvMember(Event, kw_only=True, tag="conv.member", frozen=True):
    """
    Who came into a group, and who went.

    Args:
        added, removed: Usernames.
        owner: Who is it now, if the owner has left.
    """

    conv: str
    actor: str
    added: list[str]
    removed: list[str]
    owner: str | None = None


class ConvRead(Event, kw_only=True, tag="conv.read", frozen=True):
    """The own read pointer of a conversation moved to ``n``."""

    conv: str
    n: int


class ProfileSet(Event, kw_only=True, tag="profile.set", frozen=True):
    """The own profile changed."""

    display_name: str


class DeviceNew(Event, kw_only=True, tag="device.new", frozen=True):
    """The account has logged in on a new device."""

    device: str


class DeviceGone(Event, kw_only=True, tag="device.gone", frozen=True):
    """A device was logged out."""

    device: str


class UnknownEvent(msgspec.Struct, kw_only=True, frozen=True):
    """An event of a type that this version does not know, or not in this form."""

    t: str
    ts: int
    seq: int | UnsetType = UNSET
    pos: int | UnsetType = UNSET
    conv: str | None = None
    fields: dict[str, Any] = {}


KnownEvent = (
    MessageNew | ConvNew | ConvMember | ConvRead | ProfileSet | DeviceNew | DeviceGone
)
AnyEvent = KnownEvent | UnknownEvent

EVENT_TYPES: Final = {each.__struct_config__.tag: each for each in KnownEvent.__args__}


def decode_event(fields: dict[str, Any]) -> AnyEvent:
    """
    The event with these *fields*, those of an ``ev`` frame or of an element of
    ``events``.

    Raises:
        msgspec.ValidationError: It lacks a type, a time or a place.
    """
    try:
        event: KnownEvent = msgspec.convert(fields, KnownEvent)
    except msgspec.ValidationError:
        unknown = msgspec.convert(fields, UnknownEvent)
        rest = {key: value for key, value in fields.items() if key != "op"}
        return msgspec.structs.replace(unknown, fields=rest)
    return event
