# SPDX-License-Identifier: Apache-2.0
"""Commands that wait for their answers.  No I/O happens here.

    put --> waiting --> under way --ok | error--> done
              ^-- connection lost: repeated, or Disconnected --'

A command that can be done twice without harm is repeated after a reconnect; another
one fails, since nobody knows whether it was done.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from chatmotor.client.errors import ClientError, Disconnected
from chatmotor.protocol.answers import ANSWERS

Done = Callable[[Any], None]

ONCE: Final = frozenset({"auth", "device.revoke", "presence", "signal", "typing"})
KNOWN: Final = ANSWERS.keys()


@dataclass(slots=True, eq=False)
class Request:
    """
    A command.

    Args:
        fields: Those of the command, without ``op`` and ``id``.
        done: Called with the fields of ``ok``, or an error.
        repeat: Whether it is sent again on another connection.
    """

    op: str
    fields: dict[str, Any]
    done: Done
    repeat: bool


class Requests:
    """The commands of a client, but for its messages."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._under_way: dict[int, Request] = {}

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def put(self, request: Request, *, first: bool = False) -> None:
        """Have it sent; *first*: before others."""
        if first:
            self._waiting.appendleft(request)
        else:
            self._waiting.append(request)

    def next(self) -> Request | None:
        """The one to send now; call ``begin`` with it."""
        return self._waiting.popleft() if self._waiting else None

    def begin(self, identifier: int, request: Request) -> None:
        """It is sent, as the command *identifier*."""
        self._under_way[identifier] = request

    def end(self, identifier: object) -> Request | None:
        """The one with this id, which has its answer."""
        if not isinstance(identifier, int):
            return None
        return self._under_way.pop(identifier, None)

    def disconnected(self) -> None:
        """What was under way is repeated, or has failed."""
        again = [each for each in self._under_way.values() if each.repeat]
        failed = [
            each
            for each in (*self._under_way.values(), *self._waiting)
            if not each.repeat
        ]
        waiting = [each for each in self._waiting if each.repeat]
        self._under_way.clear()
        self._waiting = deque(again + waiting)
        for each in failed:
            each.done(Disconnected(f"{each.op}: the connection was lost"))

    def fail(self, error: ClientError) -> None:
        """There will be no answers."""
        every = (*self._under_way.values(), *self._waiting)
        self._under_way.clear()
        self._waiting.clear()
        for each in every:
            each.done(error)
