"""The charts of docs/benchmarks.md: bars with their range, and lines over time. Plain SVG, so that they are text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
sys.path.insert(0, str(DOCS))
from canvas import BLUE, GREEN, GREY, ORANGE, RED, Canvas  # noqa: E402

COLOURS = (BLUE, RED, ORANGE, GREEN, GREY, "#7048a8")
Bar = tuple[str, dict[str, float], bool]  # its name, median with range, and whether it is ours


def bars(title: str, unit: str, rows: Sequence[Bar], *, width: int = 720, label: int = 220) -> str:
    """Horizontal bars from zero; the thin line is the range over the rounds."""
    most = max(figure["median"] for _, figure, _ in rows) or 1.0
    scale = (width - label - 100) / most
    height = 44 + 24 * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" fill="#24292f" font-weight="bold">{escape(title)}</text>',
        f'<text x="{width - 8}" y="18" fill="{GREY}" text-anchor="end">{escape(unit)}</text>',
    ]
    for place, (name, figure, ours) in enumerate(rows):
        top = 32 + 24 * place
        length = max(1.0, figure["median"] * scale)
        low = label + figure.get("least", figure["median"]) * scale
        high = min(label + figure.get("most", figure["median"]) * scale, width - 8.0)
        middle, colour = top + 8, BLUE if ours else "#b8bec6"
        told = f"{figure['median']:,.4g}"
        parts += [
            f'<text x="{label - 8}" y="{top + 12}" fill="#24292f" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{label}" y="{top}" width="{length:.1f}" height="16" rx="2" fill="{colour}"/>',
            f'<path d="M{low:.1f},{middle} H{high:.1f}" stroke="#24292f"/>',
            f'<text x="{max(label + length, high) + 6:.1f}" y="{top + 12}" fill="{GREY}">{told}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def lines(title: str, series: dict[str, Sequence[float]], across: str, up: str, shade: tuple[float, float]) -> str:
    """One line per series, a value per second; `shade` marks the time of trouble."""
    longest = max(map(len, series.values()))
    canvas = Canvas((0.0, float(longest)), (0.0, 1.0), height=300)
    canvas.bar(*shade, 0.0, 1.0, ORANGE, opacity=0.15)
    for place, (name, values) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        canvas.line(list(enumerate(values)), colour)
        canvas.text(longest * 0.01, 0.62 - 0.08 * place, escape(name), colour)  # before the trouble the lines are high
    return canvas.svg(escape(title), across, up, ticks=range(0, longest, 15), rows=(0, 0.5, 1))
