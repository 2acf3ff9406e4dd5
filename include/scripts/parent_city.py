"""Prepares a parent: the examples of its cities, each made of that city's own data, pooled in one table.

A city whose data can't be used is left out and named: it does not keep the others from being learned from. The windows
of validation and holdout are cut by the calendar, at the same period for all cities, so that no row of one city tells
what another's held-out rows will be.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calendar_grid import AS_OF_FORMAT
from feature_table import Example, build_examples
from job_failure import JobFailure, listed, sentence_of
from newest_values import FILE as KNOWN_FILE
from newest_values import known_values
from preprocess_settings import Settings
from raw_data import RawCity, data_files
from report_file import Place, write_json
from series_city import (
    FORMAT_VERSION,
    count_blocks,
    day_of,
    expected_period,
    of_these_years,
    read_periods,
    series_schema,
    split,
    too_little,
    usable_periods,
    write_history,
    write_parts,
)
from table_file import PARTS

HISTORIES = "history"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A city of the parent.

    :param examples: each with the city's slug.
    """

    city: str
    raw: RawCity
    examples: Sequence[Example]

    @property
    def values(self) -> dict[int, dict[str, float | None]]:
        """The values of its periods, by number and column."""
        return {row.index: row.values for row in self.raw.rows}


def prepare_parent(place: Place, settings: Settings, children: Sequence[str]) -> dict[str, Any]:
    """Write a parent's sets, manifest and status.

    :param place: its folder of raw data holds ``city=<slug>/`` of each city.
    :return: the content of status.json.
    :raises JobFailure: no city has data that can be used.
    """
    members: list[Member] = []
    left_out: dict[str, str] = {}
    inputs: list[dict[str, Any]] = []
    for child in children:
        own = replace(place, city=child, raw=place.raw / f"city={child}", uri=f"{place.uri}city={child}/")
        try:
            raw = read_periods(own, _of_child(settings, child))
            values = {row.index: row.values for row in raw.rows}
            made = [replace(each, member=child) for each in build_examples(settings.layout, values)]
        except Exception as error:  # one city's data do not keep the others from being learned from
            left_out[child] = sentence_of(error)
            inputs += _inputs(own)
            continue
        inputs += raw.inputs
        members.append(Member(child, raw, made))
    for child, reason in left_out.items():
        print(f"{place.city}: {child} is left out: {reason}", flush=True)
    if not members:
        raise JobFailure(
            f"{place.city} is the parent of {listed(children)}, and none has data that can be used: "
            + " ".join(dict.fromkeys(left_out.values()))
        )
    earliest = min(members, key=lambda member: member.raw.rows[0].index if member.raw.rows else math.inf)
    settings = of_these_years(settings, earliest.raw)
    pooled = sorted(
        (each for member in members for each in member.examples),
        key=lambda each: (each.index, each.step, each.member or ""),
    )
    last = max((row.index for member in members for row in member.raw.rows[-1:]), default=0)
    blocks = count_blocks(pooled, last, settings)
    parts = split(pooled, last, settings, blocks)
    status = _describe(place.city, members, pooled, parts, settings) | {"left_out": left_out}
    manifest = {
        "format_version": FORMAT_VERSION,
        "city": place.city,
        "as_of": f"{settings.as_of:{AS_OF_FORMAT}}",
        "inputs": inputs,
        "arguments": place.asked,
        "members": [member.city for member in members],
        "left_out": left_out,
    }
    write_json(place.report / "manifest.json", manifest)
    if status["status"] == "ready":
        names = tuple(member.city for member in members if member.examples)
        schema = replace(series_schema(place.city, settings), members=names)
        write_parts(place, schema, pooled, parts, blocks=blocks, settings=settings)
        _write_beside(place, members, settings)
    write_json(place.report / "status.json", status)
    return status


def _of_child(settings: Settings, child: str) -> Settings:
    """Return the settings with the order of the city's own files."""
    if settings.order is None:
        return settings
    folder = f"city={child}/"
    own = tuple(name.removeprefix(folder) for name in settings.order if name.startswith(folder))
    return replace(settings, order=own)


def _write_beside(place: Place, members: Sequence[Member], settings: Settings) -> None:
    """Write what lies beside the held-out rows: each city's history, and what is known of one of them."""
    for member in members:
        if member.examples:
            write_history(place.part("test") / HISTORIES / f"{member.city}.csv", member.raw, settings)
    # The endpoint is asked for a forecast of one city, to see whether it answers as the evaluation did.
    example = max(members, key=lambda member: (len(member.examples), member.city))
    as_of = f"{settings.as_of:{AS_OF_FORMAT}}"
    known = known_values(example.city, as_of, settings.layout, {**example.values, **example.raw.ahead})
    write_json(place.part("test") / KNOWN_FILE, known.to_json())


def _describe(
    city: str,
    members: Sequence[Member],
    pooled: Sequence[Example],
    parts: Mapping[str, Sequence[Example]],
    settings: Settings,
) -> dict[str, Any]:
    """Say what there is of all cities together, in the members that the status of any city has.

    What one city lacks, or has that is far from the rest of it, is said by that city's own run.
    """
    target, columns = settings.layout.target, list(settings.limits)
    indices = sorted({row.index for member in members for row in member.raw.rows})
    on_grid = indices[-1] - indices[0] + 1 if indices else 0
    newest = [row.index for member in members for row in member.raw.rows if row.values[target] is not None]
    expected = expected_period(settings)
    reason = too_little(city, pooled, parts, settings)
    rows = {part: len(parts[part]) for part in PARTS}
    return {
        "format_version": FORMAT_VERSION,
        "city": city,
        "as_of": f"{settings.as_of:{AS_OF_FORMAT}}",
        "status": "too_little_data" if reason else "ready",
        "reason": reason,
        "periods": {
            "first": day_of(indices[0], settings) if indices else None,
            "last": day_of(indices[-1], settings) if indices else None,
            "on_grid": on_grid,
            "usable": usable_periods(pooled),
            "needed": settings.minimum_periods,
            "missing_periods": on_grid - len(indices),
            "missing_target": on_grid - len(set(newest)),
        },
        "newest": {
            "frequency": settings.layout.frequency,
            "period": day_of(max(newest), settings) if newest else None,
            "expected": None if expected is None else day_of(expected, settings),
            "late_periods": max(0, expected - max(newest)) if newest and expected is not None else None,
        },
        "missing_share": {name: _missing(members, name) for name in columns},
        "recent_missing_share": {
            name: _missing(members, name, indices[-1] - settings.holdout_periods if indices else 0)
            for name in columns
        },
        "extremes": dict.fromkeys(columns),
        "rows": rows,
        "judged_periods": len({each.made_at for each in parts["test"]}),
        "features": settings.layout.features,
        "members": {member.city: _counts(member.city, parts) for member in members},
    }


def _counts(city: str, parts: Mapping[str, Sequence[Example]]) -> dict[str, int]:
    return {part: sum(each.member == city for each in parts[part]) for part in PARTS}


def _missing(members: Sequence[Member], name: str, after: int | None = None) -> float:
    """Return the share of the cities' rows, later ones than a period, that lack a column."""
    rows = [
        row.values[name]
        for member in members
        for row in member.raw.rows
        if after is None or row.index > after
    ]
    return round(sum(value is None for value in rows) / len(rows), 6) if rows else 1.0


def _inputs(place: Place) -> list[dict[str, Any]]:
    """Say which files a city that is left out has: the run is about them all the same."""
    try:
        files = data_files(place.raw, place.uri)
    except JobFailure:
        return []
    return [_input(path, place.uri + path.relative_to(place.raw).as_posix()) for path in files]


def _input(path: Path, uri: str) -> dict[str, Any]:
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return {
        "uri": uri,
        "size_bytes": size,
        "etag": md5.hexdigest(),
        "sha256": sha256.hexdigest(),
        "rows": 0,
        "rows_used": 0,
        "rows_repeated": 0,
    }
