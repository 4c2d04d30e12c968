# SPDX-License-Identifier: Apache-2.0
"""What every store promises about who may change a group, and how large it gets."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from chatmotor.errors import Forbidden, NoSuchUser, QuotaExceeded, Suspended
from chatmotor.ports.messages import GroupLog, Mailbox, Member, Role
from chatmotor.ports.store import Store
from tests.harness.stores import (
    GROUP,
    Nodes,
    add_account,
    change,
    close_account,
    gather,
    in_group,
    new_group,
    set_role,
    whole,
)


async def roles(store: Store, reader: str = "ann") -> dict[str, Role]:
    """Of all members of the group."""
    members = await store.members(GROUP, reader=reader, after="", limit=100)
    return {each.username: each.role for each in members}


async def test_the_creator_is_the_owner(nodes: Nodes) -> None:
    """Whether listed or not; all others are members."""
    await nodes.left.create_group(new_group("bob", "ann"))

    assert {"ann": Role.OWNER, "bob": Role.MEMBER} == await roles(nodes.right)


async def test_any_member_may_add(nodes: Nodes) -> None:
    """Whoever is in brings others."""
    await nodes.left.create_group(new_group("bob"))

    await nodes.right.change_members(change("1", actor="bob", add=["cyd"]))

    assert {"ann", "bob", "cyd"} == set(await roles(nodes.left))


async def test_a_member_may_not_remove_others(nodes: Nodes) -> None:
    """Forbidden, and all or nothing: the one who would have come does not, either."""
    await nodes.left.create_group(new_group("bob", "cyd"))
    await add_account(nodes.left, "dan")

    for removed in ("ann", "cyd"):
        with pytest.raises(Forbidden):
            await nodes.right.change_members(
                change("1", actor="bob", add=["dan"], remove=[removed])
            )

    assert {"ann", "bob", "cyd"} == set(await roles(nodes.left))
    assert 1 == len(await whole(nodes.left, GroupLog(GROUP, None)))
    assert () == await whole(nodes.left, Mailbox("dan"))


async def test_everyone_may_leave(nodes: Nodes) -> None:
    """To remove oneself needs no role."""
    await nodes.left.create_group(new_group("bob"))

    await nodes.right.change_members(change("1", actor="bob", remove=["bob"]))

    assert {"ann": Role.OWNER} == await roles(nodes.left)


async def test_an_admin_may_remove_members_only(nodes: Nodes) -> None:
    """Neither the owner nor another admin."""
    await add_account(nodes.left, "dan")
    await nodes.left.create_group(new_group("bob", "cyd", "dan"))
    await set_role(nodes.left, "bob", Role.ADMIN)
    await set_role(nodes.left, "cyd", Role.ADMIN)

    for number, removed in enumerate(("ann", "cyd")):
        with pytest.raises(Forbidden):
            await nodes.right.change_members(
                change(str(number), actor="bob", remove=[removed])
            )
    await nodes.right.change_members(change("2", actor="bob", remove=["dan"]))

    assert {"ann", "bob", "cyd"} == set(await roles(nodes.left))


async def test_the_owner_may_remove_admins(nodes: Nodes) -> None:
    """Everybody else is below the owner."""
    await nodes.left.create_group(new_group("bob", "cyd"))
    await set_role(nodes.left, "bob", Role.ADMIN)

    await nodes.right.change_members(change("1", remove=["bob", "cyd"]))

    assert {"ann": Role.OWNER} == await roles(nodes.left)


async def test_a_role_is_not_needed_where_nobody_goes(nodes: Nodes) -> None:
    """To remove whoever is not in it changes nothing, and nothing is forbidden."""
    await nodes.left.create_group(new_group("bob"))

    answer = await nodes.right.change_members(change("1", actor="bob", remove=["cyd"]))

    assert (1, 1, ()) == (answer.pos, answer.revision, answer.logged)


async def test_an_admin_succeeds_the_owner(nodes: Nodes) -> None:
    """Before members who are in it for longer; the event names the new owner."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.change_members(change("1", add=["cyd"], ts=9))
    await set_role(nodes.left, "cyd", Role.ADMIN)

    await nodes.right.change_members(change("2", remove=["ann"]))

    assert {"bob": Role.MEMBER, "cyd": Role.OWNER} == await roles(nodes.left, "bob")
    last = (await whole(nodes.left, GroupLog(GROUP, "bob")))[-1]
    detail = {"actor": "ann", "added": [], "removed": ["ann"], "owner": "cyd"}
    assert detail == json.loads(last.detail or "")


async def test_the_longest_standing_member_succeeds_without_an_admin(
    nodes: Nodes,
) -> None:
    """Who has come back stands since then; a closed account is passed over."""
    await add_account(nodes.left, "dan")
    await nodes.left.create_group(new_group("bob", "dan"))
    await nodes.left.change_members(change("1", add=["cyd"], ts=5))
    await nodes.left.change_members(change("2", remove=["bob"], ts=6))
    await nodes.left.change_members(change("3", add=["bob"], ts=7))
    await close_account(nodes.left, "dan")

    await nodes.right.change_members(change("4", remove=["ann"], ts=8))

    assert Role.OWNER is (await roles(nodes.left, "bob"))["cyd"]


async def test_a_group_that_all_have_left_stays_empty(nodes: Nodes) -> None:
    """The last one to go has no heir, and nothing else goes wrong."""
    await nodes.left.create_group(new_group())

    left = await nodes.right.change_members(change("1", remove=["ann"]))

    assert (2, 2) == (left.pos, left.revision)
    assert () == await nodes.left.standings("ann")


async def test_a_group_does_not_outgrow_its_limit(nodes: Nodes) -> None:
    """Over it nobody comes; those who go in the same change make room."""
    with pytest.raises(QuotaExceeded):
        await nodes.left.create_group(replace(new_group("bob", "cyd"), max_members=2))
    await nodes.left.create_group(replace(new_group("bob"), max_members=2))

    with pytest.raises(QuotaExceeded):
        await nodes.right.change_members(
            replace(change("1", add=["cyd"]), max_members=2)
        )
    await nodes.right.change_members(
        replace(change("2", add=["cyd"], remove=["bob"]), max_members=2)
    )

    assert {"ann", "cyd"} == set(await roles(nodes.left))


async def test_a_group_over_a_lowered_limit_can_shrink(nodes: Nodes) -> None:
    """The limit keeps people out, not in."""
    await add_account(nodes.left, "dan")
    await nodes.left.create_group(new_group("bob", "cyd", "dan"))

    await nodes.right.change_members(
        replace(change("1", remove=["bob"]), max_members=1)
    )

    assert {"ann", "cyd", "dan"} == set(await roles(nodes.left))


async def test_a_closed_account_does_not_come(nodes: Nodes) -> None:
    """For a group it is nobody; but it can be removed, and does nothing itself."""
    await nodes.left.create_group(new_group("bob"))
    for username in ("bob", "cyd"):
        await close_account(nodes.left, username)

    with pytest.raises(NoSuchUser):
        await nodes.right.create_group(new_group("cyd", cid="x", conv="g2"))
    with pytest.raises(NoSuchUser):
        await nodes.right.change_members(change("1", add=["cyd"]))
    with pytest.raises(Suspended):
        await nodes.right.change_members(change("1", actor="bob"))
    await nodes.right.change_members(change("2", remove=["bob"]))

    assert {"ann": Role.OWNER} == await roles(nodes.left)


async def test_members_are_paged_by_name(nodes: Nodes) -> None:
    """Those after a name, in the order of code points."""
    await add_account(nodes.left, "\N{LATIN SMALL LETTER E WITH ACUTE}va")
    await add_account(nodes.left, "Zoe")
    await nodes.left.create_group(
        new_group("bob", "\N{LATIN SMALL LETTER E WITH ACUTE}va", "Zoe")
    )

    first = await nodes.right.members(GROUP, reader="bob", after="", limit=2)
    rest = await nodes.right.members(GROUP, reader="bob", after="ann", limit=9)

    assert (Member("Zoe", Role.MEMBER), Member("ann", Role.OWNER)) == first
    assert ["bob", "\N{LATIN SMALL LETTER E WITH ACUTE}va"] == [
        each.username for each in rest
    ]


async def test_changes_of_two_groups_with_the_same_people_do_not_block(
    nodes: Nodes,
) -> None:
    """Whoever comes and goes where, and whatever is sent meanwhile: all get through."""
    for conv in ("g1", "g2"):
        await nodes.left.create_group(new_group("bob", cid=conv, conv=conv))
    writes: list[Awaitable[Any]] = []
    for turn in range(10):
        for conv, node in (("g1", nodes.left), ("g2", nodes.right)):
            come = change(f"{conv}+{turn}", add=["cyd"], remove=["bob"])
            gone = change(f"{conv}-{turn}", add=["bob"], remove=["cyd"])
            writes += [
                node.change_members(replace(each, conv=conv)) for each in (come, gone)
            ]
            writes += [node.send(in_group("ann", f"{conv}.{turn}", conv))]
            writes += [node.mark_read("ann", conv, turn, ts=1)]

    answers = await gather(writes)

    assert [] == [each for each in answers if isinstance(each, Exception)]
