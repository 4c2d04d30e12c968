# SPDX-License-Identifier: Apache-2.0
"""What every store promises about links and attempts (chatmotor/ports/accounts.py).

Runs as test_account_store.py does.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from chatmotor.errors import Forbidden, RateLimited
from chatmotor.ports.accounts import (
    GateStore,
    LinkKind,
    NewAccount,
    NewLink,
    TokenState,
    hash_secret,
)
from tests.harness.log_ins import LATER, LINK, log_in, new_token, token
from tests.harness.stores import Nodes, gather

DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    "new",
    [
        NewLink(LinkKind.SETUP, LINK, LATER),
        NewLink(LinkKind.INVITE, LINK, LATER, uses=3),
        NewLink(LinkKind.RESET, LINK, LATER, username="ann"),
    ],
)
async def test_a_link_says_what_it_is_for(nodes: Nodes, new: NewLink) -> None:
    """On every node, until it expires; to look at it does not use it."""
    await nodes.left.add_link(new)

    for now in (1, 1, LATER - 1):
        assert new == await nodes.right.check_link(LINK, now=now)
    with pytest.raises(Forbidden):
        await nodes.right.check_link(LINK, now=LATER)


async def test_a_link_says_how_many_uses_are_left(nodes: Nodes) -> None:
    """With none left it is no link, in the words for one that never was."""
    new = NewLink(LinkKind.INVITE, LINK, LATER, uses=2)
    await nodes.left.add_link(new)

    await nodes.left.create_account(NewAccount("dan", ts=3, link=LINK))
    assert replace(new, uses=1) == await nodes.right.check_link(LINK, now=3)

    await nodes.left.create_account(NewAccount("eve", ts=3, link=LINK))
    texts = set()
    for link in (LINK, hash_secret("guessed")):
        with pytest.raises(Forbidden) as refused:
            await nodes.right.check_link(link, now=3)
        texts.add(refused.value.msg)
    assert 1 == len(texts)


async def test_a_new_set_up_link_ends_the_earlier_ones(nodes: Nodes) -> None:
    """The last one is good; links of other kinds stay."""
    links = [hash_secret(str(number)) for number in range(3)]
    await nodes.left.add_link(NewLink(LinkKind.INVITE, LINK, LATER))
    for node, link in zip((nodes.left, nodes.right, nodes.left), links, strict=True):
        await node.add_link(NewLink(LinkKind.SETUP, link, LATER))

    for link in links[:2]:
        with pytest.raises(Forbidden):
            await nodes.right.check_link(link, now=3)
    assert links[2] == (await nodes.right.check_link(links[2], now=3)).link
    assert LINK == (await nodes.right.check_link(LINK, now=3)).link


async def test_of_fifty_set_up_links_made_at_once_one_is_good(nodes: Nodes) -> None:
    """Whichever node made it."""
    links = [hash_secret(str(number)) for number in range(50)]

    made = await gather(
        [
            (nodes.left, nodes.right)[number % 2].add_link(
                NewLink(LinkKind.SETUP, link, LATER)
            )
            for number, link in enumerate(links)
        ]
    )

    assert [None] * 50 == made
    checked = await gather([nodes.left.check_link(each, now=3) for each in links])
    assert 1 == sum(isinstance(each, NewLink) for each in checked)
    assert 49 == sum(isinstance(each, Forbidden) for each in checked)


async def test_attempts_up_to_the_limit(nodes: Nodes) -> None:
    """The time runs from the first one; then it begins anew."""
    limits = {"ann": (3, 100)}
    for now in (10, 50, 109):
        await nodes.left.take_attempts(limits, now=now)

    with pytest.raises(RateLimited) as refused:
        await nodes.right.take_attempts(limits, now=109)
    assert 1 == refused.value.retry_ms

    for now in (110, 110, 110):
        await nodes.right.take_attempts(limits, now=now)
    with pytest.raises(RateLimited) as refused:
        await nodes.left.take_attempts(limits, now=150)
    assert 60 == refused.value.retry_ms


async def test_an_exhausted_key_counts_nothing(nodes: Nodes) -> None:
    """Neither itself nor the others; one is told when all of them can be tried."""
    await nodes.left.take_attempts({"k": (9, 50), "z": (9, 500)}, now=10)
    exhausted = {"a": (1, 100), "k": (1, 50), "m": (2, 100), "z": (1, 500)}

    for _ in range(5):
        with pytest.raises(RateLimited) as refused:
            await nodes.right.take_attempts(exhausted, now=20)
        assert 490 == refused.value.retry_ms

    await nodes.left.take_attempts({"a": (1, 100), "m": (1, 100)}, now=20)


async def test_a_limit_of_none_allows_none(nodes: Nodes) -> None:
    """Also of a key that was never tried."""
    with pytest.raises(RateLimited) as refused:
        await nodes.left.take_attempts({"ann": (0, 100)}, now=10)

    assert 100 == refused.value.retry_ms


async def test_after_a_success_the_count_begins_again(nodes: Nodes) -> None:
    """For the keys that are named; one that was never counted may be among them."""
    await nodes.left.take_attempts({"a": (1, 100), "b": (1, 100)}, now=10)

    await nodes.right.forget_attempts(["z", "a"])

    await nodes.left.take_attempts({"a": (1, 100)}, now=20)
    with pytest.raises(RateLimited):
        await nodes.left.take_attempts({"b": (1, 100)}, now=20)


async def test_fifty_attempts_at_once_where_ten_are_allowed(nodes: Nodes) -> None:
    """Exactly ten, on two nodes: of a new key, and of one whose time is over."""
    for now in (10, 200, 400):
        results = await gather(
            [
                node.take_attempts({"ann": (10, 100)}, now=now)
                for _ in range(25)
                for node in (nodes.left, nodes.right)
            ]
        )

        assert 10 == results.count(None)
        assert 40 == sum(isinstance(each, RateLimited) for each in results)


async def test_attempts_under_several_keys_at_once(nodes: Nodes) -> None:
    """
    Each key allows what it allows, in whichever order the keys are given, and what
    one key refuses is not counted under the other.
    """

    def tries(node: GateStore, number: int) -> Awaitable[None]:
        keys = ["all", f"address {number % 5}", "ann"]
        if number % 2:
            keys.reverse()
        limits = {"all": (40, 100), "ann": (30, 100)}
        return node.take_attempts(
            {key: limits.get(key, (7, 100)) for key in keys}, now=10
        )

    results = await gather(
        [
            tries(node, number)
            for number in range(25)
            for node in (nodes.left, nodes.right)
        ]
    )

    assert 30 == results.count(None)
    assert 20 == sum(isinstance(each, RateLimited) for each in results)
    left_over = await gather(
        [nodes.left.take_attempts({"all": (40, 100)}, now=10) for _ in range(11)]
    )
    assert 10 == left_over.count(None)


async def test_attempts_that_are_forgotten_meanwhile(nodes: Nodes) -> None:
    """Log-ins that succeed and fail at once disturb nobody, nor does tidying."""

    def step(node: GateStore, number: int) -> Awaitable[None]:
        steps: list[Callable[[], Awaitable[None]]] = [
            lambda: node.take_attempts({"a": (99, 5), "z": (99, 5)}, now=number),
            lambda: node.take_attempts({"z": (99, 5), "m": (99, 5)}, now=number),
            lambda: node.forget_attempts(["z", "a"]),
            lambda: node.tidy(now=number),
        ]
        return steps[number % 4]()

    results = await gather(
        [
            step(node, number)
            for number in range(28)
            for node in (nodes.left, nodes.right)
        ]
    )

    assert [None] * 56 == results


async def test_tokens_are_kept_for_thirty_days(nodes: Nodes) -> None:
    """So long they say "expired"; their device stays, and so do the other tokens."""
    now = 40 * DAY_MS
    times = {1: now - 30 * DAY_MS, 2: now - 30 * DAY_MS + 1, 3: now + 1}
    for number, expires in times.items():
        new = replace(new_token(number=number), expires=expires)
        await nodes.left.add_token(new)

    await nodes.right.tidy(now=now)

    states = await nodes.left.token_states([token(each) for each in times], now=now)
    expected = [TokenState.UNKNOWN, TokenState.EXPIRED, TokenState.GOOD]
    assert expected == list(states.values())
    assert 1 == len(await nodes.left.devices("ann"))


async def test_what_is_not_over_is_not_tidied(nodes: Nodes) -> None:
    """A link with uses left stays, and a count goes on."""
    new = NewLink(LinkKind.INVITE, LINK, LATER)
    await nodes.left.add_link(new)
    await nodes.left.take_attempts({"ann": (1, 100)}, now=10)

    await nodes.left.tidy(now=109)

    assert new == await nodes.right.check_link(LINK, now=109)
    with pytest.raises(RateLimited):
        await nodes.right.take_attempts({"ann": (1, 100)}, now=109)


async def test_two_nodes_tidy_many_tokens_at_once(nodes: Nodes) -> None:
    """All that are over go, also more than fit in one transaction."""
    await gather([log_in(nodes.left, "ann", number=number) for number in range(1203)])
    now = 31 * DAY_MS

    assert [None, None] == await gather(
        [nodes.left.tidy(now=now), nodes.right.tidy(now=now)]
    )

    states = await nodes.left.token_states([token(x) for x in range(1203)], now=now)
    assert {TokenState.UNKNOWN} == set(states.values())
