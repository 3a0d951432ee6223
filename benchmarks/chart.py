"""Line charts as SVG: the horizontal axis counts in powers of ten, the vertical one from zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 44, 64, 56
COLOURS = ("#1f6feb", "#bf5700", "#1a7f37")
FONT = "font-family='system-ui, sans-serif' font-size='13'"

#: Points (x, y), with x from left to right.
Line = Sequence[tuple[float, float]]


def chart(title: str, across: str, lines: Mapping[str, Line]) -> str:
    """One chart; each line has its name in the legend."""
    points = [point for line in lines.values() for point in line]
    lowest, highest = (pick(math.log10(x) for x, _ in points) for pick in (min, max))
    step = _step(max(y for _, y in points))
    top = step * math.ceil(max(y for _, y in points) / step)

    def place(x: float, y: float) -> tuple[float, float]:
        along = (math.log10(x) - lowest) / (highest - lowest)
        return (
            LEFT + along * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {FONT}>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        _text(LEFT, 24, title, "start", "font-weight='600' font-size='15'"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, across, "middle"),
    ]
    for number in range(round(top / step) + 1):
        _, y = place(10**lowest, number * step)
        parts += [
            f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#d0d7de'/>",
            _text(LEFT - 8, y + 4, f"{number * step:g}", "end"),
        ]
    for x in sorted({x for x, _ in points}):
        at, _ = place(x, 0)
        parts.append(_text(at, HEIGHT - BOTTOM + 20, f"{x:,.0f}", "middle"))
    from_left = LEFT
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        places = [place(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts += [
            f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>",
            *(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in places),
            f"<rect x='{from_left}' y='36' width='12' height='12' fill='{colour}'/>",
            _text(from_left + 18, 47, name, "start"),
        ]
        from_left += 34 + 8 * len(name)
    return "\n".join([*parts, "</svg>", ""])


def _step(highest: float) -> float:
    """A round number, of which four to eight reach the top."""
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 8)


def _text(x: float, y: float, words: str, anchor: str, style: str = "") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='#1f2328' {style}>"
        f"{escape(words)}</text>"
    )
