# SPDX-License-Identifier: Apache-2.0
"""Which names have an account: asked once, and remembered for as long as it is so."""

import pytest

from chatmotor.core import directory as directories
from chatmotor.core.directory import NOBODY_SECONDS, Directory
from chatmotor.errors import StoreUnavailable
from chatmotor.ports.accounts import Account, AccountChange
from tests.fakes.memory_store import MemoryStore
from tests.harness.stores import add_account


class AskedStore(MemoryStore):
    """Remembers who was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def account(self, username: str) -> Account:
        self.asked.append(username)
        return await super().account(username)


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store() -> AskedStore:
    """A store in which ann has an account."""
    store = AskedStore()
    await store.start()
    await add_account(store, "ann")
    return store


@pytest.fixture
def clock() -> Clock:
    """Of this test."""
    return Clock()


@pytest.fixture
def directory(store: AskedStore, clock: Clock) -> Directory:
    """Of that store."""
    return Directory(store, clock)


@pytest.mark.parametrize("name", ["ann", "ANN", "\uff21nn", "\u0430nn", "a\u200bnn"])
async def test_name_is_found_in_any_of_its_spellings(
    directory: Directory, name: str
) -> None:
    """Also in those that only look like it: nobody passes as somebody."""
    assert "ann" == await directory.find(name)


async def test_account_is_asked_for_once(
    directory: Directory, store: AskedStore, clock: Clock
) -> None:
    """It is never deleted."""
    for _ in range(3):
        await directory.find("ann")
        clock.now += 1e6

    assert ["ann"] == store.asked


async def test_closed_account_keeps_its_name(
    directory: Directory, store: AskedStore
) -> None:
    """A guest must not get it."""
    await store.change_account(AccountChange("ann", ts=5, closed=True))

    assert "ann" == await directory.find("ann")


async def test_nobody_is_remembered_for_a_moment(
    directory: Directory, store: AskedStore, clock: Clock
) -> None:
    """Another node may create it."""
    assert not directory.is_nobodys("bob")
    assert await directory.find("bob") is None
    assert directory.is_nobodys("bob")
    await add_account(store, "bob")

    clock.now += NOBODY_SECONDS

    assert not directory.is_nobodys("bob")
    assert "bob" == await directory.find("bob")


async def test_nobody_is_asked_for_once_in_that_moment(
    directory: Directory, store: AskedStore
) -> None:
    """A guest's texts cost no look into the store."""
    for _ in range(9):
        assert await directory.find("bob") is None

    assert ["bob"] == store.asked


async def test_new_account_of_this_node_is_found_at_once(
    directory: Directory, store: AskedStore
) -> None:
    """Whoever creates it says so."""
    await directory.find("bob")
    await add_account(store, "bob")
    directory.forget()

    assert not directory.is_nobodys("bob")
    assert "bob" == await directory.find("bob")


@pytest.mark.parametrize("name", ["", "\ud83d", "a b", "x" * 65, "admin", "\0"])
async def test_name_that_no_account_can_have_is_nobodys(
    directory: Directory, store: AskedStore, name: str
) -> None:
    """The store is not asked."""
    assert await directory.find(name) is None
    assert directory.is_nobodys(name)
    assert [] == store.asked


async def test_store_that_is_away_is_no_answer(
    directory: Directory, store: AskedStore
) -> None:
    """Nothing is remembered of it."""
    await store.stop()
    with pytest.raises(StoreUnavailable):
        await directory.find("ann")
    await store.start()

    assert "ann" == await directory.find("ann")


async def test_long_names_are_not_remembered(directory: Directory) -> None:
    """Anyone may write to any name: memory must not fill with texts of 60 KB."""
    for n in range(10):
        assert await directory.find(f"{n}" + "x" * 60_000) is None
    assert directory.is_nobodys("x" * 60_000)

    assert 0 == sum(map(len, directory._nobodies))


async def test_what_is_remembered_is_bounded(
    directory: Directory, store: AskedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a memory, not the truth: all of it may go."""
    monkeypatch.setattr(directories, "_KEPT", 10)
    for n in range(100):
        await directory.find(f"nobody{n}")
        await directory.find("ANN" if n % 2 else "ann")

    assert len(directory._nobodies) <= 11
    assert "ann" == await directory.find("ann")
