# SPDX-License-Identifier: Apache-2.0
"""``/healthz``: the process answers.  ``/readyz``: it can serve, or why not.

A node without its RabbitMQ is ready: it serves its own users, and taking it out
of a load balancer would only make that worse.  The state is named all the same.
"""

from chatmotor.controllers.base import Controller
from chatmotor.node.hub import Hub
from chatmotor.ports.broker import Broker


class HealthController(Controller):
    """Alive."""

    def get(self) -> None:
        """200, as long as the event loop turns."""
        self.answer(200, {"status": "alive"})

    head = get


class ReadinessController(Controller):
    """Ready to serve clients."""

    def initialize(self, hub: Hub, broker: Broker) -> None:
        """Called by Tornado with the arguments of the route."""
        self._hub = hub
        self._broker = broker

    def get(self) -> None:
        """
        200 or 503, ``{ready, reasons, broker: {kind, state, reason}}``.

        ``reasons`` names what is amiss, also where the node is ready all the same.
        """
        state = self._broker.state
        ready = self._hub.accepting
        reasons = [] if ready else ["draining: this node is shutting down"]
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
            {"ready": ready, "reasons": reasons, "broker": broker},
        )

    head = get
