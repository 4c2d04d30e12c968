# SPDX-License-Identifier: Apache-2.0
"""Commands: what is read from a text, and what is wrong with it in which words."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.errors import BadJson, RequestRefused, UnknownOp
from chatmotor.protocol import commands as c
from tests.harness.vectors import each_vector, vectors

Case = dict[str, Any]

OPS = {each.__struct_config__.tag for each in c.AnyCommand.__args__}
READ = {"conv": "d.1.2", "n": 1}


def as_vector(command: c.AnyCommand) -> Case:
    """A command as the vectors have it."""
    fields: Case = {"op": type(command).__struct_config__.tag}
    for name in command.__struct_fields__:
        value = getattr(command, name)
        if isinstance(value, msgspec.Raw):
            fields[name] = bytes(value).decode() or None
        else:
            fields[name] = msgspec.to_builtins(value)
    return fields


def refusal(text: bytes) -> RequestRefused:
    """How *text* is refused."""
    with pytest.raises(RequestRefused) as refused:
        c.decode_command(text)
    return refused.value


def test_every_command_has_its_vectors() -> None:
    """A command that is added is added to the vectors."""
    accepted = [each["command"] for each in vectors("commands_accepted.json")]

    assert OPS == {each["op"] for each in accepted}


@each_vector("commands_accepted.json")
def test_text_is_read_as_the_command_that_it_is(case: Case) -> None:
    """Fields that are left out have their defaults; unknown ones are ignored."""
    assert case["command"] == as_vector(c.decode_command(case["text"].encode()))


@each_vector("commands_refused.json")
def test_text_that_is_no_command_is_refused_in_words(case: Case) -> None:
    """The code says what kind of mistake it is, the field where it is."""
    refused = refusal(case["text"].encode())

    assert (case["code"], case["field"]) == (refused.code, refused.field)


@each_vector("commands_refused.json")
def test_id_of_a_refused_text_is_found_where_it_can_be_used(case: Case) -> None:
    """The client finds out which of its requests it was."""
    assert case["id"] == c.command_id(case["text"].encode())


@each_vector("commands_accepted.json")
def test_id_is_the_one_that_is_read(case: Case) -> None:
    """What a refusal says, and what an answer says, is the same id."""
    assert case["command"]["id"] == c.command_id(case["text"].encode())


@pytest.mark.parametrize(
    ("op", "field"),
    [("conv.create", "members"), ("conv.invite", "users"), ("conv.remove", "users")],
)
def test_list_of_users_is_bounded(op: str, field: str) -> None:
    """As many as fit into a group at once, and not one more."""
    needed = {"cid": "c"} if op == "conv.create" else {"conv": "g.1"}
    users = ["u"] * c.MAX_USERS
    texts = [
        json.dumps({"op": op, "id": 1, **needed, field: names}).encode()
        for names in (users, [*users, "u"])
    ]

    assert users == getattr(c.decode_command(texts[0]), field)
    assert field == refusal(texts[1]).field


@pytest.mark.parametrize("digits", [400, 5000])
def test_number_of_many_digits_is_refused(digits: int) -> None:
    """A number costs no more than reading it."""
    text = b'{"op":"read","conv":"c","n":%b}' % (b"9" * digits)

    assert "n" == refusal(text).field


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_nesting_of_any_depth_ends_in_words(opening: bytes, closing: bytes) -> None:
    """However near to the end of the stack: a command, or a refusal; never a crash."""
    for depth in (*range(900, 1010), 20_000):
        text = b'{"op":"read","id":1,"conv":"c","n":2,"x":%b1%b,"\\u006e":3}' % (
            opening * depth,
            closing * depth,
        )
        assert refusal(text).code in {"bad_json", "bad_request"}
        assert c.command_id(text) in {1, None}


# Whatever JSON has an object with strings for keys, as Python sees it.
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abn"), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(
    ['"a"', '"b"', '"\\u0061"', '"a\\""', '"a\\\\"', '"\\"a"', '"n"', '"\\u006E"', '""']
)


@given(st.lists(st.tuples(keys, values), max_size=6), st.sampled_from(["", " ", "\n "]))
def test_key_is_refused_when_it_occurs_twice_and_only_then(
    pairs: list[tuple[str, Any]], space: str
) -> None:
    """Escaped or not, in the envelope; inside of values keys may repeat."""
    known = {"op": '"ping"', "id": "1"}
    body = ",".join(
        [f'"{key}":{value}' for key, value in known.items()]
        + [f"{key}{space}:{space}{json.dumps(value)}" for key, value in pairs]
    )
    names = [json.loads(key) for key, _ in pairs]
    try:
        c.decode_command(b"{%b}" % body.encode())
        is_refused = False
    except BadJson:
        is_refused = True

    assert (len(set(names)) < len(names)) == is_refused


@given(st.text(st.sampled_from('{}[]:,"\\ude018opingread.+- \t\n'), max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    """A command or a refusal, whatever comes."""
    for each in (text, '{"op":"read","id":1,' + text + "}"):
        with suppress(RequestRefused):
            c.decode_command(each.encode())


# Over HTTP.


def test_call_is_the_command_of_its_name() -> None:
    """The content has the fields; ``op`` and ``id`` are those of the request."""
    body = json.dumps(READ | {"op": "ping", "id": "x", "color": 1}).encode()

    assert c.Read(id=0, conv="d.1.2", n=1) == c.decode_call("read", body)


def test_call_without_content_has_no_fields() -> None:
    """An empty content is an empty object."""
    assert c.DeviceList(id=0) == c.decode_call("device.list", b"")


def test_body_of_a_call_is_kept_as_it_is_written() -> None:
    """As over the WebSocket."""
    body = b'{"cid":"c","to":"bob","body": { "a" : 1.0, "a":2 } }'

    command = c.decode_call("send", body)

    assert isinstance(command, c.Send)
    assert b'{ "a" : 1.0, "a":2 }' == bytes(command.body)


@pytest.mark.parametrize("op", ["hello", "auth", "ack", "ping", "pong", "fly", ""])
def test_what_is_no_call_is_unknown(op: str) -> None:
    """What is about a session is not there over HTTP."""
    with pytest.raises(UnknownOp) as refused:
        c.decode_call(op, b"{}")

    assert "op" == refused.value.field


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b" ",
        b"{",
        b'{"conv":"d.1.2","n":1,"n":1}',
        b'{"conv":"d.1.2","n":1,"\\u006e":1}',
        b'{"conv":"d.1.2","n":1,"x":"\xff"}',
        b'{"conv":"d.1.2","n":1,"\xff":1}',
        b'{"conv":"d.1.2","n":1,"x":NaN}',
        b'{"conv":"d.1.2","n":1,"\\ud800":1}',
        b'\xef\xbb\xbf{"conv":"d.1.2","n":1}',
        b'{"conv":"d.1.2","n":1}}',
        '{"conv":"d.1.2","n":1}'.encode("utf-16"),
    ],
)
def test_content_that_is_no_object_is_bad_json(body: bytes) -> None:
    """UTF-8, JSON, an object, and no key twice."""
    with pytest.raises(BadJson):
        c.decode_call("read", body)


def test_field_of_a_call_is_named() -> None:
    """As over the WebSocket."""
    with pytest.raises(RequestRefused) as refused:
        c.decode_call("read", b'{"conv":"d.1.2","n":"1"}')

    assert "n" == refused.value.field


def test_deep_content_of_a_call_ends_in_words() -> None:
    """However near to the end of the stack."""
    for depth in (*range(900, 1010), 20_000):
        body = b'{"conv":"c","n":2,"x":%b1%b,"\\u006e":3}' % (
            b'{"x":' * depth,
            b"}" * depth,
        )
        with pytest.raises(RequestRefused):
            c.decode_call("read", body)
