# SPDX-License-Identifier: Apache-2.0
"""Tokens of a host application: what passes, and the known ways to forge."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from chatmotor.adapters.jwt_verifier import REFRESH_SECONDS, JwtVerifier
from chatmotor.errors import OperatorError, TokenExpired, Unauthenticated, Unavailable

SECRET = "s" * 40


def claims(**changed: Any) -> dict[str, Any]:
    """Of ann, good for a minute; a claim that is set to none is left out."""
    now = int(time.time())
    all_ = {"sub": "Ann", "exp": now + 60} | changed
    return {name: value for name, value in all_.items() if value is not None}


def hs256(**changed: Any) -> str:
    """A token of the secret."""
    return jwt.encode(claims(**changed), SECRET, algorithm="HS256")


def unsigned(header: Mapping[str, Any], payload: Mapping[str, Any]) -> str:
    """A token without a signature."""

    def part(value: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part(header)}.{part(payload)}."


@dataclass
class Keys:
    """A host's private keys, and the file with the public ones."""

    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey
    file: Path

    def publish(self, *kids: str) -> None:
        """Write those keys: r... is the RSA key, e... the P-256 one."""
        keys = []
        for kid in kids:
            algorithm: Any = RSAAlgorithm if kid[0] == "r" else ECAlgorithm
            key: Any = self.rsa if kid[0] == "r" else self.ec
            keys.append(algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid})
        self.file.write_text(json.dumps({"keys": keys}))

    def sign(self, kid: str | None, **changed: Any) -> str:
        """A token of one of the keys; of the RSA key without a kid."""
        is_rsa = kid is None or kid[0] == "r"
        headers = None if kid is None else {"kid": kid}
        key: Any = self.rsa if is_rsa else self.ec
        algorithm = "RS256" if is_rsa else "ES256"
        return jwt.encode(claims(**changed), key, algorithm, headers)


@pytest.fixture(scope="module")
def pairs() -> tuple[rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey]:
    """Made once."""
    return (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP256R1()),
    )


@pytest.fixture
def keys(
    pairs: tuple[rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> Keys:
    """Published as r1 and e1."""
    made = Keys(*pairs, tmp_path / "jwks.json")
    made.publish("r1", "e1")
    return made


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def is_accepted(verifier: JwtVerifier, token: str) -> bool:
    """Whether the token names somebody."""
    try:
        await verifier.identify(token)
    except Unauthenticated:
        return False
    return True


async def test_a_signed_token_names_its_user() -> None:
    """Name as the host spells it, device, and when it ends."""
    expires = int(time.time()) + 60
    verifier = JwtVerifier(secret=SECRET)

    identity = await verifier.identify(hs256(exp=expires, device="tablet"))

    assert ("Ann", "tablet", expires * 1000) == (
        identity.name,
        identity.device,
        identity.expires,
    )


async def test_the_claim_of_the_name_can_be_chosen() -> None:
    """JWT_USERNAME_CLAIM."""
    verifier = JwtVerifier(secret=SECRET, username_claim="preferred_username")

    identity = await verifier.identify(hs256(preferred_username="bob"))

    assert "bob" == identity.name
    assert not await is_accepted(verifier, hs256())


@pytest.mark.parametrize("device", ["", "x" * 65, "a\nb", 5, None, {"a": 1}])
async def test_a_device_that_is_no_name_is_none(device: Any) -> None:
    """A claim of the same name that means something else does no harm."""
    identity = await JwtVerifier(secret=SECRET).identify(hs256(device=device))

    assert identity.device is None


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("inf")},
        {"nbf": int(time.time()) + 3600},
        {"sub": None},
        {"sub": 5},
        {"sub": ["ann"]},
        {"aud": "another"},
    ],
)
async def test_claims_that_do_not_hold_are_refused(changed: dict[str, Any]) -> None:
    """There is an exp, nbf and aud hold, and the name is a text."""
    assert not await is_accepted(JwtVerifier(secret=SECRET), hs256(**changed))


async def test_an_expired_token_says_so() -> None:
    """Past a leeway of ten seconds between two clocks."""
    verifier = JwtVerifier(secret=SECRET)
    now = int(time.time())

    assert await is_accepted(verifier, hs256(exp=now - 5))
    with pytest.raises(TokenExpired):
        await verifier.identify(hs256(exp=now - 15))


async def test_issuer_and_audience_are_those_of_the_options() -> None:
    """A token for another service is not one for this."""
    verifier = JwtVerifier(secret=SECRET, issuer="https://a.example", audience="chat")
    good = {"iss": "https://a.example", "aud": ["shop", "chat"]}

    assert await is_accepted(verifier, hs256(**good))
    assert not await is_accepted(verifier, hs256(**good | {"iss": "https://b.example"}))
    assert not await is_accepted(verifier, hs256(**good | {"aud": "shop"}))
    assert not await is_accepted(verifier, hs256(aud="chat"))
    assert not await is_accepted(verifier, hs256(iss="https://a.example"))


async def test_forged_tokens_are_refused() -> None:
    """No signature, another secret, another HMAC, a changed claim, garbage."""
    verifier = JwtVerifier(secret=SECRET)
    header, _, signature = hs256().split(".")
    other_claims = hs256(sub="boss").split(".")[1]
    nested = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")

    for forged in (
        unsigned({"alg": "none"}, claims()),
        unsigned({"alg": "None", "typ": "JWT"}, claims()),
        unsigned({"alg": "HS256"}, claims()),
        jwt.encode(claims(), "t" * 40, algorithm="HS256"),
        jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
        f"{header}.{other_claims}.{signature}",
        "a.b.c",
        "",
        "…",
        f"{nested}.{nested}.{nested}",
        "x" * 20_000,
    ):
        assert not await is_accepted(verifier, forged)


async def test_keys_of_a_file_sign_with_their_own_algorithm(keys: Keys) -> None:
    """RS256 for RSA, ES256 for P-256."""
    verifier = JwtVerifier(jwks=str(keys.file))

    assert await is_accepted(verifier, keys.sign("r1"))
    assert await is_accepted(verifier, keys.sign("e1"))


async def test_a_public_key_is_no_secret(keys: Keys) -> None:
    """HS256 with the public key as its secret, the classic confusion, is refused."""
    verifier = JwtVerifier(jwks=str(keys.file))
    public = keys.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = unsigned({"alg": "HS256", "kid": "r1"}, claims()).rstrip(".")
    hmac_key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = hmac_key.sign(body.encode(), public)
    forged = f"{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    assert not await is_accepted(verifier, forged)
    for header in ({"alg": "none", "kid": "r1"}, {"alg": "none"}):
        assert not await is_accepted(verifier, unsigned(header, claims()))


async def test_a_key_signs_for_itself_only(keys: Keys) -> None:
    """A kid of another key, or with several keys none, is refused."""
    verifier = JwtVerifier(jwks=str(keys.file))
    headers = {"kid": "e1"}
    mixed = jwt.encode(claims(), keys.rsa, algorithm="RS256", headers=headers)

    assert not await is_accepted(verifier, mixed)
    assert not await is_accepted(verifier, keys.sign(None))


async def test_the_only_key_needs_no_name(keys: Keys) -> None:
    """Many hosts have one key and no kid."""
    keys.publish("r1")

    assert await is_accepted(JwtVerifier(jwks=str(keys.file)), keys.sign(None))


async def test_keys_that_are_not_for_signing_are_left_out(keys: Keys) -> None:
    """A secret in a key set, an encryption key, another algorithm: unused."""
    public = RSAAlgorithm.to_jwk(keys.rsa.public_key(), as_dict=True)
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    unfit = [
        {"kty": "oct", "k": secret, "kid": "o", "alg": "HS256"},
        public | {"kid": "r1", "use": "enc"},
        public | {"kid": "r1", "alg": "RS512"},
        {"kty": "RSA", "kid": "r1"},
        "garbage",
    ]
    keys.file.write_text(json.dumps({"keys": unfit}))
    verifier = JwtVerifier(jwks=str(keys.file))
    by_secret = jwt.encode(claims(), SECRET, algorithm="HS256", headers={"kid": "o"})

    assert not await is_accepted(verifier, keys.sign("r1"))
    assert not await is_accepted(verifier, by_secret)


async def test_a_new_key_is_found_and_a_flood_of_names_reads_no_more(
    keys: Keys,
) -> None:
    """An unknown kid reads the set again, at most every ten seconds."""
    clock = Clock()
    verifier = JwtVerifier(jwks=str(keys.file), clock=clock)
    assert await is_accepted(verifier, keys.sign("r1"))
    keys.publish("r2")

    assert not await is_accepted(verifier, keys.sign("r2"))
    clock.now += REFRESH_SECONDS
    assert await is_accepted(verifier, keys.sign("r2"))
    assert not await is_accepted(verifier, keys.sign("r1"))


async def test_keys_outlive_their_source(keys: Keys) -> None:
    """While the host is away its known keys stay; without any it is unavailable."""
    clock = Clock()
    verifier = JwtVerifier(jwks=str(keys.file), clock=clock)
    assert await is_accepted(verifier, keys.sign("r1"))
    keys.file.unlink()
    clock.now += 3600

    assert await is_accepted(verifier, keys.sign("r1"))
    with pytest.raises(Unavailable):
        await JwtVerifier(jwks=str(keys.file)).identify(keys.sign("r1"))


@pytest.fixture
def jwks_url(keys: Keys) -> Iterator[str]:
    """A server of this machine that has the key set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = keys.file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks"
        server.shutdown()
        thread.join()


async def test_keys_come_from_a_url(keys: Keys, jwks_url: str) -> None:
    """The usual way of identity providers."""
    assert await is_accepted(JwtVerifier(jwks=jwks_url), keys.sign("e1"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"secret": SECRET, "jwks": "keys.json"},
        {"secret": "short"},
        {"jwks": "http://keys.example.org/jwks"},
        {"jwks": "file:///keys.json"},
    ],
)
def test_options_that_cannot_be_right_refuse_to_start(options: dict[str, Any]) -> None:
    """Both, none, a guessable secret, keys over an open way."""
    with pytest.raises(OperatorError):
        JwtVerifier(**options)


def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence says how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)

    with pytest.raises(OperatorError, match=r"chatmotor\[jwt\]"):
        JwtVerifier(secret=SECRET)
