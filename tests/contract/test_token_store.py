# SPDX-License-Identifier: Apache-2.0
"""What every store promises about devices and tokens (chatmotor/ports/accounts.py).

Runs as test_account_store.py does.
"""

from dataclasses import replace

import pytest

from chatmotor.errors import (
    NoSuchDevice,
    RequestRefused,
    Suspended,
    TokenExpired,
    TooManyDevices,
    Unauthenticated,
)
from chatmotor.ports.accounts import (
    AccountChange,
    Device,
    Grant,
    TokenState,
    hash_secret,
)
from chatmotor.ports.messages import Event, EventType, Mailbox
from tests.harness.log_ins import LATER, log_in, new_token, token
from tests.harness.stores import Nodes, gather

CLOSE = AccountChange("ann", ts=6, closed=True)
OPEN = AccountChange("ann", ts=7, closed=False)


async def test_a_device_comes_with_its_first_token(nodes: Nodes) -> None:
    """It is an event of the account's mailbox, and begins with cursor 0."""
    granted, logged = await nodes.left.add_token(new_token("ann", "Ann's \N{BELL}"))

    account = await nodes.right.account("ann")
    assert 1 == account.seq
    assert Grant(account, "Ann's \N{BELL}", token(1), LATER, cursor=0) == granted
    assert granted == await nodes.right.grant(token(1), now=5)
    detail = '{"device": "Ann\'s \N{BELL}"}'
    event = Event(0, EventType.DEVICE_NEW, None, 5, detail=detail)
    assert [(event, {"ann": 1})] == [(each.event, each.seqs) for each in logged]
    page = await nodes.right.events(Mailbox("ann"), since=0, limit=10)
    assert (replace(event, at=1),) == page.events


async def test_a_device_that_logs_in_again_is_the_same(nodes: Nodes) -> None:
    """No event; its cursor and its first token stay; where and when are the latest."""
    await log_in(nodes.left, "ann", "phone", 1)
    await nodes.left.save_cursors({("ann", "phone"): 1}, now=5)

    granted, logged = await nodes.right.add_token(
        replace(new_token("ann", "phone", 2), ts=8)
    )

    assert (1, 1, ()) == (granted.cursor, granted.account.seq, logged)
    assert (Device("phone", 5, 8, 1),) == await nodes.left.devices("ann")
    states = await nodes.left.token_states([token(1), token(2)], now=8)
    assert [TokenState.GOOD] * 2 == list(states.values())
    known = [
        await nodes.left.known_address("ann", hash_secret(f"address {number}"))
        for number in (1, 2)
    ]
    assert [False, True] == known


async def test_a_closed_account_gets_no_token(nodes: Nodes) -> None:
    """Nor does a device of it come to be."""
    await nodes.left.change_account(CLOSE)

    with pytest.raises(Suspended):
        await log_in(nodes.right, "ann")

    assert () == await nodes.left.devices("ann")
    assert 0 == (await nodes.left.account("ann")).seq


async def test_no_device_more_than_allowed(nodes: Nodes) -> None:
    """One more is refused; one that is there logs in again."""
    for number, device in enumerate(("desk", "phone")):
        await log_in(nodes.left, "ann", device, number)

    with pytest.raises(TooManyDevices):
        await nodes.right.add_token(replace(new_token("ann", "tv", 2), max_devices=2))
    await nodes.right.add_token(replace(new_token("ann", "desk", 3), max_devices=2))

    assert ["desk", "phone"] == [each.name for each in await nodes.left.devices("ann")]
    with pytest.raises(Unauthenticated):
        await nodes.left.grant(token(2), now=5)


async def test_fifty_devices_at_once_where_five_are_allowed(nodes: Nodes) -> None:
    """Exactly five come to be, on two nodes, and their events have no gap."""
    results = await gather(
        [
            node.add_token(
                replace(new_token("ann", f"d{number}", number), max_devices=5)
            )
            for number in range(50)
            for node in [(nodes.left, nodes.right)[number % 2]]
        ]
    )

    added = [each for each in results if isinstance(each, tuple)]
    assert [1, 2, 3, 4, 5] == sorted(logged.seqs["ann"] for _, (logged,) in added)
    assert 45 == sum(isinstance(each, TooManyDevices) for each in results)
    assert {grant.device for grant, _ in added} == {
        each.name for each in await nodes.left.devices("ann")
    }


async def test_a_token_is_good_until_it_expires(nodes: Nodes) -> None:
    """It says "expired" at that very time, and "unknown" if it never was one."""
    granted = await log_in(nodes.left, "ann")

    assert granted == await nodes.right.grant(token(1), now=LATER - 1)
    with pytest.raises(TokenExpired):
        await nodes.right.grant(token(1), now=LATER)
    with pytest.raises(Unauthenticated) as unknown:
        await nodes.right.grant(token(2), now=5)
    assert "unauthenticated" == unknown.value.code


async def test_no_token_of_a_closed_account_is_good(nodes: Nodes) -> None:
    """It is again when the account is opened."""
    await log_in(nodes.left, "ann")

    await nodes.left.change_account(CLOSE)
    for attempt in (
        nodes.right.grant(token(1), now=6),
        nodes.right.replace_token(
            token(1), token(2), expires=LATER, old_expires=9, now=6
        ),
    ):
        with pytest.raises(Suspended):
            await attempt

    await nodes.left.change_account(OPEN)
    assert "phone" == (await nodes.right.grant(token(1), now=7)).device


async def test_the_states_of_many_tokens(nodes: Nodes) -> None:
    """Each has one, in one answer; of nothing asked, nothing."""
    await log_in(nodes.left, "ann", number=1)
    await log_in(nodes.left, "bob", number=2)
    await nodes.left.add_token(replace(new_token("bob", number=3), expires=6))
    await nodes.left.change_account(CLOSE)

    expected = {
        token(1): TokenState.SUSPENDED,
        token(2): TokenState.GOOD,
        token(3): TokenState.EXPIRED,
        token(4): TokenState.UNKNOWN,
    }
    assert expected == await nodes.right.token_states(list(expected), now=6)
    assert {} == await nodes.right.token_states([], now=6)


@pytest.mark.parametrize(("old_expires", "ends"), [(9, 9), (LATER + 9, LATER)])
async def test_a_token_is_replaced(nodes: Nodes, old_expires: int, ends: int) -> None:
    """The device is the same; the old one ends when it is told to, or earlier."""
    old = await log_in(nodes.left, "ann")

    granted = await nodes.right.replace_token(
        token(1), token(2), expires=2 * LATER, old_expires=old_expires, now=6
    )

    assert replace(old, token=token(2), expires=2 * LATER) == granted
    assert granted == await nodes.left.grant(token(2), now=2 * LATER - 1)
    assert replace(old, expires=ends) == await nodes.left.grant(token(1), now=ends - 1)
    with pytest.raises(TokenExpired):
        await nodes.left.grant(token(1), now=ends)


@pytest.mark.parametrize(
    ("old", "now", "refusal"),
    [(token(1), LATER, TokenExpired), (token(9), 5, Unauthenticated)],
)
async def test_only_a_good_token_is_replaced(
    nodes: Nodes, old: bytes, now: int, refusal: type[RequestRefused]
) -> None:
    """An expired or unknown one gets no successor."""
    await log_in(nodes.left, "ann")

    with pytest.raises(refusal):
        await nodes.left.replace_token(
            old, token(2), expires=9 * LATER, old_expires=9, now=now
        )

    states = await nodes.right.token_states([token(1), token(2)], now=5)
    assert [TokenState.GOOD, TokenState.UNKNOWN] == list(states.values())


async def test_a_device_ends_with_its_tokens_and_its_cursor(nodes: Nodes) -> None:
    """One event; another of this name is a new one; other accounts keep theirs."""
    for number, username in enumerate(("ann", "ann", "bob")):
        await log_in(nodes.left, username, number=number)
    await nodes.left.save_cursors({("ann", "phone"): 1}, now=5)

    logged = await nodes.right.end_device("ann", "phone", ts=8)

    event = Event(0, EventType.DEVICE_GONE, None, 8, detail='{"device": "phone"}')
    assert [(event, {"ann": 2})] == [(each.event, each.seqs) for each in logged]
    states = await nodes.left.token_states([token(x) for x in range(3)], now=8)
    unknown = TokenState.UNKNOWN
    assert [unknown, unknown, TokenState.GOOD] == list(states.values())
    again, (logged_again,) = await nodes.left.add_token(new_token("ann", number=4))
    assert (0, {"ann": 3}) == (again.cursor, logged_again.seqs)


@pytest.mark.parametrize("username", ["ann", "bob", "nobody"])
async def test_what_is_not_there_cannot_be_ended(nodes: Nodes, username: str) -> None:
    """No such device: of another name, of another account, of nobody."""
    await log_in(nodes.left, "ann", "desk")

    with pytest.raises(NoSuchDevice):
        await nodes.right.end_device(username, "phone", ts=8)

    assert 1 == len(await nodes.left.devices("ann"))


async def test_a_device_ends_once(nodes: Nodes) -> None:
    """However many end it at once, there is one event."""
    await log_in(nodes.left, "ann")

    results = await gather(
        [
            node.end_device("ann", "phone", ts=8)
            for _ in range(10)
            for node in (nodes.left, nodes.right)
        ]
    )

    ended = [each for each in results if isinstance(each, tuple)]
    assert [{"ann": 2}] == [logged.seqs for (logged,) in ended]
    assert 19 == sum(isinstance(each, NoSuchDevice) for each in results)
    page = await nodes.left.events(Mailbox("ann"), since=0, limit=10)
    assert [1, 2] == [each.at for each in page.events]


async def test_a_token_renewed_while_its_device_ends_is_no_good(nodes: Nodes) -> None:
    """Whichever is first: after both, no token of the device is left."""
    for number in range(0, 40, 2):
        await log_in(nodes.left, "ann", f"d{number}", number)

    results = await gather(
        [
            attempt
            for number in range(0, 40, 2)
            for attempt in (
                nodes.left.end_device("ann", f"d{number}", ts=8),
                nodes.right.replace_token(
                    token(number),
                    token(number + 1),
                    expires=LATER,
                    old_expires=9,
                    now=6,
                ),
            )
        ]
    )

    assert all(isinstance(each, tuple) for each in results[::2])
    assert all(isinstance(each, Grant | Unauthenticated) for each in results[1::2])
    states = await nodes.left.token_states([token(x) for x in range(40)], now=6)
    assert {TokenState.UNKNOWN} == set(states.values())


async def test_devices_are_listed_by_name(nodes: Nodes) -> None:
    """In the order of code points; only the account's own."""
    for number, device in enumerate(("zed", "Zed", "éva")):
        await log_in(nodes.left, "ann", device, number)
    await log_in(nodes.left, "bob", "phone", 3)

    assert [Device(name, 5, 5, 0) for name in ("Zed", "zed", "éva")] == list(
        await nodes.right.devices("ann")
    )
    assert () == await nodes.right.devices("nobody")


async def test_cursors_move_up_only(nodes: Nodes) -> None:
    """A lower one, or the same once more, changes only when the device was seen."""
    await log_in(nodes.left, "ann")

    for cursor, now in ((7, 10), (3, 11), (7, 9)):
        await nodes.right.save_cursors({("ann", "phone"): cursor}, now=now)

    assert (Device("phone", 5, 11, 7),) == await nodes.left.devices("ann")
    assert 7 == (await nodes.left.grant(token(1), now=11)).cursor


async def test_a_cursor_of_a_device_that_is_gone_is_left_out(nodes: Nodes) -> None:
    """The others are saved."""
    await log_in(nodes.left, "ann")

    await nodes.left.save_cursors(
        {("ann", "gone"): 4, ("ann", "phone"): 5, ("nobody", "phone"): 6}, now=9
    )
    await nodes.left.save_cursors({}, now=99)

    assert (Device("phone", 5, 9, 5),) == await nodes.right.devices("ann")
    assert () == await nodes.right.devices("nobody")


async def test_more_cursors_than_fit_in_one_transaction(nodes: Nodes) -> None:
    """All of them are saved."""
    devices = [f"d{number:04}" for number in range(1203)]
    await gather(
        [
            nodes.left.add_token(
                replace(new_token("ann", device, number), max_devices=9999)
            )
            for number, device in enumerate(devices)
        ]
    )

    await nodes.left.save_cursors(
        {("ann", device): number for number, device in enumerate(devices, 1)}, now=9
    )

    saved = await nodes.right.devices("ann")
    assert list(range(1, 1204)) == [each.cursor for each in saved]


async def test_cursors_saved_by_two_nodes_at_once(nodes: Nodes) -> None:
    """The highest stays, whichever comes last, in whichever order they are given."""
    devices = [f"d{number}" for number in range(20)]
    for number, device in enumerate(devices):
        await log_in(nodes.left, "ann", device, number)

    results = await gather(
        [
            node.save_cursors({("ann", each): cursor for each in order}, now=9)
            for cursor in range(1, 26)
            for node, order in (
                (nodes.left, devices),
                (nodes.right, list(reversed(devices))),
            )
        ]
    )

    assert [None] * 50 == results
    assert {25} == {each.cursor for each in await nodes.left.devices("ann")}


async def test_an_address_is_known_from_the_last_log_in(nodes: Nodes) -> None:
    """It is the account's own; where nobody knows is known to nobody."""
    await log_in(nodes.left, "ann", number=1)
    await nodes.left.add_token(replace(new_token("bob", number=2), address=b""))
    address = hash_secret("address 1")

    known = [
        await nodes.right.known_address(*each)
        for each in (
            ("ann", address),
            ("ann", hash_secret("elsewhere")),
            ("bob", address),
            ("bob", b""),
            ("nobody", address),
        )
    ]

    assert [True, False, False, False, False] == known
