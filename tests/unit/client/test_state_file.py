# SPDX-License-Identifier: Apache-2.0
"""The state of a client on disk."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chatmotor.client.errors import StateFileRefused
from chatmotor.client.memory import Book, GroupPlace, KeptMessage, Memory, Places
from chatmotor.client.state_file import StateFile
from tests.unit.client.subjects import keep

HOLD = """
import sys
from chatmotor.client.state_file import StateFile
StateFile(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where there is no file yet."""
    return tmp_path / "carol.db"


def test_what_is_written_is_read(path: Path) -> None:
    """Also what replaces all places, and what follows it in the same transaction."""
    book, memory = Book(Memory()), Memory()
    file = StateFile(path)
    for step in range(3):
        if step == 0:
            book.belong_to("carol")
            book.replace(Places("e1", 3, {"g.1": GroupPlace(4)}))
            book.put(KeptMessage(1, "c1", b"{}"))
            book.put(KeptMessage(2, "c2", b'{"body":"\xc3\xa4"}'))
        elif step == 1:
            book.move_mailbox(4)
            book.move_group("g.2", 7, member=True)
            book.move_group("g.1", 0, member=False)
            book.drop(1)
        else:
            book.move_mailbox(5)
            book.replace(Places("e2", 1, {"g.3": GroupPlace(9)}))
            book.move_group("g.3", 10)
            book.move_mailbox(2)
        changes = book.take_changes()
        keep(memory, changes)
        file.write(changes)

        assert memory == file.read()
    assert not book.has_changes
    places = Places("e2", 2, {"g.3": GroupPlace(10)})
    assert Memory("carol", places, [KeptMessage(2, "c2", b'{"body":"\xc3\xa4"}')]) == (
        memory
    )


def test_it_is_there_in_the_next_run(path: Path) -> None:
    """Closed or not."""
    for _ in range(2):
        file = StateFile(path)
        assert file.read().user in (None, "carol")
        book = Book(Memory())
        book.belong_to("carol")
        file.write(book.take_changes())
        file.close()

    assert "carol" == StateFile(path).read().user


def test_nobody_else_reads_it(path: Path) -> None:
    """It has the texts of messages."""
    StateFile(path)

    assert {0o600} == {each.stat().st_mode & 0o777 for each in path.parent.iterdir()}


def test_another_process_is_refused(path: Path) -> None:
    """For as long as the first one lives, and not longer."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert b"held\n" == other.stdout.readline()
        with pytest.raises(StateFileRefused, match=r"^carol.db is in use by another"):
            StateFile(path)
        other.kill()

    assert Memory() == StateFile(path).read()


def test_a_second_one_in_this_process_is_refused(path: Path) -> None:
    """Two clients with one place would both be wrong."""
    first = StateFile(path)
    with pytest.raises(StateFileRefused, match="in use"):
        StateFile(path)

    first.close()


def test_other_files_are_left_alone(path: Path) -> None:
    """A database of somebody else, a text, a directory; a file of a later version."""
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE x (y)")
    other.close()
    with pytest.raises(StateFileRefused, match="is no state file"):
        StateFile(path)
    path.write_text("dear diary, today was a long day, and nothing happened at all")
    with pytest.raises(StateFileRefused, match="is no state file"):
        StateFile(path)
    assert path.read_text().startswith("dear diary")
    with pytest.raises(StateFileRefused, match="cannot be opened"):
        StateFile(path.parent)
    with pytest.raises(StateFileRefused, match="cannot be opened"):
        StateFile(path.parent / "none" / "x.db")
    path.unlink()
    later = StateFile(path)
    later._connection.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StateFileRefused, match="another version"):
        StateFile(path)


def test_changes_are_all_written_or_none(path: Path) -> None:
    """An error in the middle leaves what was there."""
    file = StateFile(path)
    book = Book(Memory())
    book.put(KeptMessage(1, "c1", b"{}"))
    file.write(book.take_changes())
    book.belong_to("carol")
    book.put(KeptMessage(1, "c2", b"{}"))
    with pytest.raises(sqlite3.IntegrityError):
        file.write(book.take_changes())

    assert Memory(messages=[KeptMessage(1, "c1", b"{}")]) == file.read()


def test_it_is_durable(path: Path) -> None:
    """On return the file is on disk: WAL, and synchronous FULL."""
    run = StateFile(path)._connection.execute

    assert "wal" == run("PRAGMA journal_mode").fetchone()[0]
    assert 2 == run("PRAGMA synchronous").fetchone()[0]
