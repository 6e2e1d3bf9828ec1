"""A plot of the copies as SVG: a bar for each tool, its median, and a line from its fastest round to its slowest."""

from __future__ import annotations

from html import escape

from benchmarks.requirements import Measured
from benchmarks.rounds import Results

WIDTH, LEFT, RIGHT, BAR, GAP, TITLE = 760, 120, 90, 15, 5, 34
MINE, OTHERS, INK, LINES = "#0b6e4f", "#9aa5b1", "#1f2933", "#52606d"


def draw(measured: Measured, titles: dict[str, str]) -> str:
    parts, y = [], 10
    for case, title in titles.items():
        tools = {name: results for name, results in measured.get(case, {}).items() if results.samples}
        if not tools:
            continue
        parts.append(f'<text x="10" y="{y + 18}" font-weight="bold">{escape(title.replace("`", ""))}</text>')
        y += TITLE
        longest = max(max(results.all("wall")) for results in tools.values())
        for name, results in sorted(tools.items(), key=lambda item: item[1].median("wall")):
            parts += _bar(name, results, y, (WIDTH - LEFT - RIGHT) / longest)
            y += BAR + GAP
        y += GAP
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" {style}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y}" fill="white"/>', *parts, "</svg>", ""])


def _bar(name: str, results: Results, y: int, scale: float) -> list[str]:
    times = results.all("wall")
    middle, low, high = (scale * seconds for seconds in (results.median("wall"), min(times), max(times)))
    colour, line = MINE if name.startswith("Lading") else OTHERS, y + BAR / 2
    return [
        f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{middle:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{LEFT + low:.1f} {line}H{LEFT + high:.1f}" stroke="{LINES}" stroke-width="2"/>',
        f'<text x="{LEFT + max(middle, high) + 6:.1f}" y="{y + 12}">{results.median("wall"):.2f} s</text>',
    ]
