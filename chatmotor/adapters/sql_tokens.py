# SPDX-License-Identifier: Apache-2.0
"""Devices and tokens, as scripts for both databases.  The promises: ``TokenStore``.

Devices come and go under the lock of their account, so they can be counted.  A cursor
moves without it: under the lock of the device's own row, which several take by name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from chatmotor.adapters.sql_account_rows import (
    ACCOUNT_COLUMNS,
    COLUMNS,
    account_of,
    find_account,
)
from chatmotor.adapters.sql_mailbox import log_in_mailboxes
from chatmotor.adapters.sql_script import Many, Script
from chatmotor.adapters.store_rows import detail_of, suspended
from chatmotor.errors import (
    NoSuchDevice,
    TokenExpired,
    TooManyDevices,
    Unauthenticated,
)
from chatmotor.ports.accounts import Device, Grant, NewToken, TokenState
from chatmotor.ports.messages import Event, EventType, Logged

# Cursors that are saved in one transaction.
CURSORS = 500

_GRANT = f"""
SELECT {ACCOUNT_COLUMNS}, t.device, t.expires, d.cursor FROM token t
JOIN device d ON d.account = t.account AND d.name = t.device
JOIN account a ON a.id = t.account WHERE t.hash = $1
"""  # noqa: S608  # constants
_STATES = """
SELECT t.hash, t.expires, a.closed FROM token t JOIN account a ON a.id = t.account
WHERE t.hash = ANY($1::text[])
"""
# A log-in that is replayed finds its own token.
_ADD = """
INSERT INTO token (hash, account, device, ts, expires) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (hash) DO NOTHING
"""
_SHORTEN = "UPDATE token SET expires = $2 WHERE hash = $1 AND expires > $2"
_NAMES = "SELECT name FROM device WHERE account = $1"
_LOG_IN = """
INSERT INTO device (account, name, cursor, address, ts, seen)
VALUES ($1, $2, 0, $3, $4, $4)
ON CONFLICT (account, name) DO UPDATE SET address = excluded.address,
    seen = excluded.seen
RETURNING cursor
"""
_DEVICE = """
SELECT d.account FROM device d JOIN account a ON a.id = d.account
WHERE a.username = $1 AND d.name = $2
"""
_DEVICES = """
SELECT d.name, d.ts, d.seen, d.cursor FROM device d
JOIN account a ON a.id = d.account WHERE a.username = $1 ORDER BY d.name
"""
_END = "DELETE FROM device WHERE account = $1 AND name = $2"  # and its tokens
_SAVE = """
UPDATE device SET cursor = CASE WHEN cursor < $3 THEN $3 ELSE cursor END,
    seen = CASE WHEN seen < $4 THEN $4 ELSE seen END
WHERE account = (SELECT id FROM account WHERE username = $1) AND name = $2
"""
_ADDRESS = """
SELECT d.name FROM device d JOIN account a ON a.id = d.account
WHERE a.username = $1 AND d.address = $2 LIMIT 1
"""


def add_token(new: NewToken) -> Script[tuple[Grant, tuple[Logged, ...]]]:
    """See ``TokenStore.add_token``."""
    account = yield from find_account(new.username, lock=True)
    if account.closed:
        raise suspended()
    names = {name for (name,) in (yield _NAMES, account.id)}
    is_new = new.device not in names
    if is_new and len(names) >= new.max_devices:
        raise TooManyDevices(
            f"this account is logged in on {len(names)} devices, and no more are"
            " allowed; log one of them out, then try again",
            field="device",
        )
    rows = yield _LOG_IN, account.id, new.device, new.address, new.ts
    whose = (account.id, new.device)
    yield _ADD, new.token.hex(), *whose, new.ts, new.expires
    logged: tuple[Logged, ...] = ()
    if is_new:
        detail = detail_of(device=new.device)
        logged = yield from log_own(account.id, EventType.DEVICE_NEW, detail, new.ts)
        account = replace(account, seq=account.seq + 1)
    return Grant(account, new.device, new.token, new.expires, rows[0][0]), logged


def grant(token: bytes, *, now: int) -> Script[Grant]:
    """See ``TokenStore.grant``."""
    rows = yield _GRANT, token.hex()
    if not rows:
        raise Unauthenticated("this token is not valid; log in again")
    account = account_of(rows[0][:COLUMNS])
    device, expires, cursor = rows[0][COLUMNS:]
    if expires <= now:
        raise TokenExpired("this token has expired; log in again")
    if account.closed:
        raise suspended()
    return Grant(account, device, token, expires, cursor)


def token_states(
    tokens: Sequence[bytes], *, now: int
) -> Script[Mapping[bytes, TokenState]]:
    """See ``TokenStore.token_states``."""
    rows = yield _STATES, [token.hex() for token in tokens]
    states = dict.fromkeys(tokens, TokenState.UNKNOWN)
    for token, expires, closed in rows:
        if expires <= now:
            state = TokenState.EXPIRED
        else:
            state = TokenState.SUSPENDED if closed else TokenState.GOOD
        states[bytes.fromhex(token)] = state
    return states


def replace_token(
    old: bytes, new: bytes, *, expires: int, old_expires: int, now: int
) -> Script[Grant]:
    """See ``TokenStore.replace_token``."""
    found = yield from grant(old, now=now)
    yield from find_account(found.account.username, lock=True)
    # Once more: the device may have gone, and then it has no place for a token.
    found = yield from grant(old, now=now)
    yield _ADD, new.hex(), found.account.id, found.device, now, expires
    yield _SHORTEN, old.hex(), old_expires
    return replace(found, token=new, expires=expires)


def end_device(username: str, device: str, *, ts: int) -> Script[tuple[Logged, ...]]:
    """See ``TokenStore.end_device``."""
    if (yield _DEVICE, username, device):
        account = yield from find_account(username, lock=True)
        if (yield _DEVICE, username, device):  # nobody was faster
            return (yield from end_devices(account.id, [device], ts=ts))
    raise NoSuchDevice("the account has no device of this name", field="device")


def end_devices(
    account: int, names: Iterable[str], *, ts: int
) -> Script[tuple[Logged, ...]]:
    """Forget devices of an account that is locked, with their tokens, by name."""
    ordered = sorted(names)
    yield Many(_END, [(account, name) for name in ordered])
    logged: tuple[Logged, ...] = ()
    for name in ordered:
        detail = detail_of(device=name)
        logged += yield from log_own(account, EventType.DEVICE_GONE, detail, ts)
    return logged


def devices(username: str) -> Script[tuple[Device, ...]]:
    """See ``TokenStore.devices``."""
    rows = yield _DEVICES, username
    return tuple(Device(*row) for row in rows)


def cursor_chunks(
    cursors: Mapping[tuple[str, str], int], *, now: int
) -> Iterator[Sequence[tuple[str, str, int, int]]]:
    """What is saved in one transaction each; rows are locked in their order."""
    rows = [(*device, cursor, now) for device, cursor in sorted(cursors.items())]
    for start in range(0, len(rows), CURSORS):
        yield rows[start : start + CURSORS]


def save_cursors(rows: Sequence[tuple[str, str, int, int]]) -> Script[None]:
    """See ``TokenStore.save_cursors``."""
    yield Many(_SAVE, rows)


def known_address(username: str, address: bytes) -> Script[bool]:
    """See ``TokenStore.known_address``."""
    if not address:  # of a log-in from nobody knows where
        return False
    rows = yield _ADDRESS, username, address
    return bool(rows)


def log_own(
    account: int, t: EventType, detail: str, ts: int
) -> Script[tuple[Logged, ...]]:
    """Append an event about the account itself to its mailbox."""
    event = Event(0, t, None, ts, detail=detail)
    logged = yield from log_in_mailboxes([account], event)
    return (logged,)
