# SPDX-License-Identifier: Apache-2.0
"""One v1 connection as a state machine and a window.  No I/O happens here.

    OPENING --hello--> GREETING --welcome--> ACTIVE --bye--> CLOSED
       `-- deadline passed, broken --------------------------^

Nothing in this file awaits, sleeps, logs or asks for the time, so every rule is tested
in memory.  Legal moves are the TRANSITIONS table and nowhere else.
Wire reference: docs/reference/protocol.md.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from chatmotor.errors import RequestRefused, Unauthenticated
from chatmotor.protocol.events import cid_at_end, cid_of_frame


class State(Enum):
    """Where a session is."""

    OPENING = "opening"
    GREETING = "greeting"
    ACTIVE = "active"
    CLOSED = "closed"


TRANSITIONS: dict[State, dict[str, State]] = {
    State.OPENING: {"hello": State.GREETING, "bye": State.CLOSED},
    State.GREETING: {"welcome": State.ACTIVE, "bye": State.CLOSED},
    State.ACTIVE: {"bye": State.CLOSED},
    State.CLOSED: {},
}


# Close codes; their range carries the verdict: below 4500 reconnect and resume.
INTERNAL = 4000
DRAINING = 4001
SLOW_CONSUMER = 4002
FLOOD = 4003
SILENT = 4004
POSITION_LOST = 4005
UNAVAILABLE = 4006
TOKEN_EXPIRED = 4010
BAD_FRAME = 4500
NO_HELLO = 4501
BAD_TOKEN = 4502
SUSPENDED = 4504
UNSUPPORTED_VERSION = 4505

CLOSE_CODES: Final[dict[int, str]] = {
    INTERNAL: "A defect of Chatmotor.",
    DRAINING: "This node shuts down.",
    SLOW_CONSUMER: "The window was full, or the socket not read, for too long.",
    FLOOD: "Too many connections of the account.",
    SILENT: "No answer to a ping.",
    POSITION_LOST: "The next events are no longer kept, or could not be read.",
    UNAVAILABLE: "The store is away, or did not say whether it wrote.",
    TOKEN_EXPIRED: "The token has expired.",
    BAD_FRAME: "Nothing but refusals before hello, or a hello that cannot be served.",
    NO_HELLO: "No hello in time.",
    BAD_TOKEN: "The token is unknown or was revoked, or its device was logged out.",
    SUSPENDED: "The account is deactivated.",
    UNSUPPORTED_VERSION: "The version is not spoken here.",
}


def may_reconnect(code: int) -> bool:
    """What the range of a close code says."""
    return code < BAD_FRAME


class Session:
    """The state of one session."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.OPENING

    def move(self, cause: str) -> None:
        """
        Make a legal move.

        Raises:
            RequestRefused: ``hello`` again.
        """
        following = TRANSITIONS[self.state].get(cause)
        if following is None:
            raise RequestRefused("this session has said hello already", field="op")
        self.state = following

    def require_active(self) -> None:
        """Raises ``Unauthenticated`` unless the session was welcomed."""
        if self.state is not State.ACTIVE:
            raise Unauthenticated("say hello first, and wait for welcome")


@dataclass(slots=True)
class Window:
    """
    How much may be sent to a client that has not acknowledged it.

    The client says how many events have arrived (``ack.h``).  One event may pass the
    bound of bytes, so that the largest one passes at all.

    Args:
        max_events, max_bytes: What may be on its way.
    """

    max_events: int
    max_bytes: int
    sent: int = 0
    acked: int = 0
    bytes_out: int = 0
    _sizes: deque[int] = field(default_factory=deque)

    @property
    def room(self) -> int:
        """Events that may be sent now."""
        if self.bytes_out >= self.max_bytes:
            return 0
        return self.max_events - len(self._sizes)

    def add(self, size: int) -> None:
        """An event of *size* bytes is sent."""
        self.sent += 1
        self.bytes_out += size
        self._sizes.append(size)

    def acknowledge(self, arrived: int) -> None:
        """
        The client has *arrived* events in all; less than before is no news.

        Raises:
            RequestRefused: More than were sent.
        """
        if arrived > self.sent:
            raise RequestRefused(
                f"h is {arrived}, and {self.sent} events were sent", field="h"
            )
        while self.acked < arrived:
            self.acked += 1
            self.bytes_out -= self._sizes.popleft()


class OwnEvents:
    """
    Keeps an own event back until the ``ok`` to its send has gone, and what follows it.

    A reading of the store can find a message before the store has told its sender.
    The window bounds what is kept.
    """

    __slots__ = ("_asked", "_kept")

    def __init__(self) -> None:
        self._asked: Counter[bytes] = Counter()
        self._kept: deque[bytes] = deque()

    def begin(self, cid: str) -> None:
        """A send is under way."""
        self._asked[cid_at_end(cid)] += 1

    def end(self, cid: str) -> list[bytes]:
        """It has its answer.  Returns the frames that go now, in their order."""
        asked, kept = self._asked, self._kept
        key = cid_at_end(cid)
        asked[key] -= 1
        if not asked[key]:
            del asked[key]
        free = []
        while kept and cid_of_frame(kept[0]) not in asked:
            free.append(kept.popleft())
        return free

    def keeps(self, frame: bytes) -> bool:
        """Whether *frame*, the next one of a log, has to wait; then it does so here."""
        if self._kept or (self._asked and cid_of_frame(frame) in self._asked):
            self._kept.append(frame)
            return True
        return False
