# SPDX-License-Identifier: Apache-2.0
"""Who asks over AMQP, and the frame that answers it."""

import json
import logging
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatmotor.core.amqp_requests import AmqpRequests, decode_request
from chatmotor.errors import (
    NoSuchUser,
    OutcomeUnknown,
    RequestRefused,
    StoreUnavailable,
    Suspended,
)
from chatmotor.metrics import Metrics
from chatmotor.ports.accounts import Account, Grant
from chatmotor.protocol.commands import Called, Sync

MAX_BYTES = 200


class Desk:
    """Knows ann, and does what it is told to."""

    def __init__(self, outcome: dict[str, Any] | Exception) -> None:
        self.outcome = outcome
        self.ran: list[tuple[str, Called]] = []
        self.metrics = Metrics()
        self.requests = AmqpRequests(self, self, self.metrics, max_bytes=MAX_BYTES)

    async def act_for(self, username: str) -> Grant:
        if username == "zoe":
            raise Suspended("the account is deactivated")
        if username != "ann":
            raise NoSuchUser("there is no such user")
        return Grant(Account(1, "ann", 0, 0), "api", b"", 0, 0)

    async def run(self, command: Called, caller: Grant) -> dict[str, Any]:
        self.ran.append((caller.account.username, command))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def ask(self, user: str | None, request: bytes) -> Any:
        return json.loads(await self.requests.answer(user, request))


async def test_the_answer_is_that_of_a_socket() -> None:
    """``ok``, with the ``id`` of the request and the fields of the command."""
    desk = Desk({"n": 3})

    assert {"op": "ok", "id": "a", "n": 3} == await desk.ask(
        "ann", b'{"op":"sync","id":"a"}'
    )
    assert {"op": "ok", "id": None, "n": 3} == await desk.ask("ann", b'{"op":"sync"}')
    assert ["ann", "ann"] == [username for username, _ in desk.ran]
    assert isinstance(desk.ran[0][1], Sync)


@pytest.mark.parametrize(
    ("user", "code"),
    [
        (None, "unauthenticated"),
        ("", "unauthenticated"),
        ("guest", "unauthenticated"),
        ("zoe", "suspended"),
    ],
)
async def test_nobody_else_is_served(user: str | None, code: str) -> None:
    """Without an account that may, nothing is run, and the answer has the ``id``."""
    desk = Desk({})

    answer = await desk.ask(user, b'{"op":"sync","id":7}')

    assert ("error", 7, code) == (answer["op"], answer["id"], answer["code"])
    assert [] == desk.ran
    assert {code: 1} == desk.metrics.refused


async def test_a_refusal_has_its_field() -> None:
    """As over a socket."""
    answer = await Desk(RequestRefused("no", field="to")).ask("ann", b'{"op":"sync"}')

    assert ("bad_request", "to", False) == (
        answer["code"],
        answer["field"],
        answer["retry"],
    )


async def test_a_request_that_is_too_long_is_not_read() -> None:
    """Over the limit there is one answer, without ``id``."""
    desk = Desk({})
    fits = b'{"op":"sync","id":1}'.ljust(MAX_BYTES)

    assert "ok" == (await desk.ask("ann", fits))["op"]
    answer = await desk.ask("ann", fits + b" ")
    assert ("too_large", None) == (answer["code"], answer["id"])


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("lost")])
async def test_no_answer_is_made_up(error: Exception) -> None:
    """Where none would be true, whoever carries the request has to bring it again."""
    with pytest.raises(type(error)):
        await Desk(error).ask("ann", b'{"op":"sync"}')


async def test_a_defect_of_ours_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """The answer tells nothing of it, and the log does."""
    with caplog.at_level(logging.ERROR):
        answer = await Desk(ZeroDivisionError("secret")).ask(
            "ann", b'{"op":"sync","id":1}'
        )

    assert (1, "internal") == (answer["id"], answer["code"])
    assert "secret" not in str(answer)
    assert ["a request over AMQP failed"] == [each.message for each in caplog.records]


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (b"", "bad_json", None),
        (b"[]", "bad_json", None),
        (b'{"op":"sync"', "bad_json", None),
        (b'{"op":"sync","op":"sync"}', "bad_json", None),
        (b'{"op":"sync","x":"\xff"}', "bad_json", None),
        (b"{}", "bad_request", "op"),
        (b'{"op":1}', "bad_request", "op"),
        (b'{"op":"sync","id":1.5}', "bad_request", "id"),
        (b'{"op":"sync","id":"' + b"x" * 33 + b'"}', "bad_request", "id"),
        (b'{"op":"hello","v":1}', "unknown_op", "op"),
        (b'{"op":"sync","limit":0}', "bad_request", "limit"),
    ],
)
def test_what_is_no_request(request_: bytes, code: str, field: str | None) -> None:
    """The refusal says what is wrong, and where."""
    with pytest.raises(RequestRefused) as refused:
        decode_request(request_)

    assert (code, field) == (refused.value.code, refused.value.field)


@given(request=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(request=b"[" * 10_000)
@example(request=b'{"op":' * 10_000)
@example(request=b'{"op":"\\ud800","id":"\\ud800"}')
def test_whatever_comes_is_refused_in_words(request: bytes) -> None:
    """No bytes are met with anything but a refusal."""
    with pytest.raises(RequestRefused):
        decode_request(request)
