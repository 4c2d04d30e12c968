# SPDX-License-Identifier: Apache-2.0
"""The v1 commands, from a text frame or an HTTP body to one typed value.

    text --> decode_command --> Hello | Ack | Send | ...

Each command is one struct, and the struct is its definition: the fields, their types
and their bounds.  A field that is not defined is ignored; a field that is defined and
wrong is refused with its name.  Wire reference: docs/reference/protocol.md.
"""

import json
import re
from typing import Annotated, Final, Literal, NoReturn

import msgspec
from msgspec import Meta

from chatmotor.errors import BadJson, RequestRefused, UnknownOp
from chatmotor.protocol.json_text import refuse_repeated_keys, whole_numbers

VERSION: Final = 1
MAX_USERS: Final = 5000
MAX_WATCHED: Final = 500

# Not every store can keep one.  Written so that other languages read it, too.
_NO_NUL: Final = r"^[^\x00]*$"
_CURSOR: Final = r"^([0-9]{1,16}(/[^\x00]*)?)?$"
# Characters that somebody sees: a rule of core/, which no type can say.
_VISIBLE: Final = Meta(extra_json_schema={"format": "visible"})

Id = Annotated[str, Meta(max_length=32)] | int
Text64 = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
Username = Annotated[str, Meta(min_length=1, max_length=64)]
# Ours are plain ASCII; another one names nothing, and is looked for in vain.
ConvId = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
PresenceChoice = Literal["online", "away", "dnd", "hidden"]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Command(msgspec.Struct, kw_only=True, tag_field="op"):
    """What all commands have: ``id`` is echoed in the answer."""

    id: Id | None = None


class Request(Command, kw_only=True):
    """A command that is always answered; over HTTP it has no ``id``."""

    id: Id


class Resume(msgspec.Struct, kw_only=True):
    """
    Where a client was: of which epoch, in its mailbox, and in each group.

    Args:
        seq: Counts as acknowledged.
        groups: By conv: up to which ``pos`` the client has the group.
    """

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Number
    groups: dict[ConvId, Number] = {}


class Hello(Request, kw_only=True, tag="hello"):
    """
    The first frame of a session.

    Args:
        v: 1.
        token: Unless it came on the upgrade.
        resume: Where the client was; "device": what this device has not acknowledged.
        window: Events that may be under way to the client; the server may allow fewer.
    """

    v: int
    token: Annotated[str, Meta(max_length=8192)] | None = None
    resume: Resume | Literal["device"] | None = None
    window: Annotated[int, Meta(ge=1, le=1024)] | None = None


class Auth(Request, kw_only=True, tag="auth"):
    """Another token of the same account, before the present one expires."""

    token: Annotated[str, Meta(max_length=8192)]


class Ack(Command, kw_only=True, tag="ack"):
    """
    How many ``ev`` frames have arrived, and up to where the device has them.

    Args:
        h: All that have come on this socket, of the mailbox and of groups.
        seq: The device has its mailbox up to there.
    """

    h: Number
    seq: Number | None = None


class Ping(Command, kw_only=True, tag="ping"):
    """Answered by ``pong``."""


class Pong(Command, kw_only=True, tag="pong"):
    """Taken as a sign of life."""


class Send(Request, kw_only=True, tag="send"):
    """
    A message: for an account or a conversation, with a body or a raw text.

    Args:
        to: The recipient of a direct message, in any spelling of the name; or *conv*.
        body: Any JSON value, a string is a text; or *raw*.
        raw: Bytes that must not change, for classic clients.
        reply_to: The number of another message of the conversation; not checked.
    """

    cid: Text64
    to: Username | None = None
    conv: ConvId | None = None
    body: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    raw: str | None = None
    reply_to: Positive | None = None


class Read(Command, kw_only=True, tag="read"):
    """
    The account has read up to message ``n``.

    Args:
        n: At most the last message counts.
    """

    conv: ConvId
    n: Number


class Typing(Command, kw_only=True, tag="typing"):
    """Somebody writes, or has stopped; forgotten after a few seconds."""

    conv: ConvId
    state: Literal["on", "off"]


class Signal(Command, kw_only=True, tag="signal"):
    """
    A body for the devices of an account that are online now; not stored.

    Args:
        to: A username, in any spelling.
    """

    to: Username
    body: msgspec.Raw


class Presence(Command, kw_only=True, tag="presence"):
    """How this session stands; ``hidden``: as if it were not there."""

    state: PresenceChoice
    text: Annotated[str, Meta(max_length=140, pattern=_NO_NUL)] = ""


class Watch(Request, kw_only=True, tag="watch"):
    """Be told how these accounts stand, from now on."""

    users: Annotated[list[Username], Meta(min_length=1, max_length=MAX_WATCHED)]


class Unwatch(Request, kw_only=True, tag="unwatch"):
    """Not of these any more."""

    users: Annotated[list[Username], Meta(min_length=1, max_length=MAX_WATCHED)]


class Sync(Request, kw_only=True, tag="sync"):
    """
    A snapshot of the account, in pages.

    Args:
        cursor: Of the page before.
        limit: Conversations in a page.
    """

    cursor: Annotated[str, Meta(max_length=256, pattern=_CURSOR)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class Events(Request, kw_only=True, tag="events"):
    """
    A log, pulled: the mailbox, or that of a group.

    Args:
        since: A place: what comes after it.
        conv: The log of this group; none: the own mailbox.
    """

    since: Number
    conv: ConvId | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class History(Request, kw_only=True, tag="history"):
    """
    Messages of a conversation: the last ones, or around a number.

    Args:
        before: The last messages below it.
        after: The first messages above it.
        around: Half of them below it, the rest from it on.
    """

    conv: ConvId
    before: Number | None = None
    after: Number | None = None
    around: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class ConvCreate(Request, kw_only=True, tag="conv.create"):
    """
    A new group.

    Args:
        members: Beside oneself.
    """

    cid: Text64
    title: Annotated[str, Meta(max_length=128, pattern=_NO_NUL)] = ""
    members: Annotated[list[Username], Meta(max_length=MAX_USERS)] = []


class ConvGet(Request, kw_only=True, tag="conv.get"):
    """
    One conversation, and a page of its members.

    Args:
        cursor: Of the page before.
        limit: Members in a page.
    """

    conv: ConvId
    cursor: Annotated[str, Meta(max_length=64, pattern=_NO_NUL)] = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ConvInvite(Request, kw_only=True, tag="conv.invite"):
    """Add members to a group."""

    conv: ConvId
    users: Annotated[list[Username], Meta(min_length=1, max_length=MAX_USERS)]
    cid: Text64 | None = None


class ConvRemove(Request, kw_only=True, tag="conv.remove"):
    """Remove members from a group."""

    conv: ConvId
    users: Annotated[list[Username], Meta(min_length=1, max_length=MAX_USERS)]
    cid: Text64 | None = None


class ConvLeave(Request, kw_only=True, tag="conv.leave"):
    """Leave a group."""

    conv: ConvId
    cid: Text64 | None = None


class HookCreate(Request, kw_only=True, tag="hook.create"):
    """
    A URL through which messages come into a conversation.

    Args:
        name: What it is for, in visible characters.
    """

    conv: ConvId
    name: Annotated[Text64, _VISIBLE]


class HookList(Request, kw_only=True, tag="hook.list"):
    """The incoming hooks of a conversation."""

    conv: ConvId


class HookRemove(Request, kw_only=True, tag="hook.remove"):
    """
    End an incoming hook.

    Args:
        hook: Its id.
    """

    hook: Text64


class DeviceList(Request, kw_only=True, tag="device.list"):
    """The account's devices."""


class DeviceRevoke(Request, kw_only=True, tag="device.revoke"):
    """Log a device out, everywhere."""

    device: Text64


class UserGet(Request, kw_only=True, tag="user.get"):
    """One account's profile."""

    user: Username


class UserSet(Request, kw_only=True, tag="user.set"):
    """
    The own profile.

    Args:
        display_name: Visible characters; empty: none.
    """

    display_name: Annotated[str, Meta(max_length=64), _VISIBLE]


class UserFind(Request, kw_only=True, tag="user.find"):
    """
    The account with exactly this name, if there is one.

    Args:
        q: A whole username, in any spelling.
    """

    q: Annotated[str, Meta(min_length=1, max_length=64)]


Called = (
    Send
    | Read
    | Typing
    | Signal
    | Sync
    | Events
    | History
    | ConvCreate
    | ConvGet
    | ConvInvite
    | ConvRemove
    | ConvLeave
    | HookCreate
    | HookList
    | HookRemove
    | DeviceList
    | DeviceRevoke
    | UserGet
    | UserSet
    | UserFind
)
AnyCommand = Hello | Auth | Ack | Ping | Pong | Presence | Watch | Unwatch | Called

# Those that are also POST /v1/rpc/<op>.
CALLED: Final = {each.__struct_config__.tag: each for each in Called.__args__}
_KNOWN: Final = {each.__struct_config__.tag for each in AnyCommand.__args__}

_decode = msgspec.json.Decoder(AnyCommand).decode
_decode_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PLACE = re.compile(r"`\$\.(\w+)")
_FIELD = re.compile(r"field `(\w+)`")
_HALVES = re.compile("[\ud800-\udfff]")


def decode_command(text: bytes) -> AnyCommand:
    """
    The command that *text*, UTF-8, is.

    Raises:
        BadJson: It is no JSON object (RFC 8259), or a key occurs twice in it.
        UnknownOp: ``op`` names no command.
        RequestRefused: ``field`` names what is wrong.
    """
    try:
        command: AnyCommand = _decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        plain = whole_numbers(text)
        if plain is None:
            _explain(text, error)
        try:
            command = _decode(plain)
        except msgspec.DecodeError as other:
            _explain(text, other)
    refuse_repeated_keys(text)
    return command


def decode_call(op: str, body: bytes) -> Called:
    """
    The command of ``POST /v1/rpc/<op>``; *body* has its fields, UTF-8.

    Raises:
        As ``decode_command``.
    """
    if op not in CALLED:
        raise UnknownOp(f"there is no command {op[:40]!r}", field="op")
    head = b'{"op":"%s","id":0' % op.encode()
    try:
        if b"\0" in body or not body.isascii():
            body.decode()
        fields = _decode_envelope(body or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadJson("the body must be a JSON object") from None
    refuse_repeated_keys(body)
    for key, value in fields.items():
        if key not in ("op", "id"):
            head += b"," + msgspec.json.encode(key) + b":" + bytes(value)
    command = decode_command(head + b"}")
    assert isinstance(command, Called)
    return command


def command_id(text: bytes) -> Id | None:
    """The ``id`` of a text that is refused, where it has a usable one."""
    try:
        # Unlike msgspec, json reads on where there is half a character in a string.
        found = json.loads(text.decode())["id"]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return None
    if isinstance(found, str):
        return found if len(found) <= 32 and not _HALVES.search(found) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _explain(text: bytes, error: Exception) -> NoReturn:
    """Say in the words of the wire why *text* is no command."""
    try:
        found = _decode_envelope(text)
    except (msgspec.DecodeError, RecursionError):
        raise BadJson(
            "a frame must be one JSON object, without half a character"
        ) from None
    try:
        op = msgspec.json.decode(found.get("op", b"null"))
    except msgspec.MsgspecError:
        op = None
    if not isinstance(op, str):
        raise RequestRefused('a command needs a string "op"', field="op") from None
    if op not in _KNOWN:
        raise UnknownOp(f"there is no command {op[:40]!r}", field="op") from None
    words = str(error)
    match = _PLACE.search(words) or _FIELD.search(words)
    field = match[1] if match else None
    if isinstance(error, RecursionError):
        words = "it is nested too deeply"
    raise RequestRefused(f"{op}: {words}", field=field) from None
