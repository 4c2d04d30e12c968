# SPDX-License-Identifier: Apache-2.0
"""JSON web tokens of a host application (RFC 7519), checked with PyJWT.

    JWT_SECRET   one key, HS256
    JWT_JWKS     the key set of a file or an https URL; RS256 for its RSA keys, ES256
                 for its P-256 keys, nothing for all others

A token's ``alg`` decides nothing: each key has one algorithm, fixed here (RFC 8725,
3.1), so that ``none``, or HS256 with a public key as its secret, cannot pass.  ``exp``
is required; ``nbf``, ``iat``, ``iss`` and ``aud`` hold.
"""

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chatmotor.errors import OperatorError, TokenExpired, Unauthenticated, Unavailable
from chatmotor.ports.credentials import HostIdentity

MAX_TOKEN_CHARACTERS = 8 * 1024
MAX_DEVICE_CHARACTERS = 64
# Clocks of two machines differ by less.
LEEWAY_SECONDS = 10
KEYS_SECONDS = 300.0
REFRESH_SECONDS = 10.0
FETCH_SECONDS = 5.0
_MIN_SECRET = 32
# No store keeps a larger number.
_LAST_MS = 2**53

_log = logging.getLogger(__name__)


class JwtVerifier:
    """
    See ``HostTokens``.

    Args:
        issuer, audience: What ``iss`` and ``aud`` must be; empty: any issuer, and
            no audience.
        clock: Seconds that never go back.

    Raises:
        OperatorError: PyJWT is not installed, or neither or both of the secret and the
            key set are given, or one of them cannot be right.
    """

    def __init__(
        self,
        *,
        secret: str = "",
        jwks: str = "",
        issuer: str = "",
        audience: str = "",
        username_claim: str = "sub",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jwt = _import_jwt()
        if bool(secret) == bool(jwks):
            raise OperatorError("set one of JWT_SECRET and JWT_JWKS, not both")
        if secret and len(secret) < _MIN_SECRET:
            raise OperatorError(
                f"JWT_SECRET must have at least {_MIN_SECRET} characters"
            )
        self._secret = secret
        self._keys = _KeySet(self._jwt, jwks, clock) if jwks else None
        self._issuer = issuer or None
        self._audience = audience or None
        self._claim = username_claim

    async def identify(self, token: str) -> HostIdentity:
        """See ``HostTokens.identify``."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated("the token is too long")
        if self._keys is None:
            return self._read(token, self._secret, "HS256")
        key, algorithm = await self._keys.key(self._kid(token))
        return self._read(token, key, algorithm)

    def _kid(self, token: str) -> str | None:
        try:
            kid = self._jwt.get_unverified_header(token).get("kid")
        except (self._jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("the token is not valid") from None
        return kid if isinstance(kid, str) else None

    def _read(self, token: str, key: Any, algorithm: str) -> HostIdentity:
        jwt = self._jwt
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp"]},
            )
            expires = min(int(float(claims["exp"]) * 1000), _LAST_MS)
        except jwt.ExpiredSignatureError:
            raise TokenExpired("the token has expired; get a new one") from None
        except (
            jwt.PyJWTError,
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as wrong:
            _log.debug("a token is refused: %s", type(wrong).__name__)
            raise Unauthenticated("the token is not valid") from None
        name = claims.get(self._claim)
        if not isinstance(name, str):
            raise Unauthenticated("the token names no user")
        return HostIdentity(name, _device(claims.get("device")), expires)


class _KeySet:
    """
    The keys of a JWKS (RFC 7517) by ``kid``, read again when they are old, or when a
    token names another; at most every REFRESH_SECONDS, whatever tokens name.
    """

    def __init__(self, jwt: Any, source: str, clock: Callable[[], float]) -> None:
        _check_source(source)
        self._jwt = jwt
        self._source = source
        self._clock = clock
        self._keys: Mapping[str | None, tuple[Any, str]] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._reading = asyncio.Lock()

    async def key(self, kid: str | None) -> tuple[Any, str]:
        """
        The key of this id, or the only one; and its algorithm.

        Raises:
            Unauthenticated: There is none.
            Unavailable: No key set was ever read.
        """
        if self._is_old(self._read_at, KEYS_SECONDS) or kid not in self._keys:
            async with self._reading:
                if self._is_old(self._tried_at, REFRESH_SECONDS):
                    await self._refresh()
        if self._read_at is None:
            raise Unavailable("the keys of the host cannot be read now; try again")
        try:
            return self._keys[kid]
        except KeyError:
            raise Unauthenticated("the token is not valid") from None

    def _is_old(self, at: float | None, seconds: float) -> bool:
        return at is None or self._clock() - at >= seconds

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            found = await asyncio.to_thread(self._load)
        except Exception as failed:  # noqa: BLE001  # files, sockets, TLS, JSON
            # The old keys stay: a host that is away has not revoked them.
            _log.warning("JWT_JWKS cannot be read: %s", type(failed).__name__)
            return
        self._keys = self._usable(found)
        self._read_at = self._clock()
        if not self._keys:
            _log.warning("JWT_JWKS has no key for RS256 or ES256")

    def _load(self) -> Any:
        if "://" in self._source:
            client = self._jwt.PyJWKClient(
                self._source, cache_jwk_set=False, timeout=FETCH_SECONDS
            )
            return client.fetch_data()
        return json.loads(Path(self._source).read_text("utf-8"))

    def _usable(self, found: Any) -> Mapping[str | None, tuple[Any, str]]:
        keys: dict[str | None, tuple[Any, str]] = {}
        listed = found.get("keys") if isinstance(found, dict) else None
        for each in listed if isinstance(listed, list) else []:
            algorithm = _algorithm(each)
            if algorithm is None:
                continue
            try:
                key = self._jwt.PyJWK(each, algorithm=algorithm)
            except (self._jwt.PyJWTError, ValueError, TypeError):
                continue
            kid = each.get("kid")
            keys[kid if isinstance(kid, str) else None] = (key, algorithm)
        if len(keys) == 1:  # a token need not name the only key
            keys[None] = next(iter(keys.values()))
        return keys


def _algorithm(key: Any) -> str | None:
    """The one algorithm of a key of the set; none: it is not for us."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return None
    algorithm = None
    if key.get("kty") == "RSA":
        algorithm = "RS256"
    elif key.get("kty") == "EC" and key.get("crv") == "P-256":
        algorithm = "ES256"
    return algorithm if key.get("alg", algorithm) == algorithm else None


def _device(claim: Any) -> str | None:
    is_name = (
        isinstance(claim, str)
        and 0 < len(claim) <= MAX_DEVICE_CHARACTERS
        and claim.isprintable()
    )
    return claim if is_name else None


def _check_source(source: str) -> None:
    if "://" not in source:
        return
    parts = urlsplit(source)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_this_machine(parts.hostname or ""):
        return
    raise OperatorError(
        "JWT_JWKS must be a file or an https URL: whoever can change the keys on their "
        "way can be anyone"
    )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _import_jwt() -> Any:
    try:
        import jwt  # noqa: PLC0415  # an extra: most installations have no host
    except ImportError:
        raise OperatorError(
            "JWT_SECRET and JWT_JWKS need PyJWT; install it with "
            "pip install 'chatmotor[jwt]'"
        ) from None
    return jwt
