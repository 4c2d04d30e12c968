# SPDX-License-Identifier: Apache-2.0
"""Events as bytes: written once, spliced into the frame of each reader.

    fragment   "t":"message.new","ts":1,"conv":"d.1.2","n":7,"from":"ann","body":"hi"
    frame      {"op":"ev","seq":12,  <fragment>  [,"cid":"c1"]  }

The number differs from mailbox to mailbox, and only the sender's own devices get the
``cid``; everything else of an event is the same for all, and is encoded once.
"""

from typing import Any

import msgspec

from chatmotor.ports.messages import Event, EventType, Message, NewMessage
from chatmotor.protocol.replies import encode

# A cid has 64 characters, each of them at most \u and four digits in JSON.
_CID_AT_END_BYTES = 400
_MEMBERSHIP = (b'"t":"conv.new"', b'"t":"conv.member"')


class Fragment(msgspec.Struct, array_like=True, frozen=True):
    """
    An event without its place in a log.

    Args:
        text: Its JSON fields, without braces.
        sender: Whose devices get the ``cid``; empty when there is none.
    """

    text: bytes
    sender: str = ""
    cid: str = ""

    def json(self, reader: str) -> bytes:
        """The fields as *reader* sees them, with the closing brace."""
        if self.cid and self.sender == reader:
            return self.text + cid_at_end(self.cid)
        return self.text + b"}"

    @property
    def concerns_members(self) -> bool:
        """Whether it says who is in a group."""
        return self.text.startswith(_MEMBERSHIP)

    def fields(self) -> dict[str, Any]:
        """The fields, decoded: for the few that somebody must understand."""
        found: dict[str, Any] = msgspec.json.decode(b"{" + self.text + b"}")
        return found


def cid_at_end(cid: str) -> bytes:
    """What the frame of an event ends with for its sender's devices, and no other."""
    return b',"cid":%b}' % encode(cid)


def cid_of_frame(frame: bytes) -> bytes:
    """
    The ``cid_at_end`` of a frame that has one.

    Any other frame ends differently: a body is followed by a brace or a field.
    """
    return frame[frame.rfind(b',"cid":"', -_CID_AT_END_BYTES) :]


def mailbox_frame(seq: int, fragment: Fragment, reader: str) -> bytes:
    """The ``ev`` of an event in *reader*'s mailbox."""
    return b'{"op":"ev","seq":%d,' % seq + fragment.json(reader)


def group_frame(pos: int, fragment: Fragment, reader: str) -> bytes:
    """The ``ev`` of an event in a group's log, as *reader* sees it."""
    return b'{"op":"ev","pos":%d,' % pos + fragment.json(reader)


def item(place: str, at: int, fragment: Fragment, reader: str) -> msgspec.Raw:
    """An event as an element of a list; *place*: ``seq`` or ``pos``."""
    head = b'{"%b":%d,' % (place.encode(), at)
    return msgspec.Raw(head + fragment.json(reader))


def new_message(message: NewMessage, conv: str, n: int, ts: int) -> Fragment:
    """The event of a message that has just been stored."""
    text = b'"t":"message.new",' + _message_fields(message, conv, n, ts)
    return Fragment(text, message.sender, message.cid)


def message_fragment(message: Message) -> Fragment:
    """The ``message.new`` of *message*."""
    text = b'"t":"message.new",' + message_fields(message)
    if message.guest:
        return Fragment(text)
    return Fragment(text, message.sender, message.cid)


def message_fields(message: Message) -> bytes:
    """The JSON fields of a message, without braces and cid."""
    fields = _message_fields(message, message.conv, message.n, message.ts)
    return fields + b',"from_guest":true' if message.guest else fields


def _message_fields(message: Message | NewMessage, conv: str, n: int, ts: int) -> bytes:
    content = (
        b'"raw":' + encode(message.body.decode("utf-8", "replace"))
        if message.raw
        else b'"body":' + message.body
    )
    fields = b'"ts":%d,"conv":"%b","n":%d,"from":%b,%b' % (
        ts,
        conv.encode(),
        n,
        encode(message.sender),
        content,
    )
    if message.reply_to is not None:
        fields += b',"reply_to":%d' % message.reply_to
    return fields


def message_item(message: Message, reader: str) -> msgspec.Raw:
    """A message as an element of ``history``; the cid for its own sender."""
    mine = not message.guest and message.sender == reader
    cid = b',"cid":' + encode(message.cid) if mine else b""
    return msgspec.Raw(b"{" + message_fields(message) + cid + b"}")


def fragment_of(event: Event) -> Fragment:
    """Any event, as it was read from a log or written to one."""
    if event.message is not None:
        return message_fragment(event.message)
    text = b'"t":"%b","ts":%d' % (event.t.value.encode(), event.ts)
    if event.conv is not None:
        text += b',"conv":"%b"' % event.conv.encode()
    if event.detail is not None and event.detail != "{}":
        text += b"," + event.detail.strip()[1:-1].encode()
    return Fragment(text)


def is_message(fragment: Fragment) -> bool:
    """Whether it is a ``message.new``."""
    return fragment.text.startswith(b'"t":"%b"' % EventType.MESSAGE_NEW.encode())
