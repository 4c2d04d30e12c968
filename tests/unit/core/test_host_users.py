# SPDX-License-Identifier: Apache-2.0
"""Users of a host whose tokens have no end of their own: it is asked again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.core.host_users import ASKED_AT_ONCE
from chatmotor.errors import Suspended, Unauthenticated, Unavailable
from chatmotor.ports.accounts import Grant, TokenState
from chatmotor.ports.credentials import HostIdentity
from tests.harness.accounts import Desk


class Host:
    """
    Tokens by name, as the host has them now.

    Attributes:
        asked: The tokens that it was asked about, in order.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {"anns": "Ann", "bobs": "bob"}
        self.lease = "1"
        self.expires = 1_700_000_100_000
        self.is_away = False
        self.asked: list[str] = []

    async def identify(self, token: str) -> HostIdentity:
        self.asked.append(token)
        if self.is_away:
            raise Unavailable("away")
        if token not in self.names:
            raise Unauthenticated("no")
        return HostIdentity(self.names[token], "host", self.expires, self.lease)


@pytest.fixture
def host() -> Host:
    """Ann's and bob's tokens."""
    return Host()


@pytest.fixture
async def desk(tmp_path: Path, host: Host) -> AsyncIterator[Desk]:
    """The users are the host's."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    yield Desk(store, host_tokens=host)
    await store.stop()


async def states(desk: Desk, *grants: Grant) -> list[TokenState]:
    """How it is with the tokens of *grants*."""
    found = await desk.accounts.token_states(grants)
    return [found[each.token] for each in grants]


async def test_a_lease_is_one_token_and_the_next_one_another(
    desk: Desk, host: Host
) -> None:
    """
    Within it the same grant comes back; after it the same token is good again, on the
    same device.
    """
    first = await desk.accounts.authenticate("anns")
    same = await desk.accounts.authenticate("anns")
    desk.now = host.expires
    host.lease, host.expires = "2", host.expires + 100_000
    second = await desk.accounts.authenticate("anns")

    assert first.token == same.token != second.token
    assert ("ann", "host", "anns") == (
        second.account.username,
        second.device,
        second.host_token,
    )
    assert [TokenState.EXPIRED, TokenState.GOOD] == await states(desk, first, second)
    assert 1 == len(await desk.accounts.devices("ann"))


async def test_what_the_host_says_no_to_is_unknown(desk: Desk, host: Host) -> None:
    """It is asked once about each token, however many sockets have it."""
    ann = await desk.accounts.authenticate("anns")
    bob = await desk.accounts.authenticate("bobs")
    del host.names["anns"]
    host.asked.clear()

    assert [TokenState.UNKNOWN, TokenState.UNKNOWN, TokenState.GOOD] == await states(
        desk, ann, ann, bob
    )
    assert ["anns", "bobs"] == host.asked


@pytest.mark.parametrize("name", ["bob", "no name \0"])
async def test_a_token_of_somebody_else_by_now_is_unknown(
    desk: Desk, host: Host, name: str
) -> None:
    """Another user's, or nobody's: not this account's."""
    ann = await desk.accounts.authenticate("anns")
    host.names["anns"] = name

    assert [TokenState.UNKNOWN] == await states(desk, ann)


async def test_what_the_store_has_ended_needs_no_question(
    desk: Desk, host: Host
) -> None:
    """A deactivated account stays one, whatever the host says."""
    ann = await desk.accounts.authenticate("anns")
    await desk.administration.deactivate("ann")
    host.asked.clear()

    assert TokenState.GOOD not in await states(desk, ann)
    assert [] == host.asked
    with pytest.raises(Suspended):
        await desk.accounts.authenticate("anns")


async def test_a_host_that_is_away_is_asked_once_and_ends_nothing(
    desk: Desk, host: Host
) -> None:
    """Nobody is logged out for it, and nobody waits for it again and again."""
    grants = []
    for number in range(3):
        host.names[f"t{number}"] = f"user{number}"
        grants.append(await desk.accounts.authenticate(f"t{number}"))
    host.is_away = True
    host.asked.clear()

    assert [TokenState.GOOD] * 3 == await states(desk, *grants)
    assert ["t0"] == host.asked


async def test_many_tokens_are_asked_about_some_at_once(desk: Desk, host: Host) -> None:
    """All of them, in the end."""
    count = ASKED_AT_ONCE + 5
    grants = []
    for number in range(count):
        host.names[f"t{number}"] = f"user{number}"
        grants.append(await desk.accounts.authenticate(f"t{number}"))
    host.names = {"t0": "user0", f"t{count - 1}": f"user{count - 1}"}

    found = await states(desk, *grants)

    assert [0, count - 1] == [
        at for at, state in enumerate(found) if state is TokenState.GOOD
    ]


async def test_a_token_with_an_end_of_its_own_is_not_asked_about(
    desk: Desk, host: Host
) -> None:
    """A JWT says until when it is good; it is in no grant either."""
    host.lease = ""
    ann = await desk.accounts.authenticate("anns")
    host.asked.clear()

    assert [TokenState.GOOD] == await states(desk, ann)
    assert ([], "") == (host.asked, ann.host_token)


def test_a_grant_does_not_show_its_token(desk: Desk) -> None:
    """Not even where it is logged."""
    grant = Grant(None, "host", b"", 0, 0, host_token="anns")  # type: ignore[arg-type]

    assert "anns" not in repr(grant)
