# SPDX-License-Identifier: Apache-2.0
"""What a bot remembers is on disk in one piece, or not at all."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatmotor.bot.storage import Draft, Storage, Timer


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A file of its own."""
    with Storage(tmp_path / "bot.db.bot") as storage:
        yield storage


def test_values_are_json_by_key(storage: Storage) -> None:
    """A mapping; what is read is a copy."""
    storage["a"] = {"votes": [1, 2]}
    storage["b"] = "x"
    storage["a"]["votes"].append(3)

    assert {"a": {"votes": [1, 2]}, "b": "x"} == dict(storage)
    del storage["b"]
    assert ["a"] == list(storage)
    assert 1 == len(storage)
    with pytest.raises(KeyError):
        del storage["b"]


def test_only_what_json_holds_is_kept(storage: Storage) -> None:
    """Anything else is refused when it is put, not when it is read."""
    with pytest.raises(TypeError):
        storage["a"] = object()


def test_a_draft_changes_nothing_until_it_is_settled(storage: Storage) -> None:
    """It sees its own writes; the storage sees them all at once."""
    storage["kept"] = 1
    storage["gone"] = 2
    draft = Draft(storage)

    draft["new"] = 3
    del draft["gone"]

    assert {"kept": 1, "new": 3} == dict(draft)
    assert {"gone": 2, "kept": 1} == dict(storage)
    with pytest.raises(KeyError):
        del draft["gone"]
    storage.settle([draft], log="mailbox", place=7)
    assert {"kept": 1, "new": 3} == dict(storage)
    assert 7 == storage.handled("mailbox")


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Values, places and timers."""
    path = tmp_path / "bot.db.bot"
    timer = Timer("mailbox/1/x", 10.0, "ring", "d.1", "[1]")
    with Storage(path) as storage:
        draft = Draft(storage, timers=[timer])
        draft["a"] = 1
        storage.settle([draft], log="g.1", place=3)

    with Storage(path) as storage:
        assert {"a": 1} == dict(storage)
        assert 3 == storage.handled("g.1")
        assert [timer] == storage.timers(10)


def test_a_write_that_fails_takes_the_others_with_it(storage: Storage) -> None:
    """The place does not move, and no value of the drafts is kept."""
    draft = Draft(storage, timers=[Timer("o", 1.0, None, None, "[]")])  # type: ignore[arg-type]
    draft["a"] = 1

    with pytest.raises(sqlite3.IntegrityError):
        storage.settle([draft], log="mailbox", place=1)

    assert {} == dict(storage)
    assert 0 == storage.handled("mailbox")
    storage["b"] = 1


def test_timers_come_by_their_time_and_go_when_they_have_rung(
    storage: Storage,
) -> None:
    """One that is set again by the same run is the same one."""
    early, late = (
        Timer("e", 1.0, "ring", None, "[]"),
        Timer("l", 2.0, "ring", None, "[]"),
    )
    storage.settle([Draft(storage, timers=[late, early])])
    storage.settle([Draft(storage, timers=[late])])

    assert [early, late] == storage.timers(10)
    storage.settle([], done="e")
    assert [late] == storage.timers(10)


def test_places_can_be_forgotten(storage: Storage) -> None:
    """The server's store was restored, and its logs count anew."""
    storage.settle([], log="mailbox", place=5)

    storage.forget_places()

    assert 0 == storage.handled("mailbox")


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    """What users have told a bot is nobody else's."""
    path = tmp_path / "bot.db.bot"

    with Storage(path):
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
