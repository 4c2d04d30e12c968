# SPDX-License-Identifier: Apache-2.0
"""An error that the client logs fails the test, unless it was provoked."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def errors_expected() -> None:
    """For a test that provokes errors."""


@pytest.fixture(autouse=True)
def no_errors(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """What was logged as an error was meant to be."""
    yield
    errors = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.levelno >= logging.ERROR
    ]
    expected = "errors_expected" in request.fixturenames
    assert expected == bool(errors), errors
