# SPDX-License-Identifier: Apache-2.0
"""The broker: carries messages between users, wherever they are connected.

    publish(["bob"], text) --> every subscription of "bob", on every node

What every adapter promises (tests/contract/test_broker.py):

- **Order.** What one node publishes to one name arrives in that order.
- **Once.** Each subscription gets one copy of a publish, also when a name is
  repeated; while the adapter switches between connected and disconnected it may
  get a second one, never none (docs/explanation/broker-outage.md).
- **No durability.** A message for a name without a subscription is dropped and
  counted.  Whoever needs more reads it from the store.
- **Bounds.** A paused subscription holds at most ``QUEUE_MAX_BYTES``; then new
  messages for it are dropped and counted.  ``publish`` says when to slow down.

The adapter reconnects and repeats on its own; callers never retry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

Deliver = Callable[[bytes], None]
OnNotice = Callable[[str, bytes], None]


class Phase(Enum):
    """How a broker stands to the nodes around it."""

    CONNECTED = "connected"
    BLOCKED = "blocked"
    JOINING = "joining"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What an operator is told: which broker, how it stands, and why."""

    kind: str
    phase: Phase
    reason: str = ""

    @property
    def reaches_other_nodes(self) -> bool:
        """Whether users of other nodes can be reached now."""
        return self.phase is Phase.CONNECTED


class Subscription(Protocol):
    """One client's place at the broker, with a queue of its own."""

    def pause(self) -> None:
        """Deliver nothing until ``resume``; messages wait in the queue."""

    def resume(self) -> None:
        """Deliver what waits, in order, then what comes."""

    def close(self) -> None:
        """Give the place up.  What waits is dropped.  Safe to repeat."""


class Broker(Protocol):
    """Publish and subscribe for users, and notices between nodes."""

    @property
    def state(self) -> BrokerState:
        """The present state; reading it costs nothing."""

    async def start(
        self,
        *,
        on_notice: OnNotice,
        on_writable: Callable[[], None],
        on_connected: Callable[[], None],
    ) -> None:
        """
        Begin to connect; return at once, connected or not.

        Args:
            on_notice: Called with (key, body) of each notice for a watched key.
            on_writable: Called when publishing is welcome again after
                ``publish`` returned false.
            on_connected: Called when other nodes can be reached, for the first time
                or again: what they sent meanwhile may have been missed.
        """

    async def stop(self) -> None:
        """Disconnect.  What is not yet published or delivered is dropped."""

    async def flush(self) -> None:
        """
        Return once the broker has all that was published, and every subscription
        all that waited for it.  May wait for ever: give it a deadline.
        """

    async def subscribe(self, name: str, deliver: Deliver) -> Subscription:
        """
        A queue for one client of *name*.

        On return, whatever is published to *name* anywhere reaches *deliver*;
        when the broker is not connected, or silent for 5 s, whatever is
        published on this node, and the rest once it is.  *deliver* must not
        raise and must not block.
        """

    def publish(
        self, recipients: Sequence[str], body: bytes, *, kept: bool = True
    ) -> bool:
        """
        Send *body* to every subscription of every name in *recipients*.

        Never fails and never waits.

        Args:
            kept: Whether it is sent again after the broker was away.  Else at most
                once: it is lost then, except for this node, and nothing counts it.

        Returns:
            False when the sender should pause until ``on_writable``: the broker
            is behind, and the bytes it has not confirmed reached their bound.
        """

    async def watch(self, key: str) -> None:
        """
        Have notices of *key* delivered to this node: those sent from now on, or,
        when the broker is not connected, once it is.  Safe to repeat.
        """

    def unwatch(self, key: str) -> None:
        """Undo ``watch``.  Safe to repeat."""

    def notify(self, key: str, body: bytes) -> None:
        """
        Send *body* to every node that watches *key*, this one included.

        At most once: lost when the broker is away, except for this node.
        """
