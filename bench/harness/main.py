"""The command line, and the order of things."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import load, measure, plot, report, tools
from .peers import PROXIES, Peers, connections_max, raise_open_files
from .tools import ToolError, say
from .workloads import WORKLOADS, Bench, Workload

PEER_PROGRAMS = ("bench-origin", "bench-relay", "bench-load", "bench-handshakes", "bench-idle")
# Memory does not vary as time does.
IDLE_ROUNDS_MAX = 3


def arguments(words=None):
    proxies = ", ".join(row.name for row in PROXIES)
    parser = argparse.ArgumentParser(
        prog="bench/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures what a proxied request costs, in Bothways and in others.",
        epilog=f"workloads: {', '.join(row.name for row in WORKLOADS)}\nproxies: {proxies}",
    )
    add = parser.add_argument
    add("--only", metavar="WORKLOAD,…", type=listed, help="only these workloads, or groups of them (tls: all that begin with `tls-`)")
    add("--proxies", metavar="NAME,…", type=listed, help="only these proxies (default: all but -logs)")
    add("--logs", action="store_true", help="also Bothways with its JSON access log to a file")
    add("--rounds", type=positive(int), help="rounds of each proxy at each workload (default 5)")
    add("--seconds", type=positive(float), help="measured time of a round (default 3)")
    add("--idle", type=positive(int), help="idle connections (default 10000)")
    add("--quick", action="store_true", help="one short round, to see that everything works")
    add("--h2load", action="store_true", help="h2load instead of wrk for small requests (no p99)")
    add("--bothways", metavar="PATH", help="measure this binary instead of building one")
    add("--json", metavar="OUT", type=Path, help="write all figures, each round included")
    add("--svg", metavar="OUT", type=Path, help="write the plot")
    add("--proxy-core", type=int, default=0, help="the core of the proxy (default 0)")
    add("--load-core", type=int, default=1, help="the core of origin and load (default 1)")
    given = parser.parse_args(words)
    rounds, seconds, idle = (1, 1.0, 2000) if given.quick else (5, 3.0, 10000)
    given.rounds, given.seconds = given.rounds or rounds, given.seconds or seconds
    given.idle = given.idle or idle
    given.workloads = chosen(parser, WORKLOADS, given.only)
    names = given.proxies or [row.name for row in PROXIES if not row.logs]
    if given.logs:
        names.append("bothways-logs")
    given.rows = chosen(parser, PROXIES, names)
    return given


def listed(text):
    return [name for name in text.split(",") if name]


def positive(kind):
    def parse(text):
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("must be more than 0")
        return value

    return parse


def chosen(parser, rows, names):
    """The rows of a table by their names, in the table's order."""
    if names is None:
        return rows
    for name in names:
        if not any(is_meant(name, row) for row in rows):
            parser.error(f"`{name}` is not known (known: {', '.join(sorted(row.name for row in rows))})")
    return [row for row in rows if any(is_meant(name, row) for name in names)]


def is_meant(name, row):
    """Whether this is the row's name; a workload also goes by the first words of it."""
    return row.name == name or (isinstance(row, Workload) and row.name.startswith(f"{name}-"))


def main(words=None):
    given = arguments(words)
    try:
        return run(given)
    except (ToolError, load.LoadError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"bench: {' '.join(map(str, error.cmd))} failed", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(given):
    cores = os.sched_getaffinity(0)
    if not {given.proxy_core, given.load_core} <= cores:
        raise ToolError(f"cores {given.proxy_core} and {given.load_core} are wanted; there are {sorted(cores)}")
    programs = prepare(given)
    versions = {
        name: tools.version(name, path) for name, path in programs.items()
        if name in tools.VERSION_ARGUMENTS
    }
    # We run beside origin and load, never beside the proxy.
    os.sched_setaffinity(0, {given.load_core})
    open_files = raise_open_files()
    # Those of the warm-up may not be gone when these come.
    idle = min(given.idle, connections_max(open_files) - 200)
    settings = {"rounds": given.rounds, "seconds": given.seconds, "idle-connections": idle}
    results = report.Results(settings, versions)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        # Squid and nginx leave root; their directory must let them in.
        os.chmod(directory, 0o777)
        for workload in given.workloads:
            say(f"{workload.name}: {workload.title}")
            with Peers(programs, directory, open_files, given.proxy_core, given.load_core) as peers:
                bench = Bench(peers, given.seconds, idle, given.h2load)
                measure_workload(bench, workload, given, results)
            print(report.table(results, workload), flush=True)
    document = report.as_json(results, given.workloads)
    if given.json:
        report.write_json(given.json, document)
    if given.svg:
        given.svg.write_text(plot.svg(document, given.workloads))
    return 1 if results.failures else 0


def prepare(given):
    """Installs and builds what the chosen proxies need; where each program is."""
    taken = [row for row in given.rows if any(workload.takes(row) for workload in given.workloads)]
    needed = {row.program for row in taken}
    needed |= {"wrk"}
    if given.h2load or any(workload.streams for workload in given.workloads):
        needed.add("h2load")
    if any(workload.tls for workload in given.workloads):
        needed.add("openssl")
    commands = [name for name in tools.PACKAGES if name in needed]
    tools.install(commands)
    programs = {name: tools.find(name) for name in commands}
    if "envoy" in needed:
        programs["envoy"] = tools.envoy()
    built = tools.build("bench-peers")
    programs |= {name: str(built / name) for name in PEER_PROGRAMS}
    if "bothways" in needed:
        programs["bothways"] = given.bothways or str(tools.build("bothways") / "bothways")
        if shutil.which(programs["bothways"]) is None:
            raise ToolError(f"{programs['bothways']} is no program")
    return programs


def measure_workload(bench, workload, given, results):
    """All rounds of one workload, the proxies in turn within each round."""
    rows = [row for row in given.rows if workload.takes(row)]
    if workload.kind == "idle":
        for _ in range(min(given.rounds, IDLE_ROUNDS_MAX)):
            for row in rows:
                attempt(results, workload, row, lambda row=row: bench.idle(workload, row))
        return
    running = {}
    for row in rows:
        try:
            running[row] = bench.peers.proxy(row, workload.forward, workload.tls)
            bench.verify(workload, row, running[row])
        except (ToolError, load.LoadError, OSError) as error:
            running.pop(row, None)
            results.fail(workload.name, row.name, error)
    for number in range(given.rounds):
        # Every round begins with another proxy, so that none always follows the same one.
        order = list(running)
        shift = number % max(1, len(order))
        for row in order[shift:] + order[:shift]:
            attempt(results, workload, row, lambda row=row: bench.round(workload, row, running[row]))
            load.settle()


def attempt(results, workload, row, measured):
    try:
        results.add(workload.name, row.name, measured())
    except (ToolError, load.LoadError, OSError) as error:
        results.fail(workload.name, row.name, error)
