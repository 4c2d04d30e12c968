# SPDX-License-Identifier: Apache-2.0
"""A limit on what a bot says without having been asked.  No I/O.

Two bots that answer each other's messages would go on for ever.  Neither can know that
the other is one, so each counts: at most *limit* unasked replies to the messages of one
minute in one conversation.  The minute is that of the messages, as the server stamps
them: a bot that was down for a day and catches up is not held back for it.
"""

import collections
from typing import Final

WINDOW_MS: Final = 60_000
# Conversations are forgotten, the longest silent first, beyond so many.
CONVERSATIONS_MAX: Final = 1000


class Brake:
    """
    One for each bot.

    Args:
        limit: Replies in a minute of one conversation.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._said: collections.OrderedDict[str, collections.deque[int]] = (
            collections.OrderedDict()
        )
        self._silent: set[str] = set()

    def allows(self, conv: str, *, ts: int) -> bool:
        """Whether one more reply to a message of *ts* may be; if so, it counts."""
        said = self._said.setdefault(conv, collections.deque(maxlen=self._limit))
        self._said.move_to_end(conv)
        while len(self._said) > CONVERSATIONS_MAX:
            self._silent.discard(self._said.popitem(last=False)[0])
        while said and said[0] <= ts - WINDOW_MS:
            said.popleft()
        if len(said) >= self._limit:
            return False
        self._silent.discard(conv)
        said.append(ts)
        return True

    def is_news(self, conv: str) -> bool:
        """Whether this silence has not been told of yet; says so once for each."""
        if conv in self._silent:
            return False
        self._silent.add(conv)
        return True
