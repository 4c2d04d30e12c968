# SPDX-License-Identifier: Apache-2.0
"""Builds the use cases of accounts from the options.

For the bindings of a node, and for the command line where no node runs.
"""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chatmotor.adapters.argon2_hasher import Argon2Hasher
from chatmotor.adapters.common_passwords import common_passwords
from chatmotor.adapters.host_users import AskedUsers, Users
from chatmotor.adapters.jwt_verifier import JwtVerifier
from chatmotor.controllers.requests import Edge, trusted_networks
from chatmotor.core.account_parts import AccountParts, AccountsStore
from chatmotor.core.accounts import Accounts, SignUp
from chatmotor.core.administration import DAY_MS, Administration
from chatmotor.core.passwords import PasswordRules
from chatmotor.core.throttle import Throttle
from chatmotor.errors import OperatorError
from chatmotor.options import Settings
from chatmotor.ports.credentials import HostTokens, PasswordHasher
from chatmotor.ports.messages import Logged

SECRET_BYTES = 32
MIN_SERVER_KEY = 32


@dataclass(frozen=True, slots=True)
class Embedding:
    """
    What a program that has a node within it brings along, in place of the usual.

    Args:
        users: Says whose a token is; then nobody signs up or logs in here.
    """

    users: Users | None = None
    hasher: PasswordHasher | None = None


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def account_parts(
    settings: Settings,
    store: AccountsStore,
    *,
    tell: Callable[[Iterable[Logged]], None],
    recheck: Callable[[str], None],
    hasher: PasswordHasher | None = None,
) -> AccountParts:
    """What the use cases share; *tell* and *recheck* are described there."""
    return AccountParts(
        store=store,
        hasher=Argon2Hasher() if hasher is None else hasher,
        passwords=PasswordRules(common_passwords()),
        throttle=Throttle(
            store,
            account_attempts=settings.LOGIN_ATTEMPTS,
            address_attempts=settings.ADDRESS_ATTEMPTS,
        ),
        now=now_ms,
        new_secret=lambda: secrets.token_urlsafe(SECRET_BYTES),
        tell=tell,
        recheck=recheck,
    )


def has_host(settings: Settings) -> bool:
    """Whether the users are those of a host application."""
    return bool(settings.JWT_SECRET or settings.JWT_JWKS)


def accounts(
    settings: Settings, parts: AccountParts, embedding: Embedding | None = None
) -> Accounts:
    """
    What people and their programs do.

    Raises:
        OperatorError: Options about tokens of a host, or the server API key, cannot
            be right.
    """
    key = settings.SERVER_API_KEY
    if key and len(key) < MIN_SERVER_KEY:
        raise OperatorError(
            f"SERVER_API_KEY must have at least {MIN_SERVER_KEY} characters"
        )
    users = None if embedding is None else embedding.users
    return Accounts(
        parts,
        sign_up=SignUp(settings.SIGN_UP),
        token_ms=int(settings.TOKEN_DAYS * DAY_MS),
        devices_max=settings.DEVICES_MAX,
        server_key=key,
        host_tokens=_host_tokens(settings, users),
    )


def _host_tokens(settings: Settings, users: Users | None) -> HostTokens | None:
    if users is None and not has_host(settings):
        return None
    if users is not None:
        if has_host(settings):
            raise OperatorError(
                "the users are those of the application, or those of JWT_SECRET or "
                "JWT_JWKS, not both"
            )
        return AskedUsers(users, lease_ms=int(settings.TOKEN_DAYS * DAY_MS), now=now_ms)
    return JwtVerifier(
        secret=settings.JWT_SECRET,
        jwks=settings.JWT_JWKS,
        issuer=settings.JWT_ISSUER,
        audience=settings.JWT_AUDIENCE,
        username_claim=settings.JWT_USERNAME_CLAIM,
    )


def administration(
    settings: Settings, parts: AccountParts, embedding: Embedding | None = None
) -> Administration:
    """What operators do."""
    is_hosts = embedding is not None and embedding.users is not None
    return Administration(
        parts, url=settings.PUBLIC_URL, has_host=is_hosts or has_host(settings)
    )


def edge(settings: Settings) -> Edge:
    """
    What is believed about requests.

    Raises:
        OperatorError: TRUSTED_PROXIES has something else than networks.
    """
    return Edge(
        trusted_networks(settings.TRUSTED_PROXIES),
        frozenset(origin.lower() for origin in settings.ALLOWED_ORIGINS),
    )
