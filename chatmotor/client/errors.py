# SPDX-License-Identifier: Apache-2.0
"""What can go wrong for a program that uses the client.

    ClientError           never raised itself
    +-- Refused           the server has answered ``error``; this attempt is final
    +-- SessionEnded      there is no way back; everything that waits fails
    +-- Disconnected      the connection was lost before the answer; nobody knows
    +-- StateFileRefused  the state file is in use, or is no such file
    +-- NotUnderstood     the server has answered in a form that is not known here
    `-- Misused           the program asked for something that makes no sense

No message of this tree carries a token or the text of a chat.
"""

from collections.abc import Mapping
from typing import Any, Self

from chatmotor.errors import ChatmotorError


class ClientError(ChatmotorError):
    """The root of the client's errors.  Catch it, never raise it."""


class Refused(ClientError):
    """
    The server understood, and will not do it.

    Args:
        code: For programs; docs/reference/protocol.md lists them.
        msg: For people.
        retry: Whether the same can work later, and
        retry_ms: when.
        field: What is wrong, if it is one field.
    """

    def __init__(
        self,
        code: str,
        msg: str = "",
        *,
        retry: bool = False,
        retry_ms: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {msg}" if msg else code)
        self.code = code
        self.msg = msg
        self.retry = retry
        self.retry_ms = retry_ms
        self.field = field

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """The error with these fields of a frame, or of an HTTP answer, if they fit."""
        retry_ms = fields.get("retry_ms")
        return cls(
            str(fields.get("code", "internal")),
            str(fields.get("msg", "")),
            retry=fields.get("retry") is True,
            retry_ms=retry_ms if type(retry_ms) is int else None,
            field=str(fields["field"]) if "field" in fields else None,
        )


class SessionEnded(ClientError):
    """
    The session is over, and the same would happen again.

    Args:
        code: The close code, 4500 to 4999 from the server; 4010 with a token that
            nobody renews; 1000 after ``close()``; 1011 when the state file cannot be
            written; else the HTTP status with which the connection was refused.
        reason: For people.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the session has ended: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Disconnected(ClientError):
    """
    There was no connection, or it was lost before the answer came.

    Raised for what the client does not repeat by itself: it may have happened.
    """


class StateFileRefused(ClientError):
    """The state file cannot be used; the text says why, and what to do."""


class NotUnderstood(ClientError):
    """The server's answer has another form; one of the two is of another version."""


class Misused(ClientError):
    """The program has asked for something that cannot be: the text says what."""
