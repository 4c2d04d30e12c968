# SPDX-License-Identifier: Apache-2.0
"""What every store promises (chatmotor/ports/store.py), whatever keeps it.

One suite, one run per adapter and one for the fake.  On PostgreSQL, *left* and *right*
are two nodes on one database; the others have one node, which is both.
Groups, who may change them, guests, pointers and lists: test_message_store_*.py.  What
only one adapter does: test_sqlite_store.py and test_postgres_store.py.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chatmotor.errors import (
    CidConflict,
    NoSuchConv,
    NoSuchUser,
)
from chatmotor.ports.messages import (
    Event,
    EventPage,
    EventType,
    Mailbox,
    Message,
    NewGroup,
    NewMessage,
    StoredMessage,
    Tops,
    direct_conv,
)
from chatmotor.ports.store import Store
from tests.harness.store_machine import machine
from tests.harness.stores import (
    GROUP,
    Nodes,
    PostgresSubject,
    SqliteSubject,
    add_account,
    direct,
    gather,
    in_group,
    new_group,
    whole,
)


async def test_a_direct_message_is_an_event_in_both_mailboxes(nodes: Nodes) -> None:
    """Both accounts get one event with the same message, body untouched."""
    body = b'{ "spaces":  "kept", "n": 1.0 }'
    await nodes.left.send(direct("ann", "ann", "note"))

    stored = await nodes.left.send(direct("ann", "bob", "1", body, ts=7))

    message = Message(stored.conv, 1, "ann", "1", 7, body, raw=False)
    assert StoredMessage(stored.conv, 1, 7, seq=2, peer="bob", peer_seq=1) == stored
    for username, at in (("ann", 2), ("bob", 1)):
        page = await nodes.right.events(Mailbox(username), since=at - 1, limit=10)
        event = Event(at, EventType.MESSAGE_NEW, stored.conv, 7, message=message)
        assert EventPage((event,), at) == page


async def test_both_directions_are_one_conversation(nodes: Nodes) -> None:
    """Whoever writes, n counts on; the conversation's id addresses it, too."""
    first = await nodes.left.send(direct("ann", "bob", "1"))
    second = await nodes.right.send(direct("bob", "ann", "1"))
    third = await nodes.left.send(NewMessage("bob", "2", b"1", 5, conv=first.conv))

    assert {first.conv} == {second.conv, third.conv}
    assert [1, 2, 3] == [first.n, second.n, third.n]
    assert ("ann", 3, 3) == (third.peer, third.peer_seq, third.seq)


async def test_a_message_to_oneself_is_one_event(nodes: Nodes) -> None:
    """Sender and recipient are one account: one event, no peer."""
    stored = await nodes.left.send(direct("ann", "ann", "1"))

    assert StoredMessage(stored.conv, 1, 5, seq=1) == stored
    assert 1 == len(await whole(nodes.right, Mailbox("ann")))


async def test_raw_bytes_are_kept(nodes: Nodes) -> None:
    """A raw body may hold any bytes, and stays marked as raw."""
    body = bytes(range(256)) * 128
    stored = await nodes.left.send(NewMessage("ann", "1", body, 5, to="bob", raw=True))

    page = await nodes.right.history(stored.conv, reader="bob", limit=1)

    assert [(body, True)] == [(each.body, each.raw) for each in page.messages]


async def test_a_repeated_cid_gets_the_first_answer(nodes: Nodes) -> None:
    """The same send again, later, elsewhere, after a restart: stored once."""
    message = direct("ann", "bob", "1")
    first = await nodes.left.send(message)
    await nodes.left.send(direct("ann", "bob", "2"))

    await nodes.restart()
    again = await nodes.right.send(replace(message, ts=99))

    assert replace(first, dup=True) == again
    assert 2 == len(await whole(nodes.left, Mailbox("bob")))


@pytest.mark.parametrize(
    "other",
    [
        direct("ann", "bob", "1", b'"other"'),
        direct("ann", "cyd", "1"),
        replace(direct("ann", "bob", "1"), raw=True),
        replace(direct("ann", "bob", "1"), reply_to=1),
        NewGroup("g9", "ann", "1", 1),
    ],
    ids=["body", "recipient", "raw", "reply", "command"],
)
async def test_a_cid_used_for_something_else_is_refused(
    nodes: Nodes, other: NewMessage | NewGroup
) -> None:
    """Same cid, other content: refused, and nothing is written."""
    await nodes.left.send(direct("ann", "bob", "1"))

    write: Awaitable[Any]
    if isinstance(other, NewMessage):
        write = nodes.right.send(other)
    else:
        write = nodes.right.create_group(other)

    with pytest.raises(CidConflict):
        await write

    assert 1 == len(await whole(nodes.left, Mailbox("ann")))
    assert () == await whole(nodes.left, Mailbox("cyd"))


async def test_a_cid_belongs_to_its_account(nodes: Nodes) -> None:
    """Two accounts may use one cid; neither learns of the other's."""
    first = await nodes.left.send(direct("ann", "bob", "1"))
    second = await nodes.left.send(direct("bob", "ann", "1"))

    assert [(1, False), (2, False)] == [(each.n, each.dup) for each in (first, second)]


async def test_one_cid_a_hundred_times_at_once_is_one_message(nodes: Nodes) -> None:
    """100 concurrent sends on two nodes: one is stored, all answers are its answer."""
    message = direct("ann", "bob", "1")

    answers = await gather(
        [node.send(message) for _ in range(50) for node in (nodes.left, nodes.right)]
    )

    first = StoredMessage(answers[0].conv, 1, 5, seq=1, peer="bob", peer_seq=1)
    assert 1 == answers.count(first)
    assert 99 == answers.count(replace(first, dup=True))
    assert 1 == len(await whole(nodes.left, Mailbox("bob")))


async def test_one_cid_to_two_groups_at_once_is_stored_in_one(nodes: Nodes) -> None:
    """Nodes that lock different groups still see each other's cid."""
    await nodes.left.create_group(new_group(cid="a", conv="g1"))
    await nodes.left.create_group(new_group(cid="b", conv="g2"))
    for turn in range(20):
        sends = [
            nodes.left.send(in_group("ann", f"x{turn}", "g1")),
            nodes.right.send(in_group("ann", f"x{turn}", "g2")),
        ]
        stored, refused = sorted(
            await gather(sends), key=lambda answer: isinstance(answer, CidConflict)
        )
        assert isinstance(stored, StoredMessage)
        assert isinstance(refused, CidConflict)

    for conv in ("g1", "g2"):
        page = await nodes.left.history(conv, reader="ann", limit=100)
        assert list(range(1, 1 + len(page.messages))) == [x.n for x in page.messages]


async def test_a_refused_send_harms_nobody(nodes: Nodes) -> None:
    """Among sends of one moment the refused one fails alone; numbers have no hole."""
    sends = [
        direct("ann", "bob", "1"),
        direct("ann", "nobody", "2"),
        direct("nobody", "ann", "3"),
        in_group("ann", "4", "nowhere"),
        direct("ann", "bob", "1", b'"other"'),
        direct("ann", "bob", "5"),
    ]

    answers = await gather([nodes.left.send(each) for each in sends])

    kinds = [StoredMessage, NoSuchUser, NoSuchUser, NoSuchConv, CidConflict]
    assert [*kinds, StoredMessage] == [type(each) for each in answers]
    assert [1, 2] == [answers[0].n, answers[5].n]


async def test_a_direct_conversation_begins_with_its_first_message(
    nodes: Nodes,
) -> None:
    """Its id addresses nothing before: not in the same moment, not after a refusal."""
    ann, bob, cyd = [
        await add_account(nodes.left, each) for each in ("ann", "bob", "cyd")
    ]
    conv = direct_conv(ann.id, bob.id)
    early = NewMessage("ann", "1", b"1", 5, conv=conv)
    sends = [early, direct("bob", "cyd", "1"), direct("bob", "ann", "1")]

    answers = await gather([nodes.left.send(each) for each in sends])

    kinds = [NoSuchConv, StoredMessage, CidConflict]
    assert kinds == [type(each) for each in answers]
    assert direct_conv(bob.id, cyd.id) == answers[1].conv
    with pytest.raises(NoSuchConv):
        await nodes.right.history(conv, reader="ann", limit=1)
    assert 1 == (await nodes.right.send(direct("ann", "bob", "1"))).n


async def test_what_was_refused_may_be_sent_again(nodes: Nodes) -> None:
    """A refusal does not use up the cid."""
    with pytest.raises(NoSuchUser):
        await nodes.left.send(direct("ann", "dan", "1"))
    await add_account(nodes.right, "dan")

    stored = await nodes.left.send(direct("ann", "dan", "1"))

    assert (1, False) == (stored.n, stored.dup)


async def test_an_impossible_write_fails_alone(nodes: Nodes) -> None:
    """A caller's mistake is the caller's; what was sent beside it is stored."""
    broken = direct("ann", "bob", "2", ts=2**70)
    sends = [direct("ann", "bob", "1"), broken, direct("ann", "bob", "3")]

    answers = await gather([nodes.left.send(each) for each in sends])

    assert isinstance(answers[1], Exception)
    assert [1, 2] == [answers[0].n, answers[2].n]
    assert 2 == len(await whole(nodes.left, Mailbox("bob")))


async def test_sends_of_one_moment_keep_their_order(nodes: Nodes) -> None:
    """Sends begun one after the other are numbered in that order."""
    answers = await gather(
        [nodes.left.send(direct("ann", "bob", str(cid))) for cid in range(300)]
    )

    assert list(range(1, 301)) == [each.n for each in answers]
    assert list(range(1, 301)) == [each.peer_seq for each in answers]


async def test_two_nodes_write_one_gapless_order(nodes: Nodes) -> None:
    """
    Both sides write at once through two nodes: n has no hole, n1 < n2 is seq1 < seq2
    for both, and a reader sees no hole meanwhile.
    """
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            page = await nodes.right.events(Mailbox("bob"), since=0, limit=1000)
            seen = [each.at for each in page.events]
            assert list(range(1, page.top + 1)) == seen

    async def write(node: Store, sender: str, to: str) -> None:
        for turn in range(30):
            sends = [direct(sender, to, f"{turn}.{each}") for each in range(5)]
            others = [direct(sender, "cyd", f"{turn}.c")]
            for answer in await gather([node.send(x) for x in sends + others]):
                assert isinstance(answer, StoredMessage)

    watcher = asyncio.create_task(watch())
    await gather([write(nodes.left, "ann", "bob"), write(nodes.right, "bob", "ann")])
    done.set()
    await watcher

    for username in ("ann", "bob"):
        events = await whole(nodes.left, Mailbox(username))
        assert list(range(1, len(events) + 1)) == [each.at for each in events]
        for conv in {each.conv for each in events}:
            numbers = [x.message.n for x in events if x.message and x.conv == conv]
            assert list(range(1, len(numbers) + 1)) == numbers


async def test_crossing_pairs_do_not_lock_each_other_out(nodes: Nodes) -> None:
    """Batches over the same conversations in opposite orders all get through."""
    pairs = [("ann", "bob"), ("bob", "cyd"), ("cyd", "ann"), ("ann", "ann")]
    sends = []
    for turn in range(25):
        for index, (sender, to) in enumerate(pairs):
            left = direct(sender, to, f"l{turn}.{index}")
            right = direct(*pairs[-1 - index], f"r{turn}.{index}")
            sends += [nodes.left.send(left), nodes.right.send(right)]

    answers = await gather(sends)

    assert [StoredMessage] * len(sends) == [type(each) for each in answers]


async def test_history_is_paged_both_ways(nodes: Nodes) -> None:
    """The last ones, those before, those after: by rising n, and if there are more."""
    for each in range(1, 11):
        stored = await nodes.left.send(direct("ann", "bob", str(each)))

    async def page(**bounds: int) -> tuple[list[int], bool]:
        found = await nodes.right.history(stored.conv, reader="bob", limit=4, **bounds)
        return [each.n for each in found.messages], found.more

    assert ([7, 8, 9, 10], True) == await page()
    assert ([3, 4, 5, 6], True) == await page(before=7)
    assert ([1, 2, 3], False) == await page(before=4)
    assert ([4, 5, 6, 7], True) == await page(after=3)
    assert ([9, 10], False) == await page(after=8)
    assert ([], False) == await page(after=10)
    with pytest.raises(ValueError, match="both"):
        await page(before=2, after=1)


async def test_events_are_paged(nodes: Nodes) -> None:
    """Pages follow each other without a gap; above the top there is nothing."""
    for each in range(5):
        await nodes.left.send(direct("ann", "bob", str(each)))

    first = await nodes.right.events(Mailbox("bob"), since=0, limit=3)
    rest = await nodes.right.events(Mailbox("bob"), since=3, limit=3)

    assert ([1, 2, 3], 5, True) == ([x.at for x in first.events], first.top, first.more)
    assert ([4, 5], 5, False) == ([x.at for x in rest.events], rest.top, rest.more)
    assert EventPage((), 5) == await nodes.right.events(
        Mailbox("bob"), since=9, limit=3
    )
    with pytest.raises(NoSuchUser):
        await nodes.right.events(Mailbox("nobody"), since=0, limit=1)


async def test_tops_are_where_logs_end(nodes: Nodes) -> None:
    """Every account and group that exists; direct conversations have no log."""
    stored = await nodes.left.send(direct("ann", "bob", "1"))
    await nodes.left.create_group(new_group("bob"))

    tops = await nodes.right.tops(["ann", "bob", "cyd", "x"], [GROUP, stored.conv, "x"])

    assert Tops({"ann": 2, "bob": 2, "cyd": 0}, {GROUP: 1}) == tops
    assert Tops() == await nodes.right.tops([], [])


async def test_a_caller_that_is_cancelled_disturbs_nobody(nodes: Nodes) -> None:
    """Its neighbours are answered; whether it was stored, its cid tells."""
    gone = asyncio.ensure_future(nodes.left.send(direct("ann", "bob", "gone")))
    await asyncio.sleep(0)
    gone.cancel()

    answers = await gather(
        [nodes.left.send(direct("ann", "bob", str(each))) for each in range(5)]
    )
    again = await nodes.left.send(direct("ann", "bob", "gone"))

    numbers = [each.n for each in answers] + [again.n]
    assert list(range(1, 7)) == sorted(numbers)


async def test_a_reply_names_its_message(nodes: Nodes) -> None:
    """``reply_to`` is read as it was sent; whether there is one is not checked."""
    message = replace(direct("ann", "bob", "1"), reply_to=7)
    stored = await nodes.left.send(message)

    page = await nodes.right.history(stored.conv, reader="bob", limit=1)

    assert [7] == [each.reply_to for each in page.messages]
    assert replace(stored, dup=True) == await nodes.right.send(message)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_random_writes_and_reads_are_those_of_plain_lists(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Any sequence of commands gives what the fake gives, refusals included."""
    loop = asyncio.new_event_loop()
    subject: SqliteSubject | PostgresSubject
    if kind == "sqlite":
        subject = SqliteSubject(loop, tmp_path)
    else:
        subject = PostgresSubject(loop, request.getfixturevalue("postgres"))
    try:
        run_state_machine_as_test(
            machine(subject),
            settings=settings(
                max_examples=15,
                phases=[Phase.generate],  # a shorter example is not worth minutes
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()
