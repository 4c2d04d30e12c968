# SPDX-License-Identifier: Apache-2.0
"""The contents of HTTP requests about accounts, and of their answers, as typed structs.

Requests are read with these, and the OpenAPI document is made from them.  Unknown
fields are ignored.  What a text must be beyond its type is said in core/.
"""

from typing import Annotated

from msgspec import Meta, Raw, Struct, field

from chatmotor.protocol.event_types import EVENT_TYPES


def _text(description: str, kind: str, least: int, most: int) -> Meta:
    """
    A text with rules that no type can say.  They are judged in core/, which says what
    is wrong; the documents name its bounds and its *kind*.
    """
    bounds = {"minLength": least, "maxLength": most}
    return Meta(description=description, extra_json_schema={"format": kind} | bounds)


def _number(description: str, **bounds: int) -> Meta:
    """The same, for a number."""
    return Meta(description=description, extra_json_schema=dict(bounds))


Username = Annotated[str, _text("In any spelling of it.", "username", 1, 256)]
Password = Annotated[
    str, _text("8 characters to 256 bytes of UTF-8.", "password", 8, 256)
]
DisplayName = Annotated[str, _text("Visible characters.", "visible", 0, 64)]
DeviceName = Annotated[str, _text("Visible characters.", "visible", 1, 64)]
Uses = Annotated[int, _number("How many may use it.", minimum=1, maximum=10_000)]
Days = Annotated[float, _number("How long.", exclusiveMinimum=0, maximum=365)]
HookKindName = Annotated[str, Meta(extra_json_schema={"enum": ["webhook", "amqp"]})]
HookUrl = Annotated[str, _text("Of a webhook.", "webhook-url", 0, 2000)]
TypeName = Annotated[str, Meta(extra_json_schema={"enum": sorted(EVENT_TYPES)})]
SomeText = Annotated[str, Meta(extra_json_schema={"pattern": r"\S"})]
Code = Annotated[str, Meta(description="What stands after # in a one-time link.")]
Milliseconds = Annotated[int, Meta(description="Since the Unix epoch, UTC.")]


class SignUp(Struct):
    """
    An account to be made.

    Args:
        password: 8 characters to 256 bytes of UTF-8; with the server API key none will
            do.
    """

    username: Username
    password: Password | None = None
    display_name: DisplayName | None = None
    invite: Code | None = None


class TokenRequest(Struct):
    """
    A log-in.

    Args:
        device: The name of the client; the same one is the same device.
    """

    username: Username
    password: str
    device: DeviceName | None = None


class PasswordChange(Struct):
    """The present password, and the one to come."""

    password: str
    new_password: Password


class PasswordReset(Struct):
    """A reset link's code, and the password to come."""

    code: Code
    password: Password


class SetUp(Struct):
    """A set-up link's code, and the first administrator."""

    code: Code
    username: Username
    password: Password
    display_name: DisplayName | None = None


class NewInvite(Struct):
    """An invitation to be made."""

    uses: Uses = 1
    days: Days = 7


class NewResetLink(Struct):
    """Whose password is to be reset."""

    username: Username


class NewOutgoingHook(Struct):
    """
    Where the events of an account are to go.

    Args:
        kind: "webhook", or with RabbitMQ "amqp".
        url: Of a webhook: http or https.
        types: Types of events; none: all.
        conv: Only what concerns this conversation.
    """

    username: Username
    kind: HookKindName = "webhook"
    url: HookUrl = ""
    types: list[TypeName] = []
    conv: Annotated[str, Meta(max_length=64)] | None = None


class IncomingMessage(Struct):
    """
    What an incoming hook takes: a text, or any JSON.

    Args:
        cid: A name for this message: sent again with it, it is stored once.
    """

    text: SomeText | None = None
    body: Raw = field(default_factory=Raw)
    cid: Annotated[str, Meta(max_length=255)] | None = None


class User(Struct):
    """An account as everybody sees it."""

    username: str
    display_name: str


class UserAnswer(Struct):
    """An account that was made."""

    user: User


class TokenAnswer(Struct):
    """A log-in; the token is said only here."""

    token: str
    device: str
    expires: Milliseconds


class LinkAnswer(Struct):
    """A one-time link."""

    link: str
    expires: Milliseconds


class AccountItem(Struct):
    """An account as administrators see it."""

    username: str
    display_name: str
    admin: bool
    closed: bool
    created: Milliseconds


class AccountList(Struct):
    """Some accounts; ``more`` follow."""

    items: list[AccountItem]
    more: bool


class OutgoingHook(Struct):
    """
    An outgoing hook as administrators see it.

    Args:
        types: Types of events; none: all.
        state: "on"; "off": it was switched off; "closed": its account is deactivated.
        behind: How many events it has before it.
        failures: Attempts that failed, one after the other, up to now.
        failing_since: When the first of them did.
        error: What the last one failed of.
    """

    hook: str
    username: str
    kind: str
    url: str
    types: list[str]
    conv: str | None
    created: Milliseconds
    state: str
    behind: int
    failures: int
    failing_since: Milliseconds | None
    error: str


class OutgoingHookList(Struct):
    """Some hooks; ``more`` follow."""

    items: list[OutgoingHook]
    more: bool


class OutgoingHookMade(Struct):
    """A hook that was made; the secret is said only here."""

    hook: OutgoingHook
    secret: str


class HookSecret(Struct):
    """Another secret; the one before it signs, too, until ``old_until``."""

    secret: str
    old_until: Milliseconds


class HookTried(Struct):
    """Whether the target took a test event; ``error``: why not."""

    delivered: bool
    error: str


class Refusal(Struct, omit_defaults=True):
    """Every error."""

    code: str
    msg: str
    retry: bool
    retry_ms: int | None = None
    field: str | None = None
