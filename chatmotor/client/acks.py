# SPDX-License-Identifier: Apache-2.0
"""What one connection has brought, and how much of that is acknowledged.  No I/O.

``h`` counts the events that came and are not held any more: handled, known or let go.
So the server's window closes when the application does not read, and the backlog stays
in the server's store.  As a full window without any acknowledgment would end the
session (4002), one event more is acknowledged every few seconds: a handler that takes
a minute costs no connection.
"""

from dataclasses import dataclass

DELAY_SECONDS = 0.1
BATCH_EVENTS = 32
# A third of what the server waits for, by default.
PATIENCE_SECONDS = 5.0


@dataclass(slots=True)
class Acks:
    """
    The acknowledgments of one connection.

    Args:
        window: How many events may be under way.
        seq: What the server knows of the mailbox.
    """

    window: int = 1
    seq: int = 0
    received: int = 0
    held: int = 0
    acked: int = 0
    _progress_since: float | None = None
    _quiet_since: float = 0.0

    @property
    def handled(self) -> int:
        """How many events need not be held any more."""
        return self.received - self.held

    def arrive(self, now: float) -> None:
        """An event has come, and is held."""
        if self.received == self.acked:
            self._quiet_since = now
        self.received += 1
        self.held += 1

    def release(self, now: float) -> None:
        """One is not held any more."""
        self.held -= 1
        self._progress(now)

    def moved(self, now: float) -> None:
        """The place in the mailbox has moved."""
        self._progress(now)

    def _progress(self, now: float) -> None:
        if self._progress_since is None:
            self._progress_since = now

    def due(self, now: float, seq: int | None) -> dict[str, int] | None:
        """
        ``h`` and ``seq`` to send now, if it is time.

        Args:
            seq: How far the application has its mailbox, if that is known.
        """
        since = self._progress_since
        if since is not None:
            if not self._has_news(seq):
                self._progress_since = None
            elif now - since >= DELAY_SECONDS or self._is_batch:
                return self._say(max(self.handled, self.acked), seq, now)
        if self._is_quiet and now - self._quiet_since >= PATIENCE_SECONDS:
            return self._say(self.acked + 1, seq, now)
        return None

    def last(self, seq: int | None) -> dict[str, int] | None:
        """``h`` and ``seq`` to send before one goes, if there is any news in it."""
        if not self._has_news(seq):
            return None
        return self._say(max(self.handled, self.acked), seq, 0.0)

    def _has_news(self, seq: int | None) -> bool:
        return self.handled > self.acked or (seq is not None and seq > self.seq)

    @property
    def _is_batch(self) -> bool:
        batch = max(1, min(BATCH_EVENTS, self.window // 8))
        return self.handled - self.acked >= batch

    @property
    def _is_quiet(self) -> bool:
        return self.received > self.acked

    def _say(self, h: int, seq: int | None, now: float) -> dict[str, int]:
        self.acked = h
        self._progress_since = None
        self._quiet_since = now
        if seq is None:
            return {"h": h}
        self.seq = max(seq, self.seq)
        return {"h": h, "seq": self.seq}

    def deadline(self) -> float:
        """When ``due`` should be asked again."""
        found = float("inf")
        if self._progress_since is not None:
            found = self._progress_since + DELAY_SECONDS
        if self._is_quiet:
            found = min(found, self._quiet_since + PATIENCE_SECONDS)
        return found
