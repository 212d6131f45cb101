"""The picture of `tools/bench peers`: of each workload a line, of each system a dot, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#393b79")
LEFT, WIDTH, LINE, TOP = 330, 620, 26, 30


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
    colours = dict(zip([s for s in systems if not s.startswith("floor")], COLOURS * len(systems), strict=False))
    low, high = (round_to(math.log10(pick(seconds for _, _, seconds in dots))) for pick, round_to in ENDS)
    high = max(high, low + 1)

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
    for number, system in enumerate(systems):
        found.append(_mark(LEFT + WIDTH + 40, y(number), system, colours, system))
        found.append(f'<text x="{LEFT + WIDTH + 54}" y="{y(number) + 4}">{escape(system)}</text>')
    height = TOP + LINE * (max(len(lines), len(systems)) + 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 260}" height="{height}"'
    return (
        f'{head} font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join([*found, "</svg>\n"])
    )


ENDS = ((min, math.floor), (max, math.ceil))


def _mark(x: float, y: int, system: str, colours: Mapping[str, str], tip: str) -> str:
    tip = f"<title>{escape(tip)}</title>"
    if system.startswith("floor"):
        return f'<rect x="{x - 1.5:.1f}" y="{y - 8}" width="3" height="16">{tip}</rect>'
    size, hollow = 7 if system.startswith("txfiles") else 4.5, "as it comes" in system
    fill = f'fill="{"none" if hollow else colours[system]}" stroke="{colours[system]}" fill-opacity="0.8"'
    return f'<circle cx="{x:.1f}" cy="{y}" r="{size}" {fill}>{tip}</circle>'
