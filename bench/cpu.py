# SPDX-License-Identifier: Apache-2.0
"""CPU time, from Linux's /proc; elsewhere it is unknown (None)."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float | None:
    """
    Seconds of CPU, user and system, that all threads of *pid* and its descendants have
    used so far; of descendants that have ended, too, once they were waited for.

    In steps of 10 ms (proc(5), ``utime``, ``stime``, ``cutime`` and ``cstime``).
    """
    directory = Path(f"/proc/{pid}")
    try:
        text = (directory / "stat").read_text()
        tasks = [each.read_text() for each in directory.glob("task/*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name, which may hold spaces.
    numbers = text.rpartition(")")[2].split()
    own = sum(map(int, numbers[11:15])) / os.sysconf("SC_CLK_TCK")
    children = [int(child) for task in tasks for child in task.split()]
    return own + sum(cpu_seconds(child) or 0.0 for child in children)


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
