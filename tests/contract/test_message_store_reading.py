# SPDX-License-Identifier: Apache-2.0
"""What every store promises about pointers, receipts and lists."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from chatmotor.errors import NoSuchConv, NoSuchUser, NotMember
from chatmotor.ports.messages import (
    Conversation,
    ConversationPage,
    Event,
    EventType,
    GuestMessage,
    Logged,
    Mailbox,
    Message,
    Role,
    Standing,
)
from chatmotor.ports.store import Store
from tests.harness.log_ins import log_in
from tests.harness.stores import (
    GROUP,
    Nodes,
    change,
    direct,
    gather,
    in_group,
    new_group,
    whole,
)

GUEST_TEXT = GuestMessage("gus", "ann", b'{"destination": "ann"}', 7)


async def receipts(store: Store, conv: str) -> dict[str, tuple[int, int]]:
    """Of a conversation of ann's."""
    return dict((await store.history(conv, reader="ann", limit=1)).receipts)


async def test_a_pointer_moves_up_only(nodes: Nodes) -> None:
    """Each move is an event of the own mailbox; none when there is nothing to move."""
    for each in range(3):
        stored = await nodes.left.send(direct("ann", "bob", str(each)))

    moved = await nodes.right.mark_read("bob", stored.conv, 2, ts=9)
    for n in (2, 1, 0, -1):
        assert None is await nodes.left.mark_read("bob", stored.conv, n, ts=10)

    detail = json.dumps({"n": 2})
    event = Event(0, EventType.CONV_READ, stored.conv, 9, detail=detail)
    assert Logged(event, {"bob": 4}) == moved
    assert replace(event, at=4) == (await whole(nodes.left, Mailbox("bob")))[-1]
    assert 3 == len(await whole(nodes.left, Mailbox("ann")))


async def test_a_pointer_ends_at_the_last_message(nodes: Nodes) -> None:
    """Nobody has read what is not there yet, in either kind of conversation."""
    await nodes.left.create_group(new_group("bob"))
    stored = await nodes.left.send(in_group("ann", "1"))
    direct_one = await nodes.left.send(direct("ann", "bob", "2"))

    for conv in (stored.conv, direct_one.conv):
        await nodes.right.mark_read("bob", conv, 99, ts=9)
        seen = await nodes.left.conversation(conv, reader="bob")
        assert (1, 0) == (seen.read, seen.unread)


async def test_an_own_message_is_read(nodes: Nodes) -> None:
    """A send moves the sender's pointer, without an event of its own."""
    await nodes.left.create_group(new_group("bob"))
    stored = await nodes.left.send(direct("ann", "bob", "1"))
    await nodes.left.send(direct("bob", "ann", "1"))
    note = await nodes.left.send(direct("ann", "ann", "2"))
    await nodes.left.send(in_group("ann", "3"))

    unread = {
        (reader, conv): (await nodes.right.conversation(conv, reader=reader)).unread
        for reader, conv in (
            ("ann", stored.conv),
            ("bob", stored.conv),
            ("ann", note.conv),
            ("ann", GROUP),
            ("bob", GROUP),
        )
    }

    assert [1, 0, 0, 0, 1] == list(unread.values())
    types = {each.t for each in await whole(nodes.left, Mailbox("ann"))}
    assert EventType.CONV_READ not in types


async def test_whoever_comes_has_nothing_unread(nodes: Nodes) -> None:
    """What was said before one came, or while one was away, does not count."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.send(in_group("ann", "1"))
    await nodes.left.change_members(change("2", add=["cyd"], remove=["bob"]))
    await nodes.left.send(in_group("ann", "3"))
    await nodes.left.change_members(change("4", add=["bob"]))
    await nodes.left.send(in_group("ann", "5"))

    unread = [
        (await nodes.right.standings(username))[0].unread for username in ("bob", "cyd")
    ]

    assert [1, 2] == unread


async def test_pointers_belong_to_those_who_may_read(nodes: Nodes) -> None:
    """Strangers, those who left, and nobodies move none."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.change_members(change("1", remove=["bob"]))
    attempts: list[Awaitable[Any]] = [
        nodes.right.mark_read("cyd", GROUP, 1, ts=1),
        nodes.right.mark_read("cyd", "g404", 1, ts=1),
        nodes.right.mark_read("bob", GROUP, 1, ts=1),
        nodes.right.mark_read("nobody", GROUP, 1, ts=1),
    ]

    kinds = [type(each) for each in await gather(attempts)]

    assert [NoSuchConv, NoSuchConv, NotMember, NoSuchUser] == kinds


async def test_pointers_and_sends_of_one_moment_agree(nodes: Nodes) -> None:
    """Whatever the interleaving, numbers have no hole and no pointer moves down."""
    first = await nodes.left.send(direct("ann", "bob", "first"))
    await nodes.left.create_group(new_group("bob"))
    writes: list[Awaitable[Any]] = []
    for turn in range(20):
        writes += [
            nodes.left.send(direct("ann", "bob", str(turn))),
            nodes.right.mark_read("bob", first.conv, turn, ts=1),
            nodes.right.send(in_group("bob", str(turn))),
            nodes.left.mark_read("bob", GROUP, turn, ts=1),
        ]

    answers = await gather(writes)
    await nodes.left.mark_read("bob", first.conv, 21, ts=1)

    assert [] == [each for each in answers if isinstance(each, Exception)]
    for conv in (first.conv, GROUP):
        seen = await nodes.right.conversation(conv, reader="bob")
        assert seen.n == seen.read
    events = await whole(nodes.left, Mailbox("bob"))
    assert list(range(1, len(events) + 1)) == [each.at for each in events]


async def test_delivered_is_what_a_device_has_acknowledged(nodes: Nodes) -> None:
    """By the highest cursor of the recipient's devices; read is the pointer."""
    for each in range(3):
        stored = await nodes.left.send(direct("ann", "bob", str(each)))
    assert {"ann": (3, 3), "bob": (0, 0)} == await receipts(nodes.right, stored.conv)
    for number, device in enumerate(("phone", "desk")):
        await log_in(nodes.left, "bob", device, number)

    await nodes.left.save_cursors({("bob", "phone"): 2, ("bob", "desk"): 1}, now=5)
    await nodes.left.mark_read("bob", stored.conv, 1, ts=5)

    assert {"ann": (3, 3), "bob": (2, 1)} == await receipts(nodes.right, stored.conv)


async def test_what_is_read_is_delivered(nodes: Nodes) -> None:
    """Whatever the devices have acknowledged, and when there are none."""
    for each in range(3):
        stored = await nodes.left.send(direct("ann", "bob", str(each)))
    await nodes.left.mark_read("bob", stored.conv, 2, ts=5)
    assert {"ann": (3, 3), "bob": (2, 2)} == await receipts(nodes.right, stored.conv)

    await log_in(nodes.left, "bob", "phone", 0)
    await nodes.left.save_cursors({("bob", "phone"): 1}, now=5)
    assert {"ann": (3, 3), "bob": (2, 2)} == await receipts(nodes.right, stored.conv)

    await nodes.left.save_cursors({("bob", "phone"): 3}, now=5)
    assert {"ann": (3, 3), "bob": (3, 2)} == await receipts(nodes.right, stored.conv)


async def test_own_messages_are_delivered_to_oneself(nodes: Nodes) -> None:
    """Whatever the devices have acknowledged."""
    await nodes.left.send(direct("ann", "bob", "1"))
    stored = await nodes.left.send(direct("bob", "ann", "1"))
    note = await nodes.left.send(direct("ann", "ann", "2"))

    assert {"ann": (1, 1), "bob": (2, 2)} == await receipts(nodes.right, stored.conv)
    assert {"ann": (1, 1)} == await receipts(nodes.right, note.conv)


async def test_receipts_of_many_conversations_are_one_answer(nodes: Nodes) -> None:
    """
    The same as ``history`` says of each; nothing of groups, of guests, of notes to
    oneself, and of what is not there.
    """
    await nodes.left.create_group(new_group())
    guest = await nodes.left.send_from_guest(GUEST_TEXT)
    note = await nodes.left.send(direct("ann", "ann", "1"))
    convs = [guest.conv, note.conv, GROUP, "d.8.9", "d.", "nothing"]
    assert {} == await nodes.right.receipts(convs)
    assert {} == await nodes.right.receipts([])
    for number, (peer, count) in enumerate((("bob", 3), ("cyd", 2))):
        for each in range(count):
            stored = await nodes.left.send(direct("ann", peer, f"{peer}{each}"))
        convs.append(stored.conv)
        await log_in(nodes.left, peer, "phone", number)
        await nodes.left.save_cursors({(peer, "phone"): 2}, now=5)
        await nodes.left.mark_read(peer, stored.conv, 1, ts=5)

    found = await nodes.right.receipts(convs)

    assert {
        convs[-2]: {"ann": (3, 3), "bob": (2, 1)},
        convs[-1]: {"ann": (2, 2), "cyd": (2, 1)},
    } == found
    for conv, places in found.items():
        assert places == await receipts(nodes.left, conv)


async def test_receipts_are_of_two_accounts_only(nodes: Nodes) -> None:
    """Neither groups nor guests' conversations have them."""
    await nodes.left.create_group(new_group("bob"))
    guest = await nodes.left.send_from_guest(GUEST_TEXT)

    for conv in (GROUP, guest.conv):
        assert {} == await receipts(nodes.right, conv)


async def test_history_around_a_message(nodes: Nodes) -> None:
    """Half of them are earlier ones; more: there are later ones."""
    for each in range(1, 11):
        stored = await nodes.left.send(direct("ann", "bob", str(each)))

    async def page(around: int, limit: int = 4) -> tuple[list[int], bool]:
        found = await nodes.right.history(
            stored.conv, reader="bob", limit=limit, around=around
        )
        return [each.n for each in found.messages], found.more

    assert ([3, 4, 5, 6], True) == await page(5)
    assert ([4, 5, 6], True) == await page(5, limit=3)
    assert ([5], True) == await page(5, limit=1)
    assert ([1, 2], True) == await page(1)
    assert ([7, 8, 9, 10], False) == await page(9)
    assert ([9, 10], False) == await page(99)
    with pytest.raises(ValueError, match="both"):
        await nodes.right.history(stored.conv, reader="bob", limit=1, around=1, after=1)


async def test_standings_are_of_the_groups_one_is_in(nodes: Nodes) -> None:
    """Where each log is, by id; not those one has left, nor direct ones."""
    await nodes.left.create_group(new_group("bob", cid="1", conv="g2"))
    await nodes.left.create_group(new_group("bob", cid="2", conv="g1"))
    await nodes.left.create_group(new_group("bob", cid="3", conv="g3"))
    await nodes.left.send(direct("ann", "bob", "4"))
    await nodes.left.send(in_group("ann", "5", "g2"))
    await nodes.left.change_members(replace(change("6", remove=["bob"]), conv="g3"))

    found = await nodes.right.standings("bob")

    assert (Standing("g1", 1, 0, 0), Standing("g2", 2, 1, 0)) == found
    assert () == await nodes.right.standings("nobody")


async def test_conversations_are_seen_from_one_side(nodes: Nodes) -> None:
    """The other's name, a group's title, a guest's name; each with its last message."""
    await nodes.left.create_group(replace(new_group("bob"), title="Tea"))
    both = await nodes.left.send(direct("bob", "ann", "1", ts=6))
    note = await nodes.left.send(direct("ann", "ann", "2", ts=8))
    guest = await nodes.left.send_from_guest(GUEST_TEXT)

    page = await nodes.right.conversations("ann", after="", limit=9)

    last = [
        Message(note.conv, 1, "ann", "2", 8, b'"hello"', raw=False),
        Message(both.conv, 1, "bob", "1", 6, b'"hello"', raw=False),
        Message(guest.conv, 1, "gus", "", 7, GUEST_TEXT.body, raw=True, guest=True),
    ]
    seen = (
        Conversation(note.conv, 8, 1, 0, 1, peer="ann", last=last[0]),
        Conversation(both.conv, 6, 1, 0, 0, peer="bob", last=last[1]),
        Conversation(GROUP, 2, 0, 1, 0, title="Tea", role=Role.OWNER, members=2),
        Conversation(guest.conv, 7, 1, 0, 0, peer="gus", guest=True, last=last[2]),
    )
    assert ConversationPage(seen, more=False, seq=4) == page
    for each in seen:
        one = await nodes.right.conversation(each.conv, reader="ann")
        assert replace(each, last=None) == one


async def test_conversations_are_paged(nodes: Nodes) -> None:
    """By id; a group one has left is not among them."""
    for conv in ("g1", "g2", "g3", "g4"):
        await nodes.left.create_group(new_group("bob", cid=conv, conv=conv))
    await nodes.left.change_members(replace(change("x", remove=["bob"]), conv="g2"))

    first = await nodes.right.conversations("bob", after="", limit=2)
    rest = await nodes.right.conversations("bob", after="g3", limit=2)

    assert (["g1", "g3"], True) == ([x.conv for x in first.conversations], first.more)
    assert (["g4"], False) == ([x.conv for x in rest.conversations], rest.more)
    with pytest.raises(NoSuchUser):
        await nodes.right.conversations("nobody", after="", limit=1)


async def test_a_conversation_is_shown_to_those_in_it(nodes: Nodes) -> None:
    """Strangers do not learn that it exists; members are those of groups only."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.change_members(change("1", remove=["bob"]))
    stored = await nodes.left.send(direct("ann", "bob", "2"))
    attempts: list[Awaitable[Any]] = [
        nodes.right.conversation(GROUP, reader="cyd"),
        nodes.right.conversation(stored.conv, reader="cyd"),
        nodes.right.conversation(GROUP, reader="bob"),
        nodes.right.conversation(GROUP, reader="nobody"),
        nodes.right.members(GROUP, reader="cyd", after="", limit=1),
        nodes.right.members(stored.conv, reader="ann", after="", limit=1),
        nodes.right.members(GROUP, reader="bob", after="", limit=1),
    ]

    kinds = [type(each) for each in await gather(attempts)]

    expected = [NoSuchConv, NoSuchConv, NotMember, NoSuchUser]
    assert [*expected, NoSuchConv, NoSuchConv, NotMember] == kinds
