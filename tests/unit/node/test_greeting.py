# SPDX-License-Identifier: Apache-2.0
"""The answer to hello: who one is, and where the session goes on."""

from typing import Any

import pytest

from chatmotor.errors import (
    QuotaExceeded,
    StoreUnavailable,
    Suspended,
    TokenExpired,
    Unauthenticated,
    UnsupportedVersion,
)
from chatmotor.node.greeting import Greeting
from chatmotor.ports.accounts import AccountChange
from chatmotor.protocol.commands import Hello, Resume
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import EPOCH_MS, Node

EPOCH = "epoch0"
TOP, FLOOR = 8, 3  # ann's mailbox, which has lost its first three


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """Ann's mailbox has events 4 to 8, of which her phone has acknowledged 6."""
    node = Node(loop)
    node.account("ann", "bob")
    node.token("ann")
    for _ in range(2):
        node.stored("bob", "ann")
    node.loop.advance(10)
    node.loop.run(node.store.trim(before=node.now()))
    for _ in range(TOP - FLOOR):
        node.stored("bob", "ann")
    node.loop.run(node.store.save_cursors({("ann", "phone"): 6}, now=node.now()))
    return node


def greet(
    node: Node, resume: Any = None, *, device: str = "phone", **fields: Any
) -> Greeting:
    """What ann is told."""
    hello = Hello(
        **({"id": 1, "v": 1, "token": "cm_ann-phone-3600", "resume": resume} | fields)
    )
    return node.loop.run(node.greeter.greet(hello, None))


def at(seq: int, epoch: str = EPOCH, **groups: int) -> Resume:
    """A client that was there."""
    positions = {name.replace("_", "."): pos for name, pos in groups.items()}
    return Resume(epoch=epoch, seq=seq, groups=positions)


@pytest.mark.parametrize(
    ("resume", "since", "reason"),
    [
        (None, TOP, "first"),
        (at(TOP), TOP, None),
        (at(5), 5, None),
        (at(FLOOR), FLOOR, None),
        (at(FLOOR - 1), TOP, "trimmed"),
        (at(0), TOP, "trimmed"),
        (at(TOP + 1), TOP, "epoch"),
        (at(5, "epoch9"), TOP, "epoch"),
        (at(0, "epoch9"), TOP, "epoch"),
        (at(5, ""), TOP, "epoch"),
        ("device", 6, None),
    ],
)
def test_session_goes_on_where_it_can(
    node: Node, resume: Any, since: int, reason: str | None
) -> None:
    """And where it cannot, it is told why, and starts at the top."""
    greeting = greet(node, resume)
    welcome = greeting.welcome

    assert since == greeting.since
    assert (reason is None, reason) == (welcome.resumed, welcome.reason)
    assert (TOP, TOP - since) == (welcome.seq, welcome.replay)


@pytest.mark.parametrize("resume", [at(0), "device"])
def test_zero_is_a_place_like_any_other(loop: FakeLoop, resume: Any) -> None:
    """An account whose first event is still there resumes from nothing."""
    node = Node(loop)
    node.account("ann")
    node.token("ann")  # device.new is the first event
    greeting = greet(node, resume)

    assert (0, True, 1) == (
        greeting.since,
        greeting.welcome.resumed,
        greeting.welcome.replay,
    )


def test_device_that_was_away_too_long_starts_anew(loop: FakeLoop) -> None:
    """Its cursor is below the floor."""
    node = Node(loop)
    node.account("ann")
    node.token("ann")
    node.loop.run(node.store.trim(before=node.now() + 1))

    assert "trimmed" == greet(node, "device").welcome.reason


def test_store_that_was_restored_starts_everybody_anew(node: Node) -> None:
    """Numbers of the old history mean something else."""
    node.loop.run(node.store.new_epoch())

    welcome = greet(node, at(5)).welcome

    assert ("epoch", "epoch1") == (welcome.reason, welcome.epoch)


# Groups.


@pytest.fixture
def in_groups(node: Node) -> Node:
    """Ann is in g.1 (pos 3, both messages unread) and g.2 (pos 1, nothing to read)."""
    node.group("bob", "ann")
    for _ in range(2):
        node.stored("bob", conv="g.1")
    node.group("bob", "ann", conv="g.2")
    return node


@pytest.mark.parametrize(
    ("resume", "expected"),
    [
        (None, []),
        (at(TOP, g_1=3, g_2=1), []),
        (at(TOP, g_1=2, g_2=1), ["g.1"]),
        (at(TOP, g_1=9, g_2=9), []),
        (at(TOP, g_2=1), ["g.1"]),
        (at(TOP), ["g.1", "g.2"]),
        (at(TOP, g_1=3, g_2=1, g_3=7), []),
        (at(TOP, "epoch9"), []),
        ("device", ["g.1"]),
    ],
)
def test_groups_that_moved_on_are_named(
    in_groups: Node, resume: Any, expected: list[str]
) -> None:
    """
    Beyond the client's position; or, where the server's is asked for, with something
    to read.  Who has to sync anyway is told nothing.
    """
    assert expected == [each.conv for each in greet(in_groups, resume).welcome.behind]


def test_group_is_named_with_what_is_missing(in_groups: Node) -> None:
    """Where its log ends, the last message, and how many are not read."""
    (behind,) = greet(in_groups, at(TOP, g_2=1)).welcome.behind

    assert ("g.1", 3, 2, 2) == (behind.conv, behind.pos, behind.n, behind.unread)


def test_position_is_at_least_the_nodes_own(in_groups: Node) -> None:
    """What the node has handed on by then will not come to this socket."""
    in_groups.v1("bob")
    in_groups.roster._groups["g.1"].feed.sent = 9

    (behind,) = greet(in_groups, at(TOP, g_1=8, g_2=1)).welcome.behind

    assert ("g.1", 9) == (behind.conv, behind.pos)


def test_standings_say_which_groups_to_follow(in_groups: Node) -> None:
    """All that the account is in, whatever the client has."""
    standings = greet(in_groups, None).standings

    assert [("g.1", 3), ("g.2", 1)] == [(each.conv, each.pos) for each in standings]


# The rest of the welcome.


def test_welcome_says_who_one_is(node: Node) -> None:
    """The token decides, not the client."""
    welcome = greet(node).welcome

    assert (1, 1, "ann", "phone") == (
        welcome.id,
        welcome.v,
        welcome.user,
        welcome.device,
    )
    assert node.now() == welcome.time
    assert EPOCH_MS + (1000 + 3600) * 1000 == welcome.expires
    assert {"frame": 65536} == welcome.limits
    assert 25000 == welcome.heartbeat


def test_sessions_have_names_of_their_own(node: Node) -> None:
    """Two of one device can be told apart."""
    assert greet(node).welcome.session != greet(node).welcome.session


@pytest.mark.parametrize(
    ("asked", "expected"), [(None, 256), (1, 1), (256, 256), (257, 256), (1024, 256)]
)
def test_window_is_what_was_asked_for_within_the_limit(
    node: Node, asked: int | None, expected: int
) -> None:
    """A client may have less, not more."""
    assert expected == greet(node, window=asked).welcome.window


# Refusals.


@pytest.mark.parametrize("version", [0, 2, -1, 10**20])
def test_other_versions_are_refused(node: Node, version: int) -> None:
    """Before the token is looked at."""
    with pytest.raises(UnsupportedVersion) as refused:
        greet(node, v=version, token="wrong")

    assert "v" == refused.value.field


def test_hello_without_a_token_is_refused(node: Node) -> None:
    """Unless the upgrade had one."""
    with pytest.raises(Unauthenticated):
        greet(node, token=None)


def test_token_of_the_upgrade_is_good_for_hello(node: Node) -> None:
    """A browser's cookie, a program's header."""
    hello = Hello(id=1, v=1)

    greeting = node.loop.run(node.greeter.greet(hello, node.token("ann")))

    assert "ann" == greeting.welcome.user


def test_token_of_the_upgrade_is_asked_about_again(node: Node) -> None:
    """It may have ended between the upgrade and hello."""
    given = "cm_ann-phone-3600"
    node.loop.advance(3600)

    with pytest.raises(TokenExpired):
        node.loop.run(node.greeter.greet(Hello(id=1, v=1), given))


def test_token_of_hello_counts_more_than_that_of_the_upgrade(node: Node) -> None:
    """It was said later."""
    hello = Hello(id=1, v=1, token=node.token("bob"))

    greeting = node.loop.run(node.greeter.greet(hello, node.token("ann")))

    assert "bob" == greeting.welcome.user


@pytest.mark.parametrize("token", ["", "cm_nobody", "x.y.z", "\ud83d"])
def test_wrong_token_is_refused(node: Node, token: str) -> None:
    """Also beside a good one of the upgrade."""
    given = node.token("ann")
    with pytest.raises(Unauthenticated):
        node.loop.run(node.greeter.greet(Hello(id=1, v=1, token=token), given))


def test_expired_token_is_refused(node: Node) -> None:
    """It was good once."""
    node.loop.advance(3600)
    with pytest.raises(TokenExpired):
        greet(node)


def test_deactivated_account_is_refused(node: Node) -> None:
    """Whatever its tokens."""
    node.loop.run(node.store.change_account(AccountChange("ann", ts=5, closed=True)))
    with pytest.raises(Suspended):
        greet(node)


def test_sockets_of_an_account_are_bounded(loop: FakeLoop) -> None:
    """On each node; one that goes makes room."""
    node = Node(loop, sockets_max=2)
    node.account("ann")
    first, _ = node.v1("ann"), node.v1("ann", "web")
    with pytest.raises(QuotaExceeded):
        greet(node)

    first.goes()

    assert "ann" == greet(node).welcome.user


def test_store_that_is_away_is_no_verdict_about_the_token(node: Node) -> None:
    """The client comes again."""
    node.loop.run(node.store.stop())
    with pytest.raises(StoreUnavailable):
        greet(node)
