# SPDX-License-Identifier: Apache-2.0
"""One JSON object per log line."""

import json
import logging
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatmotor.json_log import JsonFormatter


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    """A log record, of the error that is being handled if *error*."""
    made = logging.LogRecord(
        "chatmotor.test",
        logging.WARNING,
        __file__,
        1,
        message,
        arguments,
        sys.exc_info() if error else None,
    )
    made.created = 1_700_000_000.25
    return made


def formatted(made: logging.LogRecord) -> Any:
    """The object of the line."""
    return json.loads(JsonFormatter().format(made))


def test_line_has_time_level_logger_and_message() -> None:
    """The time is in UTC, to the millisecond."""
    assert {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "WARNING",
        "logger": "chatmotor.test",
        "message": "3 clients of 'bob'",
    } == formatted(record("%d clients of %r", 3, "bob"))


def test_exception_is_in_the_same_line() -> None:
    """A traceback has many lines; a program that collects logs wants one."""
    try:
        raise ValueError("a\nb")
    except ValueError:
        line = JsonFormatter().format(record("failed", error=True))

    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: a\nb")


@given(st.text())
def test_no_message_forges_a_line(text: str) -> None:
    """Whatever a peer's words are, they stay inside their string."""
    line = JsonFormatter().format(record("%s", text))

    assert 1 == len(line.split("\n")) == len(line.split("\r"))
    assert text == json.loads(line)["message"]
