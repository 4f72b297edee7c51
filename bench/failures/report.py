"""What was played: tables in Markdown, JSON, plots."""

import datetime
import json

from harness import report as harness_report
from harness import tools
from harness.report import number

from . import latency, plots, scenarios
from .stage import PROXIES

MARK = "<!-- {name}: made by bench/failures/run -->"


def begin(given, programs):
    """The document to put figures into: what is there already, if it is to be written again."""
    document = {}
    if given.json and given.json.exists():
        document = json.loads(given.json.read_text())
    return document | {
        "date": moment(),
        "machine": harness_report.machine(),
        "versions": {name: tools.version(name, path) for name, path in programs.items()
                     if name in tools.VERSION_ARGUMENTS},
        "settings": {
            "endpoints": scenarios.ENDPOINTS, "service-ms": scenarios.SERVICE_MS,
            "connections": scenarios.CONNECTIONS, "post-connections": scenarios.POST_CONNECTIONS,
            "fault-seconds": given.seconds, "latency-endpoints": latency.ENDPOINTS,
            "latency-service-ms": latency.SERVICE_MS, "latency-connections": latency.CONNECTIONS,
        },
    }


def moment():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def replaced(old, new):
    """New figures in the place of those that had the same names; others are kept."""
    found = {key(one): one for one in old}
    found |= {key(one): one for one in new}
    return sorted(found.values(), key=place)


def place(one):
    """Where figures stand in a table: scenarios in their order, Bothways first."""
    names = [scenario.name for scenario in scenarios.scenarios()]
    scenario = names.index(one["scenario"]) if one.get("scenario") in names else 0
    return scenario, one.get("kind", ""), one.get("watched", False), [row.name for row in PROXIES].index(one["proxy"])


def key(figures):
    return tuple(figures.get(name) for name in ("scenario", "kind", "proxy", "algorithm", "watched"))


def line(one):
    even = "never" if one["even_after_seconds"] is None else f"{one['even_after_seconds']:.0f} s"
    return (f"{one['scenario']}: {one['proxy']}: {one['errors']} errors {one['errors_by_kind'] or ''} in {one['requests']}"
            f" requests, p99 {number(one['p99_ms'], 0)} ms, max {number(one['max_ms'], 0)} ms, even after {even};"
            f" POSTs: {one['posts_failed']} of {one['posts']} failed, {one['posts_twice']} twice")


def scenario_table(figures):
    """A line for each scenario, each proxy's figures in a cell."""
    proxies = list(dict.fromkeys(one["proxy"] for one in figures))
    rows = [["", *(f"{proxy}: errors, p50, p99, max, even after" for proxy in proxies)]]
    for name in dict.fromkeys(one["scenario"] for one in figures):
        cells = {one["proxy"]: cell(one) for one in figures if one["scenario"] == name}
        rows.append([name, *(cells.get(proxy, "") for proxy in proxies)])
    return markdown(rows)


def cell(one):
    even = "never" if one["even_after_seconds"] is None else f"{one['even_after_seconds']:.0f} s"
    count = f"**{one['errors']}**" if one["errors"] else "0"
    times = " / ".join(number(one[name], 0) for name in ("p50_ms", "p99_ms", "max_ms"))
    return f"{count}, {times} ms, {even}"


def post_table(figures):
    proxies = list(dict.fromkeys(one["proxy"] for one in figures))
    rows = [["", *proxies]]
    for title, name in (("POSTs answered with 200", "posts"), ("failed", "posts_failed"),
                        ("handled twice", "posts_twice")):
        rows.append([title, *(f"{sum(one[name] for one in figures if one['proxy'] == proxy):,}" for proxy in proxies)])
    return markdown(rows)


def latency_table(figures):
    rows = [["", "p50", "p99", "p50 with a slow one", "p99 with it", "times as long", "its share of requests"]]
    for one in figures:
        times = [number(one[name], 1) + " ms" for name in ("p50_without_ms", "p99_without_ms", "p50_with_ms",
                                                            "p99_with_ms")]
        rows.append([f"{one['proxy']} {one['algorithm']}", *times, f"{one['ratio']:.2f}",
                     f"{100 * one['slow_share']:.1f} %"])
    return markdown(rows)


def storm_table(figures):
    rows = [["all endpoints answer by", "", "requests of clients", "requests at endpoints", "ratio"]]
    for one in figures:
        kind = one["kind"] + (", ejection and checks on" if one["watched"] else ", retries alone")
        rows.append([kind, one["proxy"], f"{one['requests']:,}", f"{one['upstream']:,}", f"{one['ratio']:.2f}"])
    return markdown(rows)


def markdown(rows):
    head, *rest = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


TABLES = {"scenarios": scenario_table, "latency": latency_table, "storm": storm_table}
PAGE_TABLES = {"scenarios": scenario_table, "posts": post_table, "latency": latency_table, "storm": storm_table}


def write_tables(document, path):
    """Puts each table between its two marks in the page."""
    text = path.read_text()
    for name, table in PAGE_TABLES.items():
        figures = document.get("scenarios" if name == "posts" else name)
        mark = MARK.format(name=name)
        if figures and text.count(mark) == 2:
            before, _, after = text.split(mark)
            text = f"{before}{mark}\n\n{table(figures)}\n{mark}{after}"
    path.write_text(text)


def write_plots(document, folder):
    if document.get("scenarios"):
        (folder / "balancing-failures.svg").write_text(plots.failures(document))
    if document.get("latency"):
        (folder / "balancing-latency.svg").write_text(plots.latency(document))
