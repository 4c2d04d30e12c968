# SPDX-License-Identifier: Apache-2.0
"""Direct messages over v1, on both configurations: once, in order, on every device."""

import asyncio
from collections.abc import Callable

import pytest

from tests.harness.v1_client import Refused, V1Session, acall, log_in, newcomer
from tests.integration.conftest import Nodes

Name = Callable[[str], str]


def bodies(session: V1Session) -> list[object]:
    """What the session has seen of messages, in its order."""
    return [each["body"] for each in session.events if each["t"] == "message.new"]


async def test_all_devices_of_both_get_every_message_once_in_order(
    nodes: Nodes, name: Name
) -> None:
    """Two accounts with three devices each, on two nodes; both write at once."""
    alice, bob = name("alice"), name("bob")
    logins = [await newcomer(nodes.left, alice, "d0"), await newcomer(nodes.left, bob)]
    devices = [logins[0]]
    devices += [await log_in(nodes.left, alice, f"d{n}") for n in (1, 2)]
    devices += [await log_in(nodes.left, bob, f"d{n}") for n in (0, 1, 2)]
    where = [nodes.left, nodes.right] * 3
    async with asyncio.TaskGroup() as group:
        opened: list[V1Session] = []
        done = asyncio.Event()

        async def stay(index: int) -> None:
            async with devices[index].connect(where[index]) as session:
                opened.append(session)
                await done.wait()

        for index in range(6):
            group.create_task(stay(index))
        async with asyncio.timeout(20):
            while len(opened) < 6:
                await asyncio.sleep(0.01)
        opened.sort(key=lambda each: (each.welcome["user"], each.welcome["device"]))
        answers = await asyncio.gather(
            *(
                opened[writer].ask("send", cid=f"{writer}.{n}", to=to, body=[writer, n])
                for n in range(100)
                for writer, to in ((0, bob), (3, alice))
            )
        )
        for session in opened:
            await session.messages(200)

        assert list(range(1, 201)) == sorted(each["n"] for each in answers)
        orders = [
            [each["n"] for each in session.events if each["t"] == "message.new"]
            for session in opened
        ]
        assert [list(range(1, 201))] * 6 == orders
        assert all(bodies(opened[0]) == bodies(each) for each in opened)
        for writer in (0, 3):
            mine = [body for body in bodies(opened[0]) if body[0] == writer]  # type: ignore[index]
            assert [[writer, n] for n in range(100)] == mine
        done.set()


async def test_a_thousand_messages_wait_and_come_on_another_node(
    nodes: Nodes, name: Name
) -> None:
    """Whoever was offline gets exactly the replay that welcome promises, then live."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with bob.connect(nodes.left) as session:
        before = session.welcome["seq"]
        epoch = session.welcome["epoch"]
    async with alice.connect(nodes.left) as session:
        await asyncio.gather(
            *(
                session.ask("send", cid=str(n), to=bob.username, body=n)
                for n in range(1000)
            )
        )

    resume = {"epoch": epoch, "seq": before}
    async with bob.connect(nodes.right, resume=resume, window=64) as session:
        live = await session.live()

        assert (True, 1000) == (session.welcome["resumed"], session.welcome["replay"])
        assert before + 1000 == live["seq"] == session.welcome["seq"]
        assert list(range(1000)) == bodies(session)
        seqs = [each["seq"] for each in session.events]
        assert list(range(before + 1, before + 1001)) == seqs
        assert ["live"] == session.order[-1:]


async def test_a_device_goes_on_where_it_acknowledged(nodes: Nodes, name: Name) -> None:
    """``resume: "device"``: the server remembers what the device has."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with alice.connect(nodes.left) as sender:
        async with bob.connect(nodes.right, resume="device") as session:
            for n in range(3):
                await sender.ask("send", cid=str(n), to=bob.username, body=n)
            await session.messages(3)
            await session.ack()
            await session.ask("ping")
            acknowledged = session.seq
        await sender.ask("send", cid="3", to=bob.username, body=3)

        async def saved() -> bool:
            async with bob.connect(nodes.left, resume="device") as again:
                await again.live()
                return bool(again.start == acknowledged and bodies(again) == [3])

        await nodes.left.until(saved)


async def test_a_repeated_cid_is_one_message(nodes: Nodes, name: Name) -> None:
    """A hundred times at once, from two devices on two nodes: one n for all."""
    alice = await newcomer(nodes.left, name("alice"), "one")
    other = await log_in(nodes.left, alice.username, "two")
    bob = await newcomer(nodes.left, name("bob"))
    async with (
        alice.connect(nodes.left) as left,
        other.connect(nodes.right) as right,
        bob.connect(nodes.left) as reader,
    ):
        answers = await asyncio.gather(
            *(
                each.ask("send", cid="same", to=bob.username, body="once")
                for _ in range(50)
                for each in (left, right)
            )
        )
        await left.ask("send", cid="end", to=bob.username, body="end")
        await reader.messages(2)

        places = {
            (each["conv"], each["n"], each["seq"], each["ts"]) for each in answers
        }
        assert 1 == len(places)
        assert 1 == sum(not each["dup"] for each in answers)
        assert ["once", "end"] == bodies(reader)
        with pytest.raises(Refused, match="cid_conflict"):
            await right.ask("send", cid="same", to=bob.username, body="other")


async def test_two_nodes_write_one_gapless_order(nodes: Nodes, name: Name) -> None:
    """Concurrent writers on both nodes: history and both mailboxes agree."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with alice.connect(nodes.left) as a, bob.connect(nodes.right) as b:
        await asyncio.gather(
            *(
                session.ask("send", cid=f"c{n}", to=to, body=[to, n])
                for n in range(150)
                for session, to in ((a, bob.username), (b, alice.username))
            )
        )
        await a.messages(300)
        await b.messages(300)
        conv = a.events[-1]["conv"]
        pages = [
            await each.ask("history", conv=conv, after=after, limit=100)
            for after in (0, 100, 200)
            for each in (a, b)
        ]

        items = [item for page in pages[::2] for item in page["items"]]
        assert list(range(1, 301)) == [item["n"] for item in items]
        assert bodies(a) == bodies(b) == [item["body"] for item in items]
        assert [False] * 2 == [page["more"] for page in pages[-2:]]


async def test_the_sender_gets_ok_before_its_own_event(
    nodes: Nodes, name: Name
) -> None:
    """One reducer for everything, and the cid for the sender's devices only."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with alice.connect(nodes.left) as a, bob.connect(nodes.right) as b:
        answer = await a.ask("send", cid="c1", to=bob.username, body={"x": [1.0, None]})
        (mine,), (theirs,) = await a.messages(1), await b.messages(1)

        assert a.order.index("ok") < a.order.index("ev")
        assert "c1" == mine.pop("cid")
        assert {"seq": mine.pop("seq")} == {"seq": answer["seq"]}
        theirs.pop("seq")
        assert mine == theirs
        assert {"x": [1.0, None]} == theirs["body"]


async def test_unread_is_counted_by_the_server(nodes: Nodes, name: Name) -> None:
    """Last n minus the pointer; an own message moves it, read moves it up only."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with alice.connect(nodes.left) as a, bob.connect(nodes.right) as b:
        for n in range(5):
            sent = await a.ask("send", cid=str(n), to=bob.username, body=n)
        conv = sent["conv"]

        async def unread(session: V1Session) -> int:
            found = await session.ask("conv.get", conv=conv)
            count: int = found["conv"]["unread"]
            return count

        assert [0, 5] == [await unread(a), await unread(b)]
        await b.ask("read", conv=conv, n=3)
        await b.ask("read", conv=conv, n=1)
        assert 2 == await unread(b)
        await b.until(lambda: any(each["t"] == "conv.read" for each in b.events))
        assert 3 == next(each["n"] for each in b.events if each["t"] == "conv.read")
        await b.ask("send", cid="1", to=alice.username, body="back")
        assert [1, 0] == [await unread(a), await unread(b)]


async def test_the_same_commands_over_http(nodes: Nodes, name: Name) -> None:
    """POST /v1/rpc/<op> has the fields of the command and answers those of ok."""
    alice = await newcomer(nodes.left, name("alice"))
    bob = await newcomer(nodes.left, name("bob"))
    async with bob.connect(nodes.right) as b:
        fields = {"cid": "h1", "to": bob.username, "body": "over HTTP"}
        first = await acall(nodes.left, "/v1/rpc/send", fields, token=alice.token)
        again = await acall(nodes.right, "/v1/rpc/send", fields, token=alice.token)
        await b.messages(1)

        assert {"conv", "n", "seq", "ts", "dup"} == set(first)
        assert first | {"dup": True} == again
        assert ["over HTTP"] == bodies(b)
    with pytest.raises(Refused) as refused:
        await acall(nodes.left, "/v1/rpc/send", {"cid": "x"}, token=alice.token)
    assert (400, "bad_request", "to") == (
        refused.value.status,
        refused.value.code,
        refused.value.error["field"],
    )
    with pytest.raises(Refused) as refused:
        await acall(nodes.left, "/v1/rpc/send", fields, token="cm_wrong")
    assert (401, "unauthenticated") == (refused.value.status, refused.value.code)


async def test_why_a_session_does_not_resume(nodes: Nodes, name: Name) -> None:
    """Nothing to resume, another epoch, a position above the top: each in words."""
    alice = await newcomer(nodes.left, name("alice"))
    async with alice.connect(nodes.left) as session:
        welcome = session.welcome
    position = {"epoch": welcome["epoch"], "seq": welcome["seq"]}
    for resume, reason in (
        (None, "first"),
        (position | {"epoch": "other"}, "epoch"),
        (position | {"seq": welcome["seq"] + 1}, "epoch"),
        (position, None),
        (position | {"seq": 0}, None),
    ):
        async with alice.connect(nodes.right, resume=resume) as session:
            found = session.welcome
            assert (reason is None, reason) == (found["resumed"], found["reason"])
            expected = welcome["seq"] if resume and resume["seq"] == 0 else 0
            assert (expected if reason is None else 0) == found["replay"]
            live = await session.live()
            assert welcome["seq"] == live["seq"]
