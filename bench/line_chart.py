"""Draws lines and points as SVG, without a package: on linear or logarithmic axes, with a label at each line's end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 430
LEFT, RIGHT, TOP, BOTTOM = 76, 210, 52, 54
#: Readable beside each other also without colour vision (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
INK, GRID = "#24292f", "#d8dee4"


@dataclass(frozen=True)
class Line:
    """A line, or points.

    :param label: beside its last point; of points none is drawn.
    :param colour: index into :data:`COLOURS`.
    :param beside: where the label stands instead, as a value.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: int
    dashed: bool = False
    dots: bool = False
    beside: float | None = None

    @property
    def label_at(self) -> float:
        """Return the value beside which the label stands."""
        return self.points[-1][1] if self.beside is None else self.beside


@dataclass(frozen=True)
class Axis:
    """An axis.

    :param ticks: value and text of each tick; the first and the last are the axis' ends.
    """

    title: str
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def place(self, begin: float, end: float) -> Callable[[float], float]:
        """Return what turns a value into pixels."""
        turn: Callable[[float], float] = math.log10 if self.logarithmic else float
        low, high = turn(self.ticks[0][0]), turn(self.ticks[-1][0])

        def placed(value: float) -> float:
            value = min(max(value, self.ticks[0][0]), self.ticks[-1][0])
            return begin + (end - begin) * (turn(value) - low) / (high - low)

        return placed


def chart(title: str, across: Axis, up: Axis, lines: Sequence[Line], *, note: str) -> str:
    """Return an SVG.

    :param note: what the picture says, for who does not see it.
    """
    x = across.place(LEFT, WIDTH - RIGHT)
    y = up.place(HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title><desc>{escape(note)}</desc>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" fill="{INK}" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for value, text in up.ticks:
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="{GRID}" fill="none"/>')
        parts.append(_text(LEFT - 8, y(value) + 4, text, anchor="end"))
    for value, text in across.ticks:
        parts.append(f'<path d="M{x(value):.1f} {HEIGHT - BOTTOM}v5" stroke="{INK}" fill="none"/>')
        parts.append(_text(x(value), HEIGHT - BOTTOM + 20, text, anchor="middle"))
    parts.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="{INK}" fill="none"/>')
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across.title, anchor="middle"))
    parts.append(_text(LEFT, 44, up.title))
    for line in lines:
        colour = COLOURS[line.colour]
        if line.dots:
            parts += [
                f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4.5" fill="#ffffff" stroke="{colour}" stroke-width="2"/>'
                for a, b in line.points
            ]
            continue
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in line.points)
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2.2" fill="none"{dash}/>')
    parts += _labels([line for line in lines if line.label], x, y)
    return "\n".join([*parts, "</svg>", ""])


def _labels(lines: Sequence[Line], x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    """Labels beside the ends of lines, pushed apart where they would lie on each other."""
    placed: list[tuple[float, Line]] = []
    for line in sorted(lines, key=lambda each: y(each.label_at)):
        place = y(line.label_at) + 4
        if placed and place - placed[-1][0] < 17:
            place = placed[-1][0] + 17
        placed.append((place, line))
    return [
        _text(WIDTH - RIGHT + 10, place, line.label, colour=COLOURS[line.colour]) for place, line in placed
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
