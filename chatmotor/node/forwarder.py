# SPDX-License-Identifier: Apache-2.0
"""The outgoing hooks of one node: which are its own now, and that they run.

    beat, every 5 s --> store: lease --> start, stop, change ``HookRun``s

A hook is one node's at a time.  When a node dies its leases end, within 15 s, and at
the next beat another has them and goes on from the places in the store.  A node that
cannot renew a lease delivers nothing more.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from chatmotor.core.hooks import HookTargets
from chatmotor.errors import OutcomeUnknown, StoreUnavailable
from chatmotor.metrics import Metrics
from chatmotor.node.hook_pace import Pace
from chatmotor.node.hook_run import HookParts, HookRun, HooksStore
from chatmotor.node.roster import Roster

logger = logging.getLogger(__name__)


class Forwarder:
    """
    The hooks of this node.

    Args:
        targets: Hooks of a kind that is not there are left to other nodes.
        owner: Names the node; no other one ever has the same name.
        now: Milliseconds since the Unix epoch.
        check_seconds: How often the store is asked what was missed.
    """

    def __init__(
        self,
        store: HooksStore,
        roster: Roster,
        metrics: Metrics,
        targets: HookTargets,
        *,
        owner: str,
        now: Callable[[], int],
        check_seconds: float,
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._targets = targets
        self._now = now
        self._pace = pace or Pace()
        self._parts = HookParts(
            *(store, roster, metrics, owner, now, self.beat_soon, self._pace)
        )
        self._check_seconds = check_seconds
        self._check_at = 0.0
        self._runs: dict[str, HookRun] = {}
        self._soon: asyncio.Event
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for hooks."""
        self._soon = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End what is under way, save the places, and leave the hooks to others."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait({task})
        await asyncio.gather(*(run.stop() for run in self._runs.values()))
        had = bool(self._runs)
        self._runs.clear()
        try:
            if had:
                await self._store.release_hooks(self._parts.owner)
        except (StoreUnavailable, OutcomeUnknown):
            logger.debug("leases were not given back; they end by themselves")

    def beat_soon(self) -> None:
        """Hooks may have changed: look now."""
        if self._task is not None:
            self._soon.set()

    def check_soon(self) -> None:
        """The broker is back: look for what it did not bring."""
        self._check_at = 0.0
        self.beat_soon()

    async def _run(self) -> None:
        while True:
            self._soon.clear()
            try:
                await self._beat()
                await self._check_positions()
            except (StoreUnavailable, OutcomeUnknown):
                logger.warning("hooks wait: no answer of the store")
            except Exception:
                logger.exception("the beat of hooks failed")
            self._measure()
            try:
                # Jittered: nodes that began together do not ask together.
                pause = self._pace.beat * random.uniform(0.8, 1.2)  # noqa: S311
                await asyncio.wait_for(self._soon.wait(), pause)
            except TimeoutError:
                pass

    async def _beat(self) -> None:
        clock = asyncio.get_running_loop().time
        began, now = clock(), self._now()
        until = now + int(self._pace.lease * 1000)
        kinds = tuple(self._targets)
        leased = await self._store.lease_hooks(
            self._parts.owner, kinds, now=now, until=until
        )
        hooks = {hook.id: hook for hook in leased}
        # Where a lease had ended, another node may have gone on meanwhile.
        await self._end(
            id_
            for id_, run in self._runs.items()
            if id_ not in hooks or run.ended or run.lease_ends <= began
        )
        for id_, hook in hooks.items():
            target = self._targets[hook.kind]
            lease_ends = began + self._pace.lease
            if id_ not in self._runs:
                self._runs[id_] = HookRun(
                    hook, self._parts, target(hook), lease_ends=lease_ends
                )
                self._runs[id_].start()
            run = self._runs[id_]
            run.lease_ends = lease_ends
            if run.hook.revision != hook.revision:
                run.change(hook, target(hook))

    async def _end(self, ids: Iterable[str]) -> None:
        ending = [self._runs.pop(id_) for id_ in tuple(ids)]
        if ending:
            await asyncio.gather(*(run.stop() for run in ending))

    async def _check_positions(self) -> None:
        clock = asyncio.get_running_loop().time
        if not self._runs or clock() < self._check_at:
            return
        usernames = {run.hook.username for run in self._runs.values()}
        tops = await self._store.tops(tuple(usernames), ())
        self._check_at = clock() + self._check_seconds
        for run in self._runs.values():
            run.check(tops.seqs.get(run.hook.username, 0))

    def _measure(self) -> None:
        now = self._now()
        waits = [
            now - run.waiting_since
            for run in self._runs.values()
            if run.waiting_since is not None
        ]
        self._metrics.hooks = len(self._runs)
        self._metrics.hook_lag_seconds = max(0, *waits, 0) / 1000
