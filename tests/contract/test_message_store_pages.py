# SPDX-License-Identifier: Apache-2.0
"""What every store promises about the size of a page, in bytes."""

from dataclasses import replace

import pytest

from chatmotor.ports.messages import (
    PAGE_BYTES,
    GroupLog,
    Mailbox,
    MemberChange,
    NewMessage,
)
from chatmotor.ports.store import Store
from tests.harness.stores import (
    GROUP,
    Nodes,
    add_account,
    direct,
    gather,
    new_group,
)

# Three of them fit into a page, four do not.
LARGE = b'"%s"' % (b"x" * (PAGE_BYTES // 4))
HUGE = b'"%s"' % (b"x" * PAGE_BYTES)


async def _ten(store: Store, body: bytes = LARGE) -> str:
    """A conversation of ten messages from ann to bob."""
    for each in range(1, 11):
        stored = await store.send(direct("ann", "bob", str(each), body))
    return stored.conv


async def _events(
    store: Store, log: Mailbox | GroupLog, since: int
) -> tuple[list[int], bool]:
    page = await store.events(log, since=since, limit=100)
    return [each.at for each in page.events], page.more


async def _history(store: Store, conv: str, **bounds: int) -> tuple[list[int], bool]:
    bounds = {"limit": 100} | bounds
    page = await store.history(conv, reader="ann", **bounds)
    return [each.n for each in page.messages], page.more


async def test_a_page_of_events_is_bounded_in_bytes(nodes: Nodes) -> None:
    """The first ones, as many as fit; the next page goes on after them."""
    await _ten(nodes.left)

    assert ([1, 2, 3], True) == await _events(nodes.right, Mailbox("bob"), 0)
    assert ([4, 5, 6], True) == await _events(nodes.right, Mailbox("bob"), 3)
    assert ([8, 9, 10], False) == await _events(nodes.right, Mailbox("bob"), 7)


async def test_a_page_of_a_group_is_bounded_in_bytes(nodes: Nodes) -> None:
    """Its messages, and the details of its other events."""
    await nodes.left.create_group(new_group("bob"))
    for each in range(5):
        await nodes.left.send(NewMessage("ann", str(each), LARGE, 5, conv=GROUP))

    assert ([1, 2, 3, 4], True) == await _events(nodes.right, GroupLog(GROUP, "bob"), 0)
    assert ([4, 5, 6], False) == await _events(nodes.right, GroupLog(GROUP, None), 3)


async def test_details_count_as_bytes(nodes: Nodes) -> None:
    """A change of many members is as large as their names are, in UTF-8."""
    names = frozenset(f"{each:04}{'ä' * 62}" for each in range(1000))  # 132 kB of names
    await gather([add_account(nodes.left, each) for each in names])
    await nodes.left.create_group(new_group())
    for turn in range(3):
        come = MemberChange(GROUP, "ann", f"+{turn}", 3, add=names)
        await nodes.left.change_members(come)
        go = replace(come, cid=f"-{turn}", add=frozenset(), remove=names)
        await nodes.left.change_members(go)

    assert ([1, 2], True) == await _events(nodes.right, GroupLog(GROUP, None), 0)
    assert ([3], True) == await _events(nodes.right, GroupLog(GROUP, None), 2)


async def test_a_page_has_at_least_one_row(nodes: Nodes) -> None:
    """However large it is."""
    conv = await _ten(nodes.left, HUGE)

    assert ([1], True) == await _events(nodes.right, Mailbox("bob"), 0)
    assert ([10], True) == await _history(nodes.right, conv)
    assert ([1], False) == await _history(nodes.right, conv, before=2)
    assert ([10], False) == await _history(nodes.right, conv, after=9)
    assert ([5], True) == await _history(nodes.right, conv, around=5)
    page = await nodes.right.conversations("ann", after="", limit=9)
    assert [HUGE] == [each.last.body for each in page.conversations if each.last]


async def test_a_large_row_ends_a_page(nodes: Nodes) -> None:
    """What comes after it is small, but would leave a hole."""
    for each, body in enumerate((b"1", HUGE, b"3", HUGE, b"5"), 1):
        stored = await nodes.left.send(direct("ann", "bob", str(each), body))

    assert ([1], True) == await _events(nodes.right, Mailbox("bob"), 0)
    assert ([2], True) == await _events(nodes.right, Mailbox("bob"), 1)
    assert ([5], True) == await _history(nodes.right, stored.conv)
    assert ([3], True) == await _history(nodes.right, stored.conv, around=3)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, ([8, 9, 10], True)),
        ({"limit": 2}, ([9, 10], True)),
        ({"before": 7}, ([4, 5, 6], True)),
        ({"before": 4}, ([1, 2, 3], False)),
        ({"before": 1}, ([], False)),
        ({"after": 0}, ([1, 2, 3], True)),
        ({"after": 5}, ([6, 7, 8], True)),
        ({"after": 7}, ([8, 9, 10], False)),
        ({"around": 5}, ([4, 5, 6], True)),
        ({"around": 1}, ([1, 2, 3], True)),
        ({"around": 10}, ([8, 9, 10], False)),
        ({"around": 99}, ([8, 9, 10], False)),
    ],
)
async def test_a_page_of_messages_is_bounded_in_bytes(
    nodes: Nodes, bounds: dict[str, int], expected: tuple[list[int], bool]
) -> None:
    """Those nearest to what was asked for; ``more`` knows of the others."""
    conv = await _ten(nodes.left)

    assert expected == await _history(nodes.right, conv, **bounds)


async def test_a_page_of_conversations_is_bounded_in_bytes(nodes: Nodes) -> None:
    """By their last messages; those without one cost nothing."""
    convs = [f"g{each}" for each in range(6)]
    for conv in convs:
        await nodes.left.create_group(new_group(cid=conv, conv=conv))
        if conv != "g1":
            await nodes.left.send(NewMessage("ann", f"-{conv}", LARGE, 5, conv=conv))

    async def page(after: str, limit: int = 100) -> tuple[list[str], bool]:
        found = await nodes.right.conversations("ann", after=after, limit=limit)
        return [each.conv for each in found.conversations], found.more

    assert (["g0", "g1", "g2", "g3"], True) == await page("")
    assert (["g4", "g5"], False) == await page("g3")
    assert (["g3", "g4", "g5"], False) == await page("g2", limit=3)
    assert (["g0", "g1"], True) == await page("", limit=2)
