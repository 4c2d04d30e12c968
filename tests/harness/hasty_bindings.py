# SPDX-License-Identifier: Apache-2.0
"""The default bindings with hooks that do everything sooner; for ``CM_BINDINGS``."""

from typing import Any

from injector import CallableProvider, inject, singleton

from chatmotor import bindings
from chatmotor.account_bindings import now_ms
from chatmotor.core.hooks import HookTargets
from chatmotor.metrics import Metrics
from chatmotor.node.forwarder import Forwarder
from chatmotor.node.hook_pace import Pace
from chatmotor.node.roster import Roster
from chatmotor.options import Settings
from chatmotor.ports.store import Store

LEASE_SECONDS = 1.5


@inject
def forwarder(
    settings: Settings,
    store: Store,
    roster: Roster,
    metrics: Metrics,
    targets: HookTargets,
) -> Forwarder:
    """See ``bindings.forwarder``."""
    return Forwarder(
        *(store, roster, metrics, targets),
        owner=bindings.node_name(),
        now=now_ms,
        check_seconds=settings.POSITION_CHECK_SECONDS,
        pace=Pace(beat=0.3, lease=LEASE_SECONDS, first_retry=0.05, last_retry=0.2),
    )


interface_bindings: dict[Any, dict[str, Any]] = bindings.interface_bindings | {
    Forwarder: {"to": CallableProvider(forwarder), "scope": singleton}
}
