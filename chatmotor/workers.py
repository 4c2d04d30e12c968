# SPDX-License-Identifier: Apache-2.0
"""Several processes on one port: the parent binds, the children serve.

The parent starts a worker again when it dies by itself, at most so often that a
worker that cannot live does not burn the machine, and ends them all when it is
told to.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable

from chatmotor.stop_signals import STOP_SIGNALS, hold_back, let_through

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


def run_workers(  # noqa: C901  # its signal handlers are inside
    count: int, serve: Callable[[int], None], *, stop_seconds: float
) -> None:
    """
    Run *serve*, with its number from 0, in *count* child processes.

    *serve* begins with the stop signals held back, and lets them through once it
    handles them.

    Returns once all have ended after SIGTERM or SIGINT; those that have not after
    *stop_seconds* are killed.
    """
    children: dict[int, int] = {}
    stopping = False

    def stop(signal_number: int, _: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            os.kill(child, signal.SIGTERM)
        signal.alarm(int(stop_seconds) + 1)

    def kill(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)

    def start(worker: int) -> None:
        # A child that is not yet in the books would be missed.
        hold_back()
        children[_fork(worker, serve)] = worker
        let_through()

    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, stop)
    signal.signal(signal.SIGALRM, kill)
    for worker in range(count):
        start(worker)
    while children:
        ended, status = os.wait()
        worker = children.pop(ended, -1)
        if worker < 0 or stopping:
            continue
        logger.error(
            "worker %d ended with %d; starting it again",
            worker,
            os.waitstatus_to_exitcode(status),
        )
        time.sleep(RESTART_SECONDS)
        if not stopping:
            start(worker)
    signal.alarm(0)


def _fork(worker: int, serve: Callable[[int], None]) -> int:
    child = os.fork()
    if child:
        return child
    for signal_number in (*STOP_SIGNALS, signal.SIGALRM):
        signal.signal(signal_number, signal.SIG_DFL)
    status = 1
    try:
        serve(worker)
        status = 0
    except BaseException:
        logger.exception("worker %d failed", worker)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
