# SPDX-License-Identifier: Apache-2.0
"""Who may talk and to whom a text goes, with the real embedded broker."""

import unicodedata

import pytest

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.core.instant_messenger import InstantMessenger
from chatmotor.errors import Forbidden, InvalidName
from chatmotor.metrics import Metrics

TEXT = b'{"destination": "bob", "x": "\xc3\xa9"}'


@pytest.fixture
def metrics() -> Metrics:
    """The counters of this test."""
    return Metrics()


@pytest.fixture
def messenger(metrics: Metrics) -> InstantMessenger:
    """A messenger that serves guests."""
    return InstantMessenger(
        EmbeddedBroker(metrics, queue_max_bytes=1000), metrics, allow_guests=True
    )


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


async def test_guests_stay_out_where_they_are_not_allowed(metrics: Metrics) -> None:
    """ALLOW_GUESTS off: nobody has an account yet, so nobody connects."""
    closed = InstantMessenger(
        EmbeddedBroker(metrics, queue_max_bytes=1000), metrics, allow_guests=False
    )

    with pytest.raises(Forbidden) as refused:
        await closed.start_im_session("bob", lambda text: None)

    assert (403, "forbidden") == (refused.value.status, refused.value.code)
