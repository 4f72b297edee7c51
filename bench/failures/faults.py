"""What can go wrong with an endpoint, and how that ends."""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Fault:
    """A row of the table of faults."""

    name: str
    begin: Callable
    end: Callable


FAULTS = [
    Fault("killed", lambda one: one.kill(), lambda one: one.begin()),
    Fault("stopped", lambda one: one.stop(), lambda one: one.go_on()),
    Fault("500", lambda one: one.mode("fail"), lambda one: one.mode("normal")),
    Fault("slow", lambda one: one.mode("slow"), lambda one: one.mode("normal")),
    Fault("closes", lambda one: one.mode("close"), lambda one: one.mode("normal")),
]
