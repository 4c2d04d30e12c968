# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as one tree.  Docs and answers are made from its attributes.

Errors of one module only stand there, as subclasses (protocol/frames.py).

    ChatmotorError          never raised itself
    +-- OperatorError       the operator must act; printed as one sentence, exit 2
    +-- RequestRefused      an HTTP request is answered with ``code`` and ``status``
    +-- OutcomeUnknown      a write that may have happened; a socket gets no answer
    `-- FrameRefused        a WebSocket is closed with ``close_code`` (RFC 6455, 7.4)

No message of this tree carries a token, a password, a path or the text of a chat.
"""

from collections.abc import Mapping


class ChatmotorError(Exception):
    """The root.  Catch it, never raise it."""


class OperatorError(ChatmotorError):
    """
    Chatmotor cannot run as it is set up.

    The text is one sentence that names the cause and says what to do.
    """


class RequestRefused(ChatmotorError):
    """
    An HTTP request, or a WebSocket upgrade, that is not served.

    Args:
        msg: What is wrong and what to do, for the person who wrote the client.
        field: The part of the request that is wrong, if there is one.
    """

    code = "bad_request"
    status = 400
    temporary = False
    retry_ms: int | None = None
    headers: Mapping[str, str] = {}

    def __init__(self, msg: str, *, field: str | None = None) -> None:
        super().__init__(msg)
        self.msg = msg
        self.field = field

    def to_wire(self) -> dict[str, object]:
        """The JSON body: ``{code, msg, retry, retry_ms?, field?}``."""
        body: dict[str, object] = {
            "code": self.code,
            "msg": self.msg,
            "retry": self.temporary,
        }
        if self.retry_ms is not None:
            body["retry_ms"] = self.retry_ms
        if self.field is not None:
            body["field"] = self.field
        return body


class InvalidName(RequestRefused):
    """A username that nobody can have: empty, too long, or with control characters."""


class NotFound(RequestRefused):
    """No such path."""

    code = "not_found"
    status = 404


class MethodNotAllowed(RequestRefused):
    """The path exists, but not for this HTTP method."""

    code = "method_not_allowed"
    status = 405


class UpgradeRequired(RequestRefused):
    """
    A WebSocket endpoint was asked for without a usable upgrade.

    The headers say what would be one (RFC 6455, 4.2.2 and 4.4; RFC 9110, 15.5.22).
    """

    code = "upgrade_required"
    status = 426
    headers: Mapping[str, str] = {
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
    }


class TlsInProcess(RequestRefused):
    """
    The application around this node serves TLS itself, and a socket in the middle of
    TLS cannot be handed over.  Not another moment can help, but another set-up.
    """

    code = "tls_in_process"
    status = 501


class Forbidden(RequestRefused):
    """The request is understood and will never be served to this peer."""

    code = "forbidden"
    status = 403


class Unavailable(RequestRefused):
    """This node cannot serve the request now; another node, or a moment later, can."""

    code = "unavailable"
    status = 503
    temporary = True
    retry_ms = 1000


class UnknownOp(RequestRefused):
    """No command has this name."""

    code = "unknown_op"
    status = 404


class BadJson(RequestRefused):
    """What came is not JSON, or not a JSON object."""

    code = "bad_json"


class TooLarge(RequestRefused):
    """A part of the request is longer than its limit."""

    code = "too_large"
    status = 413


class Unauthenticated(RequestRefused):
    """The request needs a token, and has none or one that is not known here."""

    code = "unauthenticated"
    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class TokenExpired(Unauthenticated):
    """The token was good once; log in again."""

    code = "token_expired"


class Suspended(RequestRefused):
    """The account is deactivated."""

    code = "suspended"
    status = 403


class UnsupportedVersion(RequestRefused):
    """The client speaks a version of the protocol that is not spoken here."""

    code = "unsupported_version"


class Trimmed(RequestRefused):
    """The events after this position are no longer kept; ``sync`` and go on from it."""

    code = "trimmed"
    status = 410


class QuotaExceeded(RequestRefused):
    """A limit that only the operator, or making room, can change."""

    code = "quota_exceeded"
    status = 409


class TooManyDevices(QuotaExceeded):
    """The account has as many devices as are allowed; revoke one."""

    code = "too_many_devices"


class NoSuchDevice(RequestRefused):
    """The account has no device of this name."""

    code = "no_such_device"
    status = 404


class NoSuchHook(RequestRefused):
    """No hook has this id, or none that the account may know of."""

    code = "no_such_hook"
    status = 404


class RateLimited(RequestRefused):
    """The allowance is spent; the same request can work after ``retry_ms``."""

    code = "rate_limited"
    status = 429
    temporary = True

    def __init__(self, msg: str, *, retry_ms: int) -> None:
        super().__init__(msg)
        self.retry_ms = retry_ms
        self.headers = {"Retry-After": str(-(-retry_ms // 1000))}


class TooManyInFlight(RequestRefused):
    """The account has too many requests under way over HTTP."""

    code = "too_many_in_flight"
    status = 429
    temporary = True
    retry_ms = 1000


class StoreUnavailable(Unavailable):
    """
    The store cannot be reached or written to.

    Nothing was written by this attempt, and nothing of it will appear later.
    """


class NoSuchUser(RequestRefused):
    """No account has this username."""

    code = "no_such_user"
    status = 404


class NoSuchConv(RequestRefused):
    """
    No conversation has this id, or the account was never in it.

    Both are one answer, so that guessing ids tells nobody what exists.
    """

    code = "no_such_conv"
    status = 404


class NotMember(RequestRefused):
    """The account was in this group, and is not any more."""

    code = "not_member"
    status = 403


class Conflict(RequestRefused):
    """What is to be created exists already."""

    code = "conflict"
    status = 409


class CidConflict(RequestRefused):
    """The account has used this ``cid`` before, for something else."""

    code = "cid_conflict"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "this cid was used before with other content; take a new one", field="cid"
        )


class OutcomeUnknown(ChatmotorError):
    """
    The store failed while it committed; whether it has written is not known yet.

    No answer would be true: an error is final, and a success may not be one.  The
    connection is closed in a way that makes the client ask again with its ``cid``,
    and then the store knows.  For that reason it is not a ``RequestRefused``.
    """


class FrameRefused(ChatmotorError):
    """A frame that ends its connection, with the close code that says why."""

    close_code = 1002

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotJson(FrameRefused):
    """A text frame that is not JSON, or not UTF-8 (close 1007, invalid payload)."""

    close_code = 1007


class NoDestination(FrameRefused):
    """JSON without a string ``destination`` (close 1008, policy violation)."""

    close_code = 1008
