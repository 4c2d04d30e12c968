# SPDX-License-Identifier: Apache-2.0
"""Argon2id in a small pool: guessing costs memory, and the node not too much of it.

    hash, verify  -->  at most WAITING wait  -->  THREADS threads, 19 MiB each

The parameters are those of OWASP's Password Storage Cheat Sheet; they are part of
each hash, so raising them here raises each account's at its next log-in.
The library lets go of Python's lock while it computes; nothing runs on the event loop.
"""

import asyncio
import os
import threading
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from chatmotor.errors import Unavailable

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
THREADS = 2
# About a second of work for two threads.
WAITING = 64

_SALT_BYTES = 16
_HASH_BYTES = 32

T = TypeVar("T")


class Argon2Hasher:
    """
    See ``PasswordHasher``.

    Args:
        waiting: How many may wait or be computed; over it callers are refused.
    """

    def __init__(
        self,
        *,
        threads: int = min(THREADS, os.cpu_count() or 1),
        waiting: int = WAITING,
        memory_kib: int = MEMORY_KIB,
        passes: int = PASSES,
    ) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=passes,
            memory_cost=memory_kib,
            parallelism=LANES,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
        )
        # Nobody knows its password, and it is as slow to verify as any other.
        self._nobodys = (
            f"$argon2id$v=19$m={memory_kib},t={passes},p={LANES}"
            f"${_random_base64(_SALT_BYTES)}${_random_base64(_HASH_BYTES)}"
        )
        self._places = threading.BoundedSemaphore(waiting)
        # Its threads begin with the first call, and so after the workers' fork.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")

    async def hash(self, password: str) -> str:
        """See ``PasswordHasher.hash``."""
        return await self._compute(lambda: self._argon2.hash(password))

    async def verify(self, known: str | None, password: str) -> bool:
        """See ``PasswordHasher.verify``."""
        return await self._compute(lambda: self._verify(known, password))

    def needs_rehash(self, known: str) -> bool:
        """See ``PasswordHasher.needs_rehash``."""
        return self._argon2.check_needs_rehash(known)

    def close(self) -> None:
        """Compute nothing any more; what waits is given up."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, known: str | None, password: str) -> bool:
        try:
            self._argon2.verify(known or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return known is not None

    async def _compute(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise Unavailable("too many passwords are being checked; try again")
        try:
            future = self._pool.submit(work)
        except RuntimeError:  # it is closed
            self._places.release()
            raise Unavailable("this node is shutting down; try again") from None
        # By the thread, not by the caller, who may have gone.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, done: "Future[T]") -> None:
        self._places.release()


def _random_base64(size: int) -> str:
    return b64encode(os.urandom(size)).decode().rstrip("=")
