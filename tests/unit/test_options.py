# SPDX-License-Identifier: Apache-2.0
"""The table of options: every row says what it does, why, and keeps its own bounds."""

from typing import Any

import pytest

from chatmotor.options import Option, Settings, options

ROWS = pytest.mark.parametrize("row", options().values(), ids=options().keys())


@ROWS
def test_row_says_what_and_why(row: Option) -> None:
    """Both are sentences for the reference page."""
    assert row.doc.endswith(".")
    assert row.why.endswith(".")
    assert row.doc[0].isupper() or row.doc[0] == "`"
    assert row.name == row.name.upper()


@ROWS
def test_default_has_the_type_of_its_row(row: Option) -> None:
    """The type is one that the environment can carry."""
    assert row.type in {bool, int, float, str, list, dict}
    assert row.type is type(row.default)


@ROWS
def test_default_is_within_its_own_bounds(row: Option) -> None:
    """Nobody has to correct an option before the first start."""
    if row.choices:
        assert row.default in row.choices
    if row.minimum is not None:
        assert row.minimum <= row.default
    if row.maximum is not None:
        assert row.default <= row.maximum


@ROWS
def test_number_has_both_bounds_and_a_unit(row: Option) -> None:
    """A number without bounds is a number nobody thought about."""
    if row.type in {int, float}:
        assert row.minimum is not None
        assert row.maximum is not None
        assert row.minimum < row.maximum
        assert row.unit


@ROWS
def test_bounds_and_choices_belong_to_numbers_and_texts(row: Option) -> None:
    """Only numbers have bounds, only texts have choices, only texts are secret."""
    if row.minimum is not None or row.maximum is not None:
        assert row.type in {int, float}
    if row.choices or row.secret:
        assert row.type is str


def test_password_is_secret_and_shows_nowhere() -> None:
    """A settings object in a log line has no secret in it."""
    secrets = [row.name for row in options().values() if row.secret]
    hidden: dict[str, Any] = dict.fromkeys(secrets, "hunter2-hunter2")
    settings = Settings(**hidden)

    assert "hunter2" not in repr(settings)
    assert {
        "POSTGRES_DSN",
        "SERVER_API_KEY",
        "JWT_SECRET",
        "RABBIT_PASSWORD",
    } == set(secrets)


def test_mutable_defaults_are_not_shared() -> None:
    """What one node adds to its settings is not another's."""
    assert Settings().HTTP_SETTINGS is not Settings().HTTP_SETTINGS
    assert Settings().ALLOWED_ORIGINS is not Settings().ALLOWED_ORIGINS


def test_settings_cannot_change_while_running() -> None:
    """A value in force stays in force."""
    with pytest.raises(AttributeError):
        Settings().WORKERS = 2  # type: ignore[misc]  # that is the point
