# SPDX-License-Identifier: Apache-2.0
"""One group on a node: each event once to every member who is here, and to no other."""

from collections.abc import Iterable, Iterator

import pytest

from chatmotor.node import group as groups
from chatmotor.node.group import Group
from chatmotor.ports.messages import Event, EventType, Message
from chatmotor.protocol.events import Fragment, fragment_of, message_fragment
from tests.fakes.memory_store import MemoryStore
from tests.unit.node.fakes import FakeLoop

BOB, ANN = b'"from":"ann","body":"hi"}', b'"from":"ann","body":"hi","cid":"c"}'


class FakeReader:
    """A socket of a member."""

    def __init__(self) -> None:
        self.got: list[tuple[str, int, bytes]] = []

    def take_from_group(self, conv: str, pos: int, frame: bytes) -> None:
        self.got.append((conv, pos, frame))

    @property
    def positions(self) -> list[int]:
        """Of what it got."""
        return [pos for _, pos, _ in self.got]


class FakeRoster:
    """The sockets of usernames, and who was said to leave."""

    def __init__(self) -> None:
        self.logs = MemoryStore()
        self.sockets: dict[str, list[FakeReader]] = {}
        self.group: Group
        self.left: list[str] = []

    def readers(self, username: str) -> Iterable[FakeReader]:
        return tuple(self.sockets.get(username, ()))

    def leave(self, username: str, conv: str) -> None:
        self.left.append(username)
        self.group.members.pop(username, None)


@pytest.fixture
def roster(loop: FakeLoop) -> Iterator[FakeRoster]:
    """Of a group with ann, who has two sockets, and bob; it has had 4 events."""
    roster = FakeRoster()
    roster.group = Group(roster, "g.1", pos=4)  # type: ignore[arg-type]
    for username, count in (("ann", 2), ("bob", 1)):
        roster.sockets[username] = [FakeReader() for _ in range(count)]
        roster.group.members[username] = 4
    yield roster
    roster.group.feed.stop()


def message(sender: str = "ann") -> Fragment:
    """A message of *sender*."""
    return message_fragment(Message("g.1", 1, sender, "c", 5, b'"hi"', raw=False))


def change(added: Iterable[str] = (), removed: Iterable[str] = ()) -> Fragment:
    """A change of who is in the group."""
    names = [
        f'"{key}": {list(value)}'
        for key, value in (("added", added), ("removed", removed))
    ]
    detail = ("{" + ", ".join(names) + "}").replace("'", '"')
    return fragment_of(Event(0, EventType.CONV_MEMBER, "g.1", 5, detail=detail))


def test_event_goes_to_every_socket_of_every_member(roster: FakeRoster) -> None:
    """Once to each."""
    roster.group.feed.offer(5, message())

    assert [[5], [5], [5]] == [
        each.positions
        for username in ("ann", "bob")
        for each in roster.sockets[username]
    ]


def test_cid_is_for_the_sender_alone(roster: FakeRoster) -> None:
    """All the sender's sockets, and nobody else's."""
    roster.group.feed.offer(5, message())
    frames = {
        username: [frame for each in sockets for _, _, frame in each.got]
        for username, sockets in roster.sockets.items()
    }

    assert all(frame.endswith(ANN) for frame in frames["ann"])
    assert all(frame.endswith(BOB) for frame in frames["bob"])


def test_frame_of_the_others_is_one_object(roster: FakeRoster) -> None:
    """It is made once, however many there are."""
    roster.sockets["bob"].append(FakeReader())
    roster.group.feed.offer(5, message())
    first, second = (each.got[0][2] for each in roster.sockets["bob"])

    assert first is second


def test_member_without_a_socket_costs_nothing(roster: FakeRoster) -> None:
    """It may be between two sockets."""
    roster.sockets["ann"] = []
    roster.group.feed.offer(5, message())

    assert [5] == roster.sockets["bob"][0].positions


def test_removed_member_does_not_get_the_event_that_removes_it(
    roster: FakeRoster,
) -> None:
    """It is told in its own mailbox; the others get it here."""
    roster.group.feed.offer(5, change(removed=["bob"]))
    roster.group.feed.offer(6, message())

    assert ["bob"] == roster.left
    assert [] == roster.sockets["bob"][0].positions
    assert [5, 6] == roster.sockets["ann"][0].positions


def test_removal_of_somebody_who_is_elsewhere_changes_nothing(
    roster: FakeRoster,
) -> None:
    """Another node sees to it."""
    roster.group.feed.offer(5, change(removed=["cyd"], added=["dan"]))

    assert [] == roster.left
    assert {"ann", "bob"} == set(roster.group.members)


def test_member_that_was_added_again_is_not_removed_by_what_was_before(
    roster: FakeRoster,
) -> None:
    """
    Its mailbox has told the node of pos 7 before the group's own log has come to
    pos 5, which removes it: it is a member, and stays one.
    """
    roster.group.members["bob"] = 7
    roster.group.feed.offer(5, change(removed=["bob"]))
    roster.group.feed.offer(6, message())
    roster.group.feed.offer(7, change(added=["bob"]))
    roster.group.feed.offer(8, message())

    assert [] == roster.left
    assert 8 in roster.sockets["bob"][0].positions


def test_log_that_cannot_be_read_is_said_and_not_lost(
    roster: FakeRoster, caplog: pytest.LogCaptureFixture
) -> None:
    """The next position check tries again; no socket is closed."""
    roster.group.lose_position("it is gone")

    assert ["the log of a group: it is gone"] == [
        each.getMessage() for each in caplog.records if each.name == groups.__name__
    ]
