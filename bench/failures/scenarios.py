"""What goes wrong, alone and by twos, and what the clients of a proxy see of it."""

import itertools
import time
from dataclasses import dataclass

from .faults import FAULTS
from .peers import errors, handled_twice, is_even, merged, shares
from .stage import Stage

ENDPOINTS = 5
SERVICE_MS = 20
CONNECTIONS = 200
POST_CONNECTIONS = 8
# An endpoint has its share again when it is this near to it in a second's requests.
TOLERANCE = 0.25
EVEN_SECONDS_MAX = 30


@dataclass(frozen=True)
class Scenario:
    """Which faults there are at once, and whether there is a reload in the middle."""

    faults: tuple
    reload: bool = False

    @property
    def name(self):
        words = [fault.name for fault in self.faults] + ["reload"] * self.reload
        return " + ".join(words) or "nothing"


def scenarios():
    """Each alone, each two at once, and each with a reload in the middle."""
    sets = [(), *((fault,) for fault in FAULTS), *itertools.combinations(FAULTS, 2)]
    return [
        *(Scenario(faults) for faults in sets),
        *(Scenario(faults, reload=True) for faults in sets if len(faults) < 2),
    ]


def play(programs, row, scenario, seconds):
    """One scenario with one proxy: what clients saw of it, as figures for people and the JSON file."""
    with Stage(programs, row, ENDPOINTS, SERVICE_MS) as stage:
        gets = stage.clients(CONNECTIONS)
        posts = stage.clients(POST_CONNECTIONS, name="posts", post=True)
        time.sleep(2)
        laps = [gets.lap("before")]
        laps.append(hold(stage, scenario, gets, seconds))
        even = wait_even(stage)
        laps.append(gets.lap("after"))
        posted = posts.lap()
        gets.finish()
        posts.finish()
        return figures(row, scenario, laps, posted) | {
            "even_after_seconds": even,
            "posts_twice": len(handled_twice(stage.endpoints)),
            "posts_lost": len(set(posts.acked()) - {id for one in stage.endpoints for id in one.ids()}),
        }


def hold(stage, scenario, gets, seconds):
    """Lets the faults be for a while; the lap of that time."""
    # Not neighbours, and not the first: some proxies treat that one differently.
    hit = list(zip(scenario.faults, stage.endpoints[1::2]))
    for fault, endpoint in hit:
        fault.begin(endpoint)
    time.sleep(seconds / 2)
    if scenario.reload:
        stage.reload()
    time.sleep(seconds / 2)
    lap = gets.lap("during")
    for fault, endpoint in hit:
        fault.end(endpoint)
    return lap


def wait_even(stage):
    """How long it takes until a second's requests are even again; `None`: too long."""
    began = time.monotonic()
    while (at := time.monotonic() - began) < EVEN_SECONDS_MAX:
        before = [one.requests() for one in stage.endpoints]
        time.sleep(1)
        if is_even(shares(stage.endpoints, before), TOLERANCE):
            return round(at, 1)
    return None


def figures(row, scenario, laps, posted):
    before, during, after = laps
    return {
        "scenario": scenario.name,
        "proxy": row.name,
        "requests": sum(lap["requests"] for lap in laps),
        "errors": sum(map(errors, laps)),
        "errors_by_kind": merged(laps),
        "errors_during": errors(during),
        "last_error_ms": during["last_error_ms"],
        "errors_after": errors(after),
        "p99_before_ms": before["p99_ms"],
        "p50_ms": during["p50_ms"],
        "p99_ms": during["p99_ms"],
        "max_ms": during["max_ms"],
        "max_after_ms": after["max_ms"],
        "posts": posted["requests"],
        "posts_failed": errors(posted),
    }
