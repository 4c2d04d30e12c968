# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client without manners: it sends any bytes and reads strictly.

What it sends may break every rule of RFC 6455; what it reads must break none.
A library would refuse to send most of what these tests need, and would forgive
what they must not.

    upgrade_request(...) ---> RawClient.dial ---> response()
    frame(...)           ---> send           ---> next_frame(), closing()
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

DEADLINE_SECONDS = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that the server sent."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """The code of a close frame; None when it has none or is no close frame."""
        if self.opcode != CLOSE or len(self.payload) < 2:
            return None
        return int.from_bytes(self.payload[:2], "big")


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an HTTP response, and its body unless it is a 101."""

    status: int
    headers: dict[str, str]
    body: bytes


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
    announced: int | None = None,
) -> bytes:
    """
    A client's frame, right or wrong.

    Args:
        rsv: The reserved bits, 0 to 7.
        mask: None leaves the frame unmasked, which a server must refuse.
        length_bytes: 0, 2 or 8 bytes of extended length; None: the shortest.
        announced: The length in the header; None: the payload's own.
    """
    size = len(payload) if announced is None else announced
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    marker = {0: size, 2: 126, 8: 127}[length_bytes]
    masked = 0x80 if mask is not None else 0
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode, masked | marker))
    head += {0: b"", 2: struct.pack(">H", size & 0xFFFF), 8: struct.pack(">Q", size)}[
        length_bytes
    ]
    return head + payload if mask is None else head + mask + masked_with(mask, payload)


def masked_with(mask: bytes, payload: bytes) -> bytes:
    """*payload* masked, or unmasked, with *mask* (RFC 6455, 5.3)."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(
        size, "big"
    )


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """A close frame with *code*, valid or not."""
    return frame(CLOSE, struct.pack(">H", code) + reason)


def fragments(opcode: int, parts: Iterable[bytes]) -> list[bytes]:
    """The frames of one message in *parts*."""
    every = list(parts)
    return [
        frame(
            opcode if number == 0 else CONTINUATION,
            part,
            fin=number == len(every) - 1,
        )
        for number, part in enumerate(every)
    ]


def accept_value(key: str) -> str:
    """Sec-WebSocket-Accept for *key* (RFC 6455, 4.2.2)."""
    digest = hashlib.sha1(
        (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode(), usedforsecurity=False
    ).digest()
    return base64.b64encode(digest).decode()


def upgrade_request(
    target: str,
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    host: str = "chat.example",
    replace: dict[str, str | None] | None = None,
    more: Headers = (),
) -> bytes:
    """
    An upgrade request.

    Args:
        target: The request target, as it goes on the wire.
        replace: Other values for headers of a proper request; None leaves one out.
        more: Further headers, which may repeat names.
    """
    headers: dict[str, str | None] = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **(replace or {}),
    }
    lines = [f"{method} {target} {version}"]
    lines += [
        f"{name}: {value}" for name, value in headers.items() if value is not None
    ]
    lines += [f"{name}: {value}" for name, value in more]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def text_for(name: str, **more: object) -> bytes:
    """A classic message for *name*."""
    return json.dumps({"destination": name} | more, ensure_ascii=False).encode()


def text_of(size: int, name: str) -> bytes:
    """A classic message for *name* of exactly *size* bytes."""
    text = text_for(name, pad="")
    return text[:-2] + b"." * (size - len(text)) + text[-2:]


class RawClient:
    """One TCP connection to a node.  An async context manager."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(cls, url: str, *, receive_buffer: int | None = None) -> Self:
        """Connect to the host and port of *url*; nothing is sent yet."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        dialled = socket.socket()
        if receive_buffer is not None:
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        dialled.setblocking(False)  # its only argument
        loop = asyncio.get_running_loop()
        await loop.sock_connect(dialled, (parts.hostname, parts.port))
        return cls(*await asyncio.open_connection(sock=dialled))

    @classmethod
    async def open(
        cls, url: str, name: str, *, receive_buffer: int | None = None
    ) -> Self:
        """A WebSocket of *name*, open."""
        client = await cls.dial(url, receive_buffer=receive_buffer)
        await client.send(upgrade_request("/im/" + quote(name, safe="")))
        response = await client.response()
        assert 101 == response.status, response
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
        with suppress(OSError):  # it ended with a reset, which is said elsewhere
            await self.writer.wait_closed()

    async def send(self, *parts: bytes) -> None:
        """Send *parts* in one write."""
        self.writer.write(b"".join(parts))
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.writer.drain()

    async def send_octets(self, sent: bytes) -> None:
        """Send each byte in a write of its own."""
        for octet in sent:
            await self.send(bytes((octet,)))

    def finish(self) -> None:
        """End our side (FIN); the server's may go on."""
        self.writer.write_eof()

    def stop_reading(self) -> None:
        """Take nothing more from the system: TCP's window closes."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def abort(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()

    async def response(self) -> Response:
        """The next HTTP response."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            assert first.startswith("HTTP/1.1 "), head[:80]
            headers = {}
            for line in lines:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            status = int(first.split(" ")[1])
            size = 0 if status == 101 else int(headers.get("content-length", "0"))
            return Response(status, headers, await self.reader.readexactly(size))

    async def next_frame(self) -> Frame:
        """The next frame, which must be whole, unmasked and of the shortest form."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            first, second = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "the server set a reserved bit"
            assert first & 0x80, "the server sent a fragment"
            assert second & 0x80 == 0, "the server masked a frame"
            size = second
            if second == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
                assert size >= 126, "the length could be shorter"
            elif second == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
                assert size >= 65536, "the length could be shorter"
            return Frame(first & 0x0F, await self.reader.readexactly(size))

    async def text(self) -> bytes:
        """The next frame, which must be a text."""
        arrived = await self.next_frame()
        assert arrived.opcode == TEXT, arrived
        return arrived.payload

    async def closing(self) -> tuple[list[Frame], Frame]:
        """
        Read to the end: what came before the close frame, and the close frame.

        It is answered, as RFC 6455, 5.5.1 wants it, unless our side has ended.
        Nothing may follow it, and the end must be a FIN and no reset.
        """
        before: list[Frame] = []
        while (arrived := await self.next_frame()).opcode != CLOSE:
            before.append(arrived)
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.write(close_frame(1000))
        async with asyncio.timeout(DEADLINE_SECONDS):
            after = await self.reader.read()
        assert after == b"", f"after the close frame came {after[:80]!r}"
        return before, arrived

    async def end(self) -> bytes:
        """All that comes until the server ends its side."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.read()


async def refusal(url: str, me: str, *sent: bytes) -> Frame:
    """Send *sent*; the close frame, which must be all that comes back."""
    async with await RawClient.open(url, me) as client:
        await client.send(*sent)
        before, closing = await client.closing()
    assert [] == before
    return closing


@asynccontextmanager
async def flood(client: RawClient, sent: bytes) -> AsyncIterator[None]:
    """Meanwhile, *client* sends *sent* again and again, as fast as it is taken."""

    async def send_on() -> None:
        while True:
            client.writer.write(sent)
            await client.writer.drain()
            await asyncio.sleep(0)  # drain does not yield while there is room

    sending = asyncio.ensure_future(send_on())
    try:
        yield
    finally:
        sending.cancel()
