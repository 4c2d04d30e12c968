# SPDX-License-Identifier: Apache-2.0
"""What nodes are told of what was stored: to whom, in what pieces and which order."""

from collections.abc import Sequence

import pytest

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.core.announcer import AT_ONCE, Announcer, group_key
from chatmotor.metrics import Metrics
from chatmotor.ports.messages import Event, EventType, Logged, NewMessage, StoredMessage
from chatmotor.protocol.events import fragment_of, new_message
from chatmotor.protocol.notices import (
    GroupNotice,
    MailboxNotice,
    Notice,
    RecheckNotice,
    decode_notice,
)
from tests.fakes.memory_store import MemoryStore

EPOCH = "epoch0"
DIRECT = NewMessage("ann", "c1", b'"hi"', 5, to="bob")
GROUP = NewMessage("ann", "c1", b'"hi"', 5, conv="g.1")


class HeardBroker(EmbeddedBroker):
    """
    Keeps what is published.

    Attributes:
        behind: Whether whoever publishes should pause.
    """

    def __init__(self) -> None:
        super().__init__(Metrics(), queue_max_bytes=1000)
        self.behind = False
        self.heard: list[tuple[tuple[str, ...], Notice | None]] = []

    def publish(
        self, recipients: Sequence[str], body: bytes, *, kept: bool = True
    ) -> bool:
        self.heard.append((tuple(recipients), decode_notice(body, EPOCH)))
        return not self.behind

    def notify(self, key: str, body: bytes) -> None:
        self.heard.append(((key,), decode_notice(body, EPOCH)))


@pytest.fixture
def broker() -> HeardBroker:
    """Of this test."""
    return HeardBroker()


@pytest.fixture
def rechecked() -> list[int]:
    """One for each time that the node's own memory was to be looked at again."""
    return []


@pytest.fixture
def announcer(broker: HeardBroker, rechecked: list[int]) -> Announcer:
    """On that broker."""
    return Announcer(broker, MemoryStore(), on_recheck=lambda: rechecked.append(1))


def test_direct_message_is_one_publish_for_both_sides(
    announcer: Announcer, broker: HeardBroker
) -> None:
    """The recipient, and the sender's other devices, each with its own number."""
    stored = StoredMessage("d.1.2", 3, 9, seq=7, peer="bob", peer_seq=12)
    announcer.message(DIRECT, stored)

    fragment = new_message(DIRECT, "d.1.2", 3, 9)
    notice = MailboxNotice(EPOCH, {"bob": 12, "ann": 7}, fragment)
    assert [(("bob", "ann"), notice)] == broker.heard


def test_message_to_oneself_is_told_once(
    announcer: Announcer, broker: HeardBroker
) -> None:
    """It is one event."""
    announcer.message(DIRECT, StoredMessage("d.1.1", 3, 9, seq=7))

    ((recipients, _),) = broker.heard
    assert ("ann",) == recipients


def test_group_message_is_one_notice_however_many_members(
    announcer: Announcer, broker: HeardBroker
) -> None:
    """Each node with members has a copy."""
    announcer.message(GROUP, StoredMessage("g.1", 3, 9, pos=8))

    notice = GroupNotice(EPOCH, "g.1", 8, new_message(GROUP, "g.1", 3, 9))
    assert [(("g.g.1",), notice)] == broker.heard


@pytest.mark.parametrize("behind", [True, False])
def test_sender_is_told_to_pause_when_the_broker_is_behind(
    announcer: Announcer, broker: HeardBroker, *, behind: bool
) -> None:
    """As the broker says."""
    broker.behind = behind
    stored = StoredMessage("d.1.2", 3, 9, seq=7, peer="bob", peer_seq=12)

    assert behind != announcer.message(DIRECT, stored)


def test_repeated_message_is_told_again(
    announcer: Announcer, broker: HeardBroker
) -> None:
    """The first telling may have been lost with its node; readers know the number."""
    stored = StoredMessage("d.1.2", 3, 9, seq=7, peer="bob", peer_seq=12, dup=True)
    announcer.message(DIRECT, stored)

    assert 1 == len(broker.heard)


def test_event_of_many_mailboxes_is_told_in_pieces(
    announcer: Announcer, broker: HeardBroker
) -> None:
    """A hundred accounts at once, each once, each with its number."""
    seqs = {f"user{n}": n for n in range(2 * AT_ONCE + 1)}
    event = Event(0, EventType.CONV_NEW, "g.1", 5, detail='{"since": 1}')
    announcer.tell([Logged(event, seqs)])

    notices = [
        notice for _, notice in broker.heard if isinstance(notice, MailboxNotice)
    ]
    assert [AT_ONCE, AT_ONCE, 1] == [len(recipients) for recipients, _ in broker.heard]
    assert seqs == {k: v for notice in notices for k, v in notice.seqs.items()}
    assert {fragment_of(event)} == {notice.fragment for notice in notices}


def test_change_of_a_group_is_told_to_the_group_and_to_who_came(
    announcer: Announcer, broker: HeardBroker
) -> None:
    """In the order in which it was logged."""
    member = Event(0, EventType.CONV_MEMBER, "g.1", 5, detail='{"added": ["bob"]}')
    new = Event(0, EventType.CONV_NEW, "g.1", 5, detail='{"since": 2}')
    announcer.tell([Logged(member, pos=2), Logged(new, {"bob": 4})])

    assert [
        (("g.g.1",), GroupNotice(EPOCH, "g.1", 2, fragment_of(member))),
        (("bob",), MailboxNotice(EPOCH, {"bob": 4}, fragment_of(new))),
    ] == broker.heard


def test_nothing_is_told_of_nothing(announcer: Announcer, broker: HeardBroker) -> None:
    """A repeated change has logged nothing."""
    announcer.tell([])
    announcer.tell([Logged(Event(0, EventType.CONV_READ, "d.1.2", 5))])

    assert [] == broker.heard


def test_recheck_goes_to_every_node_and_to_this_ones_memory(
    announcer: Announcer, broker: HeardBroker, rechecked: list[int]
) -> None:
    """An account may have come to be, or its tokens have ended."""
    announcer.recheck("ann")

    assert [1] == rechecked
    assert [(("ann",), RecheckNotice("ann"))] == broker.heard


def test_key_of_a_group_is_no_name() -> None:
    """A user called like a group gets nothing of it."""
    assert "g.g.1" == group_key("g.1")
