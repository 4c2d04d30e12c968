# SPDX-License-Identifier: Apache-2.0
"""Links and attempts, as scripts for both databases.  The promises: ``GateStore``."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from chatmotor.adapters.sql_account_rows import find_account, has_admin
from chatmotor.adapters.sql_script import Many, Script
from chatmotor.errors import Forbidden, RateLimited
from chatmotor.ports.accounts import LinkKind, NewLink

DAY_MS = 24 * 3600 * 1000
# An expired token still says "expired", and not "unknown", for so long.
KEEP_TOKENS_MS = 30 * DAY_MS
# Rows that are looked at, and deleted, at once.
CHUNK = 500

_LINK = """
SELECT kind, expires, (SELECT username FROM account WHERE account.id = link.account),
    uses FROM link WHERE hash = $1
"""
_LOCK_LINK = f"{_LINK} FOR NO KEY UPDATE"
_SPEND = "UPDATE link SET uses = uses - 1 WHERE hash = $1"
# Who makes a set-up link waits for whoever else does.  Any row that each store has
# would do.
_LOCK_SETUPS = "SELECT name FROM meta WHERE name = 'epoch' FOR NO KEY UPDATE"
_END_SETUPS = "DELETE FROM link WHERE kind = 'setup'"
_INSERT_LINK = """
INSERT INTO link (hash, kind, account, uses, expires) VALUES ($1, $2, $3, $4, $5)
"""
_LOCK_ATTEMPTS = """
SELECT key, count, expires FROM attempt
WHERE key = ANY($1::text[]) ORDER BY key FOR NO KEY UPDATE
"""
_BEGIN = """
INSERT INTO attempt (key, count, expires) VALUES ($1, 1, $2)
ON CONFLICT (key) DO NOTHING RETURNING key
"""
_COUNT = "UPDATE attempt SET count = $2, expires = $3 WHERE key = $1"
_FORGET = "DELETE FROM attempt WHERE key = $1"


class Kept(NamedTuple):
    """
    A table whose rows are over some day.

    Args:
        find: Keys of rows that were over at a time, after a key, a number of them.
        delete: One key, if its row is still over at that time.
        keep_ms: How much longer its rows are kept.
    """

    find: str
    delete: str
    keep_ms: int = 0


KEPT = (
    Kept(
        "SELECT hash FROM token WHERE expires <= $1 AND hash > $2"
        " ORDER BY hash LIMIT $3",
        "DELETE FROM token WHERE hash = $1 AND expires <= $2",
        KEEP_TOKENS_MS,
    ),
    Kept(
        "SELECT hash FROM link WHERE (expires <= $1 OR uses = 0) AND hash > $2"
        " ORDER BY hash LIMIT $3",
        "DELETE FROM link WHERE hash = $1 AND (expires <= $2 OR uses = 0)",
    ),
    Kept(
        "SELECT key FROM attempt WHERE expires <= $1 AND key > $2"
        " ORDER BY key LIMIT $3",
        "DELETE FROM attempt WHERE key = $1 AND expires <= $2",
    ),
)


def add_link(new: NewLink) -> Script[None]:
    """See ``GateStore.add_link``."""
    account = None
    if new.username is not None:
        account = (yield from find_account(new.username)).id
    if new.kind is LinkKind.SETUP:
        yield (_LOCK_SETUPS,)
        yield (_END_SETUPS,)
    what = (new.kind.value, account, new.uses, new.expires)
    yield _INSERT_LINK, new.link.hex(), *what


def check_link(link: bytes, *, now: int) -> Script[NewLink]:
    """See ``GateStore.check_link``."""
    return (yield from _good_link(_LINK, link, now))


def lock_link(
    link: bytes, kind: LinkKind, username: str | None = None, *, now: int
) -> Script[None]:
    """
    Keep a link from being used by others, until ``spend_link``.

    There is at most one ``setup`` link, so who has it is alone in making the first
    administrator.

    Raises:
        Forbidden: See ``check_link``; or it is not of this kind, or somebody else's.
    """
    found = yield from _good_link(_LOCK_LINK, link, now)
    if found.kind is not kind or username not in {None, found.username}:
        raise _no_good_link()


def spend_link(link: bytes) -> Script[None]:
    """Take one use of a link that was locked."""
    yield _SPEND, link.hex()


def take_attempts(limits: Mapping[str, tuple[int, int]], *, now: int) -> Script[bool]:
    """
    See ``GateStore.take_attempts``.

    Returns:
        Whether they are counted.  If not, another node was the first to use one of
        the keys at this moment: nothing is counted, and it is to be tried again.

    What is counted is locked by key.  A row that is not there cannot be locked; it
    is inserted, which waits for whoever inserts it, too, and then is in vain.
    """
    rows = yield _LOCK_ATTEMPTS, sorted(limits)
    begun = {key: (count, expires) for key, count, expires in rows if expires > now}
    _refuse_exhausted(limits, begun, now)
    there = {row[0] for row in rows}
    inserted: list[str] = []
    for key in sorted(limits.keys() - there):
        if not (yield _BEGIN, key, now + limits[key][1]):
            yield Many(_FORGET, [(each,) for each in inserted])
            return False
        inserted.append(key)
    fresh = {key: (0, now + limits[key][1]) for key in there}
    current = [(key, *begun.get(key, fresh[key])) for key in sorted(there)]
    yield Many(_COUNT, [(key, count + 1, expires) for key, count, expires in current])
    return True


def forget_attempts(keys: Iterable[str]) -> Script[None]:
    """See ``GateStore.forget_attempts``."""
    yield Many(_FORGET, [(key,) for key in sorted(keys)])


def find_over(kept: Kept, *, at: int, after: str) -> Script[list[str]]:
    """The first ``CHUNK`` keys after *after* whose rows were over at time *at*."""
    rows = yield kept.find, at, after, CHUNK
    return [row[0] for row in rows]


def delete_over(kept: Kept, keys: Iterable[str], *, at: int) -> Script[None]:
    """Delete those that are still over: a key may have begun to count again."""
    yield Many(kept.delete, [(key, at) for key in keys])


def _good_link(sql: str, link: bytes, now: int) -> Script[NewLink]:
    rows = yield sql, link.hex()
    if not rows:
        raise _no_good_link()
    kind, expires, username, uses = rows[0]
    if uses < 1 or expires <= now:
        raise _no_good_link()
    if kind == LinkKind.SETUP and (yield from has_admin()):
        raise _no_good_link()
    return NewLink(LinkKind(kind), link, expires, username, uses)


def _no_good_link() -> Forbidden:
    """One answer, so that nobody learns which links there are or were."""
    return Forbidden("this link is not valid, or no longer; ask for a new one")


def _refuse_exhausted(
    limits: Mapping[str, tuple[int, int]],
    begun: Mapping[str, tuple[int, int]],
    now: int,
) -> None:
    waits = []
    for key, (limit, window_ms) in limits.items():
        count, expires = begun.get(key, (0, now + window_ms))
        if count >= limit:
            waits.append(expires - now)
    if waits:
        seconds = -(-max(waits) // 1000)
        raise RateLimited(
            f"too many attempts; try again in {seconds} s", retry_ms=max(waits)
        )
