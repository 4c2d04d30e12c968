# SPDX-License-Identifier: Apache-2.0
"""The classic contract: one URL, one key, and the text passes through untouched.

    in     {"destination": "bob", …}     every other key belongs to the clients
    out    the same text, byte for byte

This module reads the one key that is ours and decides what a bad text costs.
Wire reference: docs/reference/classic.md.
"""

import json
from typing import Any, NoReturn

import msgspec

from chatmotor.errors import NoDestination, NotJson
from chatmotor.protocol.events import Fragment, is_message


class _Envelope(msgspec.Struct):
    destination: str


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def read_destination(text: bytes) -> str:
    """
    The recipient that *text*, one UTF-8 text frame, names.

    Raises:
        NotJson: It is not JSON (RFC 8259); close 1007.
        NoDestination: ``destination`` is missing or no string; close 1008.
    """
    try:
        return _decode_envelope(text).destination
    except (msgspec.DecodeError, RecursionError):
        return _read_destination_slowly(text)


def classic_text(fragment: Fragment, reader: str) -> bytes | None:
    """
    What a classic client of *reader* gets of an event in its mailbox.

    A message that came as a text goes on as that text; one with a ``body`` is put
    into the form that the first Chatmotor's clients know.  Own messages are not
    sent back, but for those to oneself; other events have no classic form.
    """
    if not is_message(fragment):
        return None
    try:
        event = fragment.fields()
        sender, conv = event["from"], event["conv"]
    except (msgspec.MsgspecError, KeyError):
        return None  # a notice of somebody who does not know how
    _, _, ids = conv.partition(".")
    one, _, other = ids.partition(".")
    if sender == reader and not event.get("from_guest") and one != other:
        return None
    if "raw" in event:
        return str(event["raw"]).encode()
    return msgspec.json.encode(
        {
            "sender": sender,
            "destination": reader,
            "payload": event.get("body"),
            "type": "instant_message",
        }
    )


def _read_destination_slowly(text: bytes) -> str:
    """
    Judge what the quick decoder refused.

    It refuses some texts that RFC 8259 allows (an escaped lone surrogate, as a
    browser makes of half an emoji), and reports a wrong type before it has seen
    whether the rest is JSON at all.
    """
    try:
        # Numbers become floats: an integer of 5,000 digits must cost nothing.
        # Decoded first: json.loads takes bytes for UTF-16, UTF-32 or a BOM, too.
        value: Any = json.loads(
            text.decode(), parse_constant=_refuse_constant, parse_int=float
        )
    except RecursionError:
        raise NoDestination("the message is nested too deeply") from None
    except ValueError:
        raise NotJson("a message must be JSON") from None
    destination = value.get("destination") if isinstance(value, dict) else None
    if not isinstance(destination, str):
        raise NoDestination('a message needs a string "destination"')
    return destination


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
