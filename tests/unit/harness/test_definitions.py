# SPDX-License-Identifier: Apache-2.0
"""What holds the server's frames against their definitions sees what is wrong."""

from typing import Any

import pytest

from tests.harness.definitions import wrong_answer, wrong_frame, wrong_refusal

Frame = dict[str, Any]

SENT: Frame = {"op": "ok", "id": 1, "conv": "g.1", "n": 1, "ts": 5, "dup": False}
EVENT: Frame = {"op": "ev", "seq": 1, "t": "device.new", "ts": 5, "device": "phone"}
TYPING: Frame = {"op": "eph", "t": "typing", "conv": "g.1", "from": "a", "state": "on"}
ERROR: Frame = {"op": "error", "id": 1, "code": "trimmed", "msg": "", "retry": False}


def test_frames_that_are_as_defined_are_not_wrong() -> None:
    """Whatever is judged, what is right passes."""
    assert wrong_frame(SENT, "send") is None
    assert wrong_frame(EVENT) is None
    assert wrong_frame(TYPING) is None
    assert wrong_frame(ERROR, "events") is None
    assert wrong_frame({"op": "pong"}) is None
    assert wrong_answer("read", {}) is None
    assert wrong_refusal("send", "too_large") is None


@pytest.mark.parametrize(
    ("frame", "asked"),
    [
        (SENT | {"more": 1}, "send"),
        (SENT | {"dup": "no"}, "send"),
        (SENT | {"seq": None}, "send"),
        (SENT, "read"),
        ({"op": "ok", "id": 1}, "send"),
        (EVENT | {"name": "phone"}, None),
        (EVENT | {"t": "device.old"}, None),
        (EVENT | {"pos": 1}, None),
        (TYPING | {"state": "maybe"}, None),
        (TYPING | {"t": "writing"}, None),
        (ERROR, "send"),
        (ERROR | {"code": "no_such_code"}, None),
        (ERROR | {"retry_ms": None}, "events"),
        ({"op": "pang"}, None),
        ({"op": "live", "seq": 1, "more": []}, None),
    ],
    ids=str,
)
def test_frame_that_is_not_as_defined_is_wrong(frame: Frame, asked: str | None) -> None:
    """Also by a field, a type or a code more than is defined."""
    assert wrong_frame(frame, asked) is not None


def test_item_that_is_not_as_defined_is_wrong() -> None:
    """In lists and objects as well."""
    device = {"device": "phone", "ts": 1, "seen": 1, "current": True}
    event = {"t": "conv.read", "seq": 4, "ts": 5, "conv": "d.1.2", "n": 1}

    assert wrong_answer("device.list", {"devices": [device]}) is None
    assert wrong_answer("device.list", {"devices": [device | {"os": "x"}]}) is not None
    assert wrong_answer("events", {"events": [event], "more": False}) is None
    assert wrong_answer("events", {"events": [event | {"x": 1}], "more": False})


def test_refusal_that_is_not_said_is_wrong() -> None:
    """``sync`` has no conversation that could not be there."""
    assert wrong_refusal("sync", "no_such_conv") is not None
