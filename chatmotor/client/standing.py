# SPDX-License-Identifier: Apache-2.0
"""What a server forgets with a connection, and the client says again.

No I/O happens here.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from chatmotor.protocol.commands import MAX_WATCHED
from chatmotor.protocol.replies import PresenceNow, UserPresence


class Standing:
    """How the client stands, and whom it watches."""

    def __init__(self) -> None:
        self.presence: dict[str, Any] | None = None
        self._watched: dict[str, None] = {}

    def watch(self, users: Iterable[str]) -> None:
        """Be told how they stand."""
        self._watched.update(dict.fromkeys(users))

    def unwatch(self, users: Iterable[str]) -> None:
        """Not of these any more."""
        for user in users:
            self._watched.pop(user, None)

    def renewals(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What to say on a new connection."""
        if self.presence is not None:
            yield "presence", self.presence
        users = iter(self._watched)
        while some := list(islice(users, MAX_WATCHED)):
            yield "watch", {"users": some}

    def renewed(self, answer: object) -> PresenceNow | None:
        """The answer to a renewal, as news for the application, if it has any."""
        if not isinstance(answer, Mapping) or "snapshot" not in answer:
            return None
        try:
            users = msgspec.convert(answer["snapshot"], list[UserPresence])
        except msgspec.ValidationError:
            return None
        return PresenceNow(users=users)
