# SPDX-License-Identifier: Apache-2.0
"""What every store promises about accounts (chatmotor/ports/accounts.py).

One suite, one run per adapter and one for the fake, on the nodes of conftest.py.
Devices and tokens: test_token_store.py.  Links and attempts: test_gate_store.py.
"""

import json
from collections import Counter
from dataclasses import replace

import pytest

from chatmotor.errors import (
    Conflict,
    Forbidden,
    NoSuchUser,
    RequestRefused,
    StoreUnavailable,
)
from chatmotor.ports.accounts import (
    Account,
    AccountChange,
    LinkKind,
    NewAccount,
    NewLink,
    TokenState,
    hash_secret,
)
from chatmotor.ports.messages import Event, EventType, Mailbox
from tests.harness.log_ins import LATER, LINK, log_in, token
from tests.harness.stores import Nodes, direct, gather

ADMIN = NewAccount("root", ts=2, admin=True)
SETUP = NewLink(LinkKind.SETUP, LINK, expires=LATER)


async def test_an_account_is_read_as_it_was_created(nodes: Nodes) -> None:
    """All of it is there, on every node, and its mailbox is empty."""
    new = NewAccount("dän", 7, display_name="Dän D.", password="$hash", admin=True)

    created = await nodes.left.create_account(new)

    expected = Account(
        created.id, "dän", 0, 7, display_name="Dän D.", password="$hash", admin=True
    )
    assert expected == created
    assert created == await nodes.right.account("dän")


async def test_a_username_is_taken_once(nodes: Nodes) -> None:
    """A second account of the same name is a conflict, and the first stays as it is."""
    before = await nodes.left.account("ann")

    with pytest.raises(Conflict):
        await nodes.right.create_account(NewAccount("ann", 9, password="stolen"))

    assert before == await nodes.left.account("ann")


async def test_fifty_who_want_one_username(nodes: Nodes) -> None:
    """One of them gets it, on whichever node; the others are told that it is taken."""
    results = await gather(
        [
            node.create_account(NewAccount("dan", ts=9, display_name=str(number)))
            for number in range(25)
            for node in (nodes.left, nodes.right)
        ]
    )

    created = [each for each in results if isinstance(each, Account)]
    assert [await nodes.left.account("dan")] == created
    assert 49 == sum(isinstance(each, Conflict) for each in results)


async def test_nobody_is_no_such_user(nodes: Nodes) -> None:
    """What is done with an account needs one."""
    reset = NewLink(LinkKind.RESET, LINK, expires=LATER, username="nobody")

    for attempt in (
        nodes.left.account("nobody"),
        nodes.left.change_account(AccountChange("nobody", ts=2)),
        log_in(nodes.left, "nobody"),
        nodes.left.add_link(reset),
    ):
        with pytest.raises(NoSuchUser):
            await attempt


async def test_accounts_are_listed_in_pages(nodes: Nodes) -> None:
    """By username, in the order of code points, from the one after *after*."""
    for username in ("Zoe", "éva", "zed"):
        await nodes.left.create_account(NewAccount(username, ts=2))

    first = await nodes.right.accounts(after="", limit=4)
    rest = await nodes.right.accounts(after="cyd", limit=4)

    assert ["Zoe", "ann", "bob", "cyd"] == [each.username for each in first]
    assert ["zed", "éva"] == [each.username for each in rest]
    assert await nodes.left.account("ann") == first[1]


async def test_an_administrator_is_one_whose_account_is_open(nodes: Nodes) -> None:
    """Who was one, or is closed, does not count."""
    answers = [await nodes.left.has_admin()]
    for change in (
        AccountChange("ann", ts=2, admin=True),
        AccountChange("ann", ts=2, closed=True),
        AccountChange("ann", ts=2, closed=False),
        AccountChange("ann", ts=2, admin=False),
    ):
        await nodes.left.change_account(change)
        answers.append(await nodes.right.has_admin())

    assert [False, True, False, True, False] == answers


async def test_what_a_change_does_not_name_stays(nodes: Nodes) -> None:
    """None leaves it; and what is no profile is no event."""
    new = NewAccount("dan", ts=2, display_name="Dan", password="old", admin=True)
    created = await nodes.left.create_account(new)

    assert () == await nodes.left.change_account(AccountChange("dan", ts=3))
    assert created == await nodes.right.account("dan")

    change = AccountChange("dan", ts=3, password="new", admin=False, closed=True)
    assert () == await nodes.left.change_account(change)
    expected = replace(created, password="new", admin=False, closed=True)
    assert expected == await nodes.right.account("dan")


async def test_a_new_display_name_is_an_event(nodes: Nodes) -> None:
    """It is ``profile.set`` in the account's own mailbox; the same one is no event."""
    change = AccountChange("ann", ts=3, display_name="Ann \N{SNOWMAN}")

    (logged,) = await nodes.left.change_account(change)
    again = await nodes.right.change_account(change)

    assert (EventType.PROFILE_SET, None, 3) == (
        *(logged.event.t, logged.event.conv, logged.event.ts),
    )
    assert {"display_name": "Ann \N{SNOWMAN}"} == json.loads(logged.event.detail or "")
    assert ({"ann": 1}, None) == (logged.seqs, logged.pos)
    assert () == again
    page = await nodes.right.events(Mailbox("ann"), since=0, limit=10)
    assert (replace(logged.event, at=1),) == page.events
    account = await nodes.right.account("ann")
    assert ("Ann \N{SNOWMAN}", 1) == (account.display_name, account.seq)


async def test_a_change_can_end_all_devices_but_one(nodes: Nodes) -> None:
    """Each that ends is ``device.gone``, by name; the one that is kept stays good."""
    for number, device in enumerate(("tv", "phone", "desk")):
        await log_in(nodes.left, "ann", device, number)
    await log_in(nodes.left, "bob", "phone", 3)

    logged = await nodes.right.change_account(
        AccountChange("ann", ts=9, password="new", end_tokens=True, keep="phone")
    )

    gone = [
        Event(0, EventType.DEVICE_GONE, None, 9, detail='{"device": "desk"}'),
        Event(0, EventType.DEVICE_GONE, None, 9, detail='{"device": "tv"}'),
    ]
    assert gone == [each.event for each in logged]
    assert [{"ann": 4}, {"ann": 5}] == [each.seqs for each in logged]
    states = await nodes.left.token_states([token(x) for x in range(4)], now=9)
    unknown, good = TokenState.UNKNOWN, TokenState.GOOD
    assert [unknown, good, unknown, good] == list(states.values())
    assert ["phone"] == [each.name for each in await nodes.left.devices("ann")]


async def test_a_reset_link_changes_one_password_once(nodes: Nodes) -> None:
    """It is good for its account, and then used up."""
    await nodes.left.add_link(NewLink(LinkKind.RESET, LINK, LATER, username="ann"))

    with pytest.raises(Forbidden):
        await nodes.right.change_account(
            AccountChange("bob", ts=3, password="stolen", link=LINK)
        )
    await nodes.right.change_account(
        AccountChange("ann", ts=3, password="new", link=LINK)
    )
    with pytest.raises(Forbidden):
        await nodes.left.change_account(
            AccountChange("ann", ts=3, password="again", link=LINK)
        )

    assert "new" == (await nodes.left.account("ann")).password
    assert None is (await nodes.left.account("bob")).password


@pytest.mark.parametrize("kind", [LinkKind.SETUP, LinkKind.INVITE])
async def test_only_a_reset_link_changes_an_account(
    nodes: Nodes, kind: LinkKind
) -> None:
    """A link for something else allows nothing, and is not used up."""
    await nodes.left.add_link(NewLink(kind, LINK, LATER))

    with pytest.raises(Forbidden):
        await nodes.left.change_account(
            AccountChange("ann", ts=3, password="stolen", link=LINK)
        )

    assert None is (await nodes.left.account("ann")).password
    assert 1 == (await nodes.right.check_link(LINK, now=3)).uses


async def test_an_invitation_makes_as_many_accounts_as_it_says(nodes: Nodes) -> None:
    """A name that is taken costs no use, and says nothing to who has no link."""
    await nodes.left.add_link(NewLink(LinkKind.INVITE, LINK, LATER, uses=2))
    tries: list[Account | type[RequestRefused]] = []

    for username in ("dan", "ann", "eve", "fay", "ann"):
        new = NewAccount(username, ts=3, link=LINK)
        try:
            tries.append(await nodes.right.create_account(new))
        except RequestRefused as refused:
            tries.append(type(refused))

    dan, eve = await nodes.left.account("dan"), await nodes.left.account("eve")
    assert [dan, Conflict, eve, Forbidden, Forbidden] == tries


@pytest.mark.parametrize(
    ("kind", "admin", "ts"),
    [
        (LinkKind.INVITE, True, 3),
        (LinkKind.SETUP, False, 3),
        (LinkKind.RESET, False, 3),
        (LinkKind.RESET, True, 3),
        (LinkKind.INVITE, False, LATER),
        (LinkKind.SETUP, True, LATER),
    ],
)
async def test_a_link_of_the_wrong_kind_or_age_makes_no_account(
    nodes: Nodes, kind: LinkKind, admin: bool, ts: int
) -> None:
    """An invitation makes no administrator, a set-up nothing else, a reset nobody."""
    whose = "ann" if kind is LinkKind.RESET else None
    await nodes.left.add_link(NewLink(kind, LINK, LATER, username=whose))

    for link in (LINK, hash_secret("guessed")):
        with pytest.raises(Forbidden):
            await nodes.left.create_account(
                NewAccount("dan", ts=ts, admin=admin, link=link)
            )

    with pytest.raises(NoSuchUser):
        await nodes.left.account("dan")


async def test_a_set_up_link_is_good_while_there_is_no_administrator(
    nodes: Nodes,
) -> None:
    """It makes the first one; an administrator that is closed is none."""
    await nodes.left.add_link(replace(SETUP, uses=2))
    first = await nodes.right.create_account(replace(ADMIN, link=LINK))

    with pytest.raises(Forbidden):
        await nodes.left.create_account(NewAccount("ro", ts=2, admin=True, link=LINK))
    with pytest.raises(Forbidden):
        await nodes.left.check_link(LINK, now=2)

    await nodes.left.change_account(AccountChange("root", ts=2, closed=True))
    assert replace(SETUP, uses=1) == await nodes.right.check_link(LINK, now=2)
    assert first.admin


async def test_fifty_who_set_up_at_once_make_one_administrator(nodes: Nodes) -> None:
    """Also with a link that could be used more often."""
    await nodes.left.add_link(replace(SETUP, uses=50))

    results = await gather(
        [
            node.create_account(
                NewAccount(f"root{number}{side}", ts=2, admin=True, link=LINK)
            )
            for number in range(25)
            for side, node in (("l", nodes.left), ("r", nodes.right))
        ]
    )

    created = [each for each in results if isinstance(each, Account)]
    everybody = await nodes.left.accounts(after="", limit=99)
    assert [each for each in everybody if each.admin] == created
    assert (1, 49) == (
        len(created),
        sum(isinstance(each, Forbidden) for each in results),
    )


async def test_fifty_who_share_an_invitation_for_one(nodes: Nodes) -> None:
    """A link with one use is used once, on whichever node."""
    await nodes.left.add_link(NewLink(LinkKind.INVITE, LINK, LATER))

    results = await gather(
        [
            node.create_account(NewAccount(f"new{number}{side}", ts=2, link=LINK))
            for number in range(25)
            for side, node in (("l", nodes.left), ("r", nodes.right))
        ]
    )

    created = [each for each in results if isinstance(each, Account)]
    everybody = await nodes.left.accounts(after="", limit=99)
    assert [each for each in everybody if each.ts == 2] == created
    assert (1, 49) == (
        len(created),
        sum(isinstance(each, Forbidden) for each in results),
    )


async def test_changes_of_one_account_leave_no_gap(nodes: Nodes) -> None:
    """Fifty at once, on two nodes, are fifty events, 1 to 50."""
    results = await gather(
        [
            node.change_account(
                AccountChange("ann", ts=3, display_name=f"{number}{side}")
            )
            for number in range(25)
            for side, node in (("l", nodes.left), ("r", nodes.right))
        ]
    )

    assert list(range(1, 51)) == sorted(each[0].seqs["ann"] for each in results)
    page = await nodes.left.events(Mailbox("ann"), since=0, limit=99)
    assert list(range(1, 51)) == [each.at for each in page.events]
    last = json.loads(page.events[-1].detail or "")
    assert (await nodes.right.account("ann")).display_name == last["display_name"]


async def test_messages_and_events_of_the_account_share_one_mailbox(
    nodes: Nodes,
) -> None:
    """Log-ins, profiles and messages at once: fifty events, 1 to 50, each once."""
    await gather(
        [
            each
            for number in range(25)
            for node, other in [
                (nodes.left, nodes.right)[:: 1 if number % 2 else -1],
            ]
            for each in (
                node.send(direct("bob", "ann", str(number))),
                log_in(other, "ann", f"d{number}", number)
                if number % 3
                else other.change_account(
                    AccountChange("ann", ts=3, display_name=str(number))
                ),
            )
        ]
    )

    page = await nodes.left.events(Mailbox("ann"), since=0, limit=99)
    assert list(range(1, 51)) == [each.at for each in page.events]
    assert Counter({"message.new": 25, "device.new": 16, "profile.set": 9}) == Counter(
        each.t.value for each in page.events
    )
    assert 50 == (await nodes.right.account("ann")).seq


async def test_a_store_that_is_stopped_refuses(nodes: Nodes) -> None:
    """Neither a read nor a write is answered, and both are when it is started."""
    await nodes.left.stop()

    for attempt in (
        nodes.left.account("ann"),
        nodes.left.change_account(AccountChange("ann", ts=3, closed=True)),
        nodes.left.grant(token(1), now=3),
        nodes.left.take_attempts({"ann": (1, 9)}, now=3),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt

    await nodes.left.start()
    assert not (await nodes.left.account("ann")).closed
