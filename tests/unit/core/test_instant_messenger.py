# SPDX-License-Identifier: Apache-2.0
"""Who may talk and to whom a text goes, with the real embedded broker."""

import unicodedata

import pytest

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.core.allowance import Allowance
from chatmotor.core.announcer import Announcer
from chatmotor.core.directory import Directory
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.errors import (
    Forbidden,
    InvalidName,
    OutcomeUnknown,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)
from chatmotor.metrics import Metrics
from chatmotor.ports.messages import GuestMessage, Mailbox, Message, StoredMessage
from chatmotor.protocol.notices import MailboxNotice, decode_notice
from tests.fakes.memory_store import MemoryStore
from tests.harness.stores import add_account, close_account

NOW = 1_700_000_000_000
TEXT = b'{"destination": "bob", "x": "\xc3\xa9"}'


@pytest.fixture
def metrics() -> Metrics:
    """The counters of this test."""
    return Metrics()


class FailingStore(MemoryStore):
    """Raises *error* instead of storing."""

    error: Exception | None = None

    async def send_from_guest(self, message: GuestMessage) -> StoredMessage:
        if self.error is not None:
            raise self.error
        return await super().send_from_guest(message)


@pytest.fixture
async def store() -> FailingStore:
    """Ann and al have accounts; bob has none."""
    store = FailingStore()
    await store.start()
    for username in ("ann", "al"):
        await add_account(store, username)
    return store


def make_messenger(
    metrics: Metrics, store: MemoryStore, *, allow_guests: bool = True
) -> InstantMessenger:
    """A messenger on an embedded broker."""
    broker = EmbeddedBroker(metrics, queue_max_bytes=1000)
    directory = Directory(store, lambda: 5.0)
    announcer = Announcer(broker, store, on_recheck=directory.forget)
    return InstantMessenger(
        *(broker, metrics, store, directory, announcer),
        guests=Allowance(per_second=1, burst=100, clock=lambda: 5.0),
        now=lambda: NOW,
        allow_guests=allow_guests,
    )


@pytest.fixture
def messenger(metrics: Metrics, store: FailingStore) -> InstantMessenger:
    """A messenger that serves guests."""
    return make_messenger(metrics, store)


async def stored(store: MemoryStore, username: str) -> list[Message]:
    """The messages in a mailbox."""
    page = await store.events(Mailbox(username), since=0, limit=100)
    return [each.message for each in page.events if each.message is not None]


async def test_text_reaches_every_session_of_the_name_verbatim(
    messenger: InstantMessenger,
) -> None:
    """Two devices get a copy each; nobody else does."""
    first: list[bytes] = []
    second: list[bytes] = []
    other: list[bytes] = []
    await messenger.start_im_session("bob", first.append)
    await messenger.start_im_session("bob", second.append)
    await messenger.start_im_session("Bob", other.append)

    assert messenger.send_im("bob", TEXT)

    assert ([TEXT], [TEXT], []) == (first, second, other)


async def test_text_to_oneself_arrives(messenger: InstantMessenger) -> None:
    """Sending to yourself works: nobody asks who the sender is."""
    inbox: list[bytes] = []
    await messenger.start_im_session("bob", inbox.append)

    for number in range(3):
        messenger.send_im("bob", b"%d" % number)

    assert [b"0", b"1", b"2"] == inbox


async def test_spellings_of_a_name_meet(messenger: InstantMessenger) -> None:
    """A name is normalised on both sides before it is routed."""
    composed, decomposed = (
        unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD")
    )
    inbox: list[bytes] = []
    await messenger.start_im_session(decomposed, inbox.append)
    await messenger.start_im_session(composed, inbox.append)

    messenger.send_im(composed, b"1")
    messenger.send_im(decomposed, b"2")

    assert [b"1", b"1", b"2", b"2"] == inbox


async def test_stopped_session_gets_nothing_and_others_go_on(
    messenger: InstantMessenger,
) -> None:
    """Ending a session ends that one only, and may be repeated."""
    gone: list[bytes] = []
    here: list[bytes] = []
    session = await messenger.start_im_session("bob", gone.append)
    await messenger.start_im_session("bob", here.append)

    messenger.stop_im_session(session)
    messenger.stop_im_session(session)
    messenger.send_im("bob", TEXT)

    assert ([], [TEXT]) == (gone, here)


async def test_paused_session_is_served_later_in_order(
    messenger: InstantMessenger,
) -> None:
    """What came meanwhile waits at the broker."""
    inbox: list[bytes] = []
    session = await messenger.start_im_session("bob", inbox.append)

    session.pause()
    messenger.send_im("bob", b"1")
    messenger.send_im("bob", b"2")
    assert [] == inbox
    session.resume()
    messenger.send_im("bob", b"3")

    assert [b"1", b"2", b"3"] == inbox


async def test_text_for_nobody_is_counted(
    messenger: InstantMessenger, metrics: Metrics
) -> None:
    """A guest who is not there has no mailbox."""
    assert messenger.send_im("nobody", TEXT)

    assert 1 == metrics.messages_in
    assert {"no_recipient": 1} == metrics.dropped


@pytest.mark.parametrize("name", ["", "\n", "n" * 65, "\ud83d"])
async def test_text_for_a_name_that_cannot_be_is_counted_and_costs_nothing(
    messenger: InstantMessenger, metrics: Metrics, name: str
) -> None:
    """It is like a name that is offline; the sender goes on."""
    assert messenger.send_im(name, TEXT)

    assert 1 == metrics.messages_in
    assert {"invalid_name": 1} == metrics.dropped


async def test_name_that_cannot_be_does_not_connect(
    messenger: InstantMessenger,
) -> None:
    """The refusal is the same as of ``canonical_name``."""
    with pytest.raises(InvalidName):
        await messenger.start_im_session("a\x00", lambda text: None)


async def test_guests_stay_out_where_they_are_not_allowed(
    metrics: Metrics, store: FailingStore
) -> None:
    """ALLOW_GUESTS off: bob has no account, so he does not connect."""
    closed = make_messenger(metrics, store, allow_guests=False)

    with pytest.raises(Forbidden) as refused:
        await closed.start_im_session("bob", lambda text: None)

    assert (403, "forbidden") == (refused.value.status, refused.value.code)


# Names with an account.


@pytest.mark.parametrize("name", ["ann", "ANN", "\uff21nn", "\u0430nn"])
@pytest.mark.parametrize("allow_guests", [True, False])
async def test_name_with_an_account_needs_its_token(
    metrics: Metrics, store: FailingStore, name: str, *, allow_guests: bool
) -> None:
    """Nobody is let in as somebody else, nor as one who looks like somebody else."""
    messenger = make_messenger(metrics, store, allow_guests=allow_guests)

    with pytest.raises(Unauthenticated):
        await messenger.start_im_session(name, lambda text: None)


async def test_name_is_not_let_in_while_nobody_knows_whose_it_is(
    messenger: InstantMessenger, store: FailingStore
) -> None:
    """The store is away."""
    await store.stop()

    with pytest.raises(StoreUnavailable):
        await messenger.start_im_session("bob", lambda text: None)


async def test_text_of_a_guest_for_an_account_is_stored(
    messenger: InstantMessenger, store: FailingStore, metrics: Metrics
) -> None:
    """Verbatim, with the guest's name, marked, at the server's time."""
    assert await messenger.send_as_guest("bob", "Ann", TEXT)

    (message,) = await stored(store, "ann")
    assert (TEXT, True, "bob", True, NOW) == (
        *(message.body, message.raw, message.sender, message.guest),
        message.ts,
    )
    assert 1 == metrics.messages_in


async def test_text_of_a_guest_for_an_account_is_told(
    messenger: InstantMessenger,
) -> None:
    """As what was stored, so that nobody has to look."""
    heard: list[bytes] = []
    await messenger._broker.subscribe("ann", heard.append)
    await messenger.send_as_guest("bob", "ann", TEXT)

    (body,) = heard
    notice = decode_notice(body, "epoch0")
    assert isinstance(notice, MailboxNotice)
    assert {"ann": 1} == notice.seqs
    fields = notice.fragment.fields()
    assert ("bob", TEXT.decode(), True) == (
        *(fields["from"], fields["raw"]),
        fields["from_guest"],
    )


async def test_text_of_a_guest_for_a_guest_is_live_only(
    messenger: InstantMessenger,
) -> None:
    """It reaches whoever is there."""
    inbox: list[bytes] = []
    await messenger.start_im_session("bob", inbox.append)
    await messenger.send_as_guest("zoe", "bob", TEXT)

    assert [TEXT] == inbox


async def test_text_of_an_account_for_an_account_is_in_both_mailboxes(
    messenger: InstantMessenger, store: FailingStore
) -> None:
    """From who has logged in, and under a cid that nobody else has."""
    for _ in range(2):
        assert await messenger.send_as_account("ann", "AL", TEXT)

    mine, theirs = await stored(store, "ann"), await stored(store, "al")
    assert mine == theirs
    assert [("ann", TEXT, True, False)] * 2 == [
        (each.sender, each.body, each.raw, each.guest) for each in mine
    ]
    assert 2 == len({each.cid for each in mine})


async def test_text_of_an_account_for_a_guest_is_live_only(
    messenger: InstantMessenger, store: FailingStore
) -> None:
    """A guest has no mailbox, and it is not in the sender's, either."""
    inbox: list[bytes] = []
    await messenger.start_im_session("bob", inbox.append)
    await messenger.send_as_account("ann", "bob", TEXT)

    assert [TEXT] == inbox
    assert [] == await stored(store, "ann")


async def test_text_for_a_closed_account_is_counted(
    messenger: InstantMessenger, store: FailingStore, metrics: Metrics
) -> None:
    """A classic client gets no errors."""
    await close_account(store, "al")

    assert await messenger.send_as_guest("bob", "al", TEXT)
    assert await messenger.send_as_account("ann", "al", TEXT)

    assert {"refused": 2} == metrics.dropped


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("away"),
        OutcomeUnknown("who knows"),
        RateLimited("wait", retry_ms=5),
    ],
)
async def test_what_can_work_later_is_the_callers(
    messenger: InstantMessenger, store: FailingStore, error: Exception
) -> None:
    """It is not dropped in silence."""
    store.error = error

    with pytest.raises(type(error)):
        await messenger.send_as_guest("bob", "ann", TEXT)


async def test_who_has_no_account_is_known_after_the_first_text(
    messenger: InstantMessenger,
) -> None:
    """From then on a guest's text costs no look into the store."""
    assert not messenger.is_nobodys("bob")
    await messenger.send_as_guest("zoe", "bob", TEXT)

    assert messenger.is_nobodys("bob")
    assert not messenger.is_nobodys("ann")
