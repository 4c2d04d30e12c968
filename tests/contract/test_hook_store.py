# SPDX-License-Identifier: Apache-2.0
"""What every store promises about hooks (chatmotor/ports/hooks.py).

Runs as test_account_store.py does.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from chatmotor.errors import (
    Conflict,
    Forbidden,
    NoSuchConv,
    NoSuchHook,
    NoSuchUser,
    NotMember,
    QuotaExceeded,
)
from chatmotor.ports.accounts import AccountChange, hash_secret
from chatmotor.ports.hooks import (
    MAX_INCOMING,
    Hook,
    HookChange,
    HookKind,
    Incoming,
    NewHook,
    NewIncoming,
    Progress,
)
from chatmotor.ports.messages import GuestMessage, Role
from chatmotor.ports.store import Store
from tests.harness.stores import (
    GROUP,
    Nodes,
    change,
    close_account,
    direct,
    gather,
    in_group,
    new_group,
    set_role,
)

NEW = NewHook(
    *("h1", "ann", HookKind.WEBHOOK, 7, "https://example.org/in"),
    secret="whsec_one",
    types=("message.new", "conv.new"),
)
MADE = Hook(
    *("h1", "ann", False, HookKind.WEBHOOK, 7, "https://example.org/in"),
    secret="whsec_one",
    old_secret="",
    old_until=0,
    types=("message.new", "conv.new"),
    conv=None,
    on=True,
    revision=1,
    seq=0,
)
CODE = hash_secret("code")
BOTH = tuple(HookKind)


def progress(**fields: object) -> Progress:
    """Of node x, up to event 5."""
    return replace(Progress("h1", "x", 5), **fields)  # type: ignore[arg-type]


async def lease(
    store: Store, owner: str = "x", *, now: int = 100, kinds: object = BOTH
) -> tuple[Hook, ...]:
    """For ten milliseconds."""
    return await store.lease_hooks(owner, kinds, now=now, until=now + 10)  # type: ignore[arg-type]


async def test_a_hook_is_there_as_it_was_made(nodes: Nodes) -> None:
    """On every node, also after a restart; its secrets are in no representation."""
    assert MADE == await nodes.left.add_hook(NEW)
    await nodes.restart()

    assert MADE == await nodes.right.hook("h1")
    assert (MADE,) == await nodes.right.hooks(after="", limit=10)
    assert "whsec" not in repr(MADE) + repr(NEW)
    assert "whsec" not in repr(HookChange("h1", secret="whsec_two"))


async def test_hooks_are_listed_in_pages(nodes: Nodes) -> None:
    """By id."""
    for id_ in ("h3", "h1", "h2"):
        await nodes.left.add_hook(replace(NEW, id=id_, username="bob"))

    async def ids(after: str) -> list[str]:
        return [each.id for each in await nodes.right.hooks(after=after, limit=2)]

    assert ["h1", "h2"] == await ids("")
    assert ["h3"] == await ids("h2")


async def test_a_hook_begins_with_what_comes_next(nodes: Nodes) -> None:
    """In the mailbox, and in the groups where the account is now."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.create_group(new_group("bob", cid="create2", conv="g2"))
    await nodes.left.send(in_group("bob", "1"))
    await nodes.left.change_members(change("3", remove=["bob"]))
    await nodes.left.send(direct("ann", "bob", "1"))

    of_ann = await nodes.left.add_hook(NEW)
    of_bob = await nodes.left.add_hook(replace(NEW, id="h2", username="bob"))
    one = await nodes.left.add_hook(replace(NEW, id="h3", conv=GROUP))

    assert (3, 0) == (of_ann.seq, of_ann.behind)
    assert {GROUP: 3, "g2": 1} == await nodes.right.hook_positions("h1")
    assert (4, 0) == (of_bob.seq, of_bob.behind)
    assert {"g2": 1} == await nodes.right.hook_positions("h2")
    assert (GROUP, 0) == (one.conv, one.behind)
    assert {GROUP: 3} == await nodes.right.hook_positions("h3")
    assert {} == await nodes.right.hook_positions("h4")


async def test_how_far_a_hook_is_behind_is_counted(nodes: Nodes) -> None:
    """In the mailbox and in groups; not in those that the account has left."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.create_group(new_group("bob", cid="create2", conv="g2"))
    await nodes.left.add_hook(replace(NEW, username="bob"))

    await nodes.left.send(direct("ann", "bob", "1"))
    await nodes.left.send(in_group("ann", "2"))
    await nodes.left.send(in_group("ann", "3"))
    await nodes.left.send(in_group("ann", "4", conv="g2"))
    assert 4 == (await nodes.right.hook("h1")).behind

    await nodes.left.change_members(change("5", remove=["bob"]))
    assert [3] == [x.behind for x in await nodes.right.hooks(after="", limit=1)]


async def test_a_hook_that_cannot_be_is_refused(nodes: Nodes) -> None:
    """Of nobody, or for a conversation that its account is not in."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.change_members(change("1", remove=["bob"]))

    refused = [
        *((NoSuchUser, replace(NEW, username="zoe")),),
        *((NoSuchConv, replace(NEW, conv="g9")),),
        *((NotMember, replace(NEW, username="bob", conv=GROUP)),),
        *((NoSuchConv, replace(NEW, username="cyd", conv=GROUP)),),
    ]
    for kind, new in refused:
        with pytest.raises(kind):
            await nodes.left.add_hook(new)
    assert () == await nodes.left.hooks(after="", limit=1)


async def test_an_account_has_one_queue(nodes: Nodes) -> None:
    """Two hooks of kind amqp would fill it twice; also when they are made at once."""
    queue = NewHook("h1", "ann", HookKind.AMQP, 7)

    made = await gather(
        [
            nodes.left.add_hook(queue),
            nodes.right.add_hook(replace(queue, id="h2")),
            nodes.left.add_hook(replace(queue, id="h3", username="bob")),
        ]
    )

    assert {Hook, Conflict} == {type(each) for each in made[:2]}
    assert isinstance(made[2], Hook)
    await nodes.left.add_hook(replace(NEW, id="h4"))


async def test_a_change_is_another_revision(nodes: Nodes) -> None:
    """The old secret stays beside the new one; to resume forgets the failures."""
    await nodes.left.add_hook(NEW)
    await lease(nodes.left)
    failed = {"failures": 3, "failing_since": 50, "next_try": 900, "error": "refused"}
    assert await nodes.left.save_progress(progress(on=False, **failed))

    off = await nodes.right.hook("h1")
    assert replace(MADE, on=False, seq=5, behind=-5, **failed) == off  # type: ignore[arg-type]

    new = HookChange("h1", secret="whsec_two", old_until=99)
    rotated = await nodes.left.change_hook(new)
    secrets = {"secret": "whsec_two", "old_secret": "whsec_one", "old_until": 99}
    assert replace(off, revision=2, **secrets) == rotated  # type: ignore[arg-type]

    resumed = await nodes.left.change_hook(HookChange("h1", resume=True))
    expected = replace(MADE, revision=3, seq=5, behind=-5, **secrets)  # type: ignore[arg-type]
    assert expected == resumed == await nodes.right.hook("h1")


async def test_what_is_not_there_is_refused(nodes: Nodes) -> None:
    """Before it was made, and after it was removed, with its places."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: nodes.left.hook("h1"),
        lambda: nodes.left.change_hook(HookChange("h1", resume=True)),
        lambda: nodes.left.remove_hook("h1"),
    ]
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.add_hook(NEW)
    await lease(nodes.left)
    await nodes.right.remove_hook("h1")

    for call in calls:
        with pytest.raises(NoSuchHook):
            await call()
    assert {} == await nodes.left.hook_positions("h1")
    assert not await nodes.left.save_progress(progress())
    assert () == await lease(nodes.left)


async def test_a_hook_is_one_nodes_at_a_time(nodes: Nodes) -> None:
    """Who has it keeps it, until it lets go or its time is over."""
    await nodes.left.add_hook(NEW)

    assert (MADE,) == await lease(nodes.left, "x", now=100)
    assert () == await lease(nodes.right, "y", now=109)
    assert (MADE,) == await lease(nodes.left, "x", now=109)
    assert () == await lease(nodes.right, "y", now=118)
    assert (MADE,) == await lease(nodes.right, "y", now=119)
    assert () == await lease(nodes.left, "x", now=120)

    await nodes.right.release_hooks("x")
    assert () == await lease(nodes.left, "x", now=121)
    await nodes.right.release_hooks("y")
    assert (MADE,) == await lease(nodes.left, "x", now=122)


async def test_nodes_that_ask_at_once_share_them_out(nodes: Nodes) -> None:
    """Each hook has one of them."""
    for number in range(6):
        await nodes.left.add_hook(replace(NEW, id=f"h{number}"))

    found = await gather(
        [
            lease(store, owner)
            for store, owner in ((nodes.left, "x"), (nodes.right, "y"))
        ]
    )

    assert [f"h{number}" for number in range(6)] == sorted(
        each.id for some in found for each in some
    )


async def test_only_hooks_at_work_are_leased(nodes: Nodes) -> None:
    """Not those that are off, of another kind, or of a closed account."""
    await nodes.left.add_hook(NEW)
    await nodes.left.add_hook(NewHook("h2", "ann", HookKind.AMQP, 7))
    await nodes.left.add_hook(replace(NEW, id="h3", username="bob"))
    await close_account(nodes.left, "bob")

    async def leased(now: int, kinds: tuple[HookKind, ...] = BOTH) -> list[str]:
        return [each.id for each in await lease(nodes.right, now=now, kinds=kinds)]

    assert ["h1"] == await leased(100, (HookKind.WEBHOOK,))
    assert ["h1", "h2"] == await leased(100)
    assert (await nodes.left.hook("h3")).closed
    assert await nodes.left.save_progress(progress(on=False))
    assert ["h2"] == await leased(101)

    await nodes.left.change_hook(HookChange("h1", resume=True))
    await nodes.left.change_account(AccountChange("bob", ts=9, closed=False))
    assert ["h1", "h2", "h3"] == await leased(102)


async def test_progress_is_kept(nodes: Nodes) -> None:
    """Places in groups are added and moved; those that are not named stay."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.add_hook(NEW)
    await lease(nodes.left)

    assert await nodes.left.save_progress(progress(positions={"g2": 4}))
    assert await nodes.left.save_progress(progress(seq=9, positions={GROUP: 8}))
    await nodes.restart()

    assert 9 == (await nodes.right.hook("h1")).seq
    assert {GROUP: 8, "g2": 4} == await nodes.right.hook_positions("h1")


async def test_who_has_lost_the_lease_saves_nothing(nodes: Nodes) -> None:
    """A node that was frozen does not set back the one that goes on."""
    await nodes.left.add_hook(NEW)
    await lease(nodes.left, "x", now=100)
    await lease(nodes.right, "y", now=110)
    assert await nodes.right.save_progress(progress(owner="y", seq=9))

    assert not await nodes.left.save_progress(progress(positions={GROUP: 1}))

    assert 9 == (await nodes.left.hook("h1")).seq
    assert {} == await nodes.left.hook_positions("h1")


# Incoming hooks.


def new_incoming(
    username: str = "ann", conv: str = GROUP, *, number: int = 1
) -> NewIncoming:
    """The code is "code", or that with the number."""
    code = CODE if number == 1 else hash_secret(f"code{number}")
    return NewIncoming(f"i{number}", code, username, conv, "deploys", 7)


async def test_an_incoming_hook_is_found_by_its_code(nodes: Nodes) -> None:
    """With its account, on every node, also after a restart."""
    await nodes.left.create_group(new_group("bob"))
    made = await nodes.left.add_incoming(new_incoming())
    await nodes.restart()

    assert Incoming("i1", "ann", GROUP, "deploys", 7) == made
    found = await nodes.right.incoming_by_code(CODE)
    assert (made, await nodes.right.account("ann")) == found
    assert None is await nodes.right.incoming_by_code(hash_secret("guessed"))


async def test_owner_and_admins_of_a_group_have_its_hooks(nodes: Nodes) -> None:
    """Others are refused, and strangers learn nothing."""
    await nodes.left.create_group(new_group("bob", "cyd"))
    await set_role(nodes.left, "bob", Role.ADMIN)
    first = await nodes.left.add_incoming(new_incoming("ann"))
    second = await nodes.left.add_incoming(new_incoming("bob", number=2))

    assert (first, second) == await nodes.right.incoming(GROUP, reader="bob")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: nodes.left.add_incoming(new_incoming("cyd", number=3)),
        lambda: nodes.left.incoming(GROUP, reader="cyd"),
        lambda: nodes.left.remove_incoming("i1", actor="cyd"),
    ]
    for call in calls:
        with pytest.raises(Forbidden):
            await call()
    await nodes.left.change_members(change("1", remove=["cyd"]))
    for refusal, call in zip((NotMember, NotMember, NoSuchHook), calls, strict=True):
        with pytest.raises(refusal):
            await call()

    await nodes.left.remove_incoming("i1", actor="bob")
    assert (second,) == await nodes.right.incoming(GROUP, reader="ann")
    assert None is await nodes.right.incoming_by_code(CODE)
    with pytest.raises(NoSuchHook):
        await nodes.left.remove_incoming("i1", actor="bob")


async def test_either_has_the_hooks_of_a_direct_conversation(nodes: Nodes) -> None:
    """Nobody else; and there is none for a guest, whom nobody can answer."""
    conv = (await nodes.left.send(direct("ann", "bob", "1"))).conv
    made = await nodes.left.add_incoming(new_incoming("ann", conv))

    assert (made,) == await nodes.right.incoming(conv, reader="bob")
    with pytest.raises(NoSuchConv):
        await nodes.left.incoming(conv, reader="cyd")
    with pytest.raises(NoSuchHook):
        await nodes.left.remove_incoming("i1", actor="cyd")
    await nodes.left.remove_incoming("i1", actor="bob")

    guest = await nodes.left.send_from_guest(GuestMessage("eve", "ann", b"x", 5))
    with pytest.raises(Forbidden):
        await nodes.left.add_incoming(new_incoming("ann", guest.conv))


async def test_a_conversation_has_so_many_hooks(nodes: Nodes) -> None:
    """And not one more."""
    await nodes.left.create_group(new_group("bob"))
    for number in range(2, MAX_INCOMING + 2):
        await nodes.left.add_incoming(new_incoming(number=number))

    with pytest.raises(QuotaExceeded):
        await nodes.left.add_incoming(new_incoming(number=99))


async def test_an_incoming_hook_ends_with_its_membership(nodes: Nodes) -> None:
    """It does not come back when its account does; those of others stay."""
    await nodes.left.create_group(new_group("bob"))
    await set_role(nodes.left, "bob", Role.ADMIN)
    conv = (await nodes.left.send(direct("ann", "bob", "1"))).conv
    await nodes.left.add_incoming(new_incoming("bob"))
    await nodes.left.add_incoming(new_incoming("ann", number=2))
    await nodes.left.add_incoming(new_incoming("bob", conv, number=3))

    await nodes.right.change_members(change("2", remove=["bob"]))
    await nodes.right.change_members(change("3", add=["bob"]))

    assert None is await nodes.left.incoming_by_code(CODE)
    for number in (2, 3):
        code = hash_secret(f"code{number}")
        assert None is not await nodes.left.incoming_by_code(code)


async def test_an_incoming_hook_ends_with_its_account(nodes: Nodes) -> None:
    """Also when it is opened again."""
    await nodes.left.create_group(new_group("bob"))
    await nodes.left.add_incoming(new_incoming("ann"))

    await nodes.right.change_account(AccountChange("ann", ts=9, admin=True))
    assert None is not await nodes.left.incoming_by_code(CODE)
    await close_account(nodes.right, "ann")
    await nodes.right.change_account(AccountChange("ann", ts=9, closed=False))

    assert None is await nodes.left.incoming_by_code(CODE)
