"""Pages from templates: everything escaped, every link relative, so that they work below any base path."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from city_fleet import clock, naming
from city_fleet.metrics import METRICS
from city_fleet.metrics import show as show_metric
from city_fleet.outgoing_text import printable
from city_fleet.page.lazy_app import URL_PREFIX

HERE = Path(__file__).parent
STATIC = HERE / "static"
_LINE = (88.0, 22.0)
_DEEPEST = 6


def root_of(request: Request) -> str:
    """Return the relative way from a page's address to the first page of the application, ``../../``.

    The address of a part is nobody's: its links count from the page that it becomes a part of.
    """
    path = str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))
    if is_part(request):
        page = urlsplit(request.headers.get("hx-current-url", "")).path
        path = page.rpartition(f"{URL_PREFIX}/")[2] if f"{URL_PREFIX}/" in page else path
    return "../" * min(path.lstrip("/").count("/"), _DEEPEST) or "./"


def is_part(request: Request) -> bool:
    """Tell whether a page asks for a part of itself, and not somebody for a page."""
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a page.

    :param template: its name below ``templates/``.
    :param values: what it shows.
    """
    root = root_of(request)
    given = {
        "root": root,
        "airflow": f"{root}../",
        "part": is_part(request),
        "now": clock.utc_now(),
        **values,
    }
    return HTMLResponse(_environment().get_template(template).render(given), status)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "metric": metric_text,
        "title_of": lambda name: METRICS[name].title if name in METRICS else name,
        "percent": percent,
        "age": age_text,
        "day": day,
        "minute": minute,
        "points": points,
        "shown": shown,
        "part": quoted,
        "words": lambda text: shown(str(text).replace("_", " ").lower()),
    }
    made.globals["file"] = versioned
    return made


@cache
def versioned(name: str) -> str:
    """Return the address of a file of the layout below the first page; another one when the file is another."""
    return f"static/{name}?{hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def quoted(text: str) -> str:
    """Return a text as one part of an address's path."""
    return quote(text, safe="")


def shown(text: Any) -> str:
    """Return others' text with what would change how it is shown made visible; the template escapes it."""
    return printable(str(text))


def metric_text(value: float | None, name: str) -> str:
    return "–" if value is None or name not in METRICS else show_metric(name, value)


def percent(value: float | None) -> str:
    """Write how much better or worse something is: ``+21%``, or a minus."""
    if value is None:
        return "–"
    text = f"{abs(value):.0%}" if abs(value) >= 0.1 else f"{abs(value):.1%}"
    return ("+" if value >= 0 else "\N{MINUS SIGN}") + text


def age_text(span: timedelta | None) -> str:
    """Write a span as people do: ``40 s``, ``12 min``, ``5 h``, ``3 days``, ``2.1 years``."""
    if span is None:
        return "–"
    seconds = max(0.0, span.total_seconds())
    for limit, length, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    days = seconds / 86_400
    return f"{days:.0f} days" if days < 700 else f"{days / 365.25:.1f} years"


def day(moment: datetime | str | None) -> str:
    """Write the day of an instant or of a stamp."""
    found = _instant(moment)
    return f"{found:%Y-%m-%d}" if found is not None else "–"


def minute(moment: datetime | str | None) -> str:
    found = _instant(moment)
    return f"{found:%Y-%m-%d %H:%M} UTC" if found is not None else "–"


def _instant(moment: datetime | str | None) -> datetime | None:
    if not moment:
        return None
    try:
        found = naming.parse_as_of(moment) if isinstance(moment, str) else moment
    except ValueError:
        return None
    return found.astimezone(UTC)


def points(values: Sequence[float | None], beside: Sequence[float | None] = ()) -> str:
    """Return the points of a line of a small chart, as SVG's ``polyline`` takes them.

    :param values: from left to right; None leaves a place out.
    :param beside: values of the chart's other line: both have one scale.
    """
    known = [value for value in (*values, *beside) if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    width, height = _LINE
    step = (width - 6) / max(1, len(values) - 1)
    spread = (high - low) or 1.0
    return " ".join(
        f"{3 + step * place:.1f},{3 + (height - 6) * (1 - (value - low) / spread):.1f}"
        for place, value in enumerate(values)
        if value is not None
    )
