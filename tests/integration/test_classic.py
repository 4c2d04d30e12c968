# SPDX-License-Identifier: Apache-2.0
"""The classic contract (docs/reference/classic.md), on both brokers."""

import asyncio
import json
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.harness.node import DEADLINE_SECONDS, ROOT, ChatmotorNode, heard, say
from tests.integration.conftest import Nodes


async def closed_with(client: ClientConnection) -> int | None:
    """The code the server closes *client* with."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        await client.wait_closed()
    return client.close_code


async def test_a_text_arrives_verbatim(nodes: Nodes) -> None:
    """The recipient gets the sender's text byte for byte, odd spacing and all."""
    text = (
        ' {"payload":{"b":1,"a":[1.0,1e400,"\\ud83d"]},\t"x":"ü\\u00fc☃😀",'
        '"destination" : "bob","destination":"bob"}\n'
    )
    async with nodes.left.connect("alice") as alice, nodes.right.connect("bob") as bob:
        await alice.send(text)

        async with asyncio.timeout(DEADLINE_SECONDS):
            assert text == await bob.recv()


async def test_ten_thousand_characters_pass(nodes: Nodes) -> None:
    """A long message of any script is a message like any other."""
    async with nodes.left.connect("alice") as alice, nodes.right.connect("bob") as bob:
        for content in ("x" * 10_000, "語" * 10_000, "😀" * 10_000):
            text = json.dumps(
                {"destination": "bob", "content": content}, ensure_ascii=False
            )
            await alice.send(text)

            async with asyncio.timeout(DEADLINE_SECONDS):
                assert text == await bob.recv()


async def test_every_connection_of_a_name_gets_a_copy(nodes: Nodes) -> None:
    """Three sockets of one name, on two nodes, each get each message once."""
    async with (
        nodes.left.connect("alice") as alice,
        nodes.left.connect("bob") as first,
        nodes.right.connect("bob") as second,
        nodes.right.connect("bob") as third,
    ):
        for n in range(10):
            await say(alice, "bob", n)
        await say(alice, "bob", "end")

        for client in (first, second, third):
            assert [*range(10), "end"] == await heard(client, 11)


async def test_sending_to_oneself_works(nodes: Nodes) -> None:
    """The sender's own name is a recipient like any other."""
    async with (
        nodes.left.connect("alice") as alice,
        nodes.right.connect("alice") as too,
    ):
        await say(alice, "alice", "note to self")

        assert ["note to self"] == await heard(alice)
        assert ["note to self"] == await heard(too)


async def test_a_message_sent_before_leaving_arrives(nodes: Nodes) -> None:
    """Send, then close or cut the connection at once: still delivered."""
    async with nodes.right.connect("bob") as bob:
        for n in range(10):
            async with nodes.left.connect("alice") as alice:
                await say(alice, "bob", f"close {n}")
            alice = await nodes.left.connect("alice")
            await say(alice, "bob", f"cut {n}")
            alice.transport.close()

        expected = {f"{end} {n}" for n in range(10) for end in ("close", "cut")}
        assert expected == set(await heard(bob, 20))


async def test_order_from_one_sender_is_kept(nodes: Nodes) -> None:
    """Two thousand messages to one name arrive in the order they were sent."""
    async with nodes.left.connect("alice") as alice, nodes.right.connect("bob") as bob:
        for n in range(2000):
            await say(alice, "bob", n)

        assert list(range(2000)) == await heard(bob, 2000)


async def test_several_senders_keep_their_own_order(nodes: Nodes) -> None:
    """Messages of several senders mix; each sender's own stay in order."""
    async with nodes.right.connect("bob") as bob:

        async def send_all(sender: str) -> None:
            node = nodes.left if sender < "s3" else nodes.right
            async with node.connect(sender) as client:
                for n in range(300):
                    await say(client, "bob", [sender, n])

        senders = [f"s{k}" for k in range(6)]
        await asyncio.gather(*map(send_all, senders))
        got = await heard(bob, 1800)

        for sender in senders:
            assert list(range(300)) == [n for who, n in got if who == sender]


@pytest.mark.parametrize(
    "name",
    [
        "ünï cödé",
        "名前",
        "😀",
        "a/b",
        "100%",
        "a+b",
        "a?b#c",
        "Ω.*.#",
        "x" * 64,
        "👩‍🚀",
    ],
)
async def test_names_of_any_script(nodes: Nodes, name: str) -> None:
    """A percent-encoded name is the recipient that JSON writes in plain characters."""
    async with nodes.left.connect("alice") as alice, nodes.right.connect(name) as peer:
        await say(alice, name, "hello")

        assert ["hello"] == await heard(peer)


async def test_two_spellings_of_one_name_are_one(nodes: Nodes) -> None:
    """Composed and decomposed characters name the same person (Unicode NFC)."""
    async with nodes.right.connect("ame\u0301lie") as peer:
        async with nodes.left.connect("alice") as alice:
            await say(alice, "am\u00e9lie", "composed")
            await say(alice, "ame\u0301lie", "decomposed")

            assert ["composed", "decomposed"] == await heard(peer, 2)


async def test_names_are_case_sensitive(nodes: Nodes) -> None:
    """Bob is not bob."""
    async with (
        nodes.left.connect("alice") as alice,
        nodes.right.connect("bob") as bob,
        nodes.right.connect("Bob") as other,
    ):
        await say(alice, "Bob", 1)
        await say(alice, "bob", 2)

        assert [2] == await heard(bob)
        assert [1] == await heard(other)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("hello", 1007),
        ("", 1007),
        ('{"destination": "bob"', 1007),
        ('{"destination": "bob", "x": NaN}', 1007),
        ("{}", 1008),
        ("[]", 1008),
        ("17", 1008),
        ('"bob"', 1008),
        ('{"destination": null}', 1008),
        ('{"destination": 17}', 1008),
        ('{"destination": ["bob"]}', 1008),
        ('{"Destination": "bob"}', 1008),
        ("[" * 20_000 + "]" * 20_000, 1008),
        ('{"destination": "bob", "x": "' + "x" * 65_536 + '"}', 1009),
        (b'{"destination": "bob"}', 1003),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_bad_frame_costs_its_own_connection(
    nodes: Nodes, frame: str | bytes, code: int
) -> None:
    """The close code says what is wrong; what was sent before still arrives."""
    async with nodes.right.connect("bob") as bob:
        async with nodes.left.connect("mallory") as mallory:
            await say(mallory, "bob", "before")
            await mallory.send(frame)

            assert code == await closed_with(mallory)
        assert ["before"] == await heard(bob)
        await say(bob, "bob", "unharmed")
        assert ["unharmed"] == await heard(bob)


async def test_an_impossible_recipient_is_like_an_absent_one(nodes: Nodes) -> None:
    """A destination that nobody can have costs nothing but the message."""
    async with nodes.left.connect("alice") as alice:
        for destination in ("", "nobody", "x" * 300, "\x00", "😀" * 65, " bob"):
            await say(alice, destination, "lost")
        await say(alice, "alice", "here")

        assert ["here"] == await heard(alice)


async def test_guests_can_be_refused() -> None:
    """Without ALLOW_GUESTS a name without an account gets 403 and words."""
    async with ChatmotorNode(CM_BROKER="embedded", CM_ALLOW_GUESTS="no") as node:
        with pytest.raises(InvalidStatus) as refused:
            await node.connect("alice")

        answer = json.loads(refused.value.response.body or b"")
        assert 403 == refused.value.response.status_code
        assert "forbidden" == answer["code"]


async def test_guests_are_welcome_on_loopback_alone() -> None:
    """Where nothing is said, an address that others can reach has no guests."""
    options = {"CM_BROKER": "embedded", "CM_ALLOW_GUESTS": "loopback"}
    async with ChatmotorNode(**options) as node, node.connect("alice") as alice:
        await say(alice, "alice", 1)
        assert [1] == await heard(alice)
    async with ChatmotorNode("--host", "0.0.0.0", **options) as node:
        with pytest.raises(InvalidStatus) as refused:
            await node.connect("alice")
        assert 403 == refused.value.response.status_code


async def test_a_configuration_of_the_first_chatmotor_works(tmp_path: Path) -> None:
    """Its config.py, key by key, serves guests on this machine as it always did."""
    (tmp_path / "config.py").write_text(
        """
CONFIGURATION = {
    "HTTP_SETTINGS": {
        "cookie_secret": "0000-1111",
        "xsrf_cookies": False,
        "autoescape": "xhtml_escape",
        "logging": "none",
    },
    "TORNADO_LISTEN_PORT": 8888,
    "TORNADO_HOST": "localhost",
    "RABBIT_USERID": "guest",
    "RABBIT_PASSWORD": "guest",
    "RABBIT_HOST": "127.0.0.1",
    "RABBIT_PORT": 5672,
    "INSTANT_MESSAGE_EXCHANGE_NAME": "im_exchange",
}
"""
    )
    sample = ROOT / "configuration" / "logging.cfg"
    (tmp_path / "logging.cfg").write_text(sample.read_text())
    options = {"CM_BROKER": "embedded", "CM_CONFIG_HOME": str(tmp_path)}
    async with ChatmotorNode(CM_ALLOW_GUESTS="loopback", **options) as node:
        async with node.connect("alice") as alice:
            await say(alice, "alice", 1)
            assert [1] == await heard(alice)


async def test_pages_of_other_sites_are_refused() -> None:
    """An Origin that is neither ours nor allowed gets 403; an allowed one is served."""
    allowed = "https://chat.example.org"
    async with ChatmotorNode(
        CM_BROKER="embedded", CM_ALLOWED_ORIGINS=f"{allowed},https://other.example"
    ) as node:
        for origin in (node.url, allowed):
            async with node.connect("alice", origin=origin) as alice:
                await say(alice, "alice", 1)
                assert [1] == await heard(alice)
        with pytest.raises(InvalidStatus) as refused:
            await node.connect("alice", origin="https://evil.example")
        assert 403 == refused.value.response.status_code


async def test_the_size_limit_is_an_option() -> None:
    """FRAME_MAX_BYTES bytes pass, one more does not."""
    async with ChatmotorNode(CM_BROKER="embedded", CM_FRAME_MAX_BYTES="2000") as node:
        async with node.connect("alice") as alice:
            empty = json.dumps({"destination": "alice", "content": ""})
            await say(alice, "alice", "x" * (2000 - len(empty)))
            await heard(alice)
            await say(alice, "alice", "x" * (2001 - len(empty)))
            assert 1009 == await closed_with(alice)


async def test_both_sides_can_ping() -> None:
    """A client's ping is answered; a silent client is pinged, a dead one closed."""
    async with ChatmotorNode(
        CM_BROKER="embedded",
        CM_HEARTBEAT_SECONDS="0.5",
        CM_HEARTBEAT_GRACE_SECONDS="0.4",
    ) as node:
        async with node.connect("alice", ping_interval=None) as alice:
            pong = await alice.ping(b"are you there")
            async with asyncio.timeout(DEADLINE_SECONDS):
                await pong
            dead = await node.connect("dead", ping_interval=None)
            dead.transport.pause_reading()  # a machine that fell asleep

            async def dead_is_closed() -> bool:
                name = 'chatmotor_connections_closed_total{code="4004"}'
                return await node.metric(name) == 1

            await node.until(dead_is_closed)
            dead.transport.resume_reading()
            assert 4004 == await closed_with(dead)
            await say(alice, "alice", "alive")
            assert ["alive"] == await heard(alice)


async def test_who_only_listens_is_not_taken_for_dead() -> None:
    """A client that sends nothing, and is sent much, is pinged all the same."""
    async with ChatmotorNode(
        CM_BROKER="embedded",
        CM_HEARTBEAT_SECONDS="0.5",
        CM_HEARTBEAT_GRACE_SECONDS="0.4",
    ) as node:
        async with (
            node.connect("alice", ping_interval=None) as alice,
            node.connect("bob", ping_interval=None, max_queue=None) as bob,
        ):
            for n in range(40):
                await say(alice, "bob", n)
                await asyncio.sleep(0.05)  # the pace of the traffic

            assert list(range(40)) == await heard(bob, 40)
            await say(bob, "alice", "still here")
            assert ["still here"] == await heard(alice)


async def test_a_client_that_does_not_read_is_closed() -> None:
    """Its messages wait within bounds; after SLOW_READER_SECONDS it gets 4002."""
    async with ChatmotorNode(CM_BROKER="embedded", CM_SLOW_READER_SECONDS="1") as node:
        slow = await node.connect("slow", max_queue=1)
        slow.transport.pause_reading()
        async with node.connect("alice") as alice:
            for _ in range(300):
                await say(alice, "slow", "x" * 60_000)
            await say(alice, "alice", "unharmed")
            assert ["unharmed"] == await heard(alice)

        async def is_closed() -> bool:
            name = 'chatmotor_connections_closed_total{code="4002"}'
            return await node.metric(name) == 1

        await node.until(is_closed)
        slow.transport.abort()


async def test_a_slow_reader_gets_everything(nodes: Nodes) -> None:
    """A burst far over the connection's buffer arrives whole and in order."""
    async with nodes.right.connect("slow", max_queue=1) as slow:
        slow.transport.pause_reading()
        async with nodes.left.connect("alice") as alice:
            for n in range(400):
                await say(alice, "slow", [n, "x" * 50_000])
            await say(alice, "alice", "all sent")
            await heard(alice)
        slow.transport.resume_reading()

        got = await heard(slow, 400)
        assert list(range(400)) == [n for n, _ in got]


async def test_a_closed_client_sees_the_reason(nodes: Nodes) -> None:
    """Close frames carry words for the person who wrote the client."""
    async with nodes.left.connect("alice") as alice:
        await alice.send("{}")
        with pytest.raises(ConnectionClosed) as closed:
            await alice.recv()
        assert closed.value.rcvd is not None
        assert 'a message needs a string "destination"' == closed.value.rcvd.reason
