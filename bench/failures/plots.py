"""The two plots, in the style of the benchmark's: bars by hand, with every value written beside them."""

from html import escape

from harness.plot import BAR_HEIGHT, MARGIN, WIDTH, style

ROW_STEP = 20
GROUP_GAP = 10
NAME_WIDTH = 210
TOP = 74
ERRORS_WIDTH = 130
MORE = """
.errors { font-weight: 700; }
.slow { fill: #c2593a; }
@media (prefers-color-scheme: dark) { .slow { fill: #e2815f; } }
"""


def picture(title, subtitle, body, height):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">',
        f"<style>{style()}{MORE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="28">{escape(title)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="48">{escape(subtitle)}</text>',
        *body,
        "</svg>",
        "",
    ])


def where(document):
    machine = document["machine"]
    return f'{document["date"][:10]} · {machine["cpu"]}, {machine["cores"]} cores · Linux {machine["kernel"]}'


def bar(left, top, length, kind):
    return f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{max(1.0, length):.1f}" height="{BAR_HEIGHT}"/>'


def text(left, top, words, kind=""):
    return f'<text class="{kind}" x="{left:.1f}" y="{top + BAR_HEIGHT - 4}">{escape(words)}</text>'


def kind_of(proxy):
    return "ours " if proxy == "bothways" else ""


def failures(document):
    """For each scenario a bar for each proxy: the p99 while the faults were there, and the errors beside it."""
    figures = document["scenarios"]
    longest = max(one["p99_ms"] or 0 for one in figures) or 1
    left = MARGIN + NAME_WIDTH
    room = WIDTH - left - ERRORS_WIDTH - MARGIN - 70
    body, top = [], TOP
    for name in dict.fromkeys(one["scenario"] for one in figures):
        body.append(text(MARGIN, top, name, "panel"))
        for one in (one for one in figures if one["scenario"] == name):
            ours = kind_of(one["proxy"])
            length = (one["p99_ms"] or 0) / longest * room
            count = f"{one['errors']:,} error{'s' * (one['errors'] != 1)}" if one["errors"] else "no errors"
            body += [
                text(left - 68, top, one["proxy"], ours),
                bar(left, top, length, f"{ours}system"),
                text(left + length + 5, top, f"{one['p99_ms'] or 0:,.0f} ms", f"value {ours}"),
                text(WIDTH - MARGIN - ERRORS_WIDTH, top, count, "errors slow" if one["errors"] else "quiet"),
            ]
            top += ROW_STEP
        top += GROUP_GAP
    settings = document["settings"]
    title = "While servers fail: errors that clients see, and the 99th percentile of their latency"
    told = (f"{settings['connections']} connections, {settings['endpoints']} endpoints of"
            f" {settings['service-ms']} ms · {where(document)}")
    return picture(title, told, body, top + MARGIN)


def latency(document):
    """For each algorithm two bars: the p99 when all are well, and with one of ten slow."""
    figures = document["latency"]
    longest = max(max(one["p99_without_ms"], one["p99_with_ms"]) for one in figures)
    left = MARGIN + NAME_WIDTH
    room = WIDTH - left - MARGIN - 215
    body, top = [], TOP
    for one in figures:
        ours = kind_of(one["proxy"])
        body.append(text(MARGIN, top, f"{one['proxy']} {one['algorithm']}", f"panel {ours}"))
        rows = (
            (one["p99_without_ms"], f"{ours}system", "all well"),
            (one["p99_with_ms"], "slow", f"one slow: {one['ratio']:.2f} times as long"),
        )
        for value, kind, words in rows:
            length = value / longest * room
            body += [bar(left, top, length, kind), text(left + length + 5, top, f"{value:,.1f} ms, {words}", "value")]
            top += ROW_STEP
        top += GROUP_GAP
    settings = document["settings"]
    title = "One of ten endpoints is ten times slower: 99th percentile of the latency"
    told = (f"{settings['latency-connections']} connections, {settings['latency-service-ms']} ms, the slow one"
            f" {10 * settings['latency-service-ms']} ms · {where(document)}")
    return picture(title, told, body, top + MARGIN)
