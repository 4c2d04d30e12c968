# SPDX-License-Identifier: Apache-2.0
"""What receivers of webhooks get, and what is made of their answers."""

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook, WebhookVerificationError
from tornado.netutil import Resolver

from chatmotor import __version__
from chatmotor.adapters.webhook_sender import (
    MAX_ANSWER_BYTES,
    CheckedResolver,
    WebhookSender,
    sign,
)
from chatmotor.ports.hooks import Hook, HookKind, Outgoing, TargetFailed
from tests.harness.node import ROOT
from tests.harness.ports import free_port
from tests.harness.receiver import Receiver

SECRET = "whsec_" + base64.b64encode(b"a" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"b" * 24).decode()
EVENT = Outgoing(
    "h1-s-7-1", "message.new", None, 7, '{"t":"x","body":"h\u00e9"}'.encode()
)
DEADLINE_SECONDS = 20.0


def now_ms() -> int:
    """Now."""
    return time.time_ns() // 1_000_000


def hook(url: str, **changes: Any) -> Hook:
    """To this receiver."""
    made = Hook(
        *("h1", "ann", False, HookKind.WEBHOOK, 1, url),
        secret=SECRET,
        old_secret="",
        old_until=0,
        types=(),
        conv=None,
        on=True,
        revision=1,
        seq=0,
    )
    return replace(made, **changes)


async def deliver(
    made: Hook,
    *,
    resolver: Resolver | None = None,
    seconds: float = 10.0,
    now: Callable[[], int] = now_ms,
) -> None:
    """Deliver the event once."""
    sender = WebhookSender(now=now, resolver=resolver, request_seconds=seconds)
    target = sender.target(made)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await target.deliver([EVENT])
    finally:
        await target.close()


async def failure(made: Hook, **given: Any) -> TargetFailed:
    """How it fails."""
    with pytest.raises(TargetFailed) as failed:
        await deliver(made, **given)
    return failed.value


async def test_an_event_is_one_signed_request() -> None:
    """An independent implementation of the specification accepts it."""
    async with Receiver() as receiver:
        await deliver(hook(receiver.url + "/in?user=ann"))

    (request,) = receiver.requests
    assert ("POST", "/in?user=ann") == (request.method, request.uri)
    assert EVENT.body == request.body
    assert "application/json" == request.headers["Content-Type"]
    assert f"Chatmotor/{__version__}" == request.headers["User-Agent"]
    assert EVENT.id == request.headers["webhook-id"]
    headers = dict(request.headers)
    assert json.loads(EVENT.body) == Webhook(SECRET).verify(request.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(request.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body + b" ", headers)


def test_a_signature_is_that_of_the_specification() -> None:
    """By the example of the standardwebhooks libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'

    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signature


@pytest.mark.parametrize(("left_ms", "signatures"), [(60_000, 2), (-1, 1)])
async def test_an_old_secret_signs_for_a_while(left_ms: int, signatures: int) -> None:
    """While receivers are changed one after the other, either secret is good."""
    async with Receiver() as receiver:
        until = now_ms() + left_ms
        await deliver(hook(receiver.url, old_secret=OTHER, old_until=until))

    (request,) = receiver.requests
    assert signatures == len(request.headers["webhook-signature"].split())
    Webhook(SECRET).verify(request.body, dict(request.headers))
    if signatures == 2:
        Webhook(OTHER).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_success_is_one(status: int) -> None:
    """Whatever else the answer says."""
    async with Receiver() as receiver:
        receiver.status = status
        await deliver(hook(receiver.url))

    assert 1 == len(receiver.requests)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 404, 429, 500, 503])
async def test_anything_else_is_a_failure(status: int) -> None:
    """A redirect, too: it is not followed."""
    async with Receiver() as receiver:
        receiver.status = status
        receiver.headers["Location"] = receiver.url + "/elsewhere"
        failed = await failure(hook(receiver.url))

    assert (f"the answer was {status}", False) == (failed.msg, failed.gone)
    assert 1 == len(receiver.requests)


async def test_gone_means_gone() -> None:
    """The specification's way to be left alone for ever."""
    async with Receiver() as receiver:
        receiver.status = 410
        assert (await failure(hook(receiver.url))).gone


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Thu, 01 Jan 1970 00:03:20 GMT", 100),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
async def test_a_receiver_says_when_to_come_back(
    value: str, seconds: float | None
) -> None:
    """In seconds, or as a date; nonsense is none."""
    async with Receiver() as receiver:
        receiver.status = 503
        receiver.headers["Retry-After"] = value
        failed = await failure(hook(receiver.url), now=lambda: 100_000)

    assert seconds == failed.retry_after


@pytest.mark.parametrize("status", [200, 500])
async def test_a_large_answer_is_not_read(status: int) -> None:
    """Its status counts, and the rest is cut off."""
    async with Receiver() as receiver:
        receiver.status = status
        receiver.answer = b"x" * (MAX_ANSWER_BYTES + 1)
        if status == 200:
            await deliver(hook(receiver.url))
        else:
            assert "the answer was 500" == (await failure(hook(receiver.url))).msg


async def test_an_answer_without_an_end_is_cut_off() -> None:
    """However it is sent."""
    many = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    many += (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 4
    async with raw_server(many, stays=True) as url:
        await deliver(hook(url), seconds=5.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "the connection broke, or what came was not HTTP"),
        (b"nonsense\r\n\r\n", "the connection broke, or what came was not HTTP"),
        (b"HTTP/1.1 2", "the connection broke, or what came was not HTTP"),
    ],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes, words: str) -> None:
    """It may have been taken or not: it is repeated."""
    async with raw_server(answer) as url:
        assert words == (await failure(hook(url))).msg


async def test_a_silent_receiver_is_a_failure() -> None:
    """After the time that a request may take."""
    async with raw_server(b"", stays=True) as url:
        assert "no answer in time" == (await failure(hook(url), seconds=0.3)).msg


async def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    """In words without the URL, which may have a secret."""
    for url in (f"http://127.0.0.1:{free_port()}/s3cret", "http://nowhere.invalid/x"):
        failed = await failure(hook(url))

        assert failed.msg.startswith("it cannot be reached: ")
        assert "s3cret" not in failed.msg
    assert (
        "the URL cannot be used"
        == (await failure(hook(f"http://{'a' * 64}.example/"))).msg
    )


async def test_a_certificate_is_checked(tmp_path: Path) -> None:
    """One that anybody can make says nothing of who a receiver is."""
    async with Receiver(tls=_own_certificate(tmp_path)) as receiver:
        failed = await failure(hook(receiver.url))

    assert "its certificate is not valid: self-signed certificate" == failed.msg
    assert [] == receiver.requests


def _own_certificate(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = Encoding.PEM
    file = directory / "own.pem"
    file.write_bytes(
        key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@dataclass
class NameServer:
    """Says where any name leads to."""

    addresses: list[str]

    async def resolve(
        self, host: str, port: int, family: Any = 0
    ) -> list[tuple[int, Any]]:
        return [(2, (address, port)) for address in self.addresses]

    def close(self) -> None:
        pass


def rebinding(*addresses: str) -> Resolver:
    """A name server that has learned better since the hook was made."""
    server: Any = NameServer(list(addresses))
    return server  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
        *("fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"),
        "100.100.100.200",
    ],
)
async def test_some_addresses_are_never_connected_to(address: str) -> None:
    """Whatever the name was; what clouds tell only their machines stays there."""
    for url in ("http://example.org", f"http://{address}"):
        failed = await failure(hook(url), resolver=rebinding(address))
        assert "it cannot be reached: hooks may not go to its address" == failed.msg


async def test_a_name_server_that_is_late_is_a_failure_and_no_defect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What comes of it when the time is up is in no log."""
    goes = asyncio.Event()

    class Late(NameServer):
        async def resolve(self, *_: object, **__: object) -> Any:
            await goes.wait()
            raise OSError(-2, "Name or service not known")

    late: Any = Late([])
    failed = await failure(hook("https://a.invalid"), resolver=late, seconds=0.2)
    asked = [
        each
        for each in asyncio.all_tasks()
        if "CheckedResolver.resolve" in repr(each.get_coro())
    ]
    goes.set()
    await asyncio.gather(*asked, return_exceptions=True)
    await asyncio.sleep(0)  # the callbacks of those tasks

    assert [] == [each.message for each in caplog.records if each.levelname == "ERROR"]
    assert "it cannot be reached: no answer of a name server in time" == failed.msg


async def test_an_address_in_disguise_is_refused() -> None:
    """As the system's own resolver understands it."""
    for host in ("2852039166", "0xa9fea9fe", "169.254.43518", "[::ffff:a9fe:a9fe]"):
        failed = await failure(hook(f"http://{host}/latest/meta-data/"))
        assert "it cannot be reached: hooks may not go to its address" == failed.msg


async def test_a_receiver_beside_the_server_is_allowed() -> None:
    """Loopback and private addresses; of several, those that are."""
    resolver = CheckedResolver(
        resolver=rebinding("169.254.1.1", "127.0.0.1", "10.1.2.3", "fe80::1", "fd12::1")
    )

    found = await resolver.resolve("any", 80)

    assert ["127.0.0.1", "10.1.2.3", "fd12::1"] == [each[1][0] for each in found]


@asynccontextmanager
async def raw_server(answer: bytes, *, stays: bool = False) -> AsyncIterator[str]:
    """Reads a request and writes *answer*; it hangs up unless it stays."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(EVENT.body))
        writer.write(answer)
        if not stays:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def test_the_example_of_the_docs_is_true() -> None:
    """Whoever writes a receiver in another language can check theirs against it."""
    page = (ROOT / "docs" / "reference" / "webhooks.md").read_text("utf-8")
    secret = re.search(r"whsec_[\w+/]+=", page)
    request = re.search(r"```\nPOST (.*?)\n\n(.*?)\n```", page, re.DOTALL)
    assert secret
    assert request
    headers = dict(re.findall(r"^(\S+): (.*)$", request[1], re.MULTILINE))

    assert headers["webhook-signature"] == sign(
        *(secret[0], headers["webhook-id"], int(headers["webhook-timestamp"])),
        request[2].encode(),
    )
    assert f"Chatmotor/{__version__}" == headers["User-Agent"]
