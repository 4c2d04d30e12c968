# SPDX-License-Identifier: Apache-2.0
"""Several processes on one port: the parent binds, the children serve.

The parent starts a worker again when it dies by itself, at most so often that a
worker that cannot live does not burn the machine, and ends them all when it is
told to.  Workers whose parent is gone end by themselves.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

from chatmotor.errors import OperatorError
from chatmotor.stop_signals import STOP_SIGNALS, hold_back, let_through

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


def run_workers(
    count: int,
    serve: Callable[[int, int], None],
    *,
    on_stop: Callable[[], None],
    stop_seconds: float,
) -> None:
    """
    Run *serve* in *count* child processes.

    Returns once all have ended after SIGTERM or SIGINT; those that have not after
    *stop_seconds* are killed.

    Args:
        serve: Called in the child, with the stop signals held back until it lets
            them through, with its number from 0 and a file descriptor that becomes
            readable when this process is gone.
        on_stop: Called here when the workers have been told to end.
    """
    _Parent(count, serve, on_stop, stop_seconds).run()


class _Parent:
    """The books of the parent: which child is which worker, and whether we stop."""

    def __init__(
        self,
        count: int,
        serve: Callable[[int, int], None],
        on_stop: Callable[[], None],
        stop_seconds: float,
    ) -> None:
        self._count = count
        self._serve = serve
        self._on_stop = on_stop
        self._stop_seconds = stop_seconds
        self._children: dict[int, int] = {}
        self._stopping = False
        # Nobody writes: the write end closes with this process, however it ends.
        self._read_end, self._write_end = os.pipe()

    def run(self) -> None:
        """Start, restart and wait."""
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, self._stop)
        signal.signal(signal.SIGALRM, lambda *_: self._tell(signal.SIGKILL))
        for worker in range(self._count):
            self._start(worker)
        while self._children:
            ended, status = os.wait()
            worker = self._children.pop(ended, -1)
            if worker < 0 or self._stopping:
                continue
            logger.error(
                "worker %d ended with %d; starting it again",
                worker,
                os.waitstatus_to_exitcode(status),
            )
            time.sleep(RESTART_SECONDS)
            self._start(worker)
        signal.alarm(0)

    def _start(self, worker: int) -> None:
        # A child that is not yet in the books would be missed by a signal.
        hold_back()
        if not self._stopping:
            self._children[self._fork(worker)] = worker
        let_through()

    def _stop(self, signal_number: int, _: object) -> None:
        if not self._stopping:
            self._stopping = True
            self._on_stop()
            signal.alarm(int(self._stop_seconds) + 1)
        self._tell(signal.SIGTERM)

    def _tell(self, signal_number: signal.Signals) -> None:
        for child in tuple(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal_number)

    def _fork(self, worker: int) -> int:
        child = os.fork()
        if child:
            return child
        os.close(self._write_end)
        for signal_number in (*STOP_SIGNALS, signal.SIGALRM):
            signal.signal(signal_number, signal.SIG_DFL)
        status = 1
        try:
            self._serve(worker, self._read_end)
            status = 0
        except OperatorError as wrong:  # it was well when the parent looked
            logger.error("worker %d cannot start: %s", worker, wrong)  # noqa: TRY400
        except BaseException:
            logger.exception("worker %d failed", worker)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
