# SPDX-License-Identifier: Apache-2.0
"""How an account stands: the best of how its sessions do.

    dnd > online > away > none, which is offline

A hidden session counts as none.  The text is that of the session that decided; where
two are equal, one that has a text, so that another device does not take it away.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from chatmotor.protocol.replies import UserPresence

_RANK: Final = {"away": 0, "online": 1, "dnd": 2}


class Presence(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A state other than offline, and what somebody has written beside it."""

    state: Literal["online", "away", "dnd"]
    text: Annotated[str, Meta(max_length=140)] = ""


ONLINE: Final = Presence("online")


def best(presences: Iterable[Presence | None]) -> Presence | None:
    """What they amount to; none of them: offline."""
    return max(
        (each for each in presences if each is not None),
        key=lambda each: (_RANK[each.state], each.text),
        default=None,
    )


def told(username: str, presence: Presence | None) -> UserPresence:
    """As a client is told."""
    if presence is None:
        return UserPresence(user=username, state="offline")
    return UserPresence(user=username, state=presence.state, text=presence.text)
