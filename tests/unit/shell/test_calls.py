# SPDX-License-Identifier: Apache-2.0
"""One request, and what its answer means; the servers here are not Chatmotor."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chatmotor.shell import calls
from chatmotor.shell.calls import NotNow, Refusal, call, call_until
from chatmotor.shell.exits import BAD_DATA, NO_SUCH, NOT_ALLOWED, TRY_AGAIN, status_of


def answer(status: str, content: str = "", headers: str = "") -> bytes:
    """An HTTP answer."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}"
        f"Connection: close\r\n\r\n{content}"
    ).encode()


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says these things one after the other; its URL, what it got."""
    got: list[bytes] = []
    left = list(answers)

    async def serve(reader: Any, writer: Any) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(2)
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", got


async def outcome(asked: Callable[[], dict[str, Any]]) -> Any:
    """What it returns or raises."""
    try:
        return await asyncio.to_thread(asked)
    except (NotNow, Refusal) as refused:
        return refused


@pytest.mark.parametrize(
    "said",
    [
        answer("502 Bad Gateway", "<html>"),
        answer("503 Service Unavailable", '{"code": "unavailable", "retry": true}'),
        answer("429 Too Many", '{"code": "rate_limited", "msg": "x", "retry": true}'),
        answer("500 Oh", '{"code": "internal", "msg": "x", "retry": true}'),
        answer("200 OK")[:20],
        b"",
        b"SSH-2.0\r\n\r\n",
    ],
)
async def test_what_may_be_better_later_is_not_now(said: bytes) -> None:
    """A proxy without its server, a busy server, a broken connection."""
    async with serving(said) as (url, _):
        found = await outcome(lambda: call(url, "/x", {}))

    assert isinstance(found, NotNow)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            answer("403 No", '{"code": "forbidden", "msg": "no", "retry": false}'),
            "forbidden",
        ),
        (answer("404 Not Found", "<html>"), "not_found"),
        (answer("400 Bad", "[" * 100_000), "not_found"),
        (answer("302 Found", "", "Location: http://127.0.0.1:1/\r\n"), "not_found"),
    ],
)
async def test_what_is_final_is_a_refusal(said: bytes, code: str) -> None:
    """Also of a server that is no Chatmotor; and nobody goes where it points to."""
    async with serving(said) as (url, got):
        found = await outcome(lambda: call(url, "/x", {}, token="cm_1"))

    assert isinstance(found, Refusal)
    assert (code, 1) == (found.code, len(got))


async def test_it_is_tried_again_until_the_time_is_over() -> None:
    """As soon as the server says; what was open once stays open."""
    busy = answer("429 X", '{"code": "rate_limited", "retry": true, "retry_ms": 10}')
    async with serving(b"", busy, answer("200 OK", '{"n": 1}')) as (url, got):
        soon = time.monotonic() + 20
        found = await outcome(lambda: call_until(soon, url, "/x", {}))
    async with serving(b"", busy) as (url, _):
        now = time.monotonic()
        late = await outcome(lambda: call_until(now + 1.5, url, "/x", {}))

    assert ({"n": 1}, 3) == (found, len(got))
    assert isinstance(late, NotNow)
    assert late.is_open


async def test_a_server_that_is_not_there_has_done_nothing() -> None:
    """Nobody need wonder whether it was done."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        found = await outcome(lambda: call(url, "/x", {}))

    assert isinstance(found, NotNow)
    assert not found.is_open


async def test_an_answer_that_does_not_come_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have been done."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = await outcome(lambda: call(url, "/x", {}, seconds=0.05))

    assert isinstance(found, NotNow)
    assert found.is_open


def test_each_code_has_its_status() -> None:
    """What is not named here is wrong with what was said."""
    codes = ("token_expired", "not_member", "no_such_conv", "too_large", "anything")

    assert [NOT_ALLOWED, NOT_ALLOWED, NO_SUCH, BAD_DATA, BAD_DATA] == [
        status_of(code, retry=False) for code in codes
    ]
    assert TRY_AGAIN == status_of("anything", retry=True)
    assert calls.ANSWER_SECONDS > 1
