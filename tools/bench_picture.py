"""The pictures of `tools/bench peers`, as SVG, on logarithmic scales.

One has a line for each workload and a dot for each system; the other, of W12, a panel for each figure and a curve for
each system, by the table's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#393b79")
LEFT, WIDTH, LINE, TOP = 330, 620, 26, 30
PANEL_WIDTH, PANEL_HEIGHT = 320, 180


def picture(rows: Sequence[Mapping[str, Any]], ranked: Mapping[str, str]) -> str:
    """SVG. Floors are black ticks; txfiles is larger than its peers; what has a fault is missing."""
    dots = [
        (f"{row['workload']}  {row['title']}", str(row["system"]), float(row[name]) / (1e3 if " ms" in name else 1))
        for row in rows
        for name in [ranked.get(row["workload"], "seconds")]
        if row.get(name) and not row.get("but")
    ]
    if not dots:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    lines = list(dict.fromkeys(title for title, _, _ in dots))
    systems = list(dict.fromkeys(system for _, system, _ in dots))
    colours = _colours(systems)
    low, high = _powers(seconds for _, _, seconds in dots)

    def x(seconds: float) -> float:
        return LEFT + WIDTH * (math.log10(seconds) - low) / (high - low)

    def y(line: int) -> int:
        return TOP + LINE * line + LINE // 2

    found = []
    for power in range(low, high + 1):
        at = x(10.0**power)
        found.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{y(len(lines)) - 12}" stroke="#ddd"/>')
        found.append(f'<text x="{at:.1f}" y="{TOP - 8}" text-anchor="middle">{10.0**power:g} s</text>')
    for number, title in enumerate(lines):
        found.append(f'<text x="{LEFT - 12}" y="{y(number) + 4}" text-anchor="end">{escape(title)}</text>')
        found.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(number)}" y2="{y(number)}" stroke="#eee"/>')
    for title, system, seconds in dots:
        found.append(_mark(x(seconds), y(lines.index(title)), system, colours, f"{title}: {system} {seconds:.4g} s"))
    found += _legend(systems, colours, LEFT + WIDTH + 40)
    return _svg(found, LEFT + WIDTH + 260, TOP + LINE * (max(len(lines), len(systems)) + 1))


def growth(rows: Sequence[Mapping[str, Any]]) -> str:
    """SVG. Seconds and peak memory of the workloads of W12, by the table's rows; floors are black."""
    sound = [row for row in rows if row["workload"].startswith("W12 ") and "fault" not in row and not row.get("but")]
    systems = list(dict.fromkeys(str(row["system"]) for row in sound))
    colours = dict.fromkeys(systems, "#000") | _colours(systems)
    titles = {row["workload"]: row["title"].removesuffix(f", {row['rows']:,} rows") for row in sound}
    panels = [(name, figure) for name in titles for figure in ("seconds", "peak MB")]
    found: list[str] = []
    for number, (name, figure) in enumerate(panels):
        left, top = 60 + number % 2 * (PANEL_WIDTH + 70), TOP + 20 + number // 2 * (PANEL_HEIGHT + 60)
        points = [
            (str(row["system"]), math.log10(row["rows"]), float(row[figure]))
            for row in sound
            if row["workload"] == name
        ]
        found += _panel(f"{titles[name]}: {figure}", points, colours, left, top)
    right = 60 + 2 * (PANEL_WIDTH + 70)
    found += _legend(systems, colours, right)
    return _svg(
        found, right + 200, max(TOP + 20 + (len(panels) + 1) // 2 * (PANEL_HEIGHT + 60), LINE * len(systems) + TOP)
    )


def _panel(
    title: str, points: Sequence[tuple[str, float, float]], colours: Mapping[str, str], left: int, top: int
) -> Iterator[str]:
    """One figure of one workload: points are a system, the logarithm of the table's rows, and the figure."""
    low, high = _powers(value for _, _, value in points)
    sizes = sorted({size for _, size, _ in points})
    span = max(sizes[-1] - sizes[0], 1e-9)

    def x(size: float) -> float:
        return left + PANEL_WIDTH * (size - sizes[0]) / span

    def y(value: float) -> float:
        return top + PANEL_HEIGHT * (high - math.log10(value)) / (high - low)

    yield f'<text x="{left}" y="{top - 10}">{escape(title)}</text>'
    for power in range(low, high + 1):
        at = y(10.0**power)
        yield f'<line x1="{left}" x2="{left + PANEL_WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    for size in sizes:
        rows = f"{10**size / 1e6:.3g} M rows"
        yield f'<text x="{x(size):.1f}" y="{top + PANEL_HEIGHT + 16}" text-anchor="middle">{rows}</text>'
    for system in dict.fromkeys(one for one, _, _ in points):
        mine = sorted((size, value) for one, size, value in points if one == system)
        wide = 3 if system.startswith("txfiles") else 1.5
        line = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in mine)
        yield f'<polyline points="{line}" fill="none" stroke="{colours[system]}" stroke-width="{wide}"/>'
        for size, value in mine:
            yield _mark(x(size), int(y(value)), system, colours, f"{system}: {value:.4g}")


def _colours(systems: Sequence[str]) -> dict[str, str]:
    peers = [system for system in systems if not system.startswith("floor")]
    return dict(zip(peers, COLOURS * len(systems), strict=False))


def _powers(values: Iterable[float]) -> tuple[int, int]:
    """The powers of ten between which some numbers lie: at least two."""
    exponents = [math.log10(value) for value in values]
    low = math.floor(min(exponents))
    return low, max(math.ceil(max(exponents)), low + 1)


def _legend(systems: Sequence[str], colours: Mapping[str, str], left: int) -> Iterator[str]:
    for number, system in enumerate(systems):
        at = TOP + LINE * number + LINE // 2
        yield _mark(left, at, system, colours, system)
        yield f'<text x="{left + 14}" y="{at + 4}">{escape(system)}</text>'


def _svg(parts: Iterable[str], width: int, height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    head += ' font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"])


def _mark(x: float, y: int, system: str, colours: Mapping[str, str], tip: str) -> str:
    tip = f"<title>{escape(tip)}</title>"
    if system.startswith("floor"):
        return f'<rect x="{x - 1.5:.1f}" y="{y - 8}" width="3" height="16">{tip}</rect>'
    size, hollow = 7 if system.startswith("txfiles") else 4.5, "as it comes" in system
    fill = f'fill="{"none" if hollow else colours[system]}" stroke="{colours[system]}" fill-opacity="0.8"'
    return f'<circle cx="{x:.1f}" cy="{y}" r="{size}" {fill}>{tip}</circle>'
