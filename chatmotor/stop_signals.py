# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT, held back until somebody is there to hear them.

Between the first line of output and the event loop's handlers a signal would kill
the process half started.  Held back, it is heard a moment later.
"""

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def hold_back() -> None:
    """Keep the signals waiting, in this process and in those it forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_through() -> None:
    """Let them through, those that wait first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
