# SPDX-License-Identifier: Apache-2.0
"""Classic and v1 clients talk to each other; a classic account gets what it missed."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.harness.node import DEADLINE_SECONDS, ChatmotorNode, heard, say
from tests.harness.v1_client import Login, log_in, newcomer
from tests.integration.conftest import Nodes

Name = Callable[[str], str]


def classic(node: ChatmotorNode, login: Login) -> Any:
    """The classic socket of an account."""
    headers = {"Authorization": f"Bearer {login.token}"}
    return node.connect(login.username, additional_headers=headers)


async def texts(client: ClientConnection, count: int) -> list[str]:
    """The next texts, as they are."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return [str(await client.recv()) for _ in range(count)]


async def test_a_guests_text_for_an_account_is_stored(nodes: Nodes, name: Name) -> None:
    """As raw, from the guest's name, and marked as a guest's; offline, too."""
    bob = await newcomer(nodes.left, name("bob"))
    guest = name("guest")
    async with nodes.left.connect(guest) as client:
        first = await say(client, bob.username, "while away")
        async with bob.connect(nodes.right, resume="device") as session:
            (event,) = await session.messages(1)
            assert (first, guest, True) == (
                event["raw"],
                event["from"],
                event["from_guest"],
            )
            second = await say(client, bob.username, "live")
            _, event = await session.messages(2)
            assert (second, 2) == (event["raw"], event["n"])
            assert "cid" not in event
            shown = (await session.ask("conv.get", conv=event["conv"]))["conv"]
            assert ("guest", guest, 2) == (
                shown["type"],
                shown["user"],
                shown["unread"],
            )
            page = await session.ask("history", conv=event["conv"])
            assert [first, second] == [each["raw"] for each in page["items"]]


async def test_v1_to_a_classic_account(nodes: Nodes, name: Name) -> None:
    """A body in the old form, a raw text as it is; what was missed, first."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"), "classic")
    raw = '{"destination": "x",  "odd":   "spacing"}'
    async with alice.connect(nodes.left) as session:
        await session.ask("send", cid="1", to=bob.username, body="missed")
        await session.ask("send", cid="2", to=bob.username, raw=raw)
        async with classic(nodes.right, bob) as client:
            missed, untouched = await texts(client, 2)
            await session.ask("send", cid="3", to=bob.username, body={"k": 1})
            (live,) = await texts(client, 1)

            async def the_cursor_has_moved() -> bool:
                async with bob.connect(nodes.left, resume="device") as other:
                    return bool(other.welcome["replay"] == 0)

            # While it is connected: the cursor moves on its pong.
            await nodes.left.until(the_cursor_has_moved)

        assert {
            "sender": alice.username,
            "destination": bob.username,
            "payload": "missed",
            "type": "instant_message",
        } == json.loads(missed)
        assert raw == untouched
        assert {"k": 1} == json.loads(live)["payload"]

        async with classic(nodes.left, bob) as again:
            marker = await say(again, bob.username, "marker")
            assert [marker] == await texts(again, 1)


async def test_classic_accounts_among_themselves(nodes: Nodes, name: Name) -> None:
    """Stored, verbatim, in order, whether the other is there or not."""
    ann = await newcomer(nodes.left, name("ann"))
    bob = await newcomer(nodes.left, name("bob"))
    other = await log_in(nodes.left, bob.username, "another device")
    async with classic(nodes.left, ann) as a:
        sent = [await say(a, bob.username, n) for n in range(30)]
        async with (
            classic(nodes.right, bob) as b,
            classic(nodes.right, other) as second,
        ):
            assert sent == await texts(b, 30)
            assert sent == await texts(second, 30)
            back = [await say(b, ann.username, n) for n in range(30)]
            assert back == await texts(a, 30)
            await say(a, ann.username, "to myself")
            assert ["to myself"] == await heard(a)


async def test_an_account_to_a_guest_is_live_only(nodes: Nodes, name: Name) -> None:
    """The guest gets the text as it is; nothing is stored for it."""
    ann = await newcomer(nodes.left, name("ann"))
    guest = name("guest")
    async with classic(nodes.left, ann) as a, nodes.right.connect(guest) as g:
        text = await say(a, guest, "hello guest")
        assert [text] == await texts(g, 1)
    async with ann.connect(nodes.left, resume="device") as session:
        await session.live()
        assert [] == [each for each in session.events if each["t"] == "message.new"]


@pytest.mark.parametrize("spelling", [str, str.upper, str.title])
async def test_no_guest_is_let_in_under_an_accounts_name(
    nodes: Nodes, name: Name, spelling: Callable[[str], str]
) -> None:
    """In any spelling; with another account's token neither."""
    bob = await newcomer(nodes.left, name("bob"))
    eve = await newcomer(nodes.left, name("eve"))
    with pytest.raises(InvalidStatus) as refused:
        async with nodes.right.connect(spelling(bob.username)):
            pass
    assert 401 == refused.value.response.status_code
    thief = Login(spelling(bob.username), "x", eve.token)
    with pytest.raises(InvalidStatus) as refused:
        async with classic(nodes.right, thief):
            pass
    assert 403 == refused.value.response.status_code


async def test_a_guest_is_closed_when_its_name_becomes_an_account(
    nodes: Nodes, name: Name
) -> None:
    """Whoever had the name as a guest hears nothing meant for the account."""
    bob = name("bob")
    async with nodes.right.connect(bob) as guest:
        await newcomer(nodes.left, bob)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await guest.wait_closed()
        assert 4502 == guest.close_code
