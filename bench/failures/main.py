"""The command line, and the order of things."""

import argparse
import sys
from pathlib import Path

from harness import report as harness_report
from harness import tools
from harness.peers import raise_open_files
from harness.tools import ToolError, say

from . import latency, report, scenarios, storm
from .peers import program
from .stage import PROXIES

PARTS = {
    "scenarios": "each fault alone, each two at once, and with a reload in the middle",
    "latency": "one slow endpoint of ten, by algorithm",
    "storm": "all endpoints fail: how many requests reach them",
}


def arguments(words=None):
    parser = argparse.ArgumentParser(
        prog="bench/failures/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Injects faults behind a proxy, and counts what its clients see.",
        epilog="\n".join(f"{name:12}{what}" for name, what in PARTS.items()),
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help="only these parts (default: all)")
    add("--only", metavar="SCENARIO,…", help="only these scenarios, such as `killed,slow + closes`")
    add("--proxies", metavar="NAME,…", help="only these proxies")
    add("--seconds", type=float, default=6.0, help="how long faults last, and how long a latency is measured")
    add("--quick", action="store_true", help="two seconds, without pairs of faults")
    add("--bothways", metavar="PATH", help="use this binary instead of building one")
    add("--peers", metavar="DIR", type=Path, help="use the programs of bench/peers in this directory instead of building them")
    add("--json", metavar="OUT", type=Path, help="write all figures; keep those of parts that are not run")
    add("--svg", metavar="DIR", type=Path, help="write balancing-failures.svg and balancing-latency.svg there")
    add("--markdown", metavar="OUT", type=Path, help="write the tables between their marks in this page")
    given = parser.parse_args(words)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"`{unknown.pop()}` is not known (known: {', '.join(PARTS)})")
    given.parts = given.parts or list(PARTS)
    names = given.proxies.split(",") if given.proxies else [row.name for row in PROXIES]
    given.rows = [row for row in PROXIES if row.name in names]
    given.scenarios = scenarios.scenarios()
    if given.quick:
        given.seconds = 2.0
        given.scenarios = [one for one in given.scenarios if len(one.faults) < 2]
    if given.only:
        wanted = [name.strip() for name in given.only.split(",")]
        given.scenarios = [one for one in scenarios.scenarios() if one.name in wanted]
        if len(given.scenarios) != len(wanted):
            parser.error(f"known scenarios: {', '.join(one.name for one in scenarios.scenarios())}")
    return given


def main(words=None):
    given = arguments(words)
    try:
        return run(given)
    except ToolError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(given):
    programs = prepare(given)
    raise_open_files()
    document = report.begin(given, programs)
    played = {"scenarios": play_scenarios, "latency": latency.measure, "storm": storm.measure}
    for part in given.parts:
        say(f"{part}: {PARTS[part]}")
        document[part] = report.replaced(document.get(part, []), played[part](programs, given))
        document.setdefault("played", {})[part] = report.moment()
        print(report.TABLES[part](document[part]), flush=True)
        if given.json:
            harness_report.write_json(given.json, document)
    if given.svg:
        report.write_plots(document, given.svg)
    if given.markdown:
        report.write_tables(document, given.markdown)
    return 0


def prepare(given):
    """Installs and builds what is needed; where each program is."""
    names = {row.name for row in given.rows}
    others = [name for name in ("haproxy", "nginx") if name in names]
    tools.install(others)
    programs = {name: tools.find(name) for name in others}
    built = given.peers or tools.build("bench-peers")
    programs |= {name: program(name, built) for name in ("bench-endpoint", "bench-clients")}
    if "bothways" in names:
        programs["bothways"] = given.bothways or str(tools.build("bothways") / "bothways")
    return programs


def play_scenarios(programs, given):
    """All scenarios, the proxies in turn."""
    figures = []
    for scenario in given.scenarios:
        for row in given.rows:
            figures.append(scenarios.play(programs, row, scenario, given.seconds))
            say(report.line(figures[-1]))
    return figures
