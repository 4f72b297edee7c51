"""The plot: for each workload a panel of bars, one for each proxy, shorter is better.

Written by hand, so that it needs nothing. It follows the reader's choice of light or dark, is
readable without colours (every bar has its name and its value), and shows user and system time
as two shades of the bar.
"""

from html import escape

WIDTH = 860
COLUMN_GAP = 36
PANEL_WIDTH = (WIDTH - COLUMN_GAP) // 2 - 16
MARGIN = 16
NAME_WIDTH = 96
VALUE_WIDTH = 104
BAR_HEIGHT = 16
BAR_STEP = 22
HEAD_HEIGHT = 44
PANEL_GAP = 26
TITLE_HEIGHT = 64

# Light and dark, by class. No CSS variables: not every viewer of SVG files knows them.
COLOURS = {
    ".paper": ("fill", "#ffffff", "#14191f"),
    "text": ("fill", "#1c2430", "#e8edf2"),
    ".quiet": ("fill", "#5d6875", "#9aa7b4"),
    ".axis": ("stroke", "#c9d1da", "#3a4552"),
    ".system": ("fill", "#8594a6", "#65748a"),
    ".user": ("fill", "#b7c2ce", "#9badc4"),
    ".ours.system": ("fill", "#0b6e99", "#2b8fbf"),
    ".ours.user": ("fill", "#58aed1", "#8fd2f2"),
    ".floor.system": ("fill", "#b9a36a", "#8d7a45"),
    ".floor.user": ("fill", "#dccfa8", "#c4ad79"),
}
FONTS = """
text { font: 12px system-ui, sans-serif; }
.title { font-size: 17px; font-weight: 600; }
.panel { font-size: 13px; font-weight: 600; }
.value { font-variant-numeric: tabular-nums; }
text.ours { font-weight: 700; }
"""


def style():
    light = [f"{name} {{ {what}: {colour}; }}" for name, (what, colour, _) in COLOURS.items()]
    dark = [f"{name} {{ {what}: {colour}; }}" for name, (what, _, colour) in COLOURS.items()]
    return "\n".join([FONTS, *light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def svg(document, workloads):
    """The whole picture as text, from what also goes to the JSON file."""
    panels = [
        (workload, entries)
        for workload in workloads
        if (entries := [
            entry for entry in document["results"]
            if entry["workload"] == workload.name and entry.get("value") is not None
        ])
    ]
    body, heights = [], [TITLE_HEIGHT, TITLE_HEIGHT]
    for workload, entries in panels:
        column = heights.index(min(heights))
        left = MARGIN + column * (PANEL_WIDTH + COLUMN_GAP)
        body.append(panel(workload, entries, left, heights[column]))
        heights[column] += HEAD_HEIGHT + BAR_STEP * len(entries) + PANEL_GAP
    height = max(heights)
    machine = document["machine"]
    where = f'{document["date"][:10]} · {machine["cpu"]} · Linux {machine["kernel"]}'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-label="Price of a proxied request">',
        f"<style>{style()}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="28">Price of a proxied request: shorter is better</text>',
        f'<text class="quiet" x="{MARGIN}" y="48">dark part: kernel, light part: the program itself'
        f" · {escape(where)}</text>",
        *body,
        "</svg>",
        "",
    ])


def panel(workload, entries, left, top):
    longest = max(entry["value"] for entry in entries) or 1
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH
    parts = [
        f'<text class="panel" x="{left}" y="{top + 14}">{escape(workload.name)}</text>',
        f'<text class="quiet" x="{left}" y="{top + 31}">{escape(workload.title)}</text>',
    ]
    start = left + NAME_WIDTH
    for index, entry in enumerate(entries):
        parts.append(bar(workload, entry, left, start, top + HEAD_HEIGHT + index * BAR_STEP,
                         room / longest))
    end = top + HEAD_HEIGHT + len(entries) * BAR_STEP
    parts.append(f'<path class="axis" d="M{start - 0.5} {top + HEAD_HEIGHT - 3}V{end - 3}"/>')
    return "\n".join(parts)


def bar(workload, entry, left, start, top, scale):
    name, value = entry["proxy"], entry["value"]
    kind = "ours" if name.startswith("bothways") else "floor" if name == "relay" else ""
    system = entry.get("system", value)
    middle = top + BAR_HEIGHT - 4
    parts = [f'<text class="{kind}" x="{left}" y="{middle}">{escape(name)}</text>']
    at = start
    for shade, part in (("system", system), ("user", entry.get("user", 0))):
        length = max(0.0, part * scale)
        if length:
            parts.append(f'<rect class="{kind} {shade}" x="{at:.1f}" y="{top}" width="{length:.1f}"'
                         f' height="{BAR_HEIGHT}"/>')
        at += length
    parts.append(f'<text class="value {kind}" x="{at + 5:.1f}" y="{middle}">'
                 f"{escape(label(workload, value))}</text>")
    return "".join(parts)


def label(workload, value):
    if workload.kind == "idle":
        return f"{value / 1024:.2f} KiB"
    digits = 1 if value < 100 else 0
    return f"{value:,.{digits}f} µs/MiB" if workload.kind == "bulk" else f"{value:,.{digits}f} µs"
