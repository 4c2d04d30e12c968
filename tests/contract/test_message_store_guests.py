# SPDX-License-Identifier: Apache-2.0
"""What every store promises about the texts of guests."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from chatmotor.errors import Forbidden, NoSuchConv, NoSuchUser
from chatmotor.ports.messages import (
    Event,
    EventType,
    GuestMessage,
    Mailbox,
    Message,
    NewMessage,
    StoredMessage,
)
from tests.harness.stores import Nodes, close_account, direct, gather, whole

GUEST_TEXT = GuestMessage("gus", "ann", b'{"destination": "ann"}', 7)


async def test_a_text_of_a_guest_is_kept(nodes: Nodes) -> None:
    """In a conversation with that name, as raw, and as one event of the mailbox."""
    first = await nodes.left.send_from_guest(GUEST_TEXT)
    second = await nodes.right.send_from_guest(replace(GUEST_TEXT, ts=8))

    assert StoredMessage(first.conv, 1, 7, peer="ann", peer_seq=1) == first
    assert StoredMessage(first.conv, 2, 8, peer="ann", peer_seq=2) == second
    body = GUEST_TEXT.body
    message = Message(first.conv, 1, "gus", "", 7, body, raw=True, guest=True)
    assert (
        Event(1, EventType.MESSAGE_NEW, first.conv, 7, message=message),
        Event(
            *(2, EventType.MESSAGE_NEW, first.conv, 8),
            message=replace(message, n=2, ts=8),
        ),
    ) == await whole(nodes.left, Mailbox("ann"))
    page = await nodes.left.history(first.conv, reader="ann", limit=1)
    assert (replace(message, n=2, ts=8),) == page.messages


async def test_a_guest_is_not_the_account_of_that_name(nodes: Nodes) -> None:
    """A guest called as an account is called has another conversation."""
    stored = await nodes.left.send(direct("bob", "ann", "1"))
    guest = await nodes.left.send_from_guest(replace(GUEST_TEXT, guest="bob"))

    assert stored.conv != guest.conv
    with pytest.raises(NoSuchConv):
        await nodes.right.history(guest.conv, reader="bob", limit=1)


async def test_nobody_answers_a_guest(nodes: Nodes) -> None:
    """Forbidden to the one who sees it; for others it does not exist."""
    guest = await nodes.left.send_from_guest(GUEST_TEXT)

    with pytest.raises(Forbidden):
        await nodes.right.send(NewMessage("ann", "1", b"1", 5, conv=guest.conv))
    with pytest.raises(NoSuchConv):
        await nodes.right.send(NewMessage("bob", "1", b"1", 5, conv=guest.conv))


async def test_a_guest_reaches_open_accounts_only(nodes: Nodes) -> None:
    """Nobody of that name, or nobody any more: refused, and no trace."""
    await close_account(nodes.left, "ann")

    with pytest.raises(NoSuchUser):
        await nodes.left.send_from_guest(replace(GUEST_TEXT, to="nobody"))
    with pytest.raises(Forbidden):
        await nodes.right.send_from_guest(GUEST_TEXT)

    assert () == await whole(nodes.left, Mailbox("ann"))


async def test_guests_of_one_moment_have_one_order(nodes: Nodes) -> None:
    """Two nodes, one name, one mailbox that is also sent to: no hole and no error."""
    writes: list[Awaitable[Any]] = []
    for turn in range(15):
        writes += [x.send_from_guest(GUEST_TEXT) for x in (nodes.left, nodes.right)]
        writes.append(nodes.left.send(direct("bob", "ann", str(turn))))

    answers = await gather(writes)

    assert {StoredMessage} == {type(each) for each in answers}
    guest = [each.n for each in answers if each.seq is None]
    assert list(range(1, 31)) == sorted(guest)
    events = await whole(nodes.left, Mailbox("ann"))
    assert list(range(1, 46)) == [each.at for each in events]
