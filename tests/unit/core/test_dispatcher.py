# SPDX-License-Identifier: Apache-2.0
"""What each v1 command does, and the fields of its answer."""

import itertools
import json
from typing import Any

import msgspec
import pytest

from chatmotor.adapters.embedded_broker import EmbeddedBroker
from chatmotor.core.account_parts import AccountParts
from chatmotor.core.accounts import Accounts, SignUp
from chatmotor.core.allowance import Allowance
from chatmotor.core.announcer import Announcer
from chatmotor.core.directory import Directory
from chatmotor.core.dispatcher import SIGNAL_MAX_BYTES, Dispatcher
from chatmotor.core.hooks import IncomingHooks
from chatmotor.core.passwords import PasswordRules
from chatmotor.core.throttle import Throttle
from chatmotor.core.typists import Typists
from chatmotor.errors import (
    CidConflict,
    Forbidden,
    NoSuchConv,
    NoSuchDevice,
    NoSuchUser,
    NotMember,
    OutcomeUnknown,
    QuotaExceeded,
    RateLimited,
    RequestRefused,
    StoreUnavailable,
    TooLarge,
    Trimmed,
)
from chatmotor.metrics import Metrics
from chatmotor.ports.accounts import Grant, NewToken, hash_secret
from chatmotor.ports.messages import GuestMessage
from chatmotor.protocol.commands import CALLED, decode_call
from tests.fakes.memory_store import MemoryStore
from tests.fakes.plain_hasher import PlainHasher
from tests.harness.stores import add_account
from tests.harness.vectors import each_vector

Fields = dict[str, Any]

NOW = 1_700_000_000_000
EXPIRES = NOW + 1000_000


class HeardBroker(EmbeddedBroker):
    """Keeps for whom something was published."""

    def __init__(self) -> None:
        super().__init__(Metrics(), queue_max_bytes=1000)
        self.heard: list[tuple[str, ...]] = []

    def publish(self, recipients: Any, body: bytes, *, kept: bool = True) -> bool:
        self.heard.append(tuple(recipients))
        return True

    def notify(self, key: str, body: bytes) -> None:
        self.heard.append((key,))


class Desk:
    """A dispatcher on a store in memory, and who asks it."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.clock = 1000.0
        self.broker = HeardBroker()
        self.read: list[str] = []
        announcer = Announcer(self.broker, store, on_recheck=lambda: None)
        parts = AccountParts(
            store=store,
            hasher=PlainHasher(),
            passwords=PasswordRules(frozenset()),
            throttle=Throttle(store, account_attempts=9, address_attempts=9),
            now=lambda: NOW,
            new_secret=lambda: "secret",
            tell=announcer.tell,
            recheck=announcer.recheck,
        )
        self.dispatcher = Dispatcher(
            store,
            Accounts(parts, sign_up=SignUp.OPEN, token_ms=1, devices_max=9),
            announcer,
            directory=Directory(store, lambda: self.clock),
            typists=Typists(store, announcer, lambda: self.clock),
            incoming=IncomingHooks(
                store, url=lambda: "https://chat.example.org", now=lambda: NOW
            ),
            on_read=self.read.append,
            now=lambda: NOW,
            sends=Allowance(per_second=2, burst=40, clock=lambda: self.clock),
            lookups=Allowance(per_second=1, burst=3, clock=lambda: self.clock),
            body_max_bytes=32768,
            members_max=4,
        )
        self.cids = itertools.count(1)

    async def grant(self, username: str, device: str = "phone") -> Grant:
        """A log-in."""
        token = hash_secret(f"{username} {device}")
        grant, _ = await self.store.add_token(
            NewToken(username, device, token, NOW, EXPIRES)
        )
        return grant

    async def ask(self, username: str, op: str, **fields: Any) -> Fields:
        """The fields of the ``ok``, as a client decodes them."""
        self.broker.heard.clear()
        command = decode_call(op, json.dumps(fields).encode())
        caller = await self.grant(username)
        self.broker.heard.clear()
        answer = await self.dispatcher.run(command, caller)
        decoded: Fields = json.loads(msgspec.json.encode(answer))
        return decoded

    async def refusal(self, username: str, op: str, **fields: Any) -> RequestRefused:
        """How it is refused."""
        with pytest.raises(RequestRefused) as refused:
            await self.ask(username, op, **fields)
        return refused.value

    async def send(self, sender: str, body: Any = "hi", **where: str) -> Fields:
        """A message."""
        cid = f"cid{next(self.cids)}"
        return await self.ask(sender, "send", cid=cid, body=body, **where)

    async def group(self, creator: str, *members: str, title: str = "") -> str:
        """The id of a new group."""
        cid = f"cid{next(self.cids)}"
        answer = await self.ask(
            creator, "conv.create", cid=cid, members=members, title=title
        )
        conv: str = answer["conv"]["conv"]
        return conv


@pytest.fixture
async def desk() -> Desk:
    """Ann, bob, cyd, dan and eve have accounts."""
    store = MemoryStore()
    await store.start()
    for username in ("ann", "bob", "cyd", "dan", "eve"):
        await add_account(store, username)
    return Desk(store)


def test_every_call_has_its_case(desk: Desk) -> None:
    """A command that is added is done."""
    assert set(CALLED.values()) == set(desk.dispatcher._cases)


# send


async def test_send_answers_with_where_it_is(desk: Desk) -> None:
    """Sender and recipient are told, in one publish."""
    answer = await desk.ask("ann", "send", cid="one", to="BOB", body={"x": 1})

    assert {"conv": "d.1.2", "n": 1, "seq": 2, "ts": NOW, "dup": False} == answer
    assert [("bob", "ann")] == desk.broker.heard


async def test_send_to_a_group_has_no_seq(desk: Desk) -> None:
    """It is in no mailbox."""
    conv = await desk.group("ann", "bob")

    answer = await desk.send("ann", conv=conv)

    assert {"conv": conv, "n": 1, "ts": NOW, "dup": False} == answer
    assert [(f"g.{conv}",)] == desk.broker.heard


async def test_send_again_is_the_first_answer(desk: Desk) -> None:
    """With the same cid and content; other content is a conflict."""
    first = await desk.ask("ann", "send", cid="one", to="bob", body="hi")

    assert first | {"dup": True} == await desk.ask(
        "ann", "send", cid="one", to="bob", body="hi"
    )
    refused = await desk.refusal("ann", "send", cid="one", to="bob", body="ho")
    assert (CidConflict, "cid") == (type(refused), refused.field)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"body": "hi"}, "to"),
        ({"to": "bob", "conv": "d.1.2", "body": "hi"}, "to"),
        ({"to": "bob"}, "body"),
        ({"to": "bob", "body": "hi", "raw": "hi"}, "body"),
    ],
)
async def test_send_has_one_recipient_and_one_content(
    desk: Desk, fields: Fields, field: str
) -> None:
    """Neither none nor two."""
    refused = await desk.refusal("ann", "send", cid="one", **fields)

    assert ("bad_request", field) == (refused.code, refused.field)


@pytest.mark.parametrize("name", ["nobody", "a b", "admin", "\u200d"])
async def test_send_to_nobody_is_refused(desk: Desk, name: str) -> None:
    """Whether nobody has the name, or nobody can have it."""
    refused = await desk.refusal("ann", "send", cid="one", to=name, body="hi")

    assert isinstance(refused, NoSuchUser)


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({"body": "x" * 32766}, True),
        ({"body": "x" * 32767}, False),
        ({"raw": "x" * 32768}, True),
        ({"raw": "x" * 32769}, False),
        ({"raw": "\u00e9" * 16384}, True),
        ({"raw": "\u00e9" * 16384 + "x"}, False),
        ({"raw": ""}, True),
    ],
)
async def test_content_is_bounded_in_bytes(
    desk: Desk, content: Fields, *, fits: bool
) -> None:
    """As JSON text, or as it is."""
    if fits:
        assert 1 == (await desk.ask("ann", "send", cid="c", to="bob", **content))["n"]
        return
    refused = await desk.refusal("ann", "send", cid="c", to="bob", **content)

    assert (TooLarge, *content) == (type(refused), refused.field)


@each_vector("bodies.json")
async def test_body_is_stored_as_it_is_or_refused(desk: Desk, case: Fields) -> None:
    """No reader is closed by what another one wrote."""
    fields = '{"cid":"c","to":"bob","body":' + case["body"] + "}"
    command = decode_call("send", fields.encode())
    caller = await desk.grant("ann")
    if case["code"] is not None:
        with pytest.raises(RequestRefused) as refused:
            await desk.dispatcher.run(command, caller)
        assert (case["code"], "body") == (refused.value.code, refused.value.field)
        return
    await desk.dispatcher.run(command, caller)

    page = await desk.store.history("d.1.2", reader="bob", limit=1)
    assert case["body"] == page.messages[0].body.decode()


async def test_sends_are_bounded_by_an_allowance(desk: Desk) -> None:
    """It says when to try again; what is refused for another reason costs nothing."""
    for _ in range(39):
        await desk.send("ann", to="bob")
    for _ in range(5):
        await desk.refusal("ann", "send", cid="c", to="bob")
    await desk.send("ann", to="bob")
    refused = await desk.refusal("ann", "send", cid="late", to="bob", body="hi")

    assert (RateLimited, True, 501) == (
        *(type(refused), refused.temporary),
        refused.retry_ms,
    )
    assert 1 == (await desk.send("cyd", to="bob"))["n"]
    desk.clock += 0.501
    assert not (await desk.ask("ann", "send", cid="late", to="bob", body="hi"))["dup"]


async def test_reply_is_remembered(desk: Desk) -> None:
    """By the number of the message that it answers."""
    await desk.send("ann", to="bob")
    await desk.ask("bob", "send", cid="re", to="ann", body="yes", reply_to=1)

    items = (await desk.ask("ann", "history", conv="d.1.2"))["items"]
    assert [None, 1] == [each.get("reply_to") for each in items]


# read


async def test_read_moves_the_pointer_and_tells_the_own_devices(desk: Desk) -> None:
    """Once: what is read already is no news."""
    await desk.send("ann", to="bob")

    assert {} == await desk.ask("bob", "read", conv="d.1.2", n=1)
    assert [("bob",)] == desk.broker.heard
    assert {} == await desk.ask("bob", "read", conv="d.1.2", n=1)
    assert [] == desk.broker.heard


async def test_read_of_what_is_not_ones_own_is_refused(desk: Desk) -> None:
    """As if there were nothing."""
    await desk.send("ann", to="bob")

    assert isinstance(await desk.refusal("cyd", "read", conv="d.1.2", n=1), NoSuchConv)


# sync


async def test_sync_is_a_snapshot(desk: Desk) -> None:
    """Every conversation as the account sees it, at one seq."""
    await desk.send("bob", to="ann")
    conv = await desk.group("ann", "bob", title="Tea")
    await desk.send("bob", conv=conv)
    answer = await desk.ask("ann", "sync")
    direct, group = answer["convs"]

    assert {"epoch": "epoch0", "seq": 3} == answer["at"]
    assert ([], [], None) == (answer["contacts"], answer["blocks"], answer["cursor"])
    assert {
        "conv": "d.1.2",
        "ts": NOW,
        "type": "direct",
        "user": "bob",
        "n": 1,
        "read": 0,
        "unread": 1,
        "mentions": 0,
    } == {key: direct[key] for key in direct if key != "last"}
    assert ("group", "Tea", "owner", 2, 2, 1) == tuple(
        group[key] for key in ("type", "title", "role", "members", "pos", "unread")
    )
    assert {"n": 1, "from": "bob", "body": "hi"} == {
        key: group["last"][key] for key in ("n", "from", "body")
    }


async def test_sync_in_pages_keeps_the_place_of_the_first(desk: Desk) -> None:
    """What comes meanwhile is an event after it."""
    for username in ("bob", "cyd", "dan", "eve", "ann"):
        await desk.send("ann", to=username)
    found, cursor, places = [], None, set()
    while True:
        page = await desk.ask("ann", "sync", limit=2, cursor=cursor)
        found += [each["conv"] for each in page["convs"]]
        places.add(page["at"]["seq"])
        cursor = page["cursor"]
        if cursor is None:
            break
        await desk.send("bob", to="ann")

    assert sorted({"d.1.1", "d.1.2", "d.1.3", "d.1.4", "d.1.5"}) == found
    assert 1 == len(places)


@pytest.mark.parametrize("cursor", ["x", "-1/g", "1.5/", "\u0663/", "9" * 17, "/"])
async def test_cursor_of_somebody_elses_making_is_refused(
    desk: Desk, cursor: str
) -> None:
    """It is the server's own, to be given back as it was."""
    assert "cursor" == (await desk.refusal("ann", "sync", cursor=cursor)).field


async def test_guest_is_shown_as_one(desk: Desk) -> None:
    """A name, and no account."""
    await desk.store.send_from_guest(GuestMessage("zoe", "ann", b"hi", NOW))
    (conv,) = (await desk.ask("ann", "sync"))["convs"]

    assert ("guest", "zoe") == (conv["type"], conv["user"])


# events


async def test_events_are_the_mailbox_pulled(desk: Desk) -> None:
    """As they are pushed, without ``op``; and whether there are more."""
    await desk.send("ann", to="bob")
    await desk.send("bob", to="ann")
    answer = await desk.ask("ann", "events", since=1, limit=1)

    assert {
        "seq": 2,
        "t": "message.new",
        "ts": NOW,
        "conv": "d.1.2",
        "n": 1,
        "from": "ann",
        "body": "hi",
        "cid": "cid1",
    } == answer["events"][0]
    assert answer["more"]
    rest = await desk.ask("ann", "events", since=2)
    assert ([3], False) == ([each["seq"] for each in rest["events"]], rest["more"])
    assert "cid" not in rest["events"][0]


async def test_events_of_a_group_are_its_log_pulled(desk: Desk) -> None:
    """For its members alone."""
    conv = await desk.group("ann", "bob")
    await desk.send("ann", conv=conv)
    answer = await desk.ask("bob", "events", since=0, conv=conv)

    assert [(1, "conv.member"), (2, "message.new")] == [
        (each["pos"], each["t"]) for each in answer["events"]
    ]
    assert isinstance(
        await desk.refusal("cyd", "events", since=0, conv=conv), NoSuchConv
    )


async def test_events_that_are_gone_are_refused(desk: Desk) -> None:
    """A pull is complete or refused, as a resume is."""
    await desk.send("ann", to="bob")
    await desk.store.trim(before=NOW + 1)

    assert isinstance(await desk.refusal("ann", "events", since=0), Trimmed)


# history


async def test_history_has_messages_and_receipts(desk: Desk) -> None:
    """The last ones, by rising number; the cid for their sender."""
    for n in range(3):
        await desk.send("ann", n, to="bob")
    answer = await desk.ask("bob", "history", conv="d.1.2", limit=2)

    assert [(2, 1, False), (3, 2, False)] == [
        (each["n"], each["body"], "cid" in each) for each in answer["items"]
    ]
    assert answer["more"]
    assert {"ann": [3, 3], "bob": [0, 0]} == answer["receipts"]
    assert "cid" in (await desk.ask("ann", "history", conv="d.1.2"))["items"][0]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"before": 4}, [2, 3]),
        ({"after": 2}, [3, 4]),
        ({"around": 3}, [2, 3]),
        ({"after": 5}, []),
        ({"before": 1}, []),
    ],
)
async def test_history_around_a_number(
    desk: Desk, where: Fields, expected: list[int]
) -> None:
    """On one side of it, or on both."""
    for _ in range(5):
        await desk.send("ann", to="bob")
    answer = await desk.ask("ann", "history", conv="d.1.2", limit=2, **where)

    assert expected == [each["n"] for each in answer["items"]]


@pytest.mark.parametrize(
    "where", [{"before": 1, "after": 1}, {"before": 1, "after": 1, "around": 1}]
)
async def test_history_has_one_side(desk: Desk, where: Fields) -> None:
    """Two are a mistake of the client's."""
    await desk.send("ann", to="bob")
    refused = await desk.refusal("ann", "history", conv="d.1.2", **where)

    assert ("bad_request", "before") == (refused.code, refused.field)


# Groups.


async def test_create_makes_a_group_of_its_creator(desk: Desk) -> None:
    """Who is in it is told, by the group and in the own mailbox."""
    answer = await desk.ask(
        "ann", "conv.create", cid="one", title="Tea", members=["BOB", "ann"]
    )
    conv = answer["conv"]

    assert conv["conv"].startswith("g.")
    assert ("group", "Tea", "owner", 2, 1, 0) == tuple(
        conv[key] for key in ("type", "title", "role", "members", "pos", "n")
    )
    group, mailboxes = desk.broker.heard
    assert ((f"g.{conv['conv']}",), {"ann", "bob"}) == (group, set(mailboxes))


async def test_create_again_is_the_same_group(desk: Desk) -> None:
    """By its cid."""
    answers = [await desk.ask("ann", "conv.create", cid="one") for _ in range(2)]

    assert answers[0] == answers[1]
    assert [] == desk.broker.heard


async def test_groups_are_bounded(desk: Desk) -> None:
    """At their creation, and later."""
    refused = await desk.refusal(
        "ann", "conv.create", cid="one", members=["bob", "cyd", "dan", "eve"]
    )
    conv = await desk.group("ann", "bob", "cyd", "dan")
    later = await desk.refusal("ann", "conv.invite", conv=conv, users=["eve"])

    assert [QuotaExceeded] * 2 == [type(refused), type(later)]


@pytest.mark.parametrize(
    ("op", "field"),
    [("conv.create", "members"), ("conv.invite", "users"), ("conv.remove", "users")],
)
async def test_name_that_nobody_can_have_is_refused_with_its_field(
    desk: Desk, op: str, field: str
) -> None:
    """Nobody is changed."""
    where: Fields = {"cid": "one"}
    if op != "conv.create":
        where["conv"] = await desk.group("ann", "bob")
    refused = await desk.refusal("ann", op, **where, **{field: ["bob", "a b"]})

    assert (NoSuchUser, field) == (type(refused), refused.field)


async def test_get_has_a_page_of_members(desk: Desk) -> None:
    """With their roles, and where the next page begins."""
    conv = await desk.group("ann", "bob", "cyd")
    first = await desk.ask("bob", "conv.get", conv=conv, limit=2)
    second = await desk.ask("bob", "conv.get", conv=conv, cursor=first["cursor"])

    assert [
        {"user": "ann", "role": "owner"},
        {"user": "bob", "role": "member"},
    ] == first["members"]
    assert ("bob", 3, "member") == (
        *(first["cursor"], first["conv"]["members"]),
        first["conv"]["role"],
    )
    assert ([{"user": "cyd", "role": "member"}], None) == (
        *(second["members"], second["cursor"]),
    )


async def test_get_of_a_direct_conversation_has_no_members(desk: Desk) -> None:
    """It says who the other one is."""
    await desk.send("ann", to="bob")
    answer = await desk.ask("bob", "conv.get", conv="d.1.2")

    assert {"conv"} == set(answer)
    assert ("direct", "ann") == (answer["conv"]["type"], answer["conv"]["user"])


async def test_invite_and_remove_answer_with_the_group(desk: Desk) -> None:
    """And tell whoever came or went."""
    conv = await desk.group("ann", "bob")
    invited = await desk.ask("bob", "conv.invite", conv=conv, users=["cyd"])
    told = list(desk.broker.heard)
    removed = await desk.ask("ann", "conv.remove", conv=conv, users=["cyd", "dan"])

    assert [(3, 2), (2, 3)] == [
        (each["conv"]["members"], each["conv"]["pos"]) for each in (invited, removed)
    ]
    assert [(f"g.{conv}",), ("cyd",)] == told == desk.broker.heard


async def test_change_again_is_made_once(desk: Desk) -> None:
    """By its cid, or because nothing changes."""
    conv = await desk.group("ann", "bob")
    for cid in ("one", "one", None):
        answer = await desk.ask("ann", "conv.invite", conv=conv, users=["cyd"], cid=cid)
        assert 2 == answer["conv"]["pos"]

    assert [] == desk.broker.heard


async def test_members_do_not_remove(desk: Desk) -> None:
    """The store judges by their roles."""
    conv = await desk.group("ann", "bob", "cyd")

    assert isinstance(
        await desk.refusal("bob", "conv.remove", conv=conv, users=["cyd"]), Forbidden
    )


async def test_to_remove_oneself_is_to_leave(desk: Desk) -> None:
    """One command for each thing."""
    conv = await desk.group("ann", "bob")
    refused = await desk.refusal("bob", "conv.remove", conv=conv, users=["BOB"])

    assert ("bad_request", "users") == (refused.code, refused.field)


async def test_leave_ends_it_for_oneself(desk: Desk) -> None:
    """The others are told, and so are the own devices."""
    conv = await desk.group("ann", "bob")

    assert {} == await desk.ask("bob", "conv.leave", conv=conv)
    assert [(f"g.{conv}",), ("bob",)] == desk.broker.heard
    assert isinstance(await desk.refusal("bob", "conv.get", conv=conv), NotMember)


async def test_leave_again_with_its_cid_is_no_error(desk: Desk) -> None:
    """The first answer may have been lost."""
    conv = await desk.group("ann", "bob")

    assert [{}, {}] == [
        await desk.ask("bob", "conv.leave", conv=conv, cid="one") for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("conv.create", {"cid": "one"}),
        ("conv.invite", {"users": ["cyd"]}),
        ("user.set", {"display_name": "Ann"}),
    ],
)
async def test_what_was_changed_is_never_answered_with_an_error(
    desk: Desk, op: str, fields: Fields
) -> None:
    """
    An error says that nothing was changed.  When the store goes away after the
    change, no answer is true; the client asks again.
    """
    conv = await desk.group("ann", "bob")
    if op == "conv.invite":
        fields = fields | {"conv": conv}
    command = decode_call(op, json.dumps(fields).encode())
    caller = await desk.grant("ann")
    store = desk.store

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    store.conversation = away  # type: ignore[method-assign]
    store.account = away  # type: ignore[method-assign]

    with pytest.raises(OutcomeUnknown):
        await desk.dispatcher.run(command, caller)


# Devices and users.


async def test_devices_are_listed_with_the_one_that_asks(desk: Desk) -> None:
    """By name."""
    await desk.grant("ann", "web")
    answer = await desk.ask("ann", "device.list")

    assert [
        {"device": "phone", "ts": NOW, "seen": NOW, "current": True},
        {"device": "web", "ts": NOW, "seen": NOW, "current": False},
    ] == answer["devices"]


async def test_revoked_device_is_gone(desk: Desk) -> None:
    """The others are told, and every node looks at its sockets."""
    await desk.grant("ann", "web")

    assert {} == await desk.ask("ann", "device.revoke", device="web")
    assert [("ann",), ("ann",)] == desk.broker.heard
    assert isinstance(
        await desk.refusal("ann", "device.revoke", device="web"), NoSuchDevice
    )


async def test_profile_is_set_and_got(desk: Desk) -> None:
    """In any spelling of the username; the own devices are told."""
    answer = await desk.ask("ann", "user.set", display_name=" Ann B. ")

    user = {"username": "ann", "display_name": "Ann B."}
    assert {"user": user} == answer
    assert [("ann",)] == desk.broker.heard
    assert {"user": user} == await desk.ask("bob", "user.get", user="ANN")
    assert {"users": [user]} == await desk.ask("bob", "user.find", q="Ann")


@pytest.mark.parametrize("name", ["nobody", "a b", "admin"])
async def test_nobody_is_an_error_or_nothing(desk: Desk, name: str) -> None:
    """``get`` wants one, ``find`` looks."""
    assert isinstance(await desk.refusal("ann", "user.get", user=name), NoSuchUser)
    assert {"users": []} == await desk.ask("ann", "user.find", q=name)


async def test_display_name_has_visible_characters(desk: Desk) -> None:
    """And the field is named."""
    refused = await desk.refusal("ann", "user.set", display_name="a\nb")

    assert "display_name" == refused.field


async def test_lookups_are_bounded(desk: Desk) -> None:
    """Both kinds together: names cannot be tried one after the other."""
    for _ in range(2):
        await desk.ask("ann", "user.find", q="bob")
    await desk.ask("ann", "user.get", user="bob")
    refused = await desk.refusal("ann", "user.find", q="bob")

    assert (RateLimited, 1001) == (type(refused), refused.retry_ms)
    desk.clock += 1
    assert 1 == len((await desk.ask("ann", "user.find", q="bob"))["users"])


# What is of now.


async def test_typing_is_told_to_the_other_one(desk: Desk) -> None:
    """Over HTTP as over a socket; of an end only if a beginning was told."""
    conv = (await desk.send("ann", to="bob"))["conv"]

    for state, heard in (("off", []), ("on", [("bob",)]), ("off", [("bob",)])):
        assert {} == await desk.ask("ann", "typing", conv=conv, state=state)
        assert heard == desk.broker.heard


async def test_typing_of_a_stranger_is_refused(desk: Desk) -> None:
    """As if there was no such conversation."""
    conv = (await desk.send("ann", to="bob"))["conv"]

    refused = await desk.refusal("cyd", "typing", conv=conv, state="on")

    assert isinstance(refused, NoSuchConv)


async def test_a_signal_goes_to_an_account(desk: Desk) -> None:
    """Whatever the spelling of its name; nothing is stored."""
    top = await desk.store.tops(["bob"], [])

    assert {} == await desk.ask("ann", "signal", to="BoB", body={"sdp": "x"})

    assert [("bob",)] == desk.broker.heard
    assert top == await desk.store.tops(["bob"], [])


@pytest.mark.parametrize("name", ["zed", "a b"])
async def test_a_signal_to_nobody_is_refused(desk: Desk, name: str) -> None:
    """Without an account there is no device."""
    refused = await desk.refusal("ann", "signal", to=name, body=1)

    assert isinstance(refused, NoSuchUser)
    assert "to" == refused.field
    assert [] == desk.broker.heard


async def test_a_signal_is_short(desk: Desk) -> None:
    """8 KiB of JSON, as it is written."""
    longest = "x" * (SIGNAL_MAX_BYTES - 2)
    assert {} == await desk.ask("ann", "signal", to="bob", body=longest)

    refused = await desk.refusal("ann", "signal", to="bob", body=longest + "x")

    assert isinstance(refused, TooLarge)
    assert "body" == refused.field


async def test_a_body_of_a_signal_is_one_that_everyone_can_read(desk: Desk) -> None:
    """As that of a message."""
    deep = json.loads("[" * 17 + "]" * 17)

    refused = await desk.refusal("ann", "signal", to="bob", body=deep)

    assert ("bad_request", "body") == (refused.code, refused.field)


async def test_signals_spend_the_allowance_of_messages(desk: Desk) -> None:
    """Both together are what an account may send."""
    for n in range(20):
        await desk.send("ann", to="bob")
        await desk.ask("ann", "signal", to="bob", body=n)

    for refused in (
        await desk.refusal("ann", "signal", to="bob", body=1),
        await desk.refusal("ann", "send", cid="over", to="bob", body=1),
    ):
        assert isinstance(refused, RateLimited)


async def test_a_pointer_that_moves_is_said(desk: Desk) -> None:
    """To whoever tells receipts; one that stays is not."""
    conv = (await desk.send("ann", to="bob"))["conv"]

    await desk.ask("bob", "read", conv=conv, n=1)
    await desk.ask("bob", "read", conv=conv, n=1)

    assert [conv] == desk.read
