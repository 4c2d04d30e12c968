# SPDX-License-Identifier: Apache-2.0
"""What is of now, on real nodes: typing, presence, receipts and signals."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import (
    V1,
    Frame,
    Login,
    Refused,
    V1Session,
    acall,
    log_in,
    newcomer,
)
from tests.integration.conftest import Nodes, on_rabbit
from tests.integration.v1.conftest import QUICK, cluster_options

Name = Callable[[str], str]

GRACE = {"CM_PRESENCE_GRACE_SECONDS": "1"}
SECRET = "a secret of the host application, long enough"
CROWD = 1000
# To open that many connections on a busy machine, and come back with them.
CROWD_GRACE_SECONDS = 15


@pytest.fixture(params=["embedded", "cluster"], scope="module")
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """One suite, two configurations, with a short grace."""
    if request.param == "embedded":
        async with ChatmotorNode(CM_BROKER="embedded", **QUICK, **GRACE) as node:
            yield Nodes(node, node)
        return
    rabbit: PrivateRabbit = request.getfixturevalue("shared_rabbit")
    postgres: PrivatePostgres = request.getfixturevalue("shared_postgres")
    rabbit.start()
    postgres.start()
    async with two_nodes(rabbit, postgres, **GRACE) as both:
        yield both


@asynccontextmanager
async def two_nodes(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, **options: str
) -> AsyncIterator[Nodes]:
    """Connected, on a new database."""
    options |= await cluster_options(postgres)
    async with on_rabbit(rabbit, **options) as left:
        async with on_rabbit(rabbit, **options) as right:
            await left.until_broker_is("connected")
            await right.until_broker_is("connected")
            yield Nodes(left, right)


def ephemerals(session: V1Session, t: str) -> list[Frame]:
    """The ``eph`` frames of this type that came."""
    return [each for each in session.ephemerals if each["t"] == t]


async def ephemeral(session: V1Session, t: str, **fields: Any) -> Frame:
    """The first ``eph`` of this type with these fields."""

    def found() -> list[Frame]:
        return [
            each for each in ephemerals(session, t) if fields.items() <= each.items()
        ]

    await session.until(found)
    return found()[0]


def states(session: V1Session, username: str) -> list[str]:
    """What a session was told of an account, in order."""
    return [
        user["state"]
        for frame in ephemerals(session, "presence")
        for user in frame["users"]
        if user["user"] == username
    ]


async def told(session: V1Session, username: str, *expected: str) -> None:
    """Return once it was told so, and nothing else before."""
    await session.until(lambda: len(states(session, username)) >= len(expected))
    assert list(expected) == states(session, username)


async def test_typing_reaches_the_others(nodes: Nodes, name: Name) -> None:
    """Between two and in a group, on whatever node; not the account that writes."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in ("ann", "bob")]
    async with ann.connect(nodes.left) as a, bob.connect(nodes.right) as b:
        sent = await a.ask("send", cid="1", to=bob.username, body="hi")
        made = await a.ask("conv.create", cid="2", members=[bob.username], title="")
        await b.until_event("conv.new")
        await b.messages(1)
        group = made["conv"]["conv"]
        for conv in (sent["conv"], group):
            for state in ("on", "off"):
                await a.ask("typing", conv=conv, state=state)
                told = await ephemeral(b, "typing", conv=conv, state=state)
                assert ann.username == told["from"]
        # What was sent before this has come before it.
        await b.ask("signal", to=ann.username, body="end")
        await ephemeral(a, "signal")
        assert [] == ephemerals(a, "typing")


async def test_presence_crosses_nodes(nodes: Nodes, name: Name) -> None:
    """Present, with a text, and offline after the grace."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in ("ann", "bob")]
    async with ann.connect(nodes.left) as a:
        answer = await a.ask("watch", users=[bob.username])
        assert [{"user": bob.username, "state": "offline"}] == answer["snapshot"]
        async with bob.connect(nodes.right) as b:
            await b.ask("presence", state="dnd", text="at work")
            await told(a, bob.username, "dnd")
            answer = await a.ask("watch", users=[bob.username.upper()])
            assert [{"user": bob.username, "state": "dnd", "text": "at work"}] == (
                answer["snapshot"]
            )
        await told(a, bob.username, "dnd", "offline")


async def test_a_return_within_the_grace_is_silent(nodes: Nodes, name: Name) -> None:
    """Also on the other node; somebody who leaves after it is the clock."""
    ann, bob, cyd = [await newcomer(nodes.left, name(each)) for each in "abc"]
    async with ann.connect(nodes.left) as a, cyd.connect(nodes.right) as c:
        async with bob.connect(nodes.right):
            answer = await a.ask("watch", users=[bob.username, cyd.username])
            assert ["online", "online"] == [
                each["state"] for each in answer["snapshot"]
            ]
        async with bob.connect(nodes.left):
            await c.socket.close()
            await told(a, cyd.username, "offline")
            assert [] == states(a, bob.username)


async def test_receipts_are_told_to_the_sender(nodes: Nodes, name: Name) -> None:
    """Delivered once a device has it, read once it says so, on each of its nodes."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in ("ann", "bob")]
    web = await log_in(nodes.left, ann.username, "web")
    async with (
        ann.connect(nodes.left) as a,
        web.connect(nodes.right) as w,
        bob.connect(nodes.right) as b,
    ):
        for n in range(3):
            sent = await a.ask("send", cid=str(n), to=bob.username, body=n)
        await b.messages(3)
        await b.ack()
        of_bob = {"conv": sent["conv"], "user": bob.username}
        for session in (a, w):
            await ephemeral(session, "receipt", **of_bob, delivered=3, read=0)
        await b.ask("read", conv=sent["conv"], n=2)
        for session in (a, w):
            await ephemeral(session, "receipt", **of_bob, delivered=3, read=2)
        page = await a.ask("history", conv=sent["conv"])
        assert [3, 2] == page["receipts"][bob.username]


async def test_signals_and_typing_over_http(nodes: Nodes, name: Name) -> None:
    """What needs no session; presence does, and is no call."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in ("ann", "bob")]
    async with bob.connect(nodes.right) as b:

        async def post(op: str, **fields: Any) -> Any:
            return await acall(nodes.left, f"/v1/rpc/{op}", fields, token=ann.token)

        sent = await post("send", cid="1", to=bob.username, body="hi")
        assert {} == await post("typing", conv=sent["conv"], state="on")
        assert {} == await post("signal", to=bob.username, body={"sdp": "x"})
        await ephemeral(b, "typing", state="on", conv=sent["conv"])
        signal = await ephemeral(b, "signal")
        assert (ann.username, "phone", {"sdp": "x"}) == (
            *(signal["from"], signal["device"]),
            signal["body"],
        )
        for op in ("presence", "watch", "unwatch"):
            with pytest.raises(Refused, match="unknown_op"):
                await post(op, state="away", users=[bob.username])


async def test_what_is_sent_and_watched_is_counted(nodes: Nodes, name: Name) -> None:
    """For operators."""
    ann, bob = [await newcomer(nodes.left, name(each)) for each in ("ann", "bob")]
    sample = 'chatmotor_ephemerals_total{result="sent"}'
    async with ann.connect(nodes.left) as a:
        watched = await nodes.left.metric("chatmotor_watched_accounts")
        before = await nodes.left.metric(sample)
        await a.ask("watch", users=[bob.username])
        await acall(
            nodes.left,
            "/v1/rpc/signal",
            {"to": ann.username, "body": 1},
            token=bob.token,
        )
        await ephemeral(a, "signal")

        assert watched + 1 == await nodes.left.metric("chatmotor_watched_accounts")
        assert before + 1 == await nodes.left.metric(sample)


async def test_a_killed_node_takes_its_users_with_it(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """After kill -9: offline, but for those who are on another node as well."""
    async with two_nodes(rabbit, postgres, **GRACE) as nodes:
        ann, bob, cyd = [await newcomer(nodes.left, name(each)) for each in "abc"]
        async with (
            ann.connect(nodes.left) as a,
            bob.connect(nodes.right),
            cyd.connect(nodes.right) as there,
            cyd.connect(nodes.left),
        ):
            await there.ask("presence", state="dnd")
            answer = await a.ask("watch", users=[bob.username, cyd.username])
            assert ["online", "dnd"] == [each["state"] for each in answer["snapshot"]]
            killed_at = time.monotonic()
            await nodes.right.kill()

            await told(a, bob.username, "offline")

            # Silent for the grace and 3 s; a beat, and a batch.
            assert 2.5 < time.monotonic() - killed_at < 12
            assert ["online"] == states(a, cyd.username)


async def test_a_drained_node_has_its_users_come_back(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """SIGTERM: whoever is on another node within the grace was never away."""
    grace = {"CM_PRESENCE_GRACE_SECONDS": "2"}
    async with two_nodes(rabbit, postgres, **grace) as nodes:
        ann, bob, cyd = [await newcomer(nodes.left, name(each)) for each in "abc"]
        async with ann.connect(nodes.left) as a, bob.connect(nodes.right) as b:
            async with cyd.connect(nodes.right):
                answer = await a.ask("watch", users=[bob.username, cyd.username])
                assert ["online"] * 2 == [each["state"] for each in answer["snapshot"]]
                stopping = asyncio.ensure_future(nodes.right.stop())
                assert 4001 == await b.until_closed()
                async with bob.connect(nodes.left):
                    await told(a, cyd.username, "offline")
                    assert [] == states(a, bob.username)
                assert 0 == await stopping


@asynccontextmanager
async def crowd(node: ChatmotorNode, logins: list[Login]) -> AsyncIterator[None]:
    """All of them are welcomed, and then lose their connections at once."""
    url = node.url.replace("http", "ws", 1) + "/v1/ws"
    gate = asyncio.Semaphore(50)

    async def come(login: Login) -> ClientConnection:
        async with gate:
            socket = await connect(url, subprotocols=V1, proxy=None, compression=None)
            hello = {"op": "hello", "id": 1, "v": 1, "token": login.token}
            await socket.send(json.dumps(hello))
            assert "welcome" == json.loads(await socket.recv())["op"]
        return socket

    sockets = await asyncio.gather(*(come(login) for login in logins))
    try:
        yield
    finally:
        for socket in sockets:
            socket.transport.abort()
        with contextlib.suppress(OSError):
            await asyncio.gather(*(each.wait_closed() for each in sockets))


async def test_a_return_of_a_thousand_does_not_storm(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """
    They are watched on one node and lose their connections to the other: when all come
    back there is no frame for whoever watches, and few publishes for RabbitMQ.
    """
    options = {
        "CM_PRESENCE_GRACE_SECONDS": str(CROWD_GRACE_SECONDS),
        "CM_JWT_SECRET": SECRET,
    }
    async with two_nodes(rabbit, postgres, **options) as nodes:

        def login(username: str) -> Login:
            claims = {"sub": username, "exp": int(time.time() + 600)}
            return Login(username, "jwt", jwt.encode(claims, SECRET, "HS256"))

        logins = [login(name(f"user{n}x")) for n in range(CROWD)]
        names = [each.username for each in logins]
        late = login(name("late"))
        async with login(name("ann")).connect(nodes.left) as a:
            for begin in range(0, CROWD, 500):
                await a.ask("watch", users=names[begin : begin + 500])
            await a.ask("watch", users=[late.username])
            async with late.connect(nodes.left):
                async with crowd(nodes.right, logins):
                    await a.until(lambda: all_are(a, [*names, late.username], "online"))
                    frames = len(ephemerals(a, "presence"))
                    counted = await asyncio.to_thread(rabbit.message_counters)
                    before = counted["received"]
            # The last one to go: when it is offline, who stays away would be, too.
            async with crowd(nodes.right, logins):
                await told(a, late.username, "online", "offline")

                print(f"{len(ephemerals(a, 'presence')) - frames} frames")
                counted = await asyncio.to_thread(rabbit.message_counters)
                print(f"{counted['received'] - before} publishes")
                assert all_are(a, names, "online")
                assert 1 == len(ephemerals(a, "presence")) - frames  # of the late one
                assert counted["received"] - before < CROWD / 10


def all_are(session: V1Session, usernames: list[str], state: str) -> bool:
    """Whether it was told so last of each."""
    last = {
        user["user"]: user["state"]
        for frame in ephemerals(session, "presence")
        for user in frame["users"]
    }
    return all(last.get(each) == state for each in usernames)
