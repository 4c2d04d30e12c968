# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/in/<code>``: whoever knows the URL writes into one conversation.

    {"text": "…"} | {"body": …} | payload=<that> in a form | text/plain

The code in the URL is all that proves anything, so it is in no log (see
``controllers/base.py``), and a wrong one is answered as any path that is not there.
The account that made the hook is the sender.  Reference: docs/reference/webhooks.md.
"""

import secrets
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

import msgspec

from chatmotor.controllers.requests import Edge, decode
from chatmotor.controllers.rpc import CommandController
from chatmotor.core.hooks import PATH, IncomingHooks, no_such_path
from chatmotor.errors import (
    BadJson,
    NoSuchConv,
    NotMember,
    RequestRefused,
    Suspended,
)
from chatmotor.protocol.account_bodies import IncomingMessage
from chatmotor.protocol.commands import Send
from chatmotor.protocol.replies import encode

MAX_KEY = 255
_FORM = "application/x-www-form-urlencoded"


class IncomingController(CommandController):
    """One message."""

    def initialize(self, edge: Edge, **parts: Any) -> None:
        """Called by Tornado with the arguments of the route."""
        super().initialize(edge, **parts)
        self._incoming: IncomingHooks = parts["incoming"]

    async def run(self, name: str) -> dict[str, Any]:
        """Store it; *name* is the code."""
        hook, caller = await self._incoming.by_code(name)
        content = self.whole_content()
        message = read_message(self.request.headers.get("Content-Type", ""), content)
        command = Send(
            id=0,
            cid=_cid(hook.id, message.cid or self._key()),
            conv=hook.conv,
            body=message.body,
        )
        try:
            return await self.run_for(caller, command)
        except (NoSuchConv, NotMember, Suspended):
            raise no_such_path() from None  # it has just ended

    def _key(self) -> str:
        key = self.request.headers.get("Idempotency-Key", "")
        if len(key) > MAX_KEY:
            raise RequestRefused(
                f"a key has at most {MAX_KEY} characters", field="Idempotency-Key"
            )
        return key


def read_message(content_type: str, content: bytes) -> IncomingMessage:
    """
    The message in a request; its ``body`` is what is stored.

    Raises:
        BadJson, RequestRefused: There is none.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/plain":
        try:
            message = IncomingMessage(text=content.decode())
        except UnicodeDecodeError:
            raise RequestRefused("the text must be UTF-8", field="text") from None
    elif kind == _FORM and not content.lstrip().startswith(b"{"):  # curl -d '{…}'
        message = decode(_payload(content), IncomingMessage)
    else:
        message = decode(content, IncomingMessage)
    if (message.text is None) == (not message.body):
        raise RequestRefused("a message has either text or body", field="text")
    if message.text is not None:
        if not message.text.strip():
            raise RequestRefused("the text is empty", field="text")
        message.body = msgspec.Raw(encode(message.text))
    return message


def _payload(content: bytes) -> bytes:
    try:
        fields = parse_qs(content.decode("ascii"), max_num_fields=20, errors="strict")
        return fields["payload"][0].encode()
    except (ValueError, KeyError):
        raise BadJson("a form has the message as JSON in its field payload") from None


def _cid(hook: str, key: str) -> str:
    """
    The cid of a message.  One with a key is stored once; keys of different hooks,
    and cids of the account's own, do not meet.
    """
    name = sha256(key.encode()).hexdigest()[:32] if key else secrets.token_hex(16)
    return f"{hook}.{name}"


def incoming_routes(**given: Any) -> list[Any]:
    """The route of this module, for Tornado."""
    return [(PATH + r"(.*)", IncomingController, given)]
