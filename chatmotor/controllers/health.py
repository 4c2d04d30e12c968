# SPDX-License-Identifier: Apache-2.0
"""``/healthz``: the process answers.  ``/readyz``: it can serve, or why not.

A node without its RabbitMQ is ready: it serves its own users, and taking it out
of a load balancer would only make that worse.  The state is named all the same.
Without its store it is not: nobody can log in, and nothing can be sent.
"""

import asyncio

from chatmotor.controllers.base import Controller
from chatmotor.errors import StoreUnavailable
from chatmotor.node.hub import Hub
from chatmotor.ports.broker import Broker
from chatmotor.ports.store import StoreLife

STORE_SECONDS = 2.0


class HealthController(Controller):
    """Alive."""

    def get(self) -> None:
        """200, as long as the event loop turns."""
        self.answer(200, {"status": "alive"})

    head = get


class ReadinessController(Controller):
    """Ready to serve clients."""

    def initialize(self, hub: Hub, broker: Broker, store: StoreLife) -> None:
        """Called by Tornado with the arguments of the route."""
        self._hub = hub
        self._broker = broker
        self._store = store

    async def get(self) -> None:
        """
        200 or 503, ``{ready, reasons, broker: {kind, state, reason}, store: {up}}``.

        ``reasons`` names what is amiss, also where the node is ready all the same.
        """
        state = self._broker.state
        store_is_up = await self._store_answers()
        ready = self._hub.accepting and store_is_up
        reasons = []
        if not self._hub.accepting:
            reasons.append("draining: this node is shutting down")
        if not store_is_up:
            reasons.append("the store does not answer: nobody can log in or send")
        if not state.reaches_other_nodes:
            why = f" ({state.reason})" if state.reason else ""
            reasons.append(
                f"{state.kind} is {state.phase.value}{why}: "
                "users of other nodes are not reached now"
            )
        broker = {
            "kind": state.kind,
            "state": state.phase.value,
            "reason": state.reason,
        }
        self.answer(
            200 if ready else 503,
            {
                "ready": ready,
                "reasons": reasons,
                "broker": broker,
                "store": {"up": store_is_up},
            },
        )

    head = get

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.ping()
        except (StoreUnavailable, TimeoutError):
            return False
        return True
