"""Draws an explanation as SVG: one file that a browser or a document shows, in light and in dark.

Written by hand: what it needs are bars, lines and dots, and a library that draws would be the largest thing that the
command line depends on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from city_fleet.desk.looking import METHODS
from city_fleet.naming import parse_as_of

_WIDTH, _MARGIN, _LINE, _LABEL = 760, 24, 22, 190
_FEATURES, _CHART = 12, 150
_STYLE = """
svg{font:13px system-ui,sans-serif;background:#fff}text{fill:#1a1f26}.h{font-size:15px;font-weight:600}
.s{fill:#57606a}.n{fill:#57606a;text-anchor:end}.l{text-anchor:end}.up{fill:#0b7a4b}.down{fill:#b3401f}.bar{fill:#2f6fd0}
.axis{stroke:#8c959f}.train{stroke:#8c959f}.validation{stroke:#2f6fd0}path{fill:none;stroke-width:2}.dot{fill:#2f6fd0;opacity:.6}
@media (prefers-color-scheme:dark){svg{background:#12161c}text{fill:#e6edf3}.s,.n{fill:#9aa4af}.up{fill:#4cc38a}
.down{fill:#ff8f6b}.bar,.dot{fill:#79aefc}.validation{stroke:#79aefc}.axis,.train{stroke:#6e7681}}
"""


class _Page:
    """Collects elements from top to bottom."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.at = _MARGIN

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        named = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(text)}</text>')

    def head(self, text: str, note: str = "") -> None:
        self.at += 30
        self.text(_MARGIN, self.at, text, "h")
        if note:
            self.at += 18
            self.text(_MARGIN, self.at, note, "s")
        self.at += 10

    def rect(self, x: float, y: float, width: float, kind: str) -> None:
        self.parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="14" rx="2"/>'
        )

    def svg(self, title: str) -> str:
        height = self.at + _MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img"><title>{escape(title)}</title><style>{_STYLE}</style>'
            + "".join(self.parts)
            + "</svg>\n"
        )


def draw(report: Mapping[str, Any]) -> str:
    """Draw an explanation.

    :param report: explanation.json, with ``name`` and ``model`` for the title.
    :return: an SVG document.
    """
    page = _Page()
    title = f"{report['name']}: {report['model']}"
    page.text(_MARGIN, page.at, title, "h")
    page.at += 18
    page.text(
        _MARGIN, page.at, f"{report['algorithm']}, data until {parse_as_of(report['as_of']):%Y-%m-%d}", "s"
    )
    shares = list(report["importances"]["features"].items())[:_FEATURES]
    if shares:
        page.head("What it goes by", f"shares, by {report['importances']['kind']}")
        _bars(page, shares)
    _row(page, report["row"], report["unit"])
    rows = report["residuals"]["rows"]
    if rows:
        page.head(
            f"How far it was off on {report['residuals']['of_rows']} held-out rows", "the oldest on the left"
        )
        _dots(page, rows)
    curve = report["curve"]
    if curve is not None:
        page.head(
            "How it has learned",
            f"{curve['metric']} by {curve['unit']}: training grey, validation blue; "
            f"best {curve['best']} of {curve['of_rounds']}",
        )
        _curve(page, curve)
    return page.svg(title)


def _bars(page: _Page, shares: Sequence[tuple[str, float]]) -> None:
    room, most = _WIDTH - _LABEL - 2 * _MARGIN - 60, shares[0][1] or 1.0
    for name, share in shares:
        page.text(_LABEL, page.at + 12, _short(name), "l")
        page.rect(_LABEL + 10, page.at, room * share / most, "bar")
        page.text(_LABEL + 16 + max(1.0, room * share / most), page.at + 12, f"{share:.1%}", "s")
        page.at += _LINE


def _row(page: _Page, row: Mapping[str, Any], unit: str) -> None:
    where = "of the row that was given" if row["period"] is None else f"for {row['period']}"
    of_class = f" of {row['class']}" if row["class"] is not None else ""
    base = "" if row["base_prediction"] is None else f"an average row gets {row['base_prediction']:,.4g}; "
    by_amount = bool(row["features"]) and "amount" in row["features"][0]
    scale = unit or row["scale"] if by_amount else row["scale"]
    page.head(
        f"Its answer{of_class} {where}: {row['prediction']:,.4g}",
        f"{base}what each feature adds ({scale}), by {METHODS.get(row['method'], row['method'])}",
    )
    key = "amount" if by_amount else "contribution"
    found = row["features"][:_FEATURES]
    most = max((abs(each[key]) for each in found), default=0.0) or 1.0
    half = (_WIDTH - _LABEL - 2 * _MARGIN - 140) / 2
    middle = _LABEL + 70 + half
    top = page.at
    for each in found:
        length = half * abs(each[key]) / most
        down = each[key] < 0
        page.text(_LABEL, page.at + 12, _short(each["name"]), "l")
        page.rect(middle - length if down else middle, page.at, length, "down" if down else "up")
        number = f"{each[key]:+,.3g}" if abs(each[key]) < 1000 else f"{each[key]:+,.0f}"
        page.text(
            middle - length - 6 if down else middle + length + 6, page.at + 12, number, "n" if down else "s"
        )
        page.at += _LINE
    page.parts.append(
        f'<line class="axis" x1="{middle:.1f}" x2="{middle:.1f}" y1="{top - 3}" y2="{page.at - 5}"/>'
    )


def _dots(page: _Page, rows: Sequence[Mapping[str, Any]]) -> None:
    most = max(abs(row["residual"]) for row in rows) or 1.0
    left, right, middle = _MARGIN + 60, _WIDTH - _MARGIN, page.at + _CHART / 2
    page.parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{middle}" y2="{middle}"/>')
    for share in (1, -1):
        page.text(left - 6, middle - share * (_CHART / 2 - 8) + 4, f"{share * most:+,.3g}", "n")
    for at, row in enumerate(rows):
        x = left + (right - left) * at / max(1, len(rows) - 1)
        y = middle - row["residual"] / most * (_CHART / 2 - 8)
        page.parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    page.at += _CHART
    page.text(left, page.at + 12, str(rows[0]["period"]), "s")
    page.text(right, page.at + 12, str(rows[-1]["period"]), "n")
    page.at += 16


def _curve(page: _Page, curve: Mapping[str, Any]) -> None:
    parts = {name: curve[name] for name in ("train", "validation") if name in curve}
    known = [value for losses in parts.values() for value in losses if value is not None]
    if not known:
        return
    low, high, last = min(known), max(known), curve["rounds"][-1] or 1
    left, right = _MARGIN + 60, _WIDTH - _MARGIN
    for value, y in ((high, page.at + 4), (low, page.at + _CHART)):
        page.text(left - 6, y + 4, f"{value:.4g}", "n")
    for name, losses in parts.items():
        points = [
            f"{left + (right - left) * (turn / last):.1f},"
            f"{page.at + 4 + (_CHART - 4) * (high - value) / ((high - low) or 1.0):.1f}"
            for turn, value in zip(curve["rounds"], losses, strict=True)
            if value is not None
        ]
        page.parts.append(f'<path class="{name}" d="M{" L".join(points)}"/>')
    best = left + (right - left) * curve["best"] / last
    page.parts.append(
        f'<line class="axis" stroke-dasharray="3 3" x1="{best:.1f}" x2="{best:.1f}" y1="{page.at}" '
        f'y2="{page.at + _CHART}"/>'
    )
    page.at += _CHART + 8


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}…"
