# SPDX-License-Identifier: Apache-2.0
"""The v1 commands, from a text frame or an HTTP body to one typed value.

    text --> decode_command --> Hello | Ack | Send | ...

Each command is one struct, and the struct is its definition: the fields, their types
and their bounds.  A field that is not defined is ignored; a field that is defined and
wrong is refused with its name.  Wire reference: docs/reference/protocol.md.
"""

import json
import math
import re
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import Meta

from chatmotor.errors import BadJson, RequestRefused, UnknownOp

VERSION: Final = 1
MAX_DEPTH: Final = 16
MAX_USERS: Final = 5000

_NO_NUL: Final = r"^[^\0]*\Z"  # not every store can keep one

Id = Annotated[str, Meta(max_length=32)] | int
Text64 = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
Username = Annotated[str, Meta(min_length=1, max_length=64)]
# Ours are plain ASCII; another one names nothing, and is looked for in vain.
ConvId = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Command(msgspec.Struct, kw_only=True, tag_field="op"):
    """What all commands have: ``id`` is echoed in the answer."""

    id: Id | None = None


class Request(Command, kw_only=True):
    """A command that is always answered; over HTTP it has no ``id``."""

    id: Id


class Resume(msgspec.Struct, kw_only=True):
    """Where a client was: of which epoch, in its mailbox, and in each group."""

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Number
    groups: dict[ConvId, Number] = {}


class Hello(Request, kw_only=True, tag="hello"):
    """The first frame of a session."""

    v: int
    token: Annotated[str, Meta(max_length=8192)] | None = None
    resume: Resume | Literal["device"] | None = None
    window: Annotated[int, Meta(ge=1, le=1024)] | None = None


class Auth(Request, kw_only=True, tag="auth"):
    """Another token of the same account, before the present one expires."""

    token: Annotated[str, Meta(max_length=8192)]


class Ack(Command, kw_only=True, tag="ack"):
    """How many ``ev`` frames have arrived, and up to where the device has them."""

    h: Number
    seq: Number | None = None


class Ping(Command, kw_only=True, tag="ping"):
    """Answered by ``pong``."""


class Pong(Command, kw_only=True, tag="pong"):
    """Taken as a sign of life."""


class Send(Request, kw_only=True, tag="send"):
    """A message: for an account or a conversation, with a body or a raw text."""

    cid: Text64
    to: Username | None = None
    conv: ConvId | None = None
    body: msgspec.Raw = msgspec.Raw()
    raw: str | None = None
    reply_to: Positive | None = None


class Read(Command, kw_only=True, tag="read"):
    """The account has read up to message ``n``."""

    conv: ConvId
    n: Number


class Sync(Request, kw_only=True, tag="sync"):
    """A snapshot of the account, in pages."""

    cursor: Annotated[str, Meta(max_length=256, pattern=_NO_NUL)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class Events(Request, kw_only=True, tag="events"):
    """A log, pulled: the mailbox, or that of a group."""

    since: Number
    conv: ConvId | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class History(Request, kw_only=True, tag="history"):
    """Messages of a conversation: the last ones, or around a number."""

    conv: ConvId
    before: Number | None = None
    after: Number | None = None
    around: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class ConvCreate(Request, kw_only=True, tag="conv.create"):
    """A new group."""

    cid: Text64
    title: Annotated[str, Meta(max_length=128, pattern=_NO_NUL)] = ""
    members: Annotated[list[Username], Meta(max_length=MAX_USERS)] = []


class ConvGet(Request, kw_only=True, tag="conv.get"):
    """One conversation, and a page of its members."""

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


class DeviceList(Request, kw_only=True, tag="device.list"):
    """The account's devices."""


class DeviceRevoke(Request, kw_only=True, tag="device.revoke"):
    """Log a device out, everywhere."""

    device: Text64


class UserGet(Request, kw_only=True, tag="user.get"):
    """One account's profile."""

    user: Username


class UserSet(Request, kw_only=True, tag="user.set"):
    """The own profile."""

    display_name: Annotated[str, Meta(max_length=64)]


class UserFind(Request, kw_only=True, tag="user.find"):
    """The account with exactly this name, if there is one."""

    q: Annotated[str, Meta(min_length=1, max_length=64)]


Called = (
    Send
    | Read
    | Sync
    | Events
    | History
    | ConvCreate
    | ConvGet
    | ConvInvite
    | ConvRemove
    | ConvLeave
    | DeviceList
    | DeviceRevoke
    | UserGet
    | UserSet
    | UserFind
)
AnyCommand = Hello | Auth | Ack | Ping | Pong | Called

# Those that are also POST /v1/rpc/<op>.
CALLED: Final = {each.__struct_config__.tag: each for each in Called.__args__}
_KNOWN: Final = {each.__struct_config__.tag for each in AnyCommand.__args__}

_decode = msgspec.json.Decoder(AnyCommand).decode
_decode_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# Each string is taken whole, so that reading takes a time in proportion to the text.
_STRINGS = re.compile(rb'"((?:[^"\\]++|\\.)*+)"(\s*+:)?')
_PLACE = re.compile(r"`\$\.(\w+)")
_FIELD = re.compile(r"field `(\w+)`")
_HALVES = re.compile("[\ud800-\udfff]")
_LONG_NUMBER = re.compile(rb"[0-9]{300}")
# A key may be followed by white space.
_SPACED = re.compile(rb'"[ \t\n\r]')


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
        _explain(text, error)
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


def check_body(body: bytes) -> None:
    """
    Refuse a body that some reader could not read: it would close every one of them.

    Raises:
        RequestRefused: It is nested deeper than ``MAX_DEPTH``, or has a number or a
            character that not every JSON reader takes.
    """
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise RequestRefused(
            f"the body is nested deeper than {MAX_DEPTH} levels", field="body"
        )
    try:
        msgspec.json.decode(body)
        if _LONG_NUMBER.search(body):
            json.loads(body, parse_int=_within_a_double)
    except (msgspec.MsgspecError, OverflowError):
        raise RequestRefused(
            "the body has a number that is out of range, or half a character",
            field="body",
        ) from None


def _within_a_double(digits: str) -> float:
    """Raises ``OverflowError`` for what many a JSON reader would take for infinite."""
    number = float(digits)
    if math.isinf(number):
        raise OverflowError
    return number


def _depth(body: bytes) -> int:
    """How deep *body*, valid JSON, is nested; brackets in strings do not count."""
    depth = deepest = 0
    plain = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body)
    for bracket in re.findall(rb"[\[\]{}]", plain):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def refuse_repeated_keys(text: bytes) -> None:
    """
    Two values of one key would mean one to us and another to somebody else.

    Raises:
        BadJson: The outermost object of *text*, valid JSON, has a key twice.

    Keys are counted wherever they are; only when one occurs twice, or is written
    with an escape, is it worth to look which object it is in.
    """
    if b"\\" not in text and not _SPACED.search(text):
        # Each key ends with the two bytes ``":``, and begins after the quote before
        # them.  What else ends so, begins a string: at most it counts as one more.
        heads = text.split(b'":')
        heads.pop()
        if len({head.rpartition(b'"')[2] for head in heads}) == len(heads):
            return
    keys = [string for string, colon in _STRINGS.findall(text) if colon]
    if len(set(keys)) == len(keys) and not any(b"\\" in key for key in keys):
        return
    depth = 0

    def judge(pairs: list[tuple[str, Any]]) -> set[str]:
        nonlocal depth
        depth = len({key for key, _ in pairs}) - len(pairs)
        return {key for key, _ in pairs}

    try:
        # The outermost object is judged last.
        json.loads(text, object_pairs_hook=judge, parse_int=float)
    except RecursionError:
        raise BadJson("it is nested too deeply") from None
    if depth:
        raise BadJson("a key occurs twice")


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
