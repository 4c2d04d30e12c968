# SPDX-License-Identifier: Apache-2.0
"""Outgoing webhooks of real nodes, to a receiver beside them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.harness import hasty_bindings
from tests.harness.node import ChatmotorNode
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.receiver import Receiver
from tests.harness.v1_client import Login, acall, newcomer, sign_up
from tests.integration.conftest import on_rabbit

HASTY = {
    "CM_BINDINGS": str(Path(hasty_bindings.__file__)),
    "CM_SENDS_PER_SECOND": "10000",
    "CM_SENDS_BURST": "10000",
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Takes all."""
    async with Receiver() as made:
        yield made


async def send(node: ChatmotorNode, sender: Login, body: Any, **where: str) -> None:
    """One message over HTTP; its cid is its body."""
    fields = {"cid": f"c{body}", "body": body} | where
    await acall(node, "/v1/rpc/send", fields, token=sender.token)


async def add_hook(node: ChatmotorNode, username: str, url: str) -> tuple[str, str]:
    """Its id and its secret."""
    printed = (await node.operate("hook", "add", username, url)).split()
    return printed[0], printed[1]


def bodies(receiver: Receiver) -> list[Any]:
    """Of the messages that have come, repeats left out."""
    by_id = dict(zip(receiver.ids, receiver.events, strict=True))
    return [each["body"] for each in by_id.values() if each["t"] == "message.new"]


async def test_a_restart_resumes_where_it_was(receiver: Receiver) -> None:
    """What was stored while the receiver, or the node, was away comes afterwards."""
    async with ChatmotorNode(CM_BROKER="embedded", **HASTY) as node:
        await sign_up(node, "ann")
        bob = await newcomer(node, "bob")
        hook, secret = await add_hook(node, "ann", receiver.url)
        await send(node, bob, 1, to="ann")
        await receiver.until(lambda: [1] == bodies(receiver))
        Webhook(secret).verify(
            receiver.requests[0].body, dict(receiver.requests[0].headers)
        )

        receiver.status = 500
        await send(node, bob, 2, to="ann")
        await receiver.until(lambda: len(receiver.requests) > 2)
        listed = await node.operate("hook", "list")
        assert f"{hook}\tann\ton\t{receiver.url}\t1 behind\tfailing since " in listed
        assert "the answer was 500" in listed
        assert secret not in listed + await node.operate("hook", "list", "--json")
        await node.stop()
        await node.start_again()
        await send(node, bob, 3, to="ann")
        del receiver.requests[1:]
        receiver.status = 204
        await receiver.until(lambda: [1, 2, 3] == bodies(receiver))

        await node.kill()
        await node.start_again()
        await send(node, bob, 4, to="ann")
        await receiver.until(lambda: [1, 2, 3, 4] == bodies(receiver))
        assert 1 <= await node.metric('chatmotor_hook_deliveries_total{kind="webhook"}')
        assert 1 == await node.metric("chatmotor_hooks")
        await node.operate("hook", "remove", hook)
        assert "" == await node.operate("hook", "list")
        assert secret not in node.log()
        assert receiver.url not in node.log()


async def test_another_node_goes_on_after_kill_9(
    receiver: Receiver, rabbit: PrivateRabbit, on_postgres: dict[str, str]
) -> None:
    """
    The receiver sees every event of the mailbox and of a group, each log in its order;
    what it sees twice has one id.
    """
    options = on_postgres | HASTY
    async with on_rabbit(rabbit, **options) as one, on_rabbit(rabbit, **options) as two:
        await sign_up(one, "ann")
        bob = await newcomer(one, "bob")
        group = await acall(
            one,
            "/v1/rpc/conv.create",
            {"cid": "g", "members": ["ann"]},
            token=bob.token,
        )
        conv = group["conv"]["conv"]
        await add_hook(one, "ann", receiver.url)
        first, other = await owner_first(one, two)
        numbers = iter(range(10_000))

        async def write(count: int) -> None:
            for _ in range(count):
                number = next(numbers)
                where = {"conv": conv} if number % 2 else {"to": "ann"}
                await send(other, bob, number, **where)

        writing = asyncio.create_task(write(60))
        await receiver.until(lambda: len(receiver.requests) > 15)
        await first.kill()
        killed_at = asyncio.get_running_loop().time()
        await writing
        await write(20)

        await receiver.until(lambda: len(set(receiver.ids)) == 80)
        assert asyncio.get_running_loop().time() - killed_at < 15
        assert list(range(80)) == sorted(bodies(receiver))
        check_order(receiver)
        assert 1 == await other.metric("chatmotor_hooks")


async def owner_first(
    one: ChatmotorNode, two: ChatmotorNode
) -> tuple[ChatmotorNode, ChatmotorNode]:
    """The node that has the hook, and the one that has not."""

    async def somebody_has_it() -> bool:
        return 0 < sum([await x.metric("chatmotor_hooks") for x in (one, two)])

    await one.until(somebody_has_it)
    has = await one.metric("chatmotor_hooks")
    return (one, two) if has else (two, one)


def check_order(receiver: Receiver) -> None:
    """An id is one event, and each log is in its order, where repeats go back."""
    contents: dict[str, set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for request, event in zip(receiver.requests, receiver.events, strict=True):
        id_ = request.headers["webhook-id"]
        if id_ not in contents:
            log = "mailbox" if "seq" in event else event["conv"]
            places[log].append(event.get("seq") or event["pos"])
        contents[id_].add(request.body.decode())
    assert {1} == {len(each) for each in contents.values()}
    for found in places.values():
        assert list(range(found[0], found[0] + len(found))) == found


async def test_administrators_have_hooks_over_http(receiver: Receiver) -> None:
    """Made, tried, listed, given another secret, and removed; nobody else may."""
    async with ChatmotorNode(CM_BROKER="embedded", **HASTY) as node:
        bob = await newcomer(node, "bob")
        await node.operate("user", "admin", "bob")
        body = {"username": "bob", "url": receiver.url, "types": ["message.new"]}

        made = await acall(node, "/v1/admin/hooks", body, token=bob.token)
        path = f"/v1/admin/hooks/{made['hook']['hook']}"
        tried = await acall(node, path + "/test", token=bob.token)
        rotated = await acall(node, path + "/rotate", token=bob.token)
        await send(node, bob, "to oneself", to="bob")
        await receiver.until(lambda: ["to oneself"] == bodies(receiver))

        assert {"delivered": True, "error": ""} == tried
        assert "hook.test" == receiver.events[0]["t"]
        for secret in (made["secret"], rotated["secret"]):
            last = receiver.requests[-1]
            Webhook(secret).verify(last.body, dict(last.headers))
        receiver.status = 403
        tried = await acall(node, path + "/test", token=bob.token)
        assert {"delivered": False, "error": "the answer was 403"} == tried
        assert None is await acall(node, path, token=bob.token, method="DELETE")
        found = await acall(node, "/v1/admin/hooks", token=bob.token, method="GET")
        assert {"items": [], "more": False} == found
        for secret in (made["secret"], rotated["secret"]):
            assert secret not in node.log()
