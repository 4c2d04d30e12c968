# SPDX-License-Identifier: Apache-2.0
"""Argon2id in a small pool; what every hasher promises holds for the fake as well."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from chatmotor.adapters.argon2_hasher import Argon2Hasher
from chatmotor.errors import Unavailable
from chatmotor.ports.credentials import PasswordHasher
from tests.fakes.plain_hasher import PlainHasher

SECRET = "größe\x00über 🐎"


@pytest.fixture(params=["argon2", "plain"])
def hasher(request: pytest.FixtureRequest) -> Iterator[PasswordHasher]:
    """Each kind; argon2 with little memory."""
    if request.param == "plain":
        yield PlainHasher()
        return
    argon2 = Argon2Hasher(memory_kib=64, passes=1)
    yield argon2
    argon2.close()


async def test_a_hash_is_of_its_password_only(hasher: PasswordHasher) -> None:
    """The same password verifies, another does not, not even by a NUL."""
    known = await hasher.hash(SECRET)

    assert await hasher.verify(known, SECRET)
    assert not await hasher.verify(known, SECRET + " ")
    assert not await hasher.verify(known, SECRET.partition("\x00")[0])
    assert not hasher.needs_rehash(known)


async def test_without_a_hash_nothing_verifies(hasher: PasswordHasher) -> None:
    """No password, not even the empty one, is that of an unknown account."""
    for password in ("", SECRET):
        assert not await hasher.verify(None, password)


async def test_the_parameters_are_owasps_and_in_the_hash() -> None:
    """Argon2id, 19 MiB, two passes, one lane; each hash has its own salt."""
    hasher = Argon2Hasher()
    first, second = await hasher.hash(SECRET), await hasher.hash(SECRET)
    hasher.close()

    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second


async def test_an_older_hash_is_verified_and_known_to_be_old() -> None:
    """Raised parameters lock nobody out."""
    older, newer = Argon2Hasher(memory_kib=64, passes=1), Argon2Hasher(memory_kib=128)
    known = await older.hash(SECRET)

    assert await newer.verify(known, SECRET)
    assert newer.needs_rehash(known)
    older.close()
    newer.close()


async def test_what_is_no_hash_verifies_nothing() -> None:
    """A damaged row is a wrong password, not a failure of the server."""
    hasher = Argon2Hasher(memory_kib=64, passes=1)

    assert not await hasher.verify("damaged", SECRET)
    hasher.close()


async def test_an_unknown_account_costs_as_much_as_a_wrong_password() -> None:
    """Of the same computation: the fastest of five differ by less than half."""
    hasher = Argon2Hasher()
    known = await hasher.hash(SECRET)

    async def fastest(known: str | None) -> float:
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            await hasher.verify(known, "another")
            seconds.append(time.perf_counter() - begun)
        return min(seconds)

    wrong, unknown = await fastest(known), await fastest(None)
    hasher.close()

    assert 0.5 < unknown / wrong < 2


async def test_too_many_are_refused_and_the_loop_turns() -> None:
    """Over the bound callers are told when to come again; nothing blocks the loop."""
    hasher = Argon2Hasher(threads=1, waiting=2)
    loop_thread = threading.get_ident()
    first, second = (asyncio.ensure_future(hasher.hash(SECRET)) for _ in range(2))
    await asyncio.sleep(0)  # let both begin

    with pytest.raises(Unavailable) as refused:
        await hasher.hash(SECRET)

    assert (503, True) == (refused.value.status, refused.value.temporary)
    assert refused.value.retry_ms
    assert not first.done()
    assert loop_thread not in {each.ident for each in hasher._pool._threads}
    await asyncio.gather(first, second)
    assert await hasher.hash(SECRET)
    hasher.close()


async def test_a_caller_that_goes_gives_its_place_back() -> None:
    """Clients that hang up do not use the pool up."""
    hasher = Argon2Hasher(threads=1, waiting=1, memory_kib=64, passes=1)
    for _ in range(3):
        task = asyncio.ensure_future(hasher.hash(SECRET))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(10):
            while not hasher._places.acquire(blocking=False):
                await asyncio.sleep(0)
        hasher._places.release()

    assert await hasher.hash(SECRET)
    hasher.close()


async def test_a_closed_hasher_says_so() -> None:
    """At shutdown the answer is to try again, on another node."""
    hasher = Argon2Hasher(memory_kib=64, passes=1)
    hasher.close()

    with pytest.raises(Unavailable):
        await hasher.hash(SECRET)
