"""What was measured, for people (a table on the terminal) and for programs (JSON)."""

import datetime
import json
import os
import platform

from . import measure


class Results:
    """The rounds of every proxy at every workload, in the order in which they were measured."""

    def __init__(self, settings, versions):
        self.settings, self.versions = settings, versions
        self.rounds = {}
        self.failures = {}

    def add(self, workload, proxy, round_):
        self.rounds.setdefault(workload, {}).setdefault(proxy, []).append(round_)

    def fail(self, workload, proxy, why):
        self.rounds.setdefault(workload, {}).setdefault(proxy, []).append(None)
        self.failures.setdefault(workload, {}).setdefault(proxy, str(why))

    def values(self, workload, proxy, name="value"):
        rounds = self.rounds.get(workload, {}).get(proxy, [])
        return [getattr(one, name) if one else None for one in rounds]

    def median(self, workload, proxy, name="value"):
        return measure.median(self.values(workload, proxy, name))

    def ratio(self, workload, proxy, other):
        return measure.ratio(self.values(workload, proxy), self.values(workload, other))

    def errors(self, workload, proxy):
        """The errors of all rounds, added up by kind."""
        total = {}
        for one in self.rounds.get(workload, {}).get(proxy, []):
            for kind, count in (one.errors if one else {}).items():
                total[kind] = total.get(kind, 0) + count
        return total


def machine():
    """What the figures hold for."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "load-average": list(os.getloadavg())}


def as_json(results, workloads):
    """Everything, each round included."""
    entries = []
    for workload in workloads:
        for proxy, rounds in results.rounds.get(workload.name, {}).items():
            entry = {"workload": workload.name, "proxy": proxy, "unit": workload.unit}
            for name in FIGURES:
                value = results.median(workload.name, proxy, name)
                if value is not None:
                    entry[name] = round(value, 4)
            entry["spread"] = measure.spread(results.values(workload.name, proxy))
            entry["ratio"] = {other: results.ratio(workload.name, proxy, other) for other in workload.goals}
            entry["errors"] = results.errors(workload.name, proxy)
            entry["failure"] = results.failures.get(workload.name, {}).get(proxy)
            entry["rounds"] = [one.record() if one else None for one in rounds]
            entries.append(entry)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": results.settings,
        "versions": results.versions,
        "results": entries,
    }


FIGURES = ("value", "user", "system", "rate", "p99_ms", "busy", "origin", "load", "total_bytes", "stolen")


def write_json(path, document):
    with open(path, "w") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")


def table(results, workload):
    """One workload: a line for each proxy, then the goals."""
    proxies = results.rounds.get(workload.name, {})
    others = list(workload.goals)
    if workload.kind == "idle":
        head = ["", workload.unit, "total MiB"]
    else:
        rate = "MiB/s" if workload.kind == "bulk" else "req/s"
        head = ["", workload.unit.removeprefix("CPU "), "user", "system", rate, "p99 ms", "core", "±"]
    head += [f"÷{other}" for other in others]
    rows = [head]
    for proxy in proxies:
        rows.append(line(results, workload, proxy) + [
            number(results.ratio(workload.name, proxy, other), 2) for other in others
        ])
    lines = [f"{workload.name}: {workload.title}", *aligned(rows)]
    for proxy in proxies:
        lines += complaints(results, workload, proxy)
    return "\n".join(lines + goals(results, workload)) + "\n"


def line(results, workload, proxy):
    def figure(name, digits):
        return number(results.median(workload.name, proxy, name), digits)

    if workload.kind == "idle":
        total = results.median(workload.name, proxy, "total_bytes")
        return [proxy, figure("value", 0), number(total and total / 2**20, 1)]
    busy = results.median(workload.name, proxy, "busy")
    spread = measure.spread(results.values(workload.name, proxy))
    return [
        proxy, figure("value", 2), figure("user", 2), figure("system", 2), figure("rate", 0),
        figure("p99_ms", 2), percent(busy), percent(spread),
    ]


def complaints(results, workload, proxy):
    errors = results.errors(workload.name, proxy)
    failure = results.failures.get(workload.name, {}).get(proxy)
    said = []
    if errors:
        said.append(f"  ! {proxy}: " + ", ".join(f"{count} {kind}" for kind, count in errors.items()))
    if failure:
        said.append(f"  ! {proxy}: {failure}")
    return said


def goals(results, workload, proxy="bothways"):
    """What Bothways wants to reach here, and whether it did."""
    said = []
    for other, bound in workload.goals.items():
        found = results.ratio(workload.name, proxy, other)
        if bound is not None and found is not None:
            said.append(f"  goal ≤ {bound:.2f} × {other}: {found:.2f}, {verdict(found, bound)}")
    found = results.median(workload.name, proxy)
    if workload.limit is not None and found is not None:
        said.append(f"  goal ≤ {workload.limit:.0f}: {found:.0f}, {verdict(found, workload.limit)}")
    logs = results.ratio(workload.name, proxy + "-logs", proxy)
    if logs is not None and workload.kind != "idle":
        said.append(f"  goal with logs ≤ 1.10 × without: {logs:.2f}, {verdict(logs, 1.10)}")
    return said


def verdict(found, bound):
    return "reached" if found <= bound else "missed"


def number(value, digits):
    return "" if value is None else f"{value:,.{digits}f}"


def percent(value):
    return "" if value is None else f"{value * 100:.0f}%"


def aligned(rows):
    """The first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  " + "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
