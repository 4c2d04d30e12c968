# SPDX-License-Identifier: Apache-2.0
"""A v1 session from hello to bye, on a node in memory and a clock turned by hand."""

import json
from typing import Any

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from chatmotor.errors import InvalidName, TooManyDevices
from chatmotor.node.v1_connection import UNGREETED_REFUSALS
from chatmotor.ports.accounts import AccountChange
from tests.unit.node.fakes import FakeLoop
from tests.unit.node.rig import (
    SOON,
    Frame,
    Node,
    SlowStore,
    V1Client,
    beat,
    last,
    node_with,
)

HELLO_SECONDS = 10.0


@pytest.fixture
def node(loop: FakeLoop) -> Node:
    """A node; ann, bob and cyd have accounts."""
    node = Node(loop)
    node.account("ann", "bob", "cyd")
    return node


@pytest.fixture
def slow(loop: FakeLoop) -> SlowStore:
    """A store whose answers wait for the test."""
    return SlowStore()


# Before the welcome.


def test_silent_client_is_closed_exactly_at_the_hello_deadline(node: Node) -> None:
    """A peer that never says hello is closed with 4501, not a tick sooner."""
    client = node.new_v1()
    beat(client, HELLO_SECONDS - 0.001)
    assert client.close_code is None

    beat(client, HELLO_SECONDS)

    assert 4501 == client.close_code
    assert ("bye", 4501, False, 0) == tuple(
        last(client)[key] for key in ("op", "code", "reconnect", "after_ms")
    )


def test_the_beat_of_the_node_is_enough(node: Node) -> None:
    """No timer belongs to a connection."""
    client = node.new_v1()
    node.loop.advance(HELLO_SECONDS + 1)

    assert 4501 == client.close_code


def test_pings_do_not_put_off_the_deadline(node: Node) -> None:
    """They are answered, and that is all."""
    client = node.new_v1()
    for _ in range(3):
        assert [{"op": "pong", "id": 1}] == client.says(op="ping", id=1)
    beat(client, HELLO_SECONDS)

    assert 4501 == client.close_code


@pytest.mark.parametrize(
    "frame",
    [
        {"op": "send", "id": 1, "cid": "c", "to": "bob", "body": "hi"},
        {"op": "ack", "id": 1, "h": 0},
        {"op": "auth", "id": 1, "token": "x"},
        {"op": "sync", "id": 1},
    ],
)
def test_command_before_hello_is_refused(node: Node, frame: Frame) -> None:
    """In words; the client may still say hello."""
    client = node.new_v1()

    (answer,) = client.says(**frame)

    assert ("error", 1, "unauthenticated") == (
        answer["op"],
        answer["id"],
        answer["code"],
    )
    assert "welcome" == client.hello(node.token("ann"))[0]["op"]


def test_nothing_but_refusals_is_closed_with_4500(node: Node) -> None:
    """Who sends garbage and no hello means no good."""
    client = node.new_v1()
    for number in range(UNGREETED_REFUSALS):
        assert client.close_code is None
        client.sends(b"garbage %d" % number)

    assert 4500 == client.close_code
    assert UNGREETED_REFUSALS == client.ops().count("error")


def test_what_comes_with_hello_waits_for_the_welcome(node: Node) -> None:
    """A client need not wait before it sends: its commands are done in their order."""
    client = node.new_v1()
    hello = {"op": "hello", "id": 0, "v": 1, "token": node.token("ann")}
    later = [
        {"op": "send", "id": n, "cid": f"{n}", "to": "bob", "body": "hi"}
        for n in range(1, 2 * UNGREETED_REFUSALS)
    ]
    send_at_once(client, hello, *later)

    assert client.close_code is None
    assert ["welcome", "live"] == client.ops()[:2]
    assert list(range(1, 2 * UNGREETED_REFUSALS)) == [
        each["id"] for each in client.frames if each["op"] == "ok"
    ]


def send_at_once(client: V1Client, *frames: Frame) -> None:
    """Several frames that one reading of the socket brings."""
    for each in frames:
        client.connection.on_ws_frame(*wire_frame(json.dumps(each).encode()))
    client.loop.settle()


def wire_frame(payload: bytes, kind: WSMsgType = WSMsgType.TEXT) -> Any:
    """What picows calls with."""
    return None, _make_test_ws_frame(kind, payload, True, False)


@pytest.mark.parametrize(
    ("token", "code", "close_code", "reconnect"),
    [
        ("cm_wrong", "unauthenticated", 4502, False),
        (None, "unauthenticated", 4502, False),
        ("cm_ann-old-1", "token_expired", 4010, True),
        ("cm_bob-phone-3600", "suspended", 4504, False),
    ],
)
def test_refused_hello_is_answered_and_closed(
    node: Node, token: str | None, code: str, close_code: int, *, reconnect: bool
) -> None:
    """An error, a bye, and the close code with the verdict."""
    node.token("ann", "old", seconds=1)
    node.token("bob")
    node.loop.run(node.store.change_account(closing("bob")))
    node.loop.advance(1)
    client = node.new_v1()

    error, bye = client.hello(token)

    assert ("error", 1, code) == (error["op"], error["id"], error["code"])
    assert ("bye", close_code, reconnect) == (
        *(bye["op"], bye["code"]),
        bye["reconnect"],
    )
    assert close_code == client.close_code


def closing(username: str) -> Any:
    """The change that deactivates an account."""
    return AccountChange(username, ts=5, closed=True)


def test_other_version_is_closed_with_4505(node: Node) -> None:
    """A client of another day stays away."""
    client = node.new_v1()
    error, _ = client.hello(node.token("ann"), v=2)

    assert ("unsupported_version", "v") == (error["code"], error["field"])
    assert 4505 == client.close_code


def test_one_socket_too_many_is_closed_with_4003(loop: FakeLoop) -> None:
    """It may come again, when another one has gone."""
    node = node_with(loop, sockets_max=1)
    node.v1("ann")
    client = node.new_v1()
    error, bye = client.hello(node.token("ann", "web"))

    assert ("quota_exceeded", 4003, True) == (
        *(error["code"], bye["code"]),
        bye["reconnect"],
    )


def test_store_that_is_away_is_closed_with_4006(node: Node) -> None:
    """The client comes again."""
    token = node.token("ann")
    node.loop.run(node.store.stop())
    client = node.new_v1()
    error, _ = client.hello(token)

    assert ("unavailable", True) == (error["code"], error["retry"])
    assert 4006 == client.close_code


def test_store_that_does_not_answer_is_no_reason_to_stay_away(node: Node) -> None:
    """The client has said hello in time; it is the node that has no answer."""
    never = node.loop.create_future()

    async def standings(username: str) -> Any:
        await never

    node.store.standings = standings  # type: ignore[method-assign]
    client = node.new_v1()
    client.hello(node.token("ann"))
    beat(client, HELLO_SECONDS)

    assert 4006 == client.close_code
    assert last(client)["reconnect"]


def test_failure_of_ours_is_closed_with_4000(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word of what it was; the log has it."""

    async def standings(username: str) -> Any:
        raise RuntimeError("SELECT secret")

    node.store.standings = standings  # type: ignore[method-assign]
    client = node.new_v1()
    client.hello(node.token("ann"))

    assert 4000 == client.close_code
    assert b"SELECT" not in client.transport.written
    assert ["a command failed"] == [each.getMessage() for each in caplog.records]


def test_hello_again_is_refused(node: Node) -> None:
    """The session stays as it is."""
    client = node.v1("ann")
    (answer,) = client.hello(node.token("bob"))

    assert ("error", "bad_request", "op") == tuple(
        answer[key] for key in ("op", "code", "field")
    )
    assert client.close_code is None


# Answers.


def test_text_that_is_no_command_is_answered_and_costs_nothing(node: Node) -> None:
    """An error, and the session goes on, however often."""
    client = node.v1("ann")
    for _ in range(3 * UNGREETED_REFUSALS):
        client.sends(b'{"op": "fly", "id": 5}')

    errors = [each for each in client.new() if each["op"] == "error"]
    assert 3 * UNGREETED_REFUSALS == len(errors)
    assert {("unknown_op", 5)} == {(each["code"], each["id"]) for each in errors}
    assert client.close_code is None


def test_ok_to_a_send_precedes_its_own_event(node: Node) -> None:
    """All the sender's sockets get the event, this one after its ok."""
    ann, web, bob = node.v1("ann"), node.v1("ann", "web"), node.v1("bob")
    ok, event = ann.asks("send", cid="one", to="bob", body={"x": 1})

    assert ("ok", False, 1) == (ok["op"], ok["dup"], ok["n"])
    assert (ok["seq"], ok["conv"], "one") == (event["seq"], event["conv"], event["cid"])
    assert "one" == web.events()[-1]["cid"]
    assert "cid" not in bob.events()[-1]
    assert {"x": 1} == bob.events()[-1]["body"]


def test_ok_to_a_group_send_precedes_its_own_event(node: Node) -> None:
    """And it has no seq: a group's message is in no mailbox."""
    node.group("ann", "bob")
    ann, bob = node.v1("ann"), node.v1("bob")
    ok, event = ann.asks("send", cid="one", conv="g.1", body="hi")

    assert ("ok", "ev", 2, False) == (ok["op"], event["op"], event["pos"], "seq" in ok)
    assert "one" == event["cid"]
    assert [2] == [each["pos"] for each in bob.events() if "pos" in each]


def test_same_cid_again_is_the_same_answer(node: Node) -> None:
    """Whatever happened to the first one; and there is no second event."""
    ann = node.v1("ann")
    first = ann.ask("send", cid="one", to="bob", body="hi")
    frames = ann.asks("send", cid="one", to="bob", body="hi")

    assert [first | {"id": frames[0]["id"], "dup": True}] == frames


def test_sends_keep_their_order(node: Node) -> None:
    """However many are under way."""
    ann, bob = node.v1("ann"), node.v1("bob")
    send_at_once(
        ann,
        *(
            {"op": "send", "id": n, "cid": f"{n}", "to": "bob", "body": n}
            for n in range(200)
        ),
    )

    assert list(range(200)) == [each["body"] for each in bob.events()]
    assert list(range(200)) == [each["id"] for each in ann.new() if each["op"] == "ok"]


def test_refused_send_changes_nothing(node: Node) -> None:
    """The error is final; the allowance is not touched by what is no message."""
    ann = node.v1("ann")
    answers = [
        ann.ask("send", cid="one", **fields)
        for fields in (
            {"body": "hi"},
            {"to": "bob"},
            {"to": "bob", "conv": "g.1", "body": "hi"},
            {"to": "bob", "body": "hi", "raw": "hi"},
            {"to": "nobody", "body": "hi"},
            {"conv": "g.9", "body": "hi"},
            {"to": "bob", "body": "x" * 32767},
        )
    ]

    assert [
        *("bad_request", "bad_request", "bad_request", "bad_request"),
        *("no_such_user", "no_such_conv", "too_large"),
    ] == [each["code"] for each in answers]
    assert 1 == ann.ask("send", cid="one", to="bob", body="hi")["n"]


def test_outcome_that_is_not_known_has_no_answer(
    loop: FakeLoop, slow: SlowStore
) -> None:
    """An error would be final; the client comes again and asks with its cid."""
    node = node_with(loop, slow)
    ann = node.v1("ann")
    slow.holding, slow.doubts = True, 1
    ann.asks("send", cid="one", to="bob", body="hi")
    slow.release()

    assert ["bye"] == [each["op"] for each in ann.new()]
    assert 4006 == ann.close_code
    slow.holding = False
    again = node.v1("ann", "web").ask("send", cid="one", to="bob", body="hi")
    assert (True, 1) == (again["dup"], again["n"])


def test_message_of_a_client_that_has_gone_is_told_all_the_same(
    loop: FakeLoop, slow: SlowStore
) -> None:
    """It was stored; who sent it does not have to be there."""
    node = node_with(loop, slow)
    ann, bob = node.v1("ann"), node.v1("bob")
    slow.holding = True
    ann.asks("send", cid="one", to="bob", body="hi")
    ann.goes()
    slow.release()

    assert ["hi"] == [each["body"] for each in bob.events()]


def test_command_without_an_id_has_no_answer(node: Node) -> None:
    """Unless it is refused."""
    ann = node.v1("ann")
    conv = ann.ask("send", cid="one", to="bob", body="hi")["conv"]
    bob = node.v1("bob")

    assert ["ev"] == [each["op"] for each in bob.says(op="read", conv=conv, n=1)]
    (error,) = bob.says(op="read", conv="d.8.9", n=1)
    assert (None, "no_such_conv") == (error["id"], error["code"])


def test_command_with_an_id_has_its_answer(node: Node) -> None:
    """The event of an account's own doing may come before it."""
    ann = node.v1("ann")
    conv = ann.ask("send", cid="one", to="bob", body="hi")["conv"]
    bob = node.v1("bob")

    assert {"op": "ok", "id": 2} in bob.asks("read", conv=conv, n=1)


def test_broker_that_is_behind_has_the_sender_wait(node: Node) -> None:
    """It is read again when publishing is welcome again."""
    ann = node.v1("ann")
    node.broker.behind = True
    ann.asks("send", cid="one", to="bob", body="hi")
    assert not ann.transport.reading

    node.hub.resume_reading()

    assert ann.transport.reading


# Commands under way.


def test_commands_beyond_the_limit_wait_and_hold_the_reading(
    loop: FakeLoop, slow: SlowStore
) -> None:
    """At most so many are under way; the client is read more slowly."""
    node = node_with(loop, slow, commands_in_flight=3)
    ann = node.v1("ann")
    slow.holding = True
    readings = []
    for n in range(5):
        ann.asks("send", cid=f"{n}", to="bob", body=n)
        readings.append(ann.transport.reading)

    assert 3 == slow.held
    assert [True, True, True, False, False] == readings


def test_commands_that_waited_are_done_in_order(
    loop: FakeLoop, slow: SlowStore
) -> None:
    """As soon as there is room; and the client is read again."""
    node = node_with(loop, slow, commands_in_flight=3)
    ann, bob = node.v1("ann"), node.v1("bob")
    slow.holding = True
    for n in range(5):
        ann.asks("send", cid=f"{n}", to="bob", body=n)
    slow.release()
    loop.settle()
    assert (3, False) == (slow.held, ann.transport.reading)
    while slow.held:
        slow.release()
        loop.settle()

    assert ann.transport.reading
    assert list(range(5)) == [each["body"] for each in bob.events()]


def test_ack_waits_behind_the_commands_before_it(
    loop: FakeLoop, slow: SlowStore
) -> None:
    """Commands are done in the order of their coming, whatever they are."""
    node = node_with(loop, slow, commands_in_flight=1)
    ann = node.v1("ann")
    slow.holding = True
    ann.asks("send", cid="one", to="bob", body="hi")
    ann.asks("send", cid="two", to="bob", body="hi")
    assert [] == ann.says(op="ping", id="late")
    slow.release()
    slow.release()
    loop.settle()

    assert {"op": "pong", "id": "late"} == last(ann)


def test_what_waits_goes_with_its_client(loop: FakeLoop, slow: SlowStore) -> None:
    """Nothing more is begun for one who has gone."""
    node = node_with(loop, slow, commands_in_flight=1)
    ann, bob = node.v1("ann"), node.v1("bob")
    slow.holding = True
    for n in range(3):
        ann.asks("send", cid=f"{n}", to="bob", body=n)
    ann.goes()
    while slow.held:
        slow.release()
        loop.settle()

    assert [0] == [each["body"] for each in bob.events()]


# The token.


def test_expired_token_is_closed_with_4010(node: Node) -> None:
    """To the second; the client logs in and resumes."""
    client = node.new_v1()
    client.hello(node.token("ann", seconds=20))
    node.loop.advance(18)
    assert client.close_code is None
    node.loop.advance(3)

    assert 4010 == client.close_code
    assert ("bye", True) == (last(client)["op"], last(client)["reconnect"])


def test_renewed_token_keeps_the_session(node: Node) -> None:
    """Without connecting again."""
    client = node.new_v1()
    client.hello(node.token("ann", seconds=20))
    answer = client.ask("auth", token=node.token("ann", seconds=40))
    node.loop.advance(22)
    client.says(op="ping")
    assert client.close_code is None

    assert node.grant("cm_ann-phone-40").expires == answer["expires"]
    node.loop.advance(20)
    assert 4010 == client.close_code


@pytest.mark.parametrize(
    ("token", "code"),
    [("cm_bob-phone-3600", "forbidden"), ("cm_wrong", "unauthenticated")],
)
def test_token_that_is_not_good_does_not_end_the_present_one(
    node: Node, token: str, code: str
) -> None:
    """It is refused, and the session goes on."""
    node.token("bob")
    ann = node.v1("ann")

    assert code == ann.ask("auth", token=token)["code"]
    assert ann.close_code is None
    assert "ann" == ann.connection.grant.account.username


def test_logged_out_device_is_closed_with_4502(node: Node) -> None:
    """At once, by the notice; and it stays away."""
    ann, web = node.v1("ann"), node.v1("ann", "web")
    ann.ask("device.revoke", device="web")
    node.loop.advance(SOON)

    assert (4502, None) == (web.close_code, ann.close_code)
    assert not last(web)["reconnect"]


# The end.


@pytest.mark.parametrize(
    ("payload", "kind", "code"),
    [
        (b"\xff", WSMsgType.TEXT, 1007),
        (b"\x00", WSMsgType.BINARY, 1003),
        (b"", WSMsgType.CONTINUATION, 1002),
        (b"\x03", WSMsgType.CLOSE, 1002),
    ],
)
def test_broken_framing_has_the_code_of_the_rfc_and_no_bye(
    node: Node, payload: bytes, kind: WSMsgType, code: int
) -> None:
    """In both modes."""
    ann = node.v1("ann")
    ann.sends(payload, kind)

    assert code == ann.close_code
    assert [] == ann.new()


def test_close_of_the_client_is_answered_without_bye(node: Node) -> None:
    """With its own code."""
    ann = node.v1("ann")
    ann.sends((1000).to_bytes(2, "big"), WSMsgType.CLOSE)

    assert 1000 == ann.close_code
    assert [] == ann.new()


@pytest.mark.parametrize("greeted", [True, False])
def test_draining_node_says_bye_with_4001(node: Node, *, greeted: bool) -> None:
    """Come again, each at a moment of its own."""
    client = node.v1("ann") if greeted else node.new_v1()
    node.loop.create_task(node.hub.close_all())
    node.loop.settle()

    assert 4001 == client.close_code
    bye = last(client)
    assert ("bye", 4001, True) == (bye["op"], bye["code"], bye["reconnect"])
    assert 0 <= bye["after_ms"] <= 2000


def test_silent_client_is_told_bye_with_4004(node: Node) -> None:
    """No answer to a ping."""
    ann = node.v1("ann")
    node.loop.advance(25 + 10 + 3)

    assert 4004 == ann.close_code
    assert (4004, True) == (last(ann)["code"], last(ann)["reconnect"])


def test_closed_client_leaves_nothing_behind(node: Node) -> None:
    """Neither at the broker nor in the roster."""
    node.group("ann", "bob")
    for client in (node.v1("ann"), node.v1("bob")):
        client.goes()

    assert {} == node.broker._subscriptions
    assert set() == node.broker.watched_groups
    assert 0 == node.roster.count("ann")


def test_client_that_goes_while_it_is_greeted_leaves_nothing_behind(
    node: Node,
) -> None:
    """The store answers too late."""
    answer = node.loop.create_future()
    standings = node.store.standings

    async def late(username: str) -> Any:
        await answer
        return await standings(username)

    node.store.standings = late  # type: ignore[method-assign]
    client = node.new_v1()
    client.hello(node.token("ann"))
    client.goes()
    answer.set_result(None)
    node.loop.advance(SOON)

    assert 0 == node.roster.count("ann")
    assert {} == node.broker._subscriptions
    assert [] == client.texts


def test_refusal_that_no_verdict_is_known_for_is_4500(node: Node) -> None:
    """A host's user whose name no account can have, for one."""

    async def refuse(token: str) -> Any:
        raise InvalidName("no")

    node.greeter.authenticate = refuse
    client = node.new_v1()
    client.hello("any")

    assert 4500 == client.close_code


def test_too_many_devices_is_told_as_such(node: Node) -> None:
    """A host's user with a new device."""

    async def refuse(token: str) -> Any:
        raise TooManyDevices("revoke one")

    node.greeter.authenticate = refuse
    client = node.new_v1()
    error, _ = client.hello("any")

    assert ("too_many_devices", 4502) == (error["code"], client.close_code)
