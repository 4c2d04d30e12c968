# SPDX-License-Identifier: Apache-2.0
"""Where a client is, and how it gets from there to somewhere else.

    IDLE --> CONNECTING --> CATCHING_UP --> LIVE
                ^  |             |           |
                |  v             |           |
              OFFLINE <----------+-----------+      from all of them --> CLOSED

Legal moves are the TRANSITIONS table and nowhere else.
"""

from enum import Enum


class State(Enum):
    """Where a client is."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    OFFLINE = "offline"
    CLOSED = "closed"


TRANSITIONS: dict[State, dict[str, State]] = {
    State.IDLE: {"start": State.CONNECTING, "end": State.CLOSED},
    State.CONNECTING: {
        "welcome": State.CATCHING_UP,
        "lost": State.OFFLINE,
        "end": State.CLOSED,
    },
    State.CATCHING_UP: {
        "caught_up": State.LIVE,
        "lost": State.OFFLINE,
        "end": State.CLOSED,
    },
    State.LIVE: {"lost": State.OFFLINE, "end": State.CLOSED},
    State.OFFLINE: {"retry": State.CONNECTING, "end": State.CLOSED},
    State.CLOSED: {},
}
