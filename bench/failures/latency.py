"""Ten endpoints, one of them ten times slower: what that does to the clients' latency, by algorithm."""

import statistics
import time

from harness.tools import say

from .peers import errors, shares
from .stage import PROXIES, Stage

ENDPOINTS = 10
SERVICE_MS = 5
# A little more than three at each endpoint: an endpoint that is slow has a queue of its own at once.
CONNECTIONS = 32
ROUNDS = 3
# What must hold: the p99 with the slow endpoint, by that without.
BOUND = 1.5
BOUNDED = ("p2c", "least-time")

# The algorithm's name for people, and how each proxy calls it.
ALGORITHMS = {
    "bothways": {name: name for name in ("p2c", "least-time", "least-connections", "round-robin")},
    "haproxy": {"random(2)": "random(2)", "leastconn": "leastconn", "roundrobin": "roundrobin"},
    "nginx": {"random two": "random two least_conn;", "least_conn": "least_conn;", "round robin": ""},
}


def measure(programs, given):
    """All algorithms of all proxies; they take turns, and the median of the rounds counts."""
    wanted = {row.name for row in given.rows}
    runs = {(row, name): [] for row in PROXIES if row.name in wanted for name in ALGORITHMS[row.name]}
    for _ in range(ROUNDS):
        for (row, name), laps in runs.items():
            laps.append(once(programs, row, ALGORITHMS[row.name][name], given.seconds))
    return [figures(row, name, laps) for (row, name), laps in runs.items()]


def once(programs, row, balance, seconds):
    """A lap in which all are well, one in which one is slow, and what part of that one's requests it had."""
    with Stage(programs, row, ENDPOINTS, SERVICE_MS, balance) as stage:
        clients = stage.clients(CONNECTIONS)
        time.sleep(1.5)
        clients.lap()
        time.sleep(seconds / 2)
        well = clients.lap("without")
        slow = stage.endpoints[4]
        slow.mode("slow")
        # What is under way when it becomes slow is no matter of choice.
        time.sleep(1.5)
        clients.lap()
        before = [one.requests() for one in stage.endpoints]
        time.sleep(seconds / 2)
        ill = clients.lap("with")
        part = shares(stage.endpoints, before)[4]
        return well, ill, part


def figures(row, name, laps):
    def median(of):
        return round(statistics.median(of), 3)

    told = {"proxy": row.name, "algorithm": name}
    for which, word in enumerate(("without", "with")):
        for quantile in ("p50_ms", "p99_ms"):
            told[f"{quantile.removesuffix('_ms')}_{word}_ms"] = median(one[which][quantile] for one in laps)
    told["ratio"] = median(ill["p99_ms"] / well["p99_ms"] for well, ill, _ in laps)
    told["slow_share"] = round(statistics.median(part for *_, part in laps), 4)
    told["errors"] = sum(errors(well) + errors(ill) for well, ill, _ in laps)
    if row.name == "bothways" and name in BOUNDED:
        told["bound"] = BOUND
    say(f"{row.name} {name}: p99 {told['p99_without_ms']} ms, with a slow one {told['p99_with_ms']} ms")
    return told
