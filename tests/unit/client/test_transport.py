# SPDX-License-Identifier: Apache-2.0
"""The real socket of a client, against small servers on loopback."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from chatmotor.client import Connector, Misused
from chatmotor.client.transport import (
    TornadoSocket,
    Unreachable,
    base_url,
    refusal,
    websocket_url,
)

DEADLINE_SECONDS = 10.0
V1 = [Subprotocol("chatmotor.v1")]
HEADERS = {"Authorization": "Bearer t"}

Handler = Callable[[ServerConnection], Awaitable[None]]


class Ear:
    """What a socket has received."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.ended = 0
        self._changed = asyncio.Event()

    def __call__(self, text: str | bytes | None) -> None:
        if text is None:
            self.ended += 1
        else:
            self.heard.append(text)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def served(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A WebSocket server; its address."""
    options = {"subprotocols": V1} | options
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"127.0.0.1:{port}"


async def echo(peer: ServerConnection) -> None:
    """Says what it hears."""
    async for text in peer:
        await peer.send(text)


async def opened(address: str, ear: Ear, path: str = "/v1/ws") -> TornadoSocket:
    """A socket to there."""
    found = await Connector()(f"ws://{address}{path}", HEADERS, ear)
    assert isinstance(found, TornadoSocket)
    return found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://chat.test", "ws://chat.test/v1/ws"),
        ("http://chat.test:8888/", "ws://chat.test:8888/v1/ws"),
        ("https://chat.test/a/http/", "wss://chat.test/a/http/v1/ws"),
        ("HTTPS://chat.test", "wss://chat.test/v1/ws"),
        ("http://[::1]:8888", "ws://[::1]:8888/v1/ws"),
    ],
)
def test_where_the_socket_is(url: str, expected: str) -> None:
    """Below the server's URL, with a prefix or without."""
    assert expected == websocket_url(base_url(url))


@pytest.mark.parametrize(
    "url", ["", "chat.test", "ftp://x", "http://h:port", "//x", "http://[::1"]
)
def test_what_is_no_url_of_a_server(url: str) -> None:
    """It is said at once, and not retried for ever."""
    with pytest.raises(Misused):
        base_url(url)


async def test_texts_go_there_and_back() -> None:
    """As text frames, in order, with the token in a header."""
    paths: list[tuple[str, str]] = []

    async def handler(peer: ServerConnection) -> None:
        assert peer.request is not None
        paths.append((peer.request.path, peer.request.headers["Authorization"]))
        await echo(peer)

    async with served(handler) as address:
        ear = Ear()
        wire = await opened(address, ear, "/chat/v1/ws")
        for n in range(100):
            wire.send(b'{"n":%d,"text":"\xc3\xa4"}' % n)
        await ear.until(lambda: len(ear.heard) == 100)
        wire.close()
        await ear.until(lambda: ear.ended == 1)
        wire.send(b"into the void")
        wire.abort()

    assert [f'{{"n":{n},"text":"ä"}}' for n in range(100)] == ear.heard
    assert [("/chat/v1/ws", "Bearer t")] == paths
    assert 1 == ear.ended


async def test_the_close_code_is_known() -> None:
    """That of the server's close frame; none where the wire is cut."""

    async def handler(peer: ServerConnection) -> None:
        if peer.request is not None and peer.request.path == "/cut":
            peer.transport.abort()
        else:
            await peer.close(4001, "draining")

    async with served(handler) as address:
        for path, code, reason in (("/", 4001, "draining"), ("/cut", None, None)):
            ear = Ear()
            wire = await opened(address, ear, path)
            await ear.until(lambda: ear.ended == 1)  # noqa: B023
            assert (code, reason) == (wire.close_code, wire.close_reason)
            wire.abort()


async def test_an_abort_ends_the_socket_at_once() -> None:
    """Nothing is waited for; it may be repeated."""
    gone = asyncio.Event()

    async def handler(peer: ServerConnection) -> None:
        await echo(peer)
        gone.set()

    async with served(handler) as address:
        ear = Ear()
        wire = await opened(address, ear)
        wire.abort()
        wire.abort()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await gone.wait()
        await ear.until(lambda: ear.ended == 1)


async def test_redirects_are_not_followed() -> None:
    """A token is for the server that it was meant for."""

    def redirect(_: ServerConnection, __: Request) -> Response:
        return Response(302, "Found", Headers(Location="ws://127.0.0.1:9/v1/ws"))

    async with served(echo, process_request=redirect) as address:
        with pytest.raises(Unreachable) as refused:
            await opened(address, Ear())

    assert (302, True) == (refused.value.code, refused.value.final)


async def test_a_server_of_something_else_is_none() -> None:
    """A WebSocket without the subprotocol is no Chatmotor."""
    async with served(echo, subprotocols=None) as address:
        with pytest.raises(Unreachable, match="no Chatmotor") as refused:
            await opened(address, Ear())

    assert refused.value.final


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"code": "unauthenticated"}, (4502, False)),
        (401, {"code": "token_expired"}, (4010, False)),
        (403, {"code": "suspended"}, (4504, False)),
        (403, {"code": "forbidden"}, (403, True)),
        (401, {}, (401, True)),
        (404, {}, (404, True)),
        (429, {"code": ["odd"]}, (1006, False)),
        (500, {}, (1006, False)),
        (503, {"code": "unavailable"}, (1006, False)),
    ],
)
def test_what_a_refused_upgrade_means(
    status: int, body: dict[str, Any], expected: tuple[int, bool]
) -> None:
    """What another try can change is tried again."""
    found = refusal(status, body, None)

    assert expected == (found.code, found.final)


async def test_a_refusal_says_when_to_come_back() -> None:
    """Retry-After, and the code in the body."""

    async def refuse(peer: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        await peer.readuntil(b"\r\n\r\n")
        body = b'{"code": "unavailable"}'
        out.write(b"HTTP/1.1 503 Away\r\nRetry-After: 7\r\nContent-Length: 23\r\n\r\n")
        out.write(body)
        out.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="HTTP 503 unavailable") as refused:
            await opened(f"127.0.0.1:{port}", Ear())

    assert (7.0, False) == (refused.value.after, refused.value.final)


async def test_nobody_is_there() -> None:
    """It is said in words, and is no reason to give up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="refused") as refused:
        await opened(f"127.0.0.1:{port}", Ear())

    assert not refused.value.final


async def test_somebody_who_says_nothing_is_left() -> None:
    """After its time, also when nobody waits for the attempt any more."""
    connected, gone = asyncio.Event(), asyncio.Semaphore(0)

    async def silent(peer: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        await peer.readuntil(b"\r\n\r\n")
        connected.set()
        await peer.read()
        gone.release()
        out.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/v1/ws"
        connect = Connector(seconds=0.2)
        opening = asyncio.ensure_future(connect(url, HEADERS, Ear()))
        async with asyncio.timeout(DEADLINE_SECONDS):
            await connected.wait()
            opening.cancel()
            await asyncio.wait([opening])
            with pytest.raises(Unreachable, match=r"(?i)timeout"):
                await connect(url, HEADERS, Ear())
            for _ in range(2):
                await gone.acquire()


def make_certificate(key: Path, certificate: Path) -> None:
    """One that nobody has signed."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    files: list[str | Path] = ["-keyout", key, "-out", certificate]
    run = ["openssl", "req", *kind, *files, *subject]
    subprocess.run(run, check=True, capture_output=True)


async def test_certificates_are_verified(tmp_path: Path) -> None:
    """One that nobody has signed is refused, unless the program trusts it."""
    name = tmp_path / "key.pem"
    await asyncio.to_thread(make_certificate, name, tmp_path / "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", name)
    async with served(echo, ssl=context) as address:
        url = f"wss://{address}/v1/ws"
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            await Connector()(url, HEADERS, Ear())
        trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        ear = Ear()
        wire = await Connector(trusting)(url, HEADERS, ear)
        wire.send(b"hello")
        await ear.until(lambda: ear.heard == ["hello"])
        wire.abort()
