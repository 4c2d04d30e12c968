# SPDX-License-Identifier: Apache-2.0
"""Asking the application that a node is embedded in."""

import asyncio

import pytest

from chatmotor.adapters import host_users
from chatmotor.adapters.host_users import AskedUsers, HostUser
from chatmotor.errors import Unauthenticated, Unavailable

LEASE_MS = 1000


async def users(token: str) -> HostUser | str | None:
    """Three tokens, and one that nobody says anything about."""
    if token == "slow":
        await asyncio.Event().wait()
    if token == "broken":
        raise KeyError(token)
    known: dict[str, HostUser | str] = {
        "anns": "Ann",
        "bobs": HostUser("bob", "phone"),
    }
    return known.get(token)


def asked(now: int = 0) -> AskedUsers:
    """At this time."""
    return AskedUsers(users, lease_ms=LEASE_MS, now=lambda: now)


async def test_a_user_is_whom_the_application_names() -> None:
    """As it spells it; the device is "host", or what it says."""
    ann, bob = await asked().identify("anns"), await asked().identify("bobs")

    assert [("Ann", "host"), ("bob", "phone")] == [
        (each.name, each.device) for each in (ann, bob)
    ]


@pytest.mark.parametrize("token", ["nobodys", "x" * 8193])
async def test_nobody_is_unauthenticated(token: str) -> None:
    """Also who comes with something that can be no token."""
    with pytest.raises(Unauthenticated):
        await asked().identify(token)


@pytest.mark.parametrize("token", ["slow", "broken"])
async def test_an_application_that_fails_is_unavailable(
    token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And is said to be so in the log, without the token."""
    monkeypatch.setattr(host_users, "ASK_SECONDS", 0.01)

    with pytest.raises(Unavailable) as refused:
        await asked().identify(token)

    assert [host_users.__name__] == [each.name for each in caplog.records]
    assert token not in refused.value.msg + caplog.records[0].getMessage()


async def test_a_lease_lasts_from_one_length_to_two() -> None:
    """It is the same for all who come within a length, and ends a length later."""
    leases = [await asked(now).identify("anns") for now in (2000, 2999, 3000)]

    assert [4000, 4000, 5000] == [each.expires for each in leases]
    assert leases[0].lease == leases[1].lease != leases[2].lease


async def test_a_lease_is_of_one_user_on_one_device() -> None:
    """A token that the application gives to somebody else is another one here."""
    by_name = [
        await AskedUsers(each, lease_ms=LEASE_MS, now=lambda: 0).identify("t")
        for each in (_says("ann"), _says("bob"), _says(HostUser("ann", "tv")))
    ]

    assert 3 == len({each.lease for each in by_name})


def _says(user: HostUser | str) -> host_users.Users:
    async def answer(_: str) -> HostUser | str | None:
        return user

    return answer
