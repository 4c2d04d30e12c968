# SPDX-License-Identifier: Apache-2.0
"""What a node has published and RabbitMQ has not confirmed, in order and bounded.

    add --> held --take--> sent (by delivery tag) --confirm--> gone
                ^------------- recall, when the link is lost ---'

Only a list with a purse: it does no I/O and decides nothing.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

# What an entry costs beside its body, so that empty bodies are bounded too.
ENTRY_BYTES = 200


@dataclass(slots=True)
class Entry:
    """
    One publish.

    Attributes:
        began: perf_counter() when it was accepted.
        delivered_here: Whether this node's own users have it already.
    """

    recipients: Sequence[str]
    body: bytes
    began: float
    delivered_here: bool


class Outbox:
    """
    The entries of one node.

    Args:
        max_bytes: From here on ``is_full``.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sent: dict[int, Entry] = {}
        self._held: deque[Entry] = deque()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sent) + len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether the entries take more than their bound."""
        return self._bytes > self._max_bytes

    @property
    def is_half_empty(self) -> bool:
        """Whether there is room enough that senders may go on."""
        return self._bytes * 2 <= self._max_bytes

    @property
    def holds(self) -> bool:
        """Whether entries wait to be sent."""
        return bool(self._held)

    async def until_empty(self) -> None:
        """Return once everything is confirmed or dropped."""
        await self._empty.wait()

    def send(self, tag: int, recipients: Sequence[str], body: bytes) -> None:
        """A new entry is published under delivery tag *tag*."""
        self._add(len(body))
        self._sent[tag] = Entry(recipients, body, perf_counter(), delivered_here=False)

    def hold(
        self, recipients: Sequence[str], body: bytes, *, delivered_here: bool
    ) -> None:
        """A new entry waits for ``take``."""
        self._add(len(body))
        self._held.append(Entry(recipients, body, perf_counter(), delivered_here))

    def take(self, tag: int) -> Entry:
        """The oldest held entry, which is now published under *tag*."""
        entry = self._sent[tag] = self._held.popleft()
        return entry

    def confirm(self, tag: int, *, multiple: bool) -> list[Entry]:
        """RabbitMQ has answered for *tag*, or for every tag up to it."""
        sent = self._sent
        if multiple:
            tags = list(itertools.takewhile(lambda each: each <= tag, sent))
        else:
            tags = [tag] if tag in sent else []
        entries = [sent.pop(each) for each in tags]
        for entry in entries:
            self._bytes -= len(entry.body) + ENTRY_BYTES
        self._note_emptiness()
        return entries

    def recall(self) -> list[Entry]:
        """The link is lost: what was sent is held again, before what was held."""
        self._held = deque([*self._sent.values(), *self._held])
        self._sent.clear()
        return list(self._held)

    def drop_oldest(self) -> int:
        """Drop held entries until the outbox is no longer full; how many."""
        dropped = 0
        while self.is_full and self._held:
            self._bytes -= len(self._held.popleft().body) + ENTRY_BYTES
            dropped += 1
        self._note_emptiness()
        return dropped

    def _add(self, size: int) -> None:
        self._bytes += size + ENTRY_BYTES
        self._empty.clear()

    def _note_emptiness(self) -> None:
        if not self._sent and not self._held:
            self._empty.set()
