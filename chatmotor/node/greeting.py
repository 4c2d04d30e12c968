# SPDX-License-Identifier: Apache-2.0
"""What a v1 session is told when it begins: who it is, and where it goes on.

hello.resume        resumed   reason
none                no        first     call sync, and go on from its ``at``
of another epoch    no        epoch     the store was restored
above the top       no        epoch     its events are gone with the old store
below the floor     no        trimmed   its next events are no longer kept
anything else       yes       -         ``replay`` events, then ``live``
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chatmotor import __version__
from chatmotor.errors import (
    Forbidden,
    QuotaExceeded,
    RequestRefused,
    Suspended,
    TokenExpired,
    TooManyDevices,
    Unauthenticated,
    Unavailable,
    UnsupportedVersion,
)
from chatmotor.node.roster import Roster
from chatmotor.ports.accounts import Grant
from chatmotor.ports.messages import Standing
from chatmotor.ports.store import LogStore, StoreLife
from chatmotor.protocol import session
from chatmotor.protocol.commands import VERSION, Hello, Resume
from chatmotor.protocol.replies import Behind, Welcome

FEATURES = [
    *("history", "sync", "groups", "devices", "users", "resume"),
    *("typing", "presence", "receipts", "signal"),
]

Authenticate = Callable[[str], Awaitable[Grant]]


class GreetingStore(StoreLife, LogStore, Protocol):
    """What is asked of the store."""


@dataclass(frozen=True, slots=True)
class V1Limits:
    """The options of the same names say why."""

    window_max_events: int
    window_max_bytes: int
    commands_in_flight: int
    sockets_max: int
    hello_seconds: float
    window_seconds: float
    heartbeat_seconds: float
    announced: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Greeting:
    """
    A session that may begin.

    Args:
        since: Its place in the mailbox.
        standings: The account's groups.
    """

    grant: Grant
    welcome: Welcome
    since: int
    standings: Sequence[Standing]


class Greeter:
    """Answers ``hello``."""

    def __init__(
        self,
        store: GreetingStore,
        roster: Roster,
        authenticate: Authenticate,
        limits: V1Limits,
    ) -> None:
        self._store = store
        self._roster = roster
        self._limits = limits
        self.authenticate = authenticate

    async def greet(self, hello: Hello, given: str | None) -> Greeting:
        """
        Judge *hello*, of a socket whose upgrade brought the token *given*, or none.

        The token is asked about now, and not only when the socket was opened: it may
        have ended since, and the mailbox gone on.

        Raises:
            UnsupportedVersion: Another version.
            Unauthenticated, TokenExpired, Suspended: No token, or none that is good.
            QuotaExceeded: The account has too many sockets on this node.
            StoreUnavailable: It cannot be judged now.
        """
        if hello.v != VERSION:
            raise UnsupportedVersion(f"version {VERSION} is spoken here", field="v")
        token = given if hello.token is None else hello.token
        if token is None:
            raise Unauthenticated("hello needs a token", field="token")
        grant = await self.authenticate(token)
        username = grant.account.username
        standings = await self._store.standings(username)
        if self._roster.count(username) >= self._limits.sockets_max:
            raise QuotaExceeded(
                f"the account has {self._limits.sockets_max} connections; close one"
            )
        top = grant.account.seq
        grant = replace(grant, cursor=self._roster.cursors.of(grant))
        since, reason = _place(hello.resume, grant, self._store.epoch)
        positions = hello.resume.groups if isinstance(hello.resume, Resume) else None
        window = min(
            hello.window or self._limits.window_max_events,
            self._limits.window_max_events,
        )
        welcome = Welcome(
            id=hello.id,
            v=VERSION,
            user=username,
            device=grant.device,
            session=secrets.token_hex(8),
            epoch=self._store.epoch,
            seq=top,
            resumed=reason is None,
            reason=reason,
            replay=top - since,
            behind=[] if reason else self._behind(standings, positions),
            heartbeat=int(self._limits.heartbeat_seconds * 1000),
            window=window,
            limits=dict(self._limits.announced),
            features=FEATURES,
            time=self._roster.now(),
            expires=grant.expires,
            build=__version__,
        )
        return Greeting(grant, welcome, since, standings)

    def _behind(
        self, standings: Sequence[Standing], positions: Mapping[str, int] | None
    ) -> list[Behind]:
        """
        The groups that have moved on: beyond the client's positions, or, where it
        gives none, with messages that the account has not read.
        """
        behind = []
        for each in standings:
            # What this node has handed on already will not come again.
            pos = max(each.pos, self._roster.position(each.conv))
            if positions is None:
                moved_on = each.unread > 0
            else:
                moved_on = pos > positions.get(each.conv, 0)
            if moved_on:
                behind.append(
                    Behind(conv=each.conv, pos=pos, n=each.n, unread=each.unread)
                )
        return behind


def _place(
    resume: Resume | str | None, grant: Grant, epoch: str
) -> tuple[int, str | None]:
    """Where the session goes on, or the top, and why not there."""
    top = grant.account.seq
    if resume is None:
        return top, "first"
    if isinstance(resume, Resume):
        if resume.epoch != epoch or resume.seq > top:
            return top, "epoch"
        since = resume.seq
    else:
        since = min(grant.cursor, top)
    if since < grant.account.floor:
        return top, "trimmed"
    return since, None


def verdict(refused: RequestRefused) -> int:
    """The close code after a refused hello."""
    for kind, code in (
        (TokenExpired, session.TOKEN_EXPIRED),
        (Unauthenticated, session.BAD_TOKEN),
        (Forbidden, session.BAD_TOKEN),
        (Suspended, session.SUSPENDED),
        (UnsupportedVersion, session.UNSUPPORTED_VERSION),
        (TooManyDevices, session.BAD_TOKEN),
        (QuotaExceeded, session.FLOOD),
        (Unavailable, session.UNAVAILABLE),
    ):
        if isinstance(refused, kind):
            return code
    return session.BAD_FRAME
