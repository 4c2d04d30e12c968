# SPDX-License-Identifier: Apache-2.0
"""Classic sockets: a guest's at the broker, an account's at its mailbox."""

import json

import pytest
from picows import WSMsgType

from chatmotor.errors import Unauthenticated
from chatmotor.node.classic_connection import UNANSWERED_EVENTS
from chatmotor.ports.accounts import AccountChange
from chatmotor.ports.messages import Mailbox
from chatmotor.protocol.events import Fragment
from chatmotor.protocol.notices import MailboxNotice, encode_notice
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import SOON, Client, Node

TEXT = b'{ "destination": "bob",  "x": "\xc3\xa9" }'


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann and bob have accounts."""
    node = Node(loop)
    node.account("ann", "bob")
    return node


def answers(client: Client) -> None:
    """The pong to the last ping."""
    client.sends(client.pings[-1], WSMsgType.PONG)


def mailbox(node: Node, username: str) -> list[str]:
    """What messages are stored for an account."""
    page = node.loop.run(node.store.events(Mailbox(username), since=0, limit=1000))
    return [each.message.body.decode() for each in page.events if each.message]


# From whom to whom.


def test_guest_to_guest_is_live_and_verbatim(node: Node) -> None:
    """Nothing is stored, as with the first Chatmotor."""
    zoe, yan = node.guest("zoe"), node.guest("yan")
    text = b'{"destination": "yan", "sender": "anybody"}'
    zoe.sends(text)

    assert [text] == yan.texts


def test_guest_to_account_is_stored_and_marked(node: Node) -> None:
    """It is there when the account comes, and is from a guest."""
    node.guest("zoe").sends(TEXT)
    node.token("bob")
    bob = node.v1("bob", resume={"epoch": "epoch0", "seq": 0})
    event = next(each for each in bob.events() if each["t"] == "message.new")

    assert (TEXT.decode(), "zoe", True) == (
        event["raw"],
        event["from"],
        event["from_guest"],
    )


def test_account_to_account_is_stored_and_stamped(node: Node) -> None:
    """``from`` is who has logged in, whatever the text says."""
    ann, bob = node.classic("ann"), node.v1("bob")
    text = b'{"destination": "bob", "sender": "somebody else"}'
    ann.sends(text)

    assert [text.decode()] == mailbox(node, "bob")
    assert ("ann", text.decode()) == (bob.events()[-1]["from"], bob.events()[-1]["raw"])
    assert "from_guest" not in bob.events()[-1]


def test_account_to_guest_is_live_only(node: Node) -> None:
    """A guest has no mailbox."""
    ann, zoe = node.classic("ann"), node.guest("zoe")
    text = b'{"destination": "zoe"}'
    ann.sends(text)

    assert [text] == zoe.texts
    assert [] == mailbox(node, "ann")


def test_v1_to_classic_has_the_form_of_the_first_clients(node: Node) -> None:
    """A body is put into it; a raw text is the text."""
    ann, bob = node.v1("ann"), node.classic("bob")
    ann.ask("send", cid="1", to="bob", body="hi")
    ann.ask("send", cid="2", to="bob", raw=TEXT.decode())

    assert {
        "sender": "ann",
        "destination": "bob",
        "payload": "hi",
        "type": "instant_message",
    } == json.loads(bob.texts[0])
    assert TEXT == bob.texts[1]


def test_spelling_of_a_name_does_not_matter(node: Node) -> None:
    """Recipients are found by what people see."""
    node.guest("zoe").sends(b'{"destination": "BOB"}')

    assert ['{"destination": "BOB"}'] == mailbox(node, "bob")


def test_name_of_a_guest_is_stored_in_its_one_form(node: Node) -> None:
    """However it was written in the address, it is one conversation."""
    for spelling in ("Zoe\u0308", "Zo\u00eb"):
        node.guest(spelling).sends(TEXT)
    page = node.loop.run(node.store.events(Mailbox("bob"), since=0, limit=9))
    messages = [each.message for each in page.events if each.message]

    assert ["Zo\u00eb"] * 2 == [each.sender for each in messages]
    assert 1 == len({each.conv for each in messages})


@pytest.mark.parametrize(
    "name", ["", "\\ud83d", "x" * 65, "x" * 60_000, "a\\u0000", "\\u200d"]
)
def test_name_that_nobody_can_have_is_like_one_who_is_not_there(
    node: Node, name: str
) -> None:
    """The text is dropped and counted, and the sender goes on."""
    zoe, yan = node.guest("zoe"), node.guest("yan")
    zoe.sends(b'{"destination": "%b"}' % name.encode())
    zoe.sends(b'{"destination": "yan"}')

    assert 1 == len(yan.texts)
    assert 1 == node.metrics.dropped["invalid_name"]


def test_texts_keep_their_order_whomever_they_go_to(node: Node) -> None:
    """Also where the way of one takes longer than that of the next."""
    zoe, bob = node.guest("zoe"), node.classic("bob")
    texts = [
        b'{"destination": "%b", "n": %d}' % (name, n)
        for n in range(20)
        for name in (b"bob", b"nobody")
    ]
    dropped = node.metrics.dropped["no_recipient"]
    for text in texts:
        zoe.sends(text)

    assert [each for each in texts if b"bob" in each] == bob.texts
    assert 20 == node.metrics.dropped["no_recipient"] - dropped


# Who may connect.


@pytest.mark.parametrize("name", ["bob", "BOB", "\uff22ob", "b\u043eb"])
def test_guest_is_refused_when_the_name_has_an_account(node: Node, name: str) -> None:
    """Or looks as if it had."""
    with pytest.raises(Unauthenticated):
        node.guest(name)


def test_guest_whose_name_gets_an_account_is_closed_with_4502(node: Node) -> None:
    """At once: nobody is impersonated."""
    zoe = node.guest("zoe")
    node.account("zoe")
    node.announcer.recheck("zoe")

    assert 4502 == zoe.close_code
    assert [] == zoe.texts


def test_message_for_the_account_closes_the_guest_of_its_name(node: Node) -> None:
    """If it was not told before: it does not get it."""
    zoe, ann = node.guest("zoe"), node.v1("ann")
    node.account("zoe")
    node.directory.forget()
    ann.ask("send", cid="1", to="zoe", body="secret")

    assert 4502 == zoe.close_code
    assert [] == zoe.texts


# No other text frame.


def test_notices_are_never_written_to_a_classic_socket(node: Node) -> None:
    """Whatever happens to the account, it gets messages and nothing else."""
    bob, ann = node.classic("bob"), node.v1("ann")
    web = node.v1("bob", "web")
    conv = ann.ask("conv.create", cid="1", members=["bob"])["conv"]["conv"]
    ann.ask("send", cid="2", conv=conv, body="hi")
    ann.ask("conv.remove", conv=conv, users=["bob"])
    web.ask("user.set", display_name="Bob")
    node.broker.publish(("bob",), b"\xff\x00")
    node.broker.publish(
        ("bob",),
        encode_notice(MailboxNotice("epoch9", {"bob": 1}, Fragment(b'"t":"x"'))),
    )
    node.loop.advance(SOON)

    assert [] == bob.texts
    assert bob.close_code is None


def test_own_messages_are_not_written_back(node: Node) -> None:
    """Another device's neither; one to oneself is."""
    bob, web = node.classic("bob"), node.v1("bob", "web")
    bob.sends(b'{"destination": "ann"}')
    web.ask("send", cid="1", to="ann", body="hi")
    bob.sends(TEXT)

    assert [TEXT] == bob.texts


# The mailbox.


def test_what_came_while_it_was_away_comes_first_and_in_order(node: Node) -> None:
    """Oldest first, then what is new."""
    zoe = node.guest("zoe")
    for n in range(3):
        zoe.sends(b'{"destination": "bob", "n": %d}' % n)
    bob = node.classic("bob")
    zoe.sends(b'{"destination": "bob", "n": 3}')

    assert [0, 1, 2, 3] == [json.loads(text)["n"] for text in bob.texts]


def test_cursor_moves_with_the_pong(node: Node) -> None:
    """What was written is not yet what has arrived."""
    node.stored("ann", "bob")
    bob = node.classic("bob")
    node.loop.advance(2)
    assert (1, 0) == (len(bob.texts), node.cursor("bob"))

    answers(bob)
    node.loop.advance(2)

    assert 2 == node.cursor("bob")


def test_what_was_not_answered_comes_again(node: Node) -> None:
    """Twice is better than never."""
    node.stored("ann", "bob")
    bob = node.classic("bob")
    bob.goes()
    node.loop.advance(2)
    again = node.classic("bob")
    answers(again)
    again.goes()
    node.loop.advance(2)

    assert [1, 1, 0] == [len(each.texts) for each in (bob, again, node.classic("bob"))]


def test_one_ping_follows_a_batch(node: Node) -> None:
    """Its payload says how far; the next comes after its answer."""
    node.token("bob")
    for n in range(5):
        node.stored("ann", "bob", f"{n}")
    bob = node.classic("bob")
    assert [b"6"] == bob.pings
    node.stored("ann", "bob")
    node.roster.check_soon("bob")
    node.loop.advance(SOON)
    assert [b"6"] == bob.pings

    answers(bob)

    assert [b"6", b"7"] == bob.pings


@pytest.mark.parametrize("payload", [b"", b"0", b"99", b"x", b"\xff" * 125])
def test_other_pongs_say_nothing(node: Node, payload: bytes) -> None:
    """Clients may send pongs as they like (RFC 6455, 5.5.3)."""
    node.stored("ann", "bob")
    bob = node.classic("bob")
    bob.sends(payload, WSMsgType.PONG)
    node.loop.advance(2)

    assert 0 == node.cursor("bob")


def test_client_that_does_not_answer_gets_no_more_than_256(node: Node) -> None:
    """The rest stays in the store."""
    node.token("bob")
    for n in range(UNANSWERED_EVENTS + 50):
        node.stored("ann", "bob", f"{n}")
    bob = node.classic("bob")
    assert UNANSWERED_EVENTS == bob.connection.feed.sent  # type: ignore[attr-defined]

    while bob.pings and bob.connection._pinged is not None:  # type: ignore[attr-defined]
        answers(bob)

    assert UNANSWERED_EVENTS + 50 == len(bob.texts)


def test_client_that_reads_too_slowly_gets_the_rest_later(node: Node) -> None:
    """It waits in the store."""
    bob, zoe = node.classic("bob"), node.guest("zoe")
    bob.connection.pause_writing()
    zoe.sends(TEXT)
    assert [] == bob.texts
    bob.connection.resume_writing()

    assert [TEXT] == bob.texts


def test_events_that_are_gone_are_skipped_at_the_next_connection(node: Node) -> None:
    """A classic client cannot sync: it goes on where the mailbox begins."""
    for _ in range(3):
        node.stored("ann", "bob")
    node.loop.advance(1)
    node.loop.run(node.store.trim(before=node.now()))
    node.stored("ann", "bob", '"new"')
    bob = node.classic("bob")

    assert ["new"] == [json.loads(text)["payload"] for text in bob.texts]


# Trouble.


def test_store_that_is_away_closes_the_sender_with_1013(node: Node) -> None:
    """No answer could say that the text was not stored."""
    ann = node.classic("ann")
    node.directory._accounts["bob"] = "bob"
    node.loop.run(node.store.stop())
    ann.sends(TEXT)

    assert 1013 == ann.close_code


def test_texts_behind_one_that_could_not_be_stored_are_not_sent(node: Node) -> None:
    """The client repeats them all; none comes before the one that failed."""
    ann, zoe = node.classic("ann"), node.guest("zoe")
    answer = node.loop.create_future()

    async def find(name: str) -> str:
        await answer
        return name

    node.directory.find = find  # type: ignore[method-assign]
    ann.sends(TEXT)
    ann.sends(b'{"destination": "zoe"}')
    node.loop.run(node.store.stop())
    answer.set_result(None)

    assert (1013, []) == (ann.close_code, zoe.texts)


def test_account_over_its_allowance_is_read_more_slowly(loop: FakeLoop) -> None:
    """Nothing is dropped, nothing is refused: it takes its time."""
    node = Node(loop, sends_burst=5)
    node.account("ann", "bob")
    ann = node.classic("ann")
    for n in range(45):
        ann.sends(b'{"destination": "bob", "n": %d}' % n)
    at_once = len(mailbox(node, "bob"))
    reading = ann.transport.reading
    loop.advance(3)

    assert (5, False) == (at_once, reading)
    assert 45 == len(mailbox(node, "bob"))
    assert ann.transport.reading


def test_guest_over_its_allowance_is_read_more_slowly(loop: FakeLoop) -> None:
    """Of what is stored; and one guest does not wait for another."""
    node = Node(loop, guests_burst=5)
    node.account("bob")
    zoe, yan = node.guest("zoe"), node.guest("yan")
    for n in range(45):
        zoe.sends(b'{"destination": "bob", "n": %d}' % n)
    yan.sends(TEXT)
    at_once = len(mailbox(node, "bob"))
    reading = zoe.transport.reading
    loop.advance(10)

    assert (6, False) == (at_once, reading)
    assert 46 == len(mailbox(node, "bob"))
    assert zoe.transport.reading


def test_refused_text_is_counted_and_no_more(node: Node) -> None:
    """A classic client gets no errors."""
    node.loop.run(node.store.change_account(AccountChange("bob", ts=5, closed=True)))
    ann, zoe = node.classic("ann"), node.guest("zoe")
    ann.sends(TEXT)
    zoe.sends(TEXT)

    assert 2 == node.metrics.dropped["refused"]
    assert (None, None) == (ann.close_code, zoe.close_code)


def test_text_that_was_sent_just_before_the_end_arrives(node: Node) -> None:
    """The sender need not wait for anything."""
    zoe, bob = node.guest("zoe"), node.classic("bob")
    answer = node.loop.create_future()
    find = node.directory.find

    async def late(name: str) -> str | None:
        await answer
        return await find(name)

    node.directory.find = late  # type: ignore[method-assign]
    for _ in range(3):
        zoe.sends(TEXT)
    zoe.goes()
    answer.set_result(None)
    node.loop.settle()

    assert [TEXT] * 3 == bob.texts


def test_closed_account_leaves_nothing_behind(node: Node) -> None:
    """Neither at the broker nor in the roster."""
    bob = node.classic("bob")
    bob.goes()

    assert {} == node.broker._subscriptions
    assert 0 == node.roster.count("bob")


def test_text_that_cannot_be_sent_for_a_reason_of_ours_ends_the_connection(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not lost in silence, and nothing overtakes it."""
    ann = node.classic("ann")

    async def fail(*_: object) -> None:
        raise ValueError("of the driver")

    monkeypatch.setattr(node.store, "send", fail)
    ann.sends(b'{"destination": "bob"}')
    node.loop.settle()

    assert 1011 == ann.close_code


def test_logged_out_device_is_closed_with_4502(node: Node) -> None:
    """As in v1."""
    bob, web = node.classic("bob"), node.v1("bob", "web")
    web.ask("device.revoke", device="phone")
    node.loop.advance(SOON)

    assert 4502 == bob.close_code
