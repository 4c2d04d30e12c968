# SPDX-License-Identifier: Apache-2.0
"""
Random and mutated frames and handshakes: whatever one peer sends, the node goes on
serving the others, says nothing of its inside, and has nothing to complain about.

The log of the node is checked when it ends (tests/harness/node.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.node import ChatmotorNode
from tests.integration.conformance.raw_client import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    close_frame,
    frame,
    text_for,
    upgrade_request,
)

Run = Callable[[Coroutine[Any, Any, None]], None]

SECRETS = (b"Traceback", b"site-packages", b'File "/', b"picows", b"tornado")
SETTINGS = settings(
    max_examples=700,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A loop that outlives the examples."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def fuzzed(run: Run) -> Iterator[ChatmotorNode]:
    """The node that has to bear it."""
    running = ChatmotorNode(CM_BROKER="embedded")

    async def begin() -> None:
        await running.__aenter__()

    async def end() -> None:
        await running.__aexit__(None, None, None)

    run(begin())
    try:
        yield running
    finally:
        run(end())


@pytest.fixture(scope="module")
def witness(run: Run, fuzzed: ChatmotorNode) -> Iterator[RawClient]:
    """A well-behaved client that is there all the time."""
    clients: list[RawClient] = []

    async def connect() -> None:
        clients.append(await RawClient.open(fuzzed.url, "witness"))

    async def leave() -> None:
        async with clients[0] as client:
            await client.send(close_frame(1000))
            before, closing = await client.closing()
        assert ([], 1000) == (before, closing.close_code)

    run(connect())
    yield clients[0]
    run(leave())


payloads = (
    st.binary(max_size=140)
    | st.sampled_from(
        [
            text_for("witness-nobody"),
            text_for("fuzz"),
            b"{}",
            b"",
            b"\x03\xe8",
            b"\x03\xe8bye",
            b"\xff\xff",
            b"\xed\xa0\x80",
        ]
    )
    | st.integers(120, 70_000).map(bytes)
)

frames = st.builds(
    frame,
    st.integers(0, 15) | st.sampled_from([0, TEXT, TEXT, PING, PONG, CLOSE]),
    payloads,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 1, 2, 4, 7]),
    mask=st.binary(min_size=4, max_size=4)
    | st.just(b"\0\0\0\0")
    | st.sampled_from([None, b"mask", b"mask", b"mask"]),
    length_bytes=st.sampled_from([None, None, None, None, 8]),
    announced=st.none() | st.none() | st.sampled_from([0, 1, 126, 65537, 2**63]),
)


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of *originals* with some flipped, cut out, doubled or inserted."""
    sent = bytearray(draw(originals))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(sent) - 1)))
        match draw(st.sampled_from(["flip", "cut", "double", "insert"])):
            case "flip" if sent:
                sent[at] ^= draw(st.integers(1, 255))
            case "cut":
                del sent[at : at + draw(st.integers(1, 20))]
            case "double":
                sent[at:at] = sent[at : at + 20]
            case _:
                sent[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(sent)


names = st.sampled_from(
    ["fuzz", "", "%", "%00", "%ff", "%C3%A9", "..%2f", "a" * 300, "/", "?x=1", "%zz"]
)
words = st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20
) | st.sampled_from(["13", "websocket", "Upgrade", "dGhlIHNhbXBsZSBub25jZQ==", "null"])
requests = st.builds(
    lambda name, method, version, replace, more: upgrade_request(
        "/im/" + name, method=method, version=version, replace=replace, more=more
    ),
    names,
    st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "PRI", "get", ""]),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]),
    st.dictionaries(
        st.sampled_from(
            [
                "Host",
                "Upgrade",
                "Connection",
                "Sec-WebSocket-Version",
                "Sec-WebSocket-Key",
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Extensions",
                "Origin",
                "Content-Length",
                "Transfer-Encoding",
                "Expect",
                "Cookie",
            ]
        ),
        st.none() | words,
        max_size=3,
    ),
    st.lists(
        st.tuples(st.sampled_from(["X", "Host", "Origin", "Cookie"]), words), max_size=2
    ),
)


async def provoke(node: ChatmotorNode, witness: RawClient, *sent: bytes) -> None:
    """Send *sent* from a new client, end it, and see whether the witness is well."""
    async with await RawClient.dial(node.url) as client:
        try:
            for part in sent:
                await client.send(part)
            client.finish()
            said = await client.end()
        except OSError:  # the node was quicker
            said = b""
    for secret in SECRETS:
        assert secret not in said, said[:300]
    await witness.send(frame(PING, b"well?"))
    assert Frame(PONG, b"well?") == await witness.next_frame()


@SETTINGS
@given(sent=st.lists(frames, min_size=1, max_size=6), together=st.booleans())
def test_frames_of_any_kind(
    fuzzed: ChatmotorNode,
    witness: RawClient,
    run: Run,
    sent: list[bytes],
    *,
    together: bool,
) -> None:
    """Well-formed in parts, wrong in others, in any order."""
    request = upgrade_request("/im/fuzz")
    parts = [request + b"".join(sent)] if together else [request, *sent]

    run(provoke(fuzzed, witness, *parts))


@SETTINGS
@given(
    sent=mutated(st.lists(frames, min_size=1, max_size=4).map(b"".join))
    | st.binary(max_size=400)
)
def test_mutated_frames(
    fuzzed: ChatmotorNode, witness: RawClient, run: Run, sent: bytes
) -> None:
    """Frames that were damaged, and bytes that were never frames."""
    run(provoke(fuzzed, witness, upgrade_request("/im/fuzz"), sent))


@SETTINGS
@given(request=mutated(requests) | requests | st.binary(max_size=200))
def test_handshakes_of_any_kind(
    fuzzed: ChatmotorNode, witness: RawClient, run: Run, request: bytes
) -> None:
    """Requests with headers missing, doubled, strange or damaged."""
    run(provoke(fuzzed, witness, request, frame(TEXT, text_for("fuzz"))))
