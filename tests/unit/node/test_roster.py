# SPDX-License-Identifier: Apache-2.0
"""Who is logged in on a node: their groups, what they missed, and their cursors."""

from typing import Any

import pytest

from chatmotor.errors import StoreUnavailable
from chatmotor.node.feed import Feed
from chatmotor.node.roster import CURSOR_SECONDS, RETURN_SECONDS
from chatmotor.ports.accounts import AccountChange, Grant
from chatmotor.ports.messages import (
    Event,
    EventType,
    Mailbox,
    MemberChange,
    Message,
    NewMessage,
)
from chatmotor.protocol.events import Fragment, fragment_of, message_fragment
from chatmotor.protocol.notices import GroupNotice, MailboxNotice, encode_notice
from chatmotor.protocol.presence import ONLINE
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import CHECK_SECONDS, SOON, Node

A_CHECK = 1.2 * CHECK_SECONDS + 2 * CURSOR_SECONDS


class FakeSocket:
    """
    A socket of an account that also reads groups.

    Attributes:
        mailbox, groups: What it got.
        closed: The codes with which it was closed.
    """

    def __init__(self, node: Node, grant: Grant) -> None:
        self.presence = ONLINE
        self.room = 1000
        self.node = node
        self.grant = grant
        self.mailbox: list[int] = []
        self.groups: list[tuple[str, int]] = []
        self.moved_on: list[tuple[str, int]] = []
        self.closed: list[int] = []
        username, top = grant.account.username, grant.account.seq
        self.feed = Feed(node.store, Mailbox(username), self, since=top, top=top)

    def take(self, at: int, fragment: Fragment) -> None:
        self.node.roster.heed(self.grant.account.username, at, fragment)
        self.mailbox.append(at)
        self.room -= 1

    def lose_position(self, reason: str) -> None:
        raise AssertionError(reason)

    def take_from_group(self, conv: str, pos: int, frame: bytes) -> None:
        self.groups.append((conv, pos))

    def take_ephemeral(self, text: bytes) -> None:
        raise AssertionError(text)

    def move_on(self, conv: str, pos: int) -> None:
        self.moved_on.append((conv, pos))

    def close(self, code: int, reason: str) -> None:
        self.closed.append(code)
        self.goes()

    def comes(self) -> None:
        """As a v1 connection does once it is welcomed."""
        roster, account = self.node.roster, self.grant.account
        standings = self.node.loop.run(self.node.store.standings(account.username))
        roster.add(self)
        roster.follow_groups(
            self, {each.conv: each.pos for each in standings}, seq=account.seq
        )
        self.node.loop.settle()

    def goes(self) -> None:
        """As a connection does that ends."""
        self.feed.stop()
        self.node.roster.discard(self)


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann, bob and cyd have accounts."""
    node = Node(loop)
    node.account("ann", "bob", "cyd")
    return node


def socket(node: Node, username: str = "bob", device: str = "phone") -> FakeSocket:
    """A socket that has come."""
    socket = FakeSocket(node, node.grant(node.token(username, device)))
    socket.comes()
    return socket


def change(node: Node, *, add: str = "", remove: str = "", tell: bool = True) -> None:
    """Ann changes who is in g.1; the node is told, or not."""
    member_change = MemberChange(
        *("g.1", "ann", f"change{next(node._cids)}", node.now()),
        *(frozenset(filter(None, [add])), frozenset(filter(None, [remove]))),
    )
    changed = node.loop.run(node.store.change_members(member_change))
    if tell:
        node.announcer.tell(changed.logged)
    node.loop.settle()


def group_notice(conv: str, pos: int, epoch: str = "epoch0") -> bytes:
    """What another node tells."""
    message = Message(conv, 1, "ann", "c", 5, b'"hi"', raw=False)
    return encode_notice(GroupNotice(epoch, conv, pos, message_fragment(message)))


def deliver_all(node: Node, *sockets: FakeSocket) -> None:
    """Have sockets read their mailboxes to the top."""
    for each in sockets:
        tops = node.loop.run(node.store.tops([each.grant.account.username], []))
        each.feed.look(*tops.seqs.values())
    node.loop.settle()


# Groups.


def test_member_gets_the_events_of_its_groups(node: Node) -> None:
    """Those after the position from which it follows."""
    node.group("ann", "bob")
    node.stored("ann", conv="g.1")
    bob = socket(node)
    node.stored("ann", conv="g.1")
    node.roster.on_notice("g.g.1", group_notice("g.1", 3))

    assert [("g.1", 3)] == bob.groups


def test_group_is_watched_while_a_member_is_here(node: Node) -> None:
    """From the first socket of the first member to the last of the last."""
    node.group("ann", "bob")
    watched = []
    sockets = [socket(node), socket(node, device="web"), socket(node, "ann")]
    for each in sockets:
        watched.append("g.g.1" in node.broker._watched)
        each.goes()

    assert [True, True, True] == watched
    assert set() == node.broker.watched_groups
    assert 0 == node.roster.position("g.1")


def test_what_was_stored_before_the_group_was_watched_is_found(node: Node) -> None:
    """Between the welcome and the binding nobody brings it."""
    node.group("ann", "bob")
    bob = FakeSocket(node, node.grant(node.token("bob")))
    watch = node.broker.watch

    async def late(key: str) -> None:
        node.loop.create_task(watch(key))
        await node.store.send(NewMessage("ann", "one", b'"hi"', 5, conv="g.1"))

    node.broker.watch = late  # type: ignore[method-assign]
    bob.comes()

    assert [("g.1", 2)] == bob.groups


def test_account_that_is_added_follows_from_there(node: Node) -> None:
    """``conv.new`` says from which position of the group's log."""
    node.group("ann")
    bob = socket(node)
    for _ in range(3):
        node.stored("ann", conv="g.1")
    change(node, add="bob", tell=False)
    deliver_all(node, bob)
    node.stored("ann", conv="g.1")
    node.roster.on_notice("g.g.1", group_notice("g.1", 6))

    assert [("g.1", 6)] == bob.groups


def test_account_that_is_removed_gets_nothing_more(node: Node) -> None:
    """Its mailbox says so, whatever the group's log does."""
    node.group("ann", "bob")
    bob, ann = socket(node), socket(node, "ann")
    change(node, remove="bob", tell=False)
    deliver_all(node, bob)
    node.roster.on_notice("g.g.1", group_notice("g.1", 2))
    node.roster.on_notice("g.g.1", group_notice("g.1", 3))

    assert [] == bob.groups
    assert [("g.1", 2), ("g.1", 3)] == ann.groups


def test_account_that_is_removed_and_added_again_is_a_member(node: Node) -> None:
    """Whichever comes first: its own mailbox, or the group's log."""
    node.group("ann", "bob")
    bob, _ = socket(node), socket(node, "ann")
    change(node, remove="bob", tell=False)
    change(node, add="bob", tell=False)
    deliver_all(node, bob)  # the group's log comes later
    node.stored("ann", conv="g.1")
    node.loop.advance(A_CHECK)

    assert ("g.1", 4) in bob.groups


def test_replay_of_the_past_does_not_end_the_present(node: Node) -> None:
    """
    One socket of an account reads on in its mailbox where it was removed from a
    group; the account has been added again since, and another socket follows.
    """
    node.group("ann", "bob")
    late = FakeSocket(node, node.grant(node.token("bob")))
    change(node, remove="bob", tell=False)
    removed_at = node.loop.run(node.store.tops(["bob"], [])).seqs["bob"]
    change(node, add="bob", tell=False)
    live = socket(node, device="web")
    socket(node, "ann")
    late.comes()
    late.room = 1
    late.feed.look(removed_at)
    node.loop.settle()
    assert removed_at == late.feed.sent

    node.stored("ann", conv="g.1")
    node.roster.on_notice("g.g.1", group_notice("g.1", 4))

    assert [("g.1", 4)] == live.groups


def test_newcomer_brings_what_older_sockets_have_not_read_yet(node: Node) -> None:
    """Its standings are newer: the account has left, though nobody has read so."""
    node.group("ann", "bob")
    old = socket(node)
    socket(node, "ann")
    change(node, remove="bob", tell=False)
    new = socket(node, device="web")
    assert {"ann"} == set(node.roster._groups["g.1"].members)
    node.roster.on_notice("g.g.1", group_notice("g.1", 3))
    node.loop.settle()

    assert ([], []) == (old.groups, new.groups)


def test_newcomer_with_an_older_view_changes_nothing(node: Node) -> None:
    """It has asked for its standings before the account was removed."""
    node.group("ann", "bob")
    old = socket(node)
    new = FakeSocket(node, node.grant(node.token("bob", "web")))
    deliver_all(node, old)
    change(node, remove="bob", tell=False)
    deliver_all(node, old)
    node.roster.add(new)
    node.roster.follow_groups(new, {"g.1": 1}, seq=new.grant.account.seq)
    socket(node, "ann")
    node.roster.on_notice("g.g.1", group_notice("g.1", 3))
    node.loop.settle()

    assert ([], []) == (old.groups, new.groups)


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("g.g.1", b""),
        ("g.g.1", b'{"destination": "bob"}'),
        ("g.g.1", b"\xff\xff"),
        ("g.g.1", group_notice("g.2", 2)),
        ("g.g.1", group_notice("g.1", 2, epoch="of another store")),
        ("g.g.2", group_notice("g.1", 2)),
        ("x", group_notice("g.1", 2)),
        (
            "g.g.1",
            encode_notice(
                MailboxNotice(
                    "epoch0",
                    {"bob": 1},
                    message_fragment(
                        Message("d.1.2", 1, "ann", "c", 5, b'"hi"', raw=False)
                    ),
                )
            ),
        ),
    ],
)
def test_notice_of_somebody_who_does_not_know_how_is_dropped(
    node: Node, key: str, body: bytes
) -> None:
    """Anyone may publish at the broker."""
    node.group("ann", "bob")
    bob = socket(node)
    node.roster.on_notice(key, body)
    node.loop.settle()

    assert [] == bob.groups


@pytest.mark.parametrize("detail", ['{"added": []}', '{"actor": "ann"}', None])
@pytest.mark.parametrize("t", [EventType.CONV_NEW, EventType.CONV_MEMBER])
def test_membership_without_what_it_needs_is_nothing(
    node: Node, t: EventType, detail: str | None
) -> None:
    """Nothing is raised, and nobody is moved."""
    node.group("ann", "bob")
    socket(node)
    node.roster.heed("bob", 99, fragment_of(Event(0, t, "g.1", 5, detail=detail)))
    node.roster.heed("bob", 100, fragment_of(Event(0, t, None, 5, detail=detail)))

    assert {"g.1"} == node.roster._groups_of["bob"]


def late_member(node: Node) -> FakeSocket:
    """Bob, whose standing is older than what this node has handed on to ann."""
    node.group("ann", "bob")
    socket(node, "ann")
    bob = FakeSocket(node, node.grant(node.token("bob")))
    node.roster.add(bob)
    node.stored("ann", conv="g.1")
    node.announcer.tell(())
    node.roster.on_notice("g.g.1", group_notice("g.1", 2))
    return bob


def test_a_member_that_was_removed_meanwhile_is_shown_nothing(node: Node) -> None:
    """Until the store has said that it is one, it gets no event of the group."""
    bob = late_member(node)
    change(node, remove="bob")
    node.roster.follow_groups(bob, {"g.1": 1}, seq=bob.grant.account.seq)
    node.roster.on_notice("g.g.1", group_notice("g.1", 4))
    node.loop.advance(SOON)
    node.roster.on_notice("g.g.1", group_notice("g.1", 5))

    assert ([], []) == (bob.groups, bob.moved_on)
    assert set() == node.roster._groups_of.get("bob", set())


def test_a_member_that_comes_late_is_told_what_it_has_not_got(node: Node) -> None:
    """Once the store has said that it is one."""
    bob = late_member(node)
    node.roster.follow_groups(bob, {"g.1": 1}, seq=bob.grant.account.seq)
    node.loop.advance(SOON)
    node.roster.on_notice("g.g.1", group_notice("g.1", 3))

    assert ([("g.1", 2)], [("g.1", 3)]) == (bob.moved_on, bob.groups)


# The position check.


def test_position_check_finds_what_the_broker_did_not_bring(node: Node) -> None:
    """In mailboxes and in groups."""
    node.group("ann", "bob")
    bob = socket(node)
    seq = node.stored("ann", "bob").peer_seq
    node.stored("ann", conv="g.1")
    node.loop.advance(SOON)
    assert [] == bob.groups

    node.loop.advance(A_CHECK)

    assert seq == bob.mailbox[-1]
    assert [("g.1", 2)] == bob.groups


def test_broker_that_is_back_is_followed_by_a_check_and_another(node: Node) -> None:
    """The second is for what nodes kept to themselves until they were back, too."""
    bob = socket(node)
    node.stored("ann", "bob")
    node.roster.check_all_soon()
    node.loop.advance(SOON)
    first = list(bob.mailbox)
    node.stored("ann", "bob")
    node.loop.advance(RETURN_SECONDS)

    assert 1 == len(first)
    assert 2 == len(bob.mailbox)


def test_subscription_is_followed_by_a_check_of_the_account(node: Node) -> None:
    """What was stored before it was bound has gone past it."""
    bob = socket(node)
    node.stored("ann", "bob")
    node.loop.run(node.roster.subscribe(bob, lambda body: None))
    node.loop.advance(SOON)

    assert 1 == len(bob.mailbox)


def test_check_goes_on_after_the_store_was_away(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and looks again at its next time."""
    bob = socket(node)
    node.stored("ann", "bob")
    node.loop.run(node.store.stop())
    node.loop.advance(A_CHECK)
    assert [] == bob.mailbox
    node.loop.run(node.store.start())
    node.loop.advance(A_CHECK)

    assert 1 == len(bob.mailbox)
    assert {"the position check waits: no answer of the store"} == {
        each.getMessage() for each in caplog.records
    }


@pytest.mark.parametrize("method", ["save_cursors", "tops"])
def test_no_error_ends_the_position_check(
    node: Node, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one of the driver's own: the next time it looks again."""
    bob = socket(node)
    node.roster.cursors.move(bob.grant, 0)

    async def fail(*_: object, **__: object) -> None:
        raise ValueError("of the driver")

    with monkeypatch.context() as patch:
        patch.setattr(node.store, method, fail)
        node.loop.advance(A_CHECK)
    node.stored("ann", "bob")
    node.loop.advance(A_CHECK)

    assert 1 == len(bob.mailbox)


# Tokens.


def test_revoked_token_closes_its_sockets_with_4502(node: Node) -> None:
    """Those of the device that was logged out, and no other."""
    phone, web = socket(node), socket(node, device="web")
    node.loop.run(node.store.end_device("bob", "phone", ts=5))
    node.roster.check_soon("bob")
    node.loop.advance(SOON)

    assert ([4502], []) == (phone.closed, web.closed)


def test_expired_token_closes_its_sockets_with_4010(node: Node) -> None:
    """At the latest with the position check."""
    bob = FakeSocket(node, node.grant(node.token("bob", seconds=30)))
    bob.comes()
    node.loop.advance(A_CHECK)

    assert [4010] == bob.closed


def test_deactivated_account_is_closed_with_4504(node: Node) -> None:
    """All its sockets."""
    sockets = [socket(node), socket(node, device="web")]
    other = socket(node, "ann")
    closing = AccountChange("bob", ts=5, closed=True)
    node.loop.run(node.store.change_account(closing))
    node.loop.advance(A_CHECK)

    assert [[4504], [4504], []] == [each.closed for each in [*sockets, other]]


def test_token_that_ended_before_the_place_at_the_broker_is_found(node: Node) -> None:
    """The notice of it went past; whoever has just come is looked at once."""
    bob = socket(node)
    node.loop.run(node.store.end_device("bob", "phone", ts=5))
    node.loop.run(node.roster.subscribe(bob, lambda body: None))
    node.loop.advance(SOON)

    assert [4502] == bob.closed


def test_socket_with_another_token_by_now_is_not_closed(node: Node) -> None:
    """It was renewed while the store was asked about the old one."""
    bob = socket(node)
    renewed = node.grant(node.token("bob", "web"))
    node.loop.run(node.store.end_device("bob", "phone", ts=5))
    node.roster._soon.add("bob")
    node.roster._check_those()
    bob.grant = renewed
    node.loop.settle()

    assert [] == bob.closed


def test_store_that_is_away_closes_nobody(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not known is no verdict."""
    bob = socket(node)
    node.loop.run(node.store.stop())
    node.roster.check_soon("bob")
    node.loop.advance(SOON)

    assert [] == bob.closed
    assert {"given up: stopped"} == {each.getMessage() for each in caplog.records}


# Cursors.


def test_cursor_is_saved_at_its_maximum(node: Node) -> None:
    """Several sockets of a device: the one that has most."""
    bob = socket(node)
    for seq in (3, 7, 5):
        node.roster.cursors.move(bob.grant, seq)
    assert 0 == node.cursor("bob")

    node.loop.advance(CURSOR_SECONDS)

    assert 7 == node.cursor("bob")


def test_cursor_is_saved_again_after_a_failure(node: Node) -> None:
    """One that was moved up meanwhile is not moved down."""
    bob, ann = socket(node), socket(node, "ann")
    node.roster.cursors.move(bob.grant, 3)
    node.roster.cursors.move(ann.grant, 4)
    save = node.store.save_cursors

    async def fail(*_: Any, **__: Any) -> None:
        node.roster.cursors.move(bob.grant, 9)
        raise StoreUnavailable("away")

    node.store.save_cursors = fail  # type: ignore[method-assign]
    node.loop.advance(CURSOR_SECONDS)
    assert (0, 0) == (node.cursor("bob"), node.cursor("ann"))
    node.store.save_cursors = save  # type: ignore[method-assign]
    node.loop.advance(CURSOR_SECONDS)

    assert (9, 4) == (node.cursor("bob"), node.cursor("ann"))


def test_cursors_are_saved_at_the_end(node: Node) -> None:
    """A node that stops loses none."""
    bob = socket(node)
    node.roster.cursors.move(bob.grant, 3)
    node.loop.run(node.roster.stop())

    assert 3 == node.cursor("bob")


def test_nothing_is_written_without_news(node: Node) -> None:
    """An idle node leaves the store alone."""
    bob = socket(node)
    node.roster.cursors.move(bob.grant, 3)
    node.loop.advance(CURSOR_SECONDS)
    writes = []

    async def write(*_: Any, **__: Any) -> None:
        writes.append(1)

    node.store.save_cursors = write  # type: ignore[method-assign]
    node.loop.advance(10 * CURSOR_SECONDS)

    assert [] == writes


# Life.


def test_sockets_of_an_account_are_counted(node: Node) -> None:
    """Leaving twice is leaving once."""
    first, _ = socket(node), socket(node, device="web")
    assert 2 == node.roster.count("bob")
    first.goes()
    first.goes()

    assert (1, 0) == (node.roster.count("bob"), node.roster.count("ann"))


def test_nothing_is_kept_of_who_has_gone(node: Node) -> None:
    """A node that has been up for a year has no table of everybody."""
    node.group("ann", "bob")
    for each in (socket(node), socket(node, "ann")):
        each.goes()
    node.loop.settle()
    roster = node.roster

    assert [] == [
        name
        for name, value in vars(roster).items()
        if name.startswith("_")
        and isinstance(value, dict | set)
        and value
        and name != "_cursors"
    ]


def test_failure_of_what_goes_on_beside_is_logged(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """With its cause, when it is ours."""

    async def fail() -> None:
        raise RuntimeError("broken")

    node.roster.spawn(fail())
    node.loop.settle()

    assert [("failed", "RuntimeError")] == [
        (each.getMessage(), each.exc_info[0].__name__)
        for each in caplog.records
        if each.exc_info and each.exc_info[0]
    ]


def test_nothing_begins_after_the_end(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What was to be looked at soon is not, and whoever goes then has nothing saved: the
    process may live on, and the store is closed.
    """
    bob = socket(node)
    node.roster.check_soon("bob")
    node.roster.check_all_soon()
    node.loop.run(node.roster.stop())
    node.loop.run(node.store.stop())
    bob.goes()
    node.loop.advance(RETURN_SECONDS + SOON)

    assert [] == caplog.messages
    assert set() == node.roster._tasks
