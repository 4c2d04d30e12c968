# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF001  # look-alikes of names
"""Accounts, as their owners use them, on a real SQLite file."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.core.accounts import SignUp
from chatmotor.errors import (
    Conflict,
    Forbidden,
    InvalidName,
    NoSuchDevice,
    NoSuchUser,
    RateLimited,
    RequestRefused,
    Suspended,
    TokenExpired,
    TooManyDevices,
    Unauthenticated,
)
from chatmotor.ports.accounts import hash_secret
from chatmotor.ports.credentials import HostIdentity
from chatmotor.ports.messages import EventType
from tests.harness.accounts import HERE, OTHER_PASSWORD, PASSWORD, SERVER_KEY, Desk

ELSEWHERE = "198.51.100.7"
MINUTE_MS = 60_000


class HostUsers:
    """Tokens of a host: ``name/device``; they are good for a minute."""

    def __init__(self, expires: int) -> None:
        self._expires = expires

    async def identify(self, token: str) -> HostIdentity:
        name, _, device = token.partition("/")
        if name == "forged":
            raise Unauthenticated("no")
        return HostIdentity(name, device or None, self._expires)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    store = SqliteStore(tmp_path / "chat.db")
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def desk(store: SqliteStore) -> Desk:
    """Open sign-up, 3 attempts per account."""
    return Desk(store)


async def sign_up(desk: Desk, username: str = "ann", invite: str | None = None) -> str:
    """Sign up; the username."""
    account = await desk.accounts.sign_up(
        username, PASSWORD, address=HERE, invite=invite
    )
    return account.username


async def log_in(
    desk: Desk,
    username: str = "ann",
    password: str = PASSWORD,
    *,
    address: str = HERE,
    device: str | None = None,
) -> str:
    """Log in; the token."""
    done = await desk.accounts.log_in(
        username, password, address=address, device=device
    )
    return done.token


async def test_sign_up_makes_an_account_in_its_one_form(desk: Desk) -> None:
    """The username is folded, the display name is as given, and nodes are told."""
    account = await desk.accounts.sign_up(
        "Ann", PASSWORD, address=HERE, display_name=" Ann B. "
    )

    assert ("ann", "Ann B.", False) == (
        account.username,
        account.display_name,
        account.admin,
    )
    assert ["ann"] == desk.rechecked
    with pytest.raises(Conflict) as taken:
        await sign_up(desk, "ＡＮＮ")
    assert "username" == taken.value.field


async def test_only_hashes_are_stored(desk: Desk, tmp_path: Path) -> None:
    """Neither a token nor a password nor an address is in the file."""
    desk = Desk(desk.store, address_attempts=9)
    await sign_up(desk)
    token = await log_in(desk)
    await desk.store.stop()

    files = tmp_path.iterdir()  # noqa: ASYNC240  # small files, no server
    content = b"".join(file.read_bytes() for file in files)

    assert b"plain1:" in content  # the fake hasher's hash is there, as a hash would be
    assert token.encode() not in content
    assert HERE.encode() not in content
    await desk.store.start()


@pytest.mark.parametrize(
    ("username", "password", "display_name", "field"),
    [
        ("аnn", PASSWORD, None, "username"),
        ("admin", PASSWORD, None, "username"),
        ("ann", "short", None, "password"),
        ("ann", "password1", None, "password"),
        ("ann", "annannann", None, "password"),
        ("ann", PASSWORD, "a\u202eb", "display_name"),
        ("ann", PASSWORD, "x" * 65, "display_name"),
    ],
)
async def test_sign_up_names_the_field_that_is_wrong(
    desk: Desk, username: str, password: str, display_name: str | None, field: str
) -> None:
    """The person at the form sees which entry to change; nothing is created."""
    with pytest.raises(RequestRefused) as refused:
        await desk.accounts.sign_up(
            username, password, address=HERE, display_name=display_name
        )

    assert field == refused.value.field
    assert () == tuple(await desk.administration.accounts())


async def test_closed_sign_up_is_for_operators_only(store: SqliteStore) -> None:
    """An invitation does not open it; the server and the operator still create."""
    desk = Desk(store, sign_up=SignUp.CLOSED)
    invite = code(await link(desk))

    with pytest.raises(Forbidden):
        await sign_up(desk, invite=invite)
    await desk.administration.create("bob", PASSWORD)
    await desk.accounts.create_for_server("cyd", None)

    found = await desk.administration.accounts()
    assert ["bob", "cyd"] == [each.username for each in found]


def code(link: str) -> str:
    """What stands after #."""
    return link.partition("#")[2]


async def link(desk: Desk, uses: int = 1) -> str:
    """A new invitation."""
    return (await desk.administration.new_invite(uses=uses)).url


async def test_an_invitation_is_good_for_its_uses_and_days(store: SqliteStore) -> None:
    """One use: one account; after a week it is over."""
    desk = Desk(store, sign_up=SignUp.INVITE)
    with pytest.raises(Forbidden):
        await sign_up(desk)
    with pytest.raises(Forbidden):
        await sign_up(desk, invite="made-up")
    first = await link(desk)

    assert first.startswith("https://chat.example.org/invite#")
    assert "ann" == await sign_up(desk, invite=code(first))
    with pytest.raises(Forbidden):
        await sign_up(desk, "bob", invite=code(first))
    second = await link(desk, uses=2)
    assert "bob" == await sign_up(desk, "bob", invite=code(second))
    desk.now += 7 * 24 * 60 * MINUTE_MS
    with pytest.raises(Forbidden):
        await sign_up(desk, "cyd", invite=code(second))


async def test_a_link_is_good_for_its_purpose_only(store: SqliteStore) -> None:
    """An invitation makes no administrator and resets no password."""
    desk = Desk(store, sign_up=SignUp.INVITE)
    invite = code(await link(desk))

    with pytest.raises(Forbidden):
        await desk.accounts.set_up(invite, "ann", PASSWORD, address=HERE)
    with pytest.raises(Forbidden):
        await desk.accounts.reset_password(invite, PASSWORD, address=HERE)


async def test_the_first_administrator_comes_by_a_link_that_works_once(
    desk: Desk,
) -> None:
    """A newer link ends the older; with an administrator there is none any more."""
    older = await desk.administration.new_setup_link()
    newer = await desk.administration.new_setup_link()
    assert older is not None
    assert newer is not None
    assert newer.url.startswith("https://chat.example.org/setup#")

    with pytest.raises(Forbidden):
        await desk.accounts.set_up(code(older.url), "eve", PASSWORD, address=HERE)
    account = await desk.accounts.set_up(
        code(newer.url), "boss", PASSWORD, address=HERE
    )

    assert account.admin
    assert await desk.administration.new_setup_link() is None
    with pytest.raises(Forbidden):
        await desk.accounts.set_up(code(newer.url), "eve", PASSWORD, address=HERE)


async def test_a_token_is_opaque_and_ours(desk: Desk) -> None:
    """It begins with cm_, and proves who one is, on which device."""
    await sign_up(desk)
    token = await log_in(desk, "ANN", device="phone")

    grant = await desk.accounts.authenticate(token)

    assert token.startswith("cm_")
    assert ("ann", "phone") == (grant.account.username, grant.device)
    assert hash_secret(token) == grant.token
    assert [EventType.DEVICE_NEW] == [each.event.t for each in desk.told]


async def test_a_device_without_a_name_gets_one(desk: Desk) -> None:
    """Each log-in without a name is another device."""
    await sign_up(desk)
    await log_in(desk)
    await log_in(desk)

    assert 2 == len({each.name for each in await desk.accounts.devices("Ann")})


@pytest.mark.parametrize("device", ["", " ", "x" * 65, "a\nb", "\u202ea", "\ud800"])
async def test_a_devices_name_is_visible(desk: Desk, device: str) -> None:
    """1 to 64 characters that one sees."""
    with pytest.raises(RequestRefused) as refused:
        await log_in(desk, device=device)

    assert "device" == refused.value.field


async def test_devices_are_bounded(desk: Desk) -> None:
    """The fourth is refused; a known one may log in again."""
    await sign_up(desk)
    for device in ("a", "b", "c", "a"):
        await log_in(desk, device=device)

    with pytest.raises(TooManyDevices):
        await log_in(desk, device="d")


async def test_unknown_name_and_wrong_password_are_one_answer(desk: Desk) -> None:
    """Same words, same code, and one password is verified in each case."""
    await sign_up(desk)
    answers = []
    for username, password in [
        ("ann", OTHER_PASSWORD),
        ("norman", PASSWORD),
        ("no such name!", PASSWORD),
        ("ann", "x" * 5000),
    ]:
        with pytest.raises(Unauthenticated) as refused:
            await log_in(desk, username, password, address=ELSEWHERE)
        answers.append((refused.value.to_wire(), refused.value.headers))

    assert [answers[0]] * 4 == answers
    assert ["plain1:" + PASSWORD, None, None, None] == desk.hasher.verified


async def test_attempts_are_counted_before_the_password_is_seen(desk: Desk) -> None:
    """After three wrong ones the right one waits, too; unknown names count alike."""
    await sign_up(desk)
    for username in ("ann", "norman"):
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await log_in(desk, username, OTHER_PASSWORD)
        with pytest.raises(RateLimited) as refused:
            await log_in(desk, username.upper(), PASSWORD)
        assert 15 * MINUTE_MS == refused.value.retry_ms
    assert 6 == len(desk.hasher.verified)

    desk.now += 15 * MINUTE_MS
    assert await log_in(desk)


async def test_success_begins_the_count_anew(desk: Desk) -> None:
    """Who mistypes twice each time is never stopped."""
    await sign_up(desk)
    for _ in range(3):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await log_in(desk, password=OTHER_PASSWORD)
        await log_in(desk, device="phone")


async def test_guessing_from_elsewhere_does_not_lock_the_owner_out(desk: Desk) -> None:
    """An address that the account has logged in from counts for itself."""
    await sign_up(desk)
    await log_in(desk, device="phone")
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await log_in(desk, password=OTHER_PASSWORD, address=ELSEWHERE)

    with pytest.raises(RateLimited):
        await log_in(desk, address=ELSEWHERE)
    assert await log_in(desk, device="phone")


async def test_an_address_is_counted_over_all_accounts(store: SqliteStore) -> None:
    """Of IPv6 a whole /64 is one; sign-ups, log-ins and links count together."""
    desk = Desk(store, address_attempts=3)
    await desk.accounts.sign_up("ann", PASSWORD, address="2001:db8::1")
    with pytest.raises(Unauthenticated):
        await log_in(desk, "bob", address="2001:db8::2")
    with pytest.raises(Forbidden):
        await desk.accounts.reset_password("x", PASSWORD, address="2001:db8::3")

    with pytest.raises(RateLimited):
        await log_in(desk, address="2001:db8:0:0:ffff::1")
    assert await log_in(desk, address="2001:db8:0:1::1")


async def test_renewal_gives_a_token_for_the_same_device(desk: Desk) -> None:
    """The old one is good for five more minutes."""
    await sign_up(desk)
    old = await log_in(desk, device="phone")

    new = await desk.accounts.renew(old)

    assert ("phone", desk.now + 1000_000) == (new.device, new.expires)
    assert (await desk.accounts.authenticate(old)).device == "phone"
    desk.now += 5 * MINUTE_MS
    with pytest.raises(TokenExpired):
        await desk.accounts.authenticate(old)
    assert (await desk.accounts.authenticate(new.token)).device == "phone"


async def test_a_token_expires(desk: Desk) -> None:
    """An expired token says so; one that never was is unknown."""
    await sign_up(desk)
    token = await log_in(desk)
    desk.now += 1000_000

    with pytest.raises(TokenExpired):
        await desk.accounts.authenticate(token)
    with pytest.raises(TokenExpired):
        await desk.accounts.renew(token)
    for unknown in ("cm_unknown", "", "a.b.c", SERVER_KEY):
        with pytest.raises(Unauthenticated):
            await desk.accounts.authenticate(unknown)


async def test_log_out_ends_the_device(desk: Desk) -> None:
    """Its token is nothing any more, its sockets are looked at, the others stay."""
    await sign_up(desk)
    token, other = await log_in(desk, device="a"), await log_in(desk, device="b")
    desk.rechecked.clear()

    await desk.accounts.log_out(await desk.accounts.authenticate(token))

    with pytest.raises(Unauthenticated):
        await desk.accounts.authenticate(token)
    assert "b" == (await desk.accounts.authenticate(other)).device
    assert ["ann"] == desk.rechecked
    assert EventType.DEVICE_GONE is desk.told[-1].event.t


async def test_a_changed_password_ends_the_other_devices(desk: Desk) -> None:
    """The device that changed it stays; the old password is nothing any more."""
    await sign_up(desk)
    here, there = await log_in(desk, device="a"), await log_in(desk, device="b")
    desk.rechecked.clear()
    grant = await desk.accounts.authenticate(here)

    await desk.accounts.change_password(grant, PASSWORD, OTHER_PASSWORD)

    assert "a" == (await desk.accounts.authenticate(here)).device
    with pytest.raises(Unauthenticated):
        await desk.accounts.authenticate(there)
    assert ["ann"] == desk.rechecked
    with pytest.raises(Unauthenticated):
        await log_in(desk, password=PASSWORD)
    assert await log_in(desk, password=OTHER_PASSWORD)


async def test_a_change_needs_the_current_password(desk: Desk) -> None:
    """A stolen token does not take the account over, nor by guessing."""
    await sign_up(desk)
    grant = await desk.accounts.authenticate(await log_in(desk))

    for _ in range(3):
        with pytest.raises(Forbidden):
            await desk.accounts.change_password(grant, "wrong-one", OTHER_PASSWORD)
    with pytest.raises(RateLimited):
        await desk.accounts.change_password(grant, PASSWORD, OTHER_PASSWORD)


async def test_a_reset_link_works_once_and_for_15_minutes(desk: Desk) -> None:
    """It ends all devices of its account."""
    await sign_up(desk)
    token = await log_in(desk)
    late = await desk.administration.new_reset_link("Ann")
    desk.now += 15 * MINUTE_MS
    with pytest.raises(Forbidden):
        await desk.accounts.reset_password(code(late.url), PASSWORD, address=HERE)
    made = await desk.administration.new_reset_link("ann")
    assert made.url.startswith("https://chat.example.org/reset#")

    await desk.accounts.reset_password(code(made.url), OTHER_PASSWORD, address=HERE)

    with pytest.raises(Forbidden):
        await desk.accounts.reset_password(code(made.url), PASSWORD, address=HERE)
    with pytest.raises(Unauthenticated):
        await desk.accounts.authenticate(token)
    assert await log_in(desk, password=OTHER_PASSWORD)


async def test_a_weak_password_does_not_use_a_reset_link_up(desk: Desk) -> None:
    """The person tries another one with the same link."""
    await sign_up(desk)
    made = await desk.administration.new_reset_link("ann")

    with pytest.raises(RequestRefused):
        await desk.accounts.reset_password(code(made.url), "short", address=HERE)
    await desk.accounts.reset_password(code(made.url), OTHER_PASSWORD, address=HERE)


async def test_a_deactivated_account_is_shut_until_it_is_activated(desk: Desk) -> None:
    """Whoever has its password or a token is told; the tokens do not come back."""
    await sign_up(desk)
    token = await log_in(desk)
    desk.rechecked.clear()

    await desk.administration.deactivate("ann")

    assert ["ann"] == desk.rechecked
    with pytest.raises(Suspended):
        await desk.accounts.authenticate(token)
    with pytest.raises(Unauthenticated):
        await log_in(desk, password=OTHER_PASSWORD)
    with pytest.raises(Suspended):
        await log_in(desk)
    with pytest.raises(Suspended):
        await desk.accounts.act_for("ann")
    await desk.administration.activate("ann")
    with pytest.raises(Unauthenticated):
        await desk.accounts.authenticate(token)
    assert await log_in(desk)


async def test_an_old_hash_is_raised_at_log_in(desk: Desk) -> None:
    """Better parameters reach each account while its password is at hand."""
    await sign_up(desk)
    desk.hasher.version = 2

    await log_in(desk)

    account = await desk.accounts.profile("ann")
    assert f"plain2:{PASSWORD}" == account.password


async def test_the_server_acts_for_accounts_but_is_no_administrator(
    desk: Desk,
) -> None:
    """Its key is compared whole; with it an account acts as device "api"."""
    await desk.administration.create("boss", PASSWORD, admin=True)

    assert desk.accounts.is_server_key(SERVER_KEY)
    for wrong in ("", SERVER_KEY[:-1], SERVER_KEY + "k", "\ud800"):
        assert not desk.accounts.is_server_key(wrong)
    grant = await desk.accounts.act_for("Boss")
    assert ("boss", "api", False) == (
        grant.account.username,
        grant.device,
        grant.account.admin,
    )
    with pytest.raises(NoSuchUser):
        await desk.accounts.act_for("norman")


async def test_an_account_without_a_password_is_not_logged_in_to(desk: Desk) -> None:
    """Neither by an empty password nor by any other."""
    await desk.accounts.create_for_server("cyd", None)

    for password in ("", "None", PASSWORD):
        with pytest.raises(Unauthenticated):
            await log_in(desk, "cyd", password)


async def test_devices_are_listed_and_revoked(desk: Desk) -> None:
    """By whoever owns them or operates the node."""
    await sign_up(desk)
    token = await log_in(desk, device="phone")

    assert ["phone"] == [each.name for each in await desk.accounts.devices("ann")]
    await desk.accounts.revoke_device("ann", "phone")

    assert () == await desk.accounts.devices("ann")
    with pytest.raises(Unauthenticated):
        await desk.accounts.authenticate(token)
    with pytest.raises(NoSuchDevice):
        await desk.accounts.revoke_device("ann", "phone")
    with pytest.raises(NoSuchUser):
        await desk.administration.devices("norman")


async def test_a_display_name_is_changed_and_told(desk: Desk) -> None:
    """It is a profile.set in the account's mailbox."""
    await sign_up(desk)

    await desk.accounts.set_display_name("ann", "Ann B.")

    assert "Ann B." == (await desk.accounts.profile("ANN")).display_name
    assert [EventType.PROFILE_SET] == [each.event.t for each in desk.told]


async def test_looking_for_an_impossible_name_finds_nobody(desk: Desk) -> None:
    """It is no error of the client's request."""
    with pytest.raises(NoSuchUser):
        await desk.accounts.profile("no such name!")


async def test_a_users_first_token_of_the_host_makes_the_account(
    desk: Desk,
) -> None:
    """The claim's name gets its form; further tokens are of the same account."""
    host = replace_host(desk)

    grant = await host.accounts.authenticate("Ann/tablet")
    again = await host.accounts.authenticate("ann")

    assert ("ann", "tablet") == (grant.account.username, grant.device)
    assert (grant.account.id, "jwt") == (again.account.id, again.device)
    assert host.now + MINUTE_MS == again.expires
    assert 2 == len(await host.accounts.devices("ann"))
    same = await host.accounts.authenticate("Ann/tablet")
    assert 2 == len(await host.accounts.devices("ann"))
    assert same.token == grant.token


def replace_host(desk: Desk) -> Desk:
    """The same with the users of a host."""
    return replace(desk, host_tokens=HostUsers(desk.now + MINUTE_MS))


async def test_with_a_host_nobody_has_a_password_here(desk: Desk) -> None:
    """Sign-up, log-in, resets and links are refused in words."""
    host = replace_host(desk)
    await host.administration.create("ann", None)

    for refused in (
        sign_up(host, "bob"),
        log_in(host),
        host.accounts.reset_password("x", PASSWORD, address=HERE),
        host.accounts.set_up("x", "bob", PASSWORD, address=HERE),
        host.accounts.renew("ann"),
        host.administration.new_invite(),
        host.administration.new_reset_link("ann"),
    ):
        with pytest.raises(Forbidden):
            await refused
    assert await host.administration.new_setup_link() is None


async def test_a_hosts_token_can_be_refused(desk: Desk) -> None:
    """Forged, of a deactivated account, or with a name that no account can have."""
    host = replace_host(desk)
    await host.accounts.authenticate("ann")
    await host.administration.deactivate("ann")

    with pytest.raises(Unauthenticated):
        await host.accounts.authenticate("forged")
    with pytest.raises(Suspended):
        await host.accounts.authenticate("ann/new")
    with pytest.raises(Forbidden):
        await host.accounts.authenticate("admin")
    with pytest.raises(Unauthenticated):
        await host.accounts.authenticate("cm_forged")


async def test_an_operators_mistake_names_the_field(desk: Desk) -> None:
    """Names, passwords and numbers are checked for operators, too."""
    with pytest.raises(InvalidName):
        await desk.administration.create("-", PASSWORD)
    for uses, days in ((0, 1.0), (1, 0.0), (1, float("nan")), (10**6, 1.0)):
        with pytest.raises(RequestRefused):
            await desk.administration.new_invite(uses=uses, days=days)
    with pytest.raises(NoSuchUser):
        await desk.administration.new_reset_link("norman")
