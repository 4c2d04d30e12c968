# SPDX-License-Identifier: Apache-2.0
"""The one key that is ours, and what a classic client gets of what others write."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmotor.errors import FrameRefused, NoDestination, NotJson
from chatmotor.ports.messages import Event, EventType, Message
from chatmotor.protocol.classic import classic_text, read_destination
from chatmotor.protocol.events import Fragment, fragment_of, message_fragment

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def verdict(text: bytes) -> str | int:
    """The destination, or the close code of the refusal."""
    try:
        return read_destination(text)
    except FrameRefused as refused:
        return refused.close_code


def strictly(text: bytes) -> str | int:
    """The same by another reader: RFC 8259, a member that repeats counts last."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        value = json.loads(text.decode(), parse_constant=refuse, parse_int=float)
    except ValueError:
        return 1007
    destination = value.get("destination") if isinstance(value, dict) else None
    return destination if isinstance(destination, str) else 1008


@given(
    destination=st.text(st.characters(exclude_categories=["Cs"])),
    others=st.dictionaries(st.text(), json_values),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 3),
)
def test_destination_is_read_whatever_else_the_text_has(
    destination: str, others: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    """Every other key belongs to the clients, and any JSON layout will do."""
    document = others | {"destination": destination}
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)

    assert destination == read_destination(text.encode("utf-8", "replace"))


@given(json_values)
def test_json_without_a_string_destination_is_refused_with_1008(value: Any) -> None:
    """JSON of any kind, but not a message."""
    if isinstance(value, dict):
        value.pop("destination", None)

    with pytest.raises(NoDestination):
        read_destination(json.dumps(value).encode())


@given(
    st.text(
        st.sampled_from('{}[]:,"\\ud80destinatione.+-1 \t\n\x00\x0b\ufeff'), max_size=40
    )
    | st.builds(
        lambda before, middle, after: (
            before + '{"destination": "a"' + middle + "}" + after
        ),
        st.text(max_size=3),
        st.text(max_size=20),
        st.text(max_size=3),
    )
)
def test_verdict_is_that_of_rfc_8259(text: str) -> None:
    """The quick reader and the slow one together judge as a strict reader does."""
    sent = text.encode("utf-8", "replace")

    assert strictly(sent) == verdict(sent)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"destination": "bob", "x": "\\ud83d"}', "bob"),
        (b'{"destination": "\\ud83d"}', "\ud83d"),
        (b'{"destination": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"destinatio\\u006e": "bob"}', "bob"),
        (b'{"destination": "a", "destination": "b"}', "b"),
        (b'{"destination": 1, "destination": "b"}', "b"),
        (b'{"destination": "a", "destination": 1}', 1008),
        (b'{"destination": "bob", "n": ' + b"9" * 5000 + b"}", "bob"),
        (b'{"destination": "bob", "n": 1e999}', "bob"),
        (b' \t\r\n{"destination": ""} ', ""),
        (b'{"destination": "a"', 1007),
        (b'{"destination": 1, "x": }', 1007),
        (b'{"destination": "a", "x": NaN}', 1007),
        (b'{"destination": "a", "x": -Infinity}', 1007),
        (b'{"destination": "a", "x": 01}', 1007),
        (b'{"destination": "a", "x": "\x01"}', 1007),
        (b'{"destination": "a",}', 1007),
        (b"{'destination': 'a'}", 1007),
        (b'\xef\xbb\xbf{"destination": "a"}', 1007),
    ],
)
def test_corner_of_json(text: bytes, expected: str | int) -> None:
    """What RFC 8259 allows is read; what it does not is 1007 before it is 1008."""
    assert expected == verdict(text)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
def test_other_encodings_of_json_are_not_json(encoding: str) -> None:
    """A text frame is UTF-8; in UTF-8 these are NULs between letters."""
    text = '{"destination": "bob"}'.encode(encoding)

    with pytest.raises(NotJson):
        read_destination(text.decode("latin-1").encode())


@pytest.mark.parametrize("depth", [30_000])
@pytest.mark.parametrize("closed", [False, True])
def test_deep_nesting_is_refused_and_costs_no_stack(
    depth: int, *, closed: bool
) -> None:
    """A text that no reader can walk is refused in words."""
    text = b'{"destination": "a", "x": ' + b"[" * depth
    if closed:
        text += b"]" * depth + b"}"

    assert verdict(text) in {1007, 1008}


# Out.

RAW = b'{ "destination":"bob",\t"x" : "\xc3\xa9" }'


def message(
    body: bytes, *, raw: bool = False, sender: str = "ann", conv: str = "d.1.2"
) -> Fragment:
    """A message as an event."""
    guest = conv.startswith("q.")
    return message_fragment(Message(conv, 1, sender, "c", 5, body, raw, guest=guest))


def test_text_goes_on_byte_for_byte() -> None:
    """What came from a classic client is written to one as it was."""
    assert RAW == classic_text(message(RAW, raw=True), "bob")


def test_text_of_a_guest_goes_on_byte_for_byte() -> None:
    """Also when the guest has the reader's name, which it may not be."""
    text = message(RAW, raw=True, sender="bob", conv="q.2.9d017e2681b7f317")

    assert RAW == classic_text(text, "bob")


@pytest.mark.parametrize(
    "body", [b'"hi"', b'{"a": [1, null]}', b"123456789012345678901234567890", b"null"]
)
def test_body_has_the_form_that_the_first_clients_know(body: bytes) -> None:
    """Sender and recipient are the server's word."""
    text = classic_text(message(body), "bob")

    assert text is not None
    assert {
        "sender": "ann",
        "destination": "bob",
        "payload": json.loads(body),
        "type": "instant_message",
    } == json.loads(text)


@pytest.mark.parametrize("raw", [True, False])
def test_own_message_is_not_sent_back(*, raw: bool) -> None:
    """The first Chatmotor did not, either."""
    assert classic_text(message(b'"hi"', raw=raw), "ann") is None


def test_message_to_oneself_is_sent_back() -> None:
    """Sending to yourself works."""
    note = message(RAW, raw=True, conv="d.1.1")

    assert RAW == classic_text(note, "ann")


@pytest.mark.parametrize("t", set(EventType) - {EventType.MESSAGE_NEW})
def test_other_events_have_no_classic_form(t: EventType) -> None:
    """No text frame is written but messages."""
    event = Event(1, t, "g.1", 5, detail='{"from": "ann", "body": "no"}')

    assert classic_text(fragment_of(event), "bob") is None


@pytest.mark.parametrize("fields", [b"", b',"conv":"d.1.2"', b',"from":"ann"'])
def test_message_of_somebody_who_does_not_know_how_is_nothing(fields: bytes) -> None:
    """Anyone may publish at the broker; nothing may be raised here."""
    assert classic_text(Fragment(b'"t":"message.new"' + fields), "bob") is None
