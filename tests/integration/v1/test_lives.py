# SPDX-License-Identifier: Apache-2.0
"""What happens to sessions with time: retention, expiry, renewal, foreign tokens."""

import time
from collections.abc import Callable

import jwt
import pytest

from chatmotor.adapters.postgres_store import PostgresStore
from tests.harness.node import ChatmotorNode
from tests.harness.postgres import PrivatePostgres
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import (
    PASSWORD,
    Login,
    Refused,
    acall,
    newcomer,
)
from tests.integration.conftest import on_rabbit
from tests.integration.v1.conftest import QUICK, cluster_options

Name = Callable[[str], str]
SECRET = "a secret of the host application, long enough"


async def test_below_the_floor_a_client_is_told_to_sync(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """``trimmed``: the old events are gone, the messages are not."""
    options = await cluster_options(postgres)
    async with on_rabbit(rabbit, **options) as node:
        alice = await newcomer(node, name("alice"))
        async with alice.connect(node) as session:
            for n in range(5):
                sent = await session.ask("send", cid=str(n), to=alice.username, body=n)
            epoch = session.welcome["epoch"]
        store = PostgresStore(options["CM_POSTGRES_DSN"])
        await store.start()
        assert 6 == await store.trim(before=int(time.time() * 1000) + 1)
        await store.stop()

        for resume in ({"epoch": epoch, "seq": 3}, "device"):
            async with alice.connect(node, resume=resume) as session:
                found = session.welcome
                assert (False, "trimmed") == (found["resumed"], found["reason"])
                with pytest.raises(Refused, match="trimmed"):
                    await session.ask("events", since=3)
                at = (await session.ask("sync"))["at"]
                assert {"epoch": epoch, "seq": sent["seq"]} == at
                page = await session.ask("history", conv=sent["conv"])
                assert [0, 1, 2, 3, 4] == [each["body"] for each in page["items"]]
        async with alice.connect(node, resume=at) as session:
            assert (True, 0) == (session.welcome["resumed"], session.welcome["replay"])


async def test_a_token_that_expires_ends_its_session_unless_renewed(
    name: Name,
) -> None:
    """4010, to come back with another; ``auth`` goes on without a break."""
    days = str(3 / 24 / 3600)
    async with ChatmotorNode(CM_BROKER="embedded", CM_TOKEN_DAYS=days, **QUICK) as node:
        alice = await newcomer(node, name("alice"))
        async with alice.connect(node) as left:
            assert 4010 == await left.until_closed()
            bye = left.others[-1]
            assert (4010, True) == (bye["code"], bye["reconnect"])
        bob = await newcomer(node, name("bob"))
        async with bob.connect(node) as session:
            fresh = await acall(node, "/v1/tokens/renew", {}, token=bob.token)
            answer = await session.ask("auth", token=fresh["token"])
            assert fresh["expires"] == answer["expires"]
            first = session.welcome["expires"]
            while time.time() * 1000 < first + 200:
                await session.ask("ping")
            assert session.close_code is None
            assert 4010 == await session.until_closed()


async def test_tokens_of_a_host_application(name: Name) -> None:
    """A JWT in hello is a log-in; its first use makes the account, its end the end."""
    async with ChatmotorNode(
        CM_BROKER="embedded", CM_JWT_SECRET=SECRET, **QUICK
    ) as node:

        def login(username: str, seconds: float = 60) -> Login:
            claims = {"sub": username, "exp": int(time.time() + seconds)}
            return Login(username, "jwt", jwt.encode(claims, SECRET, "HS256"))

        alice, bob = login(name("alice")), login(name("bob"))
        async with alice.connect(node) as a, bob.connect(node) as b:
            await a.ask("send", cid="1", to=bob.username, body="hi")
            (event,) = await b.messages(1)
            assert alice.username == event["from"]
        forged = jwt.encode({"sub": "eve", "exp": 2**31}, SECRET + "x", "HS256")
        async with Login("eve", "x", forged).connect(node, greet=False) as session:
            with pytest.raises(Refused, match="unauthenticated"):
                await session.hello(forged)
            assert 4502 == await session.until_closed()
        with pytest.raises(Refused, match="forbidden"):
            await acall(node, "/v1/accounts", {"username": "x1", "password": PASSWORD})


async def test_a_server_acts_for_its_users(name: Name) -> None:
    """The server API key makes accounts and sends on their behalf."""
    key = "k" * 40
    async with ChatmotorNode(
        CM_BROKER="embedded", CM_SERVER_API_KEY=key, CM_SIGN_UP="closed", **QUICK
    ) as node:
        for each in ("ann", "bob"):
            await acall(node, "/v1/accounts", {"username": each}, token=key)
        sent = await acall(
            node,
            "/v1/rpc/send",
            {"cid": "1", "to": "bob", "body": "from the backend"},
            token=key,
            headers={"Chatmotor-User": "ann"},
        )
        page = await acall(
            node,
            "/v1/rpc/history",
            {"conv": sent["conv"]},
            token=key,
            headers={"Chatmotor-User": "bob"},
        )
        assert [("ann", "from the backend")] == [
            (each["from"], each["body"]) for each in page["items"]
        ]
        with pytest.raises(Refused, match="forbidden"):
            await acall(node, "/v1/accounts", {"username": "cyd", "password": PASSWORD})


async def test_a_drained_node_says_bye_and_the_other_goes_on(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, name: Name
) -> None:
    """4001 after every answer that was due; the client resumes elsewhere."""
    options = await cluster_options(postgres)
    async with on_rabbit(rabbit, **options) as left, on_rabbit(rabbit, **options) as it:
        alice = await newcomer(left, name("alice"))
        async with alice.connect(left) as session:
            answers = [
                session.ask_soon("send", cid=str(n), to=alice.username, body=n)
                for n in range(50)
            ]
            await answers[0]
            assert 0 == await left.stop()
            assert 4001 == await session.until_closed()
            done = [each.result() for each in answers if each.exception() is None]
            bye = session.others[-1]
            assert ("bye", 4001, True) == (bye["op"], bye["code"], bye["reconnect"])
            resume = {"epoch": session.welcome["epoch"], "seq": session.seq}
            seen = [each["body"] for each in only_messages(session.events)]
        async with alice.connect(it, resume=resume) as session:
            await session.live()
            seen += [each["body"] for each in only_messages(session.events)]
        assert list(range(len(seen))) == seen
        assert len(done) <= len(seen)


def only_messages(events: list[dict[str, object]]) -> list[dict[str, object]]:
    """Those that are messages."""
    return [each for each in events if each["t"] == "message.new"]
