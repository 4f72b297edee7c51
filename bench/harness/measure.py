"""CPU time and memory of running processes, and the arithmetic on rounds.

The total of CPU time is read from each process's own CPU clock: nanoseconds, threads that have
ended included. `/proc/PID/stat` counts in ticks of 10 ms, which is enough to split the total
between user and system.
"""

import os
import statistics
import time
from dataclasses import dataclass

CPUCLOCK_SCHED = 2


@dataclass(frozen=True)
class Cpu:
    """CPU time since the start of some processes."""

    nanoseconds: int
    user_ticks: int
    system_ticks: int

    def __sub__(self, earlier):
        return Cpu(
            self.nanoseconds - earlier.nanoseconds,
            self.user_ticks - earlier.user_ticks,
            self.system_ticks - earlier.system_ticks,
        )

    def user_share(self):
        """The part of the time that was spent in the program itself rather than the kernel."""
        ticks = self.user_ticks + self.system_ticks
        return self.user_ticks / ticks if ticks else 0.0


def cpu(pids):
    """What the processes have used so far."""
    total, user, system = 0, 0, 0
    for pid in pids:
        total += time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat_fields(stat.read())
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(total, user, system)


def stat_fields(text):
    """The fields after the command's name, which may itself contain spaces and parentheses."""
    return text.rpartition(")")[2].split()


def tree(pid):
    """A process and all that descend from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat_fields(stat.read())[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return found


def pss_bytes(pids):
    """The memory of the processes; what several share is counted once."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total * 1024


def core_ticks(core):
    """The tick counters of a core: user nice system idle iowait irq softirq steal."""
    with open("/proc/stat") as stat:
        for line in stat:
            if line.startswith(f"cpu{core} "):
                return [int(field) for field in line.split()[1:9]]
    return [0] * 8


def median(values):
    """The middle value; `None` of nothing. Rounds without the figure do not count."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def ratio(ours, theirs):
    """The median of the ratios round by round: noise hits both of a round alike."""
    pairs = zip(ours, theirs)
    return median([a / b for a, b in pairs if a is not None and b])


def spread(values):
    """How far the middle half of the rounds lies apart, as a share of the median."""
    there = sorted(value for value in values if value is not None)
    middle = median(there)
    if len(there) < 3 or not middle:
        return None
    quarters = statistics.quantiles(there, n=4, method="inclusive")
    return (quarters[2] - quarters[0]) / middle
