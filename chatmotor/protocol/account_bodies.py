# SPDX-License-Identifier: Apache-2.0
"""The contents of HTTP requests about accounts, and of their answers, as typed structs.

Requests are read with these, and the OpenAPI document is made from them.  Unknown
fields are ignored.  What a text must be beyond its type is said in core/.
"""

from typing import Annotated

from msgspec import Meta, Struct

Username = Annotated[str, Meta(description="In any spelling of it.")]
Password = Annotated[str, Meta(description="8 characters to 256 bytes of UTF-8.")]
Code = Annotated[str, Meta(description="What stands after # in a one-time link.")]
Milliseconds = Annotated[int, Meta(description="Since the Unix epoch, UTC.")]


class SignUp(Struct):
    """An account to be made."""

    username: Username
    # Not needed with the server API key.
    password: Password | None = None
    display_name: str | None = None
    invite: Code | None = None


class TokenRequest(Struct):
    """A log-in."""

    username: Username
    password: str
    device: str | None = None


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
    display_name: str | None = None


class NewInvite(Struct):
    """An invitation to be made."""

    uses: int = 1
    days: float = 7


class NewResetLink(Struct):
    """Whose password is to be reset."""

    username: Username


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


class Refusal(Struct, omit_defaults=True):
    """Every error."""

    code: str
    msg: str
    retry: bool
    retry_ms: int | None = None
    field: str | None = None
