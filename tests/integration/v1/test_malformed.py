# SPDX-License-Identifier: Apache-2.0
"""Ten thousand texts that nobody should send, half of them before hello, and calls over
HTTP: each costs its sender an ``error``, or its connection, and nobody else anything.

binary -> 1003 | no UTF-8 -> 1007 | too long -> 1009 | else -> ``error``, and on it goes

``CHATMOTOR_TEST_FRAMES`` is how many frames, ``CHATMOTOR_TEST_SEED`` the seed; it is
printed.  The log of the node is checked when it ends (tests/harness/node.py).
"""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.definitions import wrong_frame
from tests.harness.malformed import ACCOUNT_CALLS, COMMANDS, Malformer
from tests.harness.node import ChatmotorNode
from tests.harness.v1_client import Login, V1Session, newcomer
from tests.integration.conformance.raw_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    RawClient,
    fragments,
    frame,
    upgrade_request,
)
from tests.integration.v1.conftest import QUICK

FRAMES = int(os.environ.get("CHATMOTOR_TEST_FRAMES", "10000"))
SEED = int(os.environ.get("CHATMOTOR_TEST_SEED", "0")) or time.time_ns() % 10**9
CALLS = FRAMES // 4
MAX_BYTES = 65536
# Of what no answer may have anything in it.
SECRETS = (
    *(b"Traceback", b'File "', b"File \\", b"sqlite", b"asyncpg", b"msgspec"),
    *(b"site-packages", b"/usr/", b"/work/", b".py", b"SELECT ", b"INSERT ", b"python"),
)
AT_ONCE = ("bad_json", "bad_request", "unknown_op")
MIB = 1024 * 1024

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A loop that outlives the examples."""
    with asyncio.Runner() as runner:
        yield runner.run


class Beset:
    """The node that has to bear it, and a healthy session on it."""

    def __init__(self, node: ChatmotorNode) -> None:
        self.node = node
        self.login: Login
        self.healthy: V1Session
        self.slowest = 0.0
        self._sent = 0

    async def begin(self) -> None:
        """Two accounts; one is well."""
        await self.node.__aenter__()
        await newcomer(self.node, "sink")
        self.login = await newcomer(self.node, "fuzz")
        well = await newcomer(self.node, "healthy")
        self._context = well.connect(self.node)
        self.healthy = await self._context.__aenter__()

    async def end(self) -> None:
        """The log is checked."""
        await self._context.__aexit__(None, None, None)
        await self.node.__aexit__(None, None, None)

    async def check(self) -> None:
        """The healthy session is served."""
        began = time.monotonic()
        self._sent += 1
        await self.healthy.ask("send", cid=str(self._sent), to="healthy", body=1)
        await self.healthy.messages(self._sent)
        self.slowest = max(self.slowest, time.monotonic() - began)

    @property
    def resident(self) -> int:
        """Bytes of memory of the node's process."""
        return int(Path(f"/proc/{self.node.pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture(scope="module")
def beset(run: Run) -> Iterator[Beset]:
    """See ``Beset``."""
    node = ChatmotorNode(
        CM_BROKER="embedded", CM_SOCKETS_MAX="1000", CM_LOGIN_ATTEMPTS="3", **QUICK
    )
    beset = Beset(node)
    run(beset.begin())
    try:
        yield beset
    finally:
        run(beset.end())


class Session:
    """A v1 socket on which anything may be said, and what came of it."""

    def __init__(self, client: RawClient, *, greeted: bool) -> None:
        self.client = client
        self.greeted = greeted
        self.refusals = 0
        self.unanswered: Counter[str] = Counter()
        self._probes = 0
        self._events = 0

    @classmethod
    async def open(cls, beset: Beset, *, greet: bool) -> "Session":
        """A new one; welcomed, if *greet*."""
        client = await RawClient.dial(beset.node.url)
        protocol = ("Sec-WebSocket-Protocol", "chatmotor.v1")
        await client.send(upgrade_request("/v1/ws", more=[protocol]))
        assert 101 == (await client.response()).status
        session = cls(client, greeted=greet)
        if greet:
            hello = {"op": "hello", "id": "h", "v": 1, "token": beset.login.token}
            await client.send(frame(TEXT, json.dumps(hello).encode()))
            assert "welcome" == (await session.read())["op"]
        return session

    async def read(self) -> dict[str, Any]:
        """The next text, or ``{"op": "close", "code": ...}``."""
        while True:
            came = await self.client.next_frame()
            for secret in SECRETS:
                assert secret not in came.payload, came.payload[:400]
            if came.opcode == PONG:
                continue
            if came.opcode == CLOSE:
                return {"op": "close", "code": came.close_code}
            assert TEXT == came.opcode
            found: dict[str, Any] = json.loads(came.payload.decode())
            assert wrong_frame(found) is None, wrong_frame(found)
            self._events += found["op"] == "ev"
            if found["op"] in ("ok", "error", "welcome"):
                self.unanswered[json.dumps(found["id"])] -= 1
            return found

    async def say(self, *parts: bytes) -> list[dict[str, Any]]:
        """Send *parts*; what comes before the answer to a ping, or before the end."""
        self._probes += 1
        probe = f"probe{self._probes}"
        ack = b'{"op":"ack","h":%d}' % self._events if self.greeted else b""
        ping = b'{"op":"ping","id":"%b"}' % probe.encode()
        texts = [ack, ping] if ack else [ping]
        with contextlib.suppress(OSError):  # it was closed before all was sent
            await self.client.send(*parts, *(frame(TEXT, each) for each in texts))
        came: list[dict[str, Any]] = []
        while True:
            came.append(await self.read())
            last = came[-1]
            if last["op"] == "close":
                return came
            if last["op"] == "pong" and last.get("id") == probe:
                return came[:-1]

    async def settle(self) -> None:
        """Every request has its answer, at last."""
        try:
            while +self.unanswered:
                assert "close" != (await self.read())["op"]
        except TimeoutError:
            raise AssertionError(f"no answer to {+self.unanswered}") from None


def is_text(payload: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def must_be_refused(text: bytes) -> bool:
    """What no reader of JSON could take for a command."""
    try:
        value = json.loads(text.decode(), parse_int=float)
    except (ValueError, RecursionError):
        return True
    op = value.get("op") if isinstance(value, dict) else None
    return not isinstance(op, str) or op not in COMMANDS


def request_id(text: bytes) -> str | None:
    """The ``id`` in *text*, as JSON, if it is a request that is sure to have one."""
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or text.count(b'"id"') != 1 or b"\\u" in text:
        return None
    op, found = value.get("op"), value.get("id")
    if op in (None, "ping", "pong", "ack") or not isinstance(found, str | int):
        return None
    usable = len(found) <= 32 if isinstance(found, str) else type(found) is int
    return json.dumps(found) if usable else None


def op_of(text: bytes) -> object:
    """The command that *text* may be taken for."""
    try:
        return json.loads(text.decode(), parse_int=float)["op"]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return None


async def torment(beset: Beset, malformer: Malformer, *, greet: bool) -> Counter[str]:
    """Half of the frames; counts of what came of them."""
    counts: Counter[str] = Counter()
    number = 0
    while number < FRAMES // 2:
        session = await Session.open(beset, greet=greet)
        async with session.client:
            closed = False
            while number < FRAMES // 2 and not closed:
                number += 1
                found, closed = await afflict(session, malformer)
                counts.update(found)
                if number % 100 == 0:
                    await beset.check()
            if not closed:
                await session.settle()
    return counts


async def afflict(session: Session, malformer: Malformer) -> tuple[list[str], bool]:
    """One frame; what came of it, and whether it was the last."""
    random = malformer.random
    payload, binary = malformer.frame(), random.random() < 0.02
    parts = [frame(BINARY if binary else TEXT, payload)]
    if random.random() < 0.1:
        parts = fragments(BINARY if binary else TEXT, malformer.pieces(payload))
        parts.insert(random.randrange(len(parts)), frame(PING, b"there?"))
    identifier = request_id(payload)
    if identifier is not None and not binary and len(payload) <= MAX_BYTES:
        session.unanswered[identifier] += 1
    came = await session.say(*parts)
    found = judge(session, payload, came, binary=binary)
    return found, bool(came) and came[-1]["op"] == "close"


def judge(
    session: Session, payload: bytes, came: list[dict[str, Any]], *, binary: bool
) -> list[str]:
    """Hold what came against the rules."""
    said = (payload[:300], came)
    codes = [each["code"] for each in came if each["op"] == "close"]
    byes = [each["code"] for each in came if each["op"] == "bye"]
    errors = [each for each in came if each["op"] == "error"]
    if binary or len(payload) > MAX_BYTES:
        # Which of the two is seen first, where both are true, depends on the fragments.
        may = [1003] * binary + [1009] * (len(payload) > MAX_BYTES)
        assert codes, said
        assert codes[0] in may, said
        assert [] == byes, said
        return [str(codes[0])]
    if not is_text(payload):
        assert ([1007], []) == (codes, byes), said
        return ["1007"]
    if must_be_refused(payload):
        # Answers to earlier commands may come now, too.
        assert any(each["code"] in AT_ONCE for each in errors), said
    for each in errors:
        assert each["code"] not in ("internal", "timeout"), said
    session.refusals += len(errors)
    if codes:
        # A refused hello ends the session, and so do ten refusals before one.
        assert codes == byes, said
        assert not session.greeted, said
        hello = op_of(payload) == "hello" and codes[0] in (4500, 4502, 4505)
        assert hello or (codes[0] == 4500 and session.refusals >= 10), said
    return [f"{code}" for code in codes] + [each["code"] for each in errors]


@pytest.mark.parametrize("greet", [False, True], ids=["before hello", "after hello"])
def test_malformed_frames(beset: Beset, run: Run, *, greet: bool) -> None:
    """Valid commands, damaged in every way."""
    print(f"CHATMOTOR_TEST_SEED={SEED}")
    before, began = beset.resident, time.monotonic()

    counts = run(torment(beset, Malformer(Random(SEED + greet)), greet=greet))

    grown = (beset.resident - before) / MIB
    took = time.monotonic() - began
    print(dict(counts), f"{took:.0f} s, {grown:.1f} MiB, slowest {beset.slowest:.3f} s")
    assert beset.slowest < 5
    assert {"1003", "1007", "1009", "bad_json", "unknown_op"} <= set(counts)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
field_names = st.sampled_from(
    sorted(
        {key for fields in COMMANDS.values() for key in fields} | {"raw", "reply_to"}
    )
)
commands = st.builds(
    lambda op, fields, identifier: {**COMMANDS[op], **fields, "op": op} | identifier,
    st.sampled_from(sorted(COMMANDS)),
    st.dictionaries(field_names, json_values, max_size=4),
    st.fixed_dictionaries({}, optional={"id": json_values}),
)


@settings(
    max_examples=max(100, FRAMES // 40),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(batch=st.lists(commands, min_size=1, max_size=8))
def test_fields_of_any_type(beset: Beset, run: Run, batch: list[Any]) -> None:
    """JSON in order, with anything in any field; NaN, too, as Python writes it."""

    async def say_all() -> None:
        session = await Session.open(beset, greet=True)
        async with session.client:
            for command in batch:
                text = json.dumps(command).encode("utf-8", "surrogatepass")
                came = await session.say(frame(TEXT, text))
                judge(session, text, came, binary=False)

    run(say_all())


# Over HTTP.


async def call(client: RawClient, path: str, body: bytes, token: bytes) -> int:
    """One request on an open connection; its status, after a look at its answer."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (
        path.encode(),
        len(body),
    )
    if token:
        head += b"Authorization: Bearer " + token + b"\r\n"
    await client.send(head + b"\r\n" + body)
    answer = await client.response()
    for secret in SECRETS:
        assert secret not in answer.body, (path, body[:300], answer)
    assert answer.status < 500, (path, body[:300], answer)
    if answer.status >= 400:
        error = json.loads(answer.body)
        assert {"code", "msg", "retry"} <= set(error), (path, body[:300], answer)
        assert error["code"] != "internal"
    elif answer.status != 204:
        assert isinstance(json.loads(answer.body), dict)
    return answer.status


@pytest.mark.parametrize("which", ["rpc", "accounts"])
def test_malformed_calls(beset: Beset, run: Run, which: str) -> None:
    """Contents that are damaged, for paths that are there and some that are not."""
    print(f"CHATMOTOR_TEST_SEED={SEED}")
    malformer = Malformer(Random(f"{SEED} {which}"))
    random = malformer.random
    statuses: Counter[int] = Counter()

    def request() -> tuple[str, dict[str, Any]]:
        if which == "accounts":
            path = random.choice(sorted(ACCOUNT_CALLS))
            return path, ACCOUNT_CALLS[path]
        op = random.choice(sorted(COMMANDS))
        odd = random.choice(("", "%00", "%ff", "send%20", "..%2f", "x" * 500, "a/b"))
        path = odd if random.random() < 0.05 else op
        return f"/v1/rpc/{path}", COMMANDS[op]

    async def call_all() -> None:
        good = beset.login.token.encode()
        client = await RawClient.dial(beset.node.url)
        for number in range(CALLS):
            path, fields = request()
            token = random.choice(
                (good, good, good, good, b"", b"cm_x", b"\xff", b"a b")
            )
            try:
                statuses[await call(client, path, malformer.call(fields), token)] += 1
            except (OSError, asyncio.IncompleteReadError):
                statuses[0] += 1  # Tornado may close after a refusal
                client.abort()
                client = await RawClient.dial(beset.node.url)
            if number % 100 == 0:
                await beset.check()
        client.abort()

    began = time.monotonic()
    run(call_all())
    print(dict(statuses), f"{time.monotonic() - began:.0f} s")
    assert statuses[0] < CALLS / 20
    assert statuses[400] > CALLS / 10
