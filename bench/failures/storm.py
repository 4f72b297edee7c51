"""All endpoints fail: how many requests reach them, for each that a client makes."""

import itertools
import time

from harness.tools import say

from .peers import errors
from .stage import Stage

ENDPOINTS = 5
SERVICE_MS = 5
CONNECTIONS = 50
# Clients whose number is given, not one that grows with how fast they are refused.
RATE = 1000
SECONDS = 10
BOUND = 1.25
# Checks go well meanwhile: one that fails would end the storm.
MODES = {"500": "fail-work", "reset": "reset 100"}


def measure(programs, given):
    figures = []
    for (kind, mode), watched, row in itertools.product(MODES.items(), (False, True), given.rows):
        figures.append(once(programs, row, kind, mode, watched))
        told = figures[-1]
        say(f"{row.name}, all answer by {kind}: {told['upstream']} for {told['requests']} ({told['ratio']}×)")
    return figures


def once(programs, row, kind, mode, watched):
    """`watched`: with all that lets endpoints be; without it retries stand alone."""
    with Stage(programs, row, ENDPOINTS, SERVICE_MS, watched=watched) as stage:
        for endpoint in stage.endpoints:
            endpoint.mode(mode)
        before = sum(endpoint.requests() for endpoint in stage.endpoints)
        clients = stage.clients(CONNECTIONS, rate=RATE)
        time.sleep(SECONDS)
        lap = clients.lap()
        upstream = sum(endpoint.requests() for endpoint in stage.endpoints) - before
        requests = lap["requests"] + errors(lap)
        told = {
            "proxy": row.name, "kind": kind, "watched": watched, "requests": requests, "upstream": upstream,
            "ratio": round(upstream / max(1, requests), 3), "p99_ms": lap["p99_ms"], "errors": lap["errors"],
        }
        return told | ({"bound": BOUND} if row.name == "bothways" else {})
