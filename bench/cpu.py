# SPDX-License-Identifier: Apache-2.0
"""CPU time, from Linux's /proc; elsewhere it is unknown (None)."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float | None:
    """
    Seconds of CPU, user and system, that all threads of *pid* have used so far.

    In steps of 10 ms (proc(5), ``utime`` and ``stime``).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    # The second field is the program's name, which may hold spaces.
    numbers = text.rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float | None:
    """
    Seconds that all CPUs together were not free for us, since the machine's start:
    used by any program, or taken by the host of a virtual machine.
    """
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0]
    except FileNotFoundError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, first.split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy / os.sysconf("SC_CLK_TCK")
