# SPDX-License-Identifier: Apache-2.0
"""What every store promises about its life: starting, stopping, closing, trimming."""

import asyncio
from dataclasses import replace

import pytest

from chatmotor.errors import (
    Forbidden,
    NoSuchUser,
    StoreUnavailable,
    Suspended,
    Trimmed,
)
from chatmotor.ports.accounts import AccountChange
from chatmotor.ports.messages import (
    GuestMessage,
    Mailbox,
    NewMessage,
    StoredMessage,
)
from tests.harness.stores import (
    DEADLINE_SECONDS,
    GROUP,
    Nodes,
    add_account,
    close_account,
    direct,
    gather,
    in_group,
    new_group,
    whole,
)


async def test_an_account_has_the_top_of_its_mailbox(nodes: Nodes) -> None:
    """It counts on with each event, and is the same on every node."""
    first = await add_account(nodes.left, "dan")
    await nodes.left.send(direct("dan", "dan", "1"))

    assert ("dan", 0) == (first.username, first.seq)
    assert replace(first, seq=1) == await add_account(nodes.right, "dan")


async def test_answers_are_called_back_in_the_order_of_the_sends(
    nodes: Nodes,
) -> None:
    """``send_soon`` is ``send`` without a coroutine: answers and refusals alike."""
    answers: list[StoredMessage | Exception] = []
    all_there = asyncio.Event()

    def done(answer: StoredMessage | Exception) -> None:
        answers.append(answer)
        if len(answers) == 50:
            all_there.set()

    for cid in range(49):
        nodes.left.send_soon(direct("ann", "bob", str(cid)), done)
    nodes.left.send_soon(direct("ann", "nobody", "x"), done)
    assert [] == answers

    async with asyncio.timeout(DEADLINE_SECONDS):
        await all_there.wait()

    stored = [each.n for each in answers if isinstance(each, StoredMessage)]
    assert list(range(1, 50)) == stored
    assert 1 == [type(each) for each in answers].count(NoSuchUser)


async def test_a_stopped_store_finishes_and_then_refuses(nodes: Nodes) -> None:
    """What was begun before stop is stored; afterwards nothing is taken."""
    sends = [
        asyncio.ensure_future(nodes.left.send(direct("ann", "bob", str(each))))
        for each in range(20)
    ]
    await asyncio.sleep(0)

    await nodes.left.stop()

    answers = await gather(sends)
    assert list(range(1, 21)) == [each.n for each in answers]
    stored = answers[0].conv
    refused = await gather(
        [
            nodes.left.send(direct("ann", "bob", "x")),
            nodes.left.send_from_guest(GuestMessage("gus", "bob", b"x", 1)),
            nodes.left.mark_read("bob", stored, 1, ts=1),
            nodes.left.tops(["ann"], []),
            add_account(nodes.left, "eve"),
            nodes.left.ping(),
        ]
    )
    assert [StoreUnavailable] * 6 == [type(each) for each in refused]
    await nodes.left.start()
    assert 20 == len(await whole(nodes.left, Mailbox("bob")))


async def test_a_stopping_store_finishes_its_groups(nodes: Nodes) -> None:
    """Other writes than sends are finished, too."""
    creating = asyncio.ensure_future(nodes.left.create_group(new_group("bob")))
    await asyncio.sleep(0)

    await nodes.left.stop()

    assert 1 == (await creating).pos
    await nodes.left.start()
    assert 1 == len(await nodes.left.standings("bob"))


async def test_a_stopped_store_answers_soon(nodes: Nodes) -> None:
    """What it refuses, it refuses on the loop, not in the middle of the call."""
    await nodes.left.stop()
    answered = asyncio.get_running_loop().create_future()

    nodes.left.send_soon(direct("ann", "bob", "1"), answered.set_result)

    assert not answered.done()
    assert isinstance(await answered, StoreUnavailable)


async def test_nobody_can_write_to_a_closed_account(nodes: Nodes) -> None:
    """Forbidden, by name and by conversation; what was stored keeps its answer."""
    first = await nodes.left.send(direct("ann", "bob", "1"))
    await nodes.left.send(direct("bob", "cyd", "1"))

    await close_account(nodes.left, "bob")

    by_conv = NewMessage("ann", "2", b"1", 5, conv=first.conv)
    refused = [by_conv, direct("ann", "bob", "2"), direct("cyd", "bob", "2")]
    answers = await gather([nodes.right.send(each) for each in refused])
    assert [Forbidden] * 3 == [type(each) for each in answers]
    assert replace(first, dup=True) == await nodes.right.send(direct("ann", "bob", "1"))
    assert 2 == len(await whole(nodes.left, Mailbox("bob")))


async def test_a_closed_account_cannot_write(nodes: Nodes) -> None:
    """Suspended, wherever it writes to; once it is open again it can."""
    await nodes.left.create_group(new_group("bob"))
    note = await nodes.left.send(direct("bob", "bob", "1"))
    await close_account(nodes.left, "bob")

    by_conv = NewMessage("bob", "2", b"1", 5, conv=note.conv)
    sends = [by_conv, direct("bob", "ann", "2"), in_group("bob", "2")]
    answers = await gather([nodes.right.send(each) for each in sends])

    assert [Suspended] * 3 == [type(each) for each in answers]
    await nodes.left.change_account(AccountChange("bob", ts=5, closed=False))
    assert 1 == (await nodes.right.send(in_group("bob", "2"))).n


async def test_an_epoch_lasts_until_there_is_a_new_one(nodes: Nodes) -> None:
    """Restarts keep it; a new one is another, and every node knows once it asks."""
    first = nodes.left.epoch
    await nodes.restart()
    assert {first} == {nodes.left.epoch, nodes.right.epoch}

    second = await nodes.left.new_epoch()
    await nodes.right.ping()

    assert first != second
    assert {second} == {nodes.left.epoch, nodes.right.epoch}
    assert 1 <= len(second) <= 64
    assert second.isascii()


async def test_old_events_are_trimmed(nodes: Nodes) -> None:
    """What is older is dropped from mailboxes; a position below is refused."""
    for ts in (1, 2, 3):
        stored = await nodes.left.send(direct("ann", "bob", str(ts), ts=ts))

    assert 4 == await nodes.left.trim(before=3)
    assert 0 == await nodes.right.trim(before=3)

    for since in (0, 1):
        with pytest.raises(Trimmed):
            await nodes.right.events(Mailbox("bob"), since=since, limit=9)
    page = await nodes.right.events(Mailbox("bob"), since=2, limit=9)
    assert ([3], 3) == ([each.at for each in page.events], page.top)
    assert 2 == (await nodes.right.account("bob")).floor
    history = await nodes.right.history(stored.conv, reader="bob", limit=9)
    assert [1, 2, 3] == [each.n for each in history.messages]


async def test_only_whole_prefixes_are_trimmed(nodes: Nodes) -> None:
    """An old event after a young one stays: a mailbox has no hole above its floor."""
    for cid, ts in (("a", 1), ("b", 9), ("c", 1)):
        await nodes.left.send(direct("ann", "bob", cid, ts=ts))

    await nodes.left.trim(before=5)

    page = await nodes.right.events(Mailbox("bob"), since=1, limit=9)
    assert [2, 3] == [each.at for each in page.events]


async def test_a_mailbox_that_was_emptied_counts_on(nodes: Nodes) -> None:
    """Numbers are never given twice; the top is a position that can be gone on from."""
    await nodes.left.send(direct("ann", "bob", "1"))
    await nodes.left.trim(before=1000)

    page = await nodes.right.events(Mailbox("bob"), since=1, limit=9)
    stored = await nodes.right.send(direct("ann", "bob", "2"))

    assert ((), 1) == (page.events, page.top)
    assert 2 == stored.peer_seq
    events = await nodes.left.events(Mailbox("bob"), since=1, limit=9)
    assert [2] == [each.at for each in events.events]


async def test_group_logs_are_not_trimmed(nodes: Nodes) -> None:
    """They are the history of the group."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.send(in_group("ann", "1"))

    await nodes.left.trim(before=1000)

    page = await nodes.right.history(GROUP, reader="bob", limit=9)
    assert [1] == [each.n for each in page.messages]
    assert 2 == (await nodes.right.tops([], [GROUP])).positions[GROUP]


async def test_many_and_long_mailboxes_are_trimmed_in_parts(nodes: Nodes) -> None:
    """More than one part takes, of accounts and of events: all of it goes, once."""
    names = [f"user{each}" for each in range(250)]
    await gather([add_account(nodes.left, each) for each in names])
    await nodes.left.create_group(new_group(*names))
    await gather([nodes.left.send(direct("ann", "ann", str(x))) for x in range(4500)])

    dropped = await nodes.right.trim(before=1000)

    assert 251 + 4500 == dropped
    assert 4501 == (await nodes.left.account("ann")).floor
    assert 1 == (await nodes.left.account("user249")).floor
