# SPDX-License-Identifier: Apache-2.0
"""Flow control and limits over v1: the backlog stays in the store, never in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.harness.node import ChatmotorNode
from tests.harness.v1_client import (
    Refused,
    acall,
    log_in,
    newcomer,
    sign_up,
)
from tests.integration.conftest import Nodes
from tests.integration.v1.conftest import QUICK

Name = Callable[[str], str]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[ChatmotorNode]:
    """A node that waits for nobody."""
    async with ChatmotorNode(
        CM_BROKER="embedded",
        CM_SLOW_READER_SECONDS="1",
        CM_HELLO_SECONDS="0.5",
        **QUICK,
    ) as node:
        yield node


def resident_bytes(node: ChatmotorNode) -> int:
    """What the node's process holds."""
    pages = Path(f"/proc/{node.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


async def test_a_device_that_never_acks_is_bounded_closed_and_loses_nothing(
    hasty: ChatmotorNode, name: Name
) -> None:
    """It gets its window, then 4002; 20 MB of backlog stay out of the memory."""
    alice = await newcomer(hasty, name("alice"))
    bob = await newcomer(hasty, name("bob"))
    body = "x" * 10_000
    async with (
        alice.connect(hasty) as a,
        bob.connect(hasty, window=20) as b,
    ):
        b.ack_every = 0
        start = b.welcome

        async def send(numbers: range) -> None:
            for begin in numbers[::50]:
                await asyncio.gather(
                    *(
                        a.ask("send", cid=str(n), to=bob.username, body=body)
                        for n in range(begin, begin + 50)
                    )
                )

        await send(range(1000))  # until the store's own caches are as large as they get
        before = resident_bytes(hasty)
        await send(range(1000, 3000))
        code = await b.until_closed()
        grown = resident_bytes(hasty) - before

        assert 4002 == code
        assert 20 == len(b.events)
        assert ["bye"] == [each["op"] for each in b.others if each["op"] != "live"]
        bye = b.others[-1]
        assert (4002, True) == (bye["code"], bye["reconnect"])
        assert grown < 8 * MIB, grown
    resume = {"epoch": start["epoch"], "seq": b.seq}
    async with bob.connect(hasty, resume=resume) as b:
        await b.live()
        assert 2980 == len(b.events) == b.welcome["replay"]
        seqs = [each["seq"] for each in b.events]
        assert list(range(seqs[0], seqs[0] + 2980)) == seqs


async def test_with_a_full_window_groups_are_named_and_not_sent(
    nodes: Nodes, name: Name
) -> None:
    """``behind``, once for each group until there is room; then the latest."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with alice.connect(nodes.left) as a, bob.connect(nodes.right, window=3) as b:
        b.ack_every = 0
        made = await a.ask("conv.create", cid="g", members=[bob.username])
        conv = made["conv"]["conv"]
        await b.until(lambda: b.events)
        for n in range(6):
            await a.ask("send", cid=str(n), conv=conv, body=n)
        await b.until(lambda: any(each["op"] == "behind" for each in b.others))
        await a.ask("send", cid="x", to=bob.username, body="in the mailbox")

        told = [each for each in b.others if each["op"] == "behind"]
        assert [{"op": "behind", "conv": conv, "pos": 4}] == told
        assert 3 == len(b.events)
        await b.ack()
        await b.until(lambda: len(b.events) == 4)
        behind = [each["pos"] for each in b.others if each["op"] == "behind"]
        assert [4, 7] == behind
        assert "in the mailbox" == b.events[-1]["body"]
        pulled = await b.ask("events", since=3, conv=conv)
        assert [4, 5, 6, 7] == [each["pos"] for each in pulled["events"]]


async def test_silence_instead_of_hello_is_4501(hasty: ChatmotorNode) -> None:
    """Whoever is nobody holds a socket no longer than HELLO_SECONDS."""
    await sign_up(hasty, "quiet")
    quiet = await log_in(hasty, "quiet")
    async with quiet.connect(hasty, greet=False) as session:
        code = await session.until_closed()

        assert 4501 == code
        assert [(4501, False)] == [
            (each["code"], each["reconnect"]) for each in session.others
        ]


@pytest.mark.parametrize(
    ("hello", "error", "code"),
    [
        ({"v": 1, "token": "cm_nonsense"}, "unauthenticated", 4502),
        ({"v": 1, "token": "no token at all"}, "unauthenticated", 4502),
        ({"v": 1}, "unauthenticated", 4502),
        ({"v": 2, "token": "cm_x"}, "unsupported_version", 4505),
    ],
)
async def test_a_refused_hello_ends_the_session(
    hasty: ChatmotorNode, hello: dict[str, object], error: str, code: int
) -> None:
    """The error says why, and the close code whether to come back."""
    await sign_up(hasty, f"u{abs(hash(str(hello))) % 10**8}")
    nobody = await log_in(hasty, f"u{abs(hash(str(hello))) % 10**8}")
    async with nobody.connect(hasty, greet=False) as session:
        with pytest.raises(Refused) as refused:
            await session.ask("hello", **hello)

        assert error == refused.value.code
        assert code == await session.until_closed()


async def test_before_hello_nothing_is_served(hasty: ChatmotorNode, name: Name) -> None:
    """Each command is refused as unauthenticated, and ten of them are enough."""
    alice = await newcomer(hasty, name("alice"))
    async with alice.connect(hasty, greet=False) as session:
        for op in ("sync", "device.list", "user.get", "send", "read"):
            with pytest.raises(Refused) as refused:
                await session.ask(op, user="a", cid="c", to="a", body=1, conv="c", n=1)
            assert "unauthenticated" == refused.value.code
        for _ in range(5):
            await session.send_frame(op="ack", h=1)
        assert 4500 == await session.until_closed()


async def test_sends_are_rate_limited(name: Name) -> None:
    """Over the burst: rate_limited with the time to wait; nobody is closed."""
    async with ChatmotorNode(
        CM_BROKER="embedded", CM_SENDS_PER_SECOND="50", CM_SENDS_BURST="5"
    ) as node:
        alice = await newcomer(node, name("alice"))
        async with alice.connect(node) as session:
            answers = [
                session.ask_soon("send", cid=str(n), to=alice.username, body=n)
                for n in range(8)
            ]
            found = await asyncio.gather(*answers)
            codes = [each.get("code") for each in found]
            wait = found[-1]["retry_ms"]

            assert [None] * 5 == codes[:5]
            assert "rate_limited" == codes[-1]
            assert found[-1]["retry"]
            assert 0 < wait <= 100
            await session.messages(5)

        async def served() -> bool:
            fields = {"cid": "again", "to": alice.username, "body": 1}
            try:
                await acall(node, "/v1/rpc/send", fields, token=alice.token)
            except Refused as refused:
                if refused.code != "rate_limited":
                    raise
                return False
            return True

        await node.until(served)


async def test_limits_of_sizes(nodes: Nodes, name: Name) -> None:
    """A body at its limit passes; one byte more is too_large, and nothing is lost."""
    alice = await newcomer(nodes.left, name("alice"))
    async with alice.connect(nodes.left) as session:
        limit = session.welcome["limits"]["body_bytes"]
        await session.ask("send", cid="1", to=alice.username, body="x" * (limit - 2))
        await session.ask("send", cid="2", to=alice.username, raw="x" * limit)
        for field, text in (("body", "x" * (limit - 1)), ("raw", "x" * (limit + 1))):
            with pytest.raises(Refused) as refused:
                await session.ask("send", cid="3", to=alice.username, **{field: text})
            assert ("too_large", field) == (
                refused.value.code,
                refused.value.error["field"],
            )
        await session.messages(2)
        await session.send_frame(op="send", id=9, raw="x" * 70_000)
        assert 1009 == await session.until_closed()
        assert not any(each["op"] == "bye" for each in session.others)


async def test_more_sockets_than_allowed_are_refused(name: Name) -> None:
    """The newest is refused in words; the others stay."""
    async with ChatmotorNode(CM_BROKER="embedded", CM_SOCKETS_MAX="2") as node:
        alice = await newcomer(node, name("alice"))
        async with alice.connect(node) as one, alice.connect(node):
            async with alice.connect(node, greet=False) as third:
                with pytest.raises(Refused, match="quota_exceeded"):
                    await third.hello(alice.token)
                assert 4003 == await third.until_closed()
            await one.ask("ping")


async def test_v1_needs_its_subprotocol(nodes: Nodes) -> None:
    """GET /v1/ws without it says what is missing."""
    status, body = await nodes.left.get("/v1/ws")

    assert 400 == status
    assert "chatmotor.v1" in json.loads(body)["msg"]


async def test_both_paths_speak_v1(nodes: Nodes, name: Name) -> None:
    """``/im/<username>`` with the subprotocol is v1, whatever the name; the server
    says which one it has chosen.
    """
    alice = await newcomer(nodes.left, name("alice"))
    async with nodes.left.connect(
        "somebody", subprotocols=["other", "chatmotor.v1"]
    ) as socket:
        assert "chatmotor.v1" == socket.subprotocol
        await socket.send(
            json.dumps({"op": "hello", "id": "h", "v": 1, "token": alice.token})
        )
        welcome = json.loads(await socket.recv())
        assert ("h", alice.username) == (welcome["id"], welcome["user"])


async def test_a_token_may_come_with_the_upgrade(nodes: Nodes, name: Name) -> None:
    """Then hello needs none; a bad one is refused as HTTP."""
    alice = await newcomer(nodes.left, name("alice"))
    url = nodes.left.url.replace("http", "ws", 1) + "/v1/ws"
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with nodes.left.connect(
        "x", subprotocols=["chatmotor.v1"], additional_headers=headers
    ) as socket:
        await socket.send('{"op":"hello","id":1,"v":1}')
        assert alice.username == json.loads(await socket.recv())["user"]
    with pytest.raises(Exception, match="401"):
        async with nodes.left.connect(
            "x",
            subprotocols=["chatmotor.v1"],
            additional_headers={"Authorization": "Bearer cm_wrong"},
        ):
            raise AssertionError(url)
