# SPDX-License-Identifier: Apache-2.0
"""A command that came by AMQP: who asks, may it, and the frame that answers it.

    user_id, JSON --> account --> Dispatcher.run --> ok | error

The name of the RabbitMQ user is the proof: RabbitMQ refuses a message with another
one.  The caller may what the account may, as with the server API key, and is never an
administrator.
Reference: docs/reference/amqp.md.
"""

import logging
from typing import Any, Final, Protocol

import msgspec

from chatmotor.errors import (
    BadJson,
    NoSuchUser,
    OutcomeUnknown,
    RequestRefused,
    StoreUnavailable,
    TooLarge,
    Unauthenticated,
)
from chatmotor.metrics import Metrics
from chatmotor.ports.accounts import Grant
from chatmotor.protocol import replies
from chatmotor.protocol.commands import Called, Id, command_id, decode_call

logger = logging.getLogger(__name__)

_FAILED: Final = {"code": "internal", "msg": "the server failed", "retry": True}


class ActsFor(Protocol):
    """Who somebody is; see ``Accounts``."""

    async def act_for(self, username: str) -> Grant:
        """Raises ``NoSuchUser``, ``Suspended``, ``StoreUnavailable``."""


class Runs(Protocol):
    """What a command does; see ``Dispatcher``."""

    async def run(self, command: Called, caller: Grant) -> dict[str, Any]:
        """Returns the fields of ``ok``."""


class _Envelope(msgspec.Struct, kw_only=True):
    op: str
    id: Id | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


class AmqpRequests:
    """
    Answers requests.

    Args:
        max_bytes: Of a request.
    """

    def __init__(
        self, accounts: ActsFor, dispatcher: Runs, metrics: Metrics, *, max_bytes: int
    ) -> None:
        self._accounts = accounts
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._max_bytes = max_bytes

    async def answer(self, user: str | None, request: bytes) -> bytes:
        """
        Do what *request* asks for; the ``ok`` or ``error`` frame.

        Args:
            user: The RabbitMQ user that RabbitMQ vouches for; none when nobody does.

        Raises:
            StoreUnavailable, OutcomeUnknown: No answer would be true.
        """
        if len(request) > self._max_bytes:
            return self._refuse(
                None, TooLarge(f"a request may have at most {self._max_bytes} bytes")
            )
        try:
            caller = await self._caller(user)
            reply_to, command = decode_request(request)
            fields = await self._dispatcher.run(command, caller)
        except (StoreUnavailable, OutcomeUnknown):
            raise
        except RequestRefused as refused:
            return self._refuse(command_id(request), refused)
        except Exception:
            logger.exception("a request over AMQP failed")
            frame = {"op": "error", "id": command_id(request)}
            return replies.encode(frame | _FAILED)
        return replies.ok(reply_to, fields)

    async def _caller(self, user: str | None) -> Grant:
        if not user:
            raise Unauthenticated(
                "set the property user_id to the name of your RabbitMQ user"
            )
        try:
            return await self._accounts.act_for(user)
        except NoSuchUser:
            raise Unauthenticated(
                f"no account has the name of the RabbitMQ user {user[:64]!r}; make it, "
                "or have a RabbitMQ user with the name of your account"
            ) from None

    def _refuse(self, reply_to: Id | None, refused: RequestRefused) -> bytes:
        self._metrics.refused[refused.code] += 1
        return replies.error(reply_to, refused)


def decode_request(request: bytes) -> tuple[Id | None, Called]:
    """
    The ``id`` and the command of *request*, UTF-8.

    Raises:
        BadJson: It is no JSON object, or a key occurs twice in it.
        UnknownOp: ``op`` names no command that can be called.
        RequestRefused: ``field`` names what is wrong.
    """
    try:
        envelope = _decode_envelope(request)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        words = str(error)
        if words.endswith("`$.id`"):
            raise RequestRefused(
                "an id is an integer, or a string of at most 32 characters", field="id"
            ) from None
        if words.endswith(("`$.op`", "field `op`")):
            raise RequestRefused('a command needs a string "op"', field="op") from None
        raise BadJson("a request must be a JSON object") from None
    return envelope.id, decode_call(envelope.op, request)
