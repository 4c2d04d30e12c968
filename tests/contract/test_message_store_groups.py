# SPDX-License-Identifier: Apache-2.0
"""What every store promises about groups.  The rest: test_message_store.py."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from chatmotor.errors import Conflict, NoSuchConv, NoSuchUser, NotMember
from chatmotor.ports.messages import (
    ChangedGroup,
    Event,
    EventType,
    GroupLog,
    Mailbox,
    MemberChange,
    Message,
    StoredMessage,
    Tops,
)
from tests.harness.stores import (
    GROUP,
    Nodes,
    add_account,
    change,
    direct,
    gather,
    in_group,
    new_group,
    whole,
)


def _detail(actor: str, added: list[str], removed: list[str]) -> str:
    return json.dumps({"actor": actor, "added": added, "removed": removed})


async def test_a_group_has_one_log(nodes: Nodes) -> None:
    """Creation, messages and changes are one event each, at pos 1, 2, 3 ..."""
    created = await nodes.left.create_group(new_group("bob"))
    stored = await nodes.right.send(in_group("bob", "1"))
    changed = await nodes.left.change_members(change("2", add=["cyd"], remove=["bob"]))

    assert (GROUP, 1, 1) == (created.conv, created.pos, created.revision)
    assert StoredMessage(GROUP, 1, 5, pos=2) == stored
    assert (GROUP, 3, 2) == (changed.conv, changed.pos, changed.revision)
    first, last = _detail("ann", ["ann", "bob"], []), _detail("ann", ["cyd"], ["bob"])
    message = Message(GROUP, 1, "bob", "1", 5, b'"all"', raw=False)
    assert (
        Event(1, EventType.CONV_MEMBER, GROUP, 2, detail=first),
        Event(2, EventType.MESSAGE_NEW, GROUP, 5, message=message),
        Event(3, EventType.CONV_MEMBER, GROUP, 3, detail=last),
    ) == await whole(nodes.right, GroupLog(GROUP, "ann"))


async def test_who_comes_and_who_goes_is_told_in_their_mailboxes(nodes: Nodes) -> None:
    """``conv.new`` for those who come, the creator too; ``conv.member`` else."""
    group = replace(new_group("bob"), title="Tea")
    await nodes.left.create_group(group)
    await nodes.left.send(in_group("ann", "1"))
    await nodes.left.change_members(change("2", add=["cyd"], remove=["bob"]))

    first = json.dumps({"actor": "ann", "title": "Tea", "since": 1})
    later = json.dumps({"actor": "ann", "title": "Tea", "since": 3})
    come = Event(1, EventType.CONV_NEW, GROUP, 2, detail=first)
    gone = Event(
        *(2, EventType.CONV_MEMBER, GROUP, 3), detail=_detail("ann", [], ["bob"])
    )
    assert (come,) == await whole(nodes.right, Mailbox("ann"))
    assert (come, gone) == await whole(nodes.right, Mailbox("bob"))
    assert (replace(come, ts=3, detail=later),) == await whole(
        nodes.right, Mailbox("cyd")
    )


async def test_a_change_says_what_it_has_put_into_logs(nodes: Nodes) -> None:
    """The answer has each event with its places; a repeated one has none."""
    created = await nodes.left.create_group(new_group("bob"))
    changed = await nodes.left.change_members(change("2", add=["cyd"], remove=["bob"]))
    again = await nodes.right.change_members(change("2", add=["cyd"], remove=["bob"]))

    places = [(each.event.t, each.pos, each.seqs) for each in created.logged]
    assert [
        (EventType.CONV_MEMBER, 1, {}),
        (EventType.CONV_NEW, None, {"ann": 1, "bob": 1}),
    ] == places
    assert [
        (EventType.CONV_MEMBER, 2, {}),
        (EventType.CONV_NEW, None, {"cyd": 1}),
        (EventType.CONV_MEMBER, None, {"bob": 2}),
    ] == [(each.event.t, each.pos, each.seqs) for each in changed.logged]
    assert {0} == {each.event.at for each in changed.logged}
    assert ((), True) == (again.logged, again.dup)


async def test_who_goes_is_told_of_oneself_only(nodes: Nodes) -> None:
    """The log names all who went; each mailbox its own account, and nobody else."""
    strange = 'q"\\ä'  # whatever it is called
    await add_account(nodes.left, strange)
    await nodes.left.create_group(new_group("bob", "cyd", strange))

    changed = await nodes.left.change_members(change("2", remove=["bob", strange]))
    left = await nodes.right.change_members(change("3", actor="ann", remove=["ann"]))

    log = await whole(nodes.right, GroupLog(GROUP, None))
    details = [json.loads(each.detail or "") for each in log]
    assert sorted(["bob", strange]) == details[1]["removed"]
    assert "cyd" == details[2]["owner"]
    told = {name: each for each in changed.logged[1:] for name in each.seqs}
    assert {"bob", strange} == set(told)
    for username, actor in (("bob", "ann"), (strange, "ann"), ("ann", "ann")):
        own = (await whole(nodes.right, Mailbox(username)))[-1]
        expected = {"actor": actor, "added": [], "removed": [username]}
        assert expected == json.loads(own.detail or "")
        logged = told.get(username, left.logged[-1])
        assert {username: own.at} == logged.seqs
        assert expected == json.loads(logged.event.detail or "")
        assert (None, EventType.CONV_MEMBER) == (logged.pos, logged.event.t)


async def test_a_large_group_costs_one_event(nodes: Nodes) -> None:
    """A message to 500 members is one event of the group, and so is their coming."""
    members = [f"user{each}" for each in range(500)]
    await gather([add_account(nodes.left, each) for each in members])

    created = await nodes.left.create_group(new_group(*members))
    stored = await nodes.right.send(in_group("user499", "1"))

    assert (1, 2) == (created.pos, stored.pos)
    assert Tops({"user499": 1}, {GROUP: 2}) == await nodes.left.tops(
        ["user499"], [GROUP]
    )


async def test_creating_again_creates_nothing(nodes: Nodes) -> None:
    """A retry with the same cid gets the first group, whatever id it brings."""
    first = await nodes.left.create_group(new_group("bob", conv="g1"))

    again = await nodes.right.create_group(new_group("bob", conv="g2"))

    assert replace(first, logged=(), dup=True) == again
    assert Tops({}, {"g1": 1}) == await nodes.left.tops([], ["g1", "g2"])


async def test_creating_at_once_creates_one(nodes: Nodes) -> None:
    """Two nodes with one cid and two ids: one group, and both are told of it."""
    answers = await gather(
        [
            nodes.left.create_group(new_group("bob", conv="g1")),
            nodes.right.create_group(new_group("bob", conv="g2")),
        ]
    )

    assert 1 == len({each.conv for each in answers})
    assert [False, True] == sorted(each.dup for each in answers)


async def test_creating_one_id_at_once_creates_one(nodes: Nodes) -> None:
    """Two nodes with one cid and one id: a retry, and not a conflict."""
    answers = await gather(
        [node.create_group(new_group("bob")) for node in (nodes.left, nodes.right)]
    )

    assert [False, True] == sorted(each.dup for each in answers)


async def test_an_id_that_is_taken_is_refused(nodes: Nodes) -> None:
    """Another group with the same id is no retry."""
    await nodes.left.create_group(new_group("bob", cid="1"))

    with pytest.raises(Conflict):
        await nodes.right.create_group(new_group("cyd", cid="2"))


async def test_a_change_counts_only_what_changes(nodes: Nodes) -> None:
    """Who is in cannot come, who is not cannot go; no change, no event."""
    await nodes.left.create_group(new_group("bob"))

    nothing = await nodes.left.change_members(change("1", add=["bob"], remove=["cyd"]))
    some = await nodes.left.change_members(change("2", add=["bob", "cyd"]))

    assert ChangedGroup(GROUP, pos=1, revision=1) == nothing
    assert (2, 2) == (some.pos, some.revision)
    last = (await whole(nodes.right, GroupLog(GROUP, "bob")))[-1]
    assert _detail("ann", ["cyd"], []) == last.detail
    assert 1 == len(await whole(nodes.right, Mailbox("bob")))


async def test_a_change_with_an_unknown_user_changes_nobody(nodes: Nodes) -> None:
    """All or nothing."""
    await nodes.left.create_group(new_group("bob"))

    with pytest.raises(NoSuchUser):
        await nodes.left.change_members(change("1", add=["cyd", "nobody"]))
    with pytest.raises(NoSuchConv):
        await nodes.right.send(in_group("cyd", "1"))


async def test_a_repeated_change_gets_the_first_answer(nodes: Nodes) -> None:
    """A retried removal does not remove who has come back since."""
    await nodes.left.create_group(new_group("bob"))
    first = await nodes.left.change_members(change("1", remove=["bob"]))
    await nodes.left.change_members(change("2", add=["bob"]))

    again = await nodes.right.change_members(change("1", remove=["bob"]))

    assert replace(first, logged=(), dup=True) == again
    assert 2 == (await nodes.right.send(in_group("bob", "3"))).n + 1


async def test_a_stranger_learns_nothing(nodes: Nodes) -> None:
    """A group one was never in and a group that does not exist answer alike."""
    await nodes.left.create_group(new_group("bob"))
    stored = await nodes.left.send(direct("ann", "bob", "1"))
    refused = []
    for conv in (GROUP, stored.conv, "g404"):
        attempts: list[Awaitable[Any]] = [
            nodes.right.send(in_group("cyd", "1", conv)),
            nodes.right.history(conv, reader="cyd", limit=1),
            nodes.right.events(GroupLog(conv, "cyd"), since=0, limit=1),
            nodes.right.change_members(MemberChange(conv, "cyd", "1", 1)),
        ]
        refused.append([(type(x), str(x)) for x in await gather(attempts)])

    assert {NoSuchConv} == {kind for kind, _ in refused[0]}
    assert refused[2] == refused[0]
    assert refused[2] == refused[1]


async def test_a_removed_member_is_out(nodes: Nodes) -> None:
    """Neither sends nor reads; but a retry of what was stored gets its answer."""
    await nodes.left.create_group(new_group("bob"))
    first = await nodes.right.send(in_group("bob", "1"))

    await nodes.left.change_members(change("1", remove=["bob"]))

    assert replace(first, dup=True) == await nodes.right.send(in_group("bob", "1"))
    attempts: list[Awaitable[Any]] = [
        nodes.right.send(in_group("bob", "2")),
        nodes.right.history(GROUP, reader="bob", limit=1),
        nodes.right.events(GroupLog(GROUP, "bob"), since=0, limit=1),
        nodes.right.change_members(change("3", actor="bob", add=["bob"])),
    ]
    assert [NotMember] * 4 == [type(each) for each in await gather(attempts)]


async def test_a_send_under_way_does_not_outlive_its_membership(nodes: Nodes) -> None:
    """Whatever the interleaving, no message of bob has a pos after his removal."""
    await nodes.left.create_group(new_group("bob"))
    for turn in range(20):
        sends = [nodes.right.send(in_group("bob", f"{turn}.{x}")) for x in range(10)]
        removal = nodes.left.change_members(change(f"-{turn}", remove=["bob"]))
        *answers, removed = await gather([*sends, removal])
        for answer in answers:
            assert isinstance(answer, NotMember) or answer.pos < removed.pos
        await nodes.left.change_members(change(f"+{turn}", add=["bob"]))
