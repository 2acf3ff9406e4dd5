"""What a new file would lose or confuse, compared with what is there. Pure: nothing is written before it is known.

A name that is spelled otherwise from some day on takes the newest rows away from its city, and nothing after it
notices: the city's last known day just moves back. So a suspicion holds the city, and a person decides.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from city_fleet import naming
from city_fleet.data.records import Record
from city_fleet.data.source_split import Rows
from city_fleet.errors import list_names, nearest_match


@dataclass(frozen=True)
class Refusal:
    """Why nothing of a city is replaced.

    :param reason: ``unknown_name``, ``fewer_rows``, ``contradiction``.
    :param text: what was found.
    :param hint: what to do.
    """

    city: str
    reason: str
    text: str
    hint: str


def renamed(
    cities: Mapping[str, str], by_slug: Mapping[str, Rows], unknown: Mapping[str, Rows], column: str,
    by_period: bool = True,
) -> dict[str, Refusal]:  # fmt: skip
    """Find cities that names nobody knows seem to belong to.

    A name belongs to a city when both make the same slug; when they are near and have no period in common, as two
    cities side by side would; or when the name begins in the very period after the city's last.

    :param cities: the raw name of each slug.
    :param by_slug: the rows of each city that has any.
    :param unknown: the rows of each name that is no city's.
    :param column: the city column, for the hint.
    :param by_period: whether rows have periods, which follow each other; those of a table have names alone.
    """
    all_rows = (*by_slug.values(), *unknown.values()) if by_period else ()
    periods = sorted({period for rows in all_rows for period in rows.records})
    plain = {slug: _plain(own) for slug, own in cities.items()}
    found: dict[str, Refusal] = {}
    for name, rows in unknown.items():
        for slug, own in cities.items():
            there = by_slug[slug].records if slug in by_slug else {}
            apart = there.keys().isdisjoint(rows.records)
            alike = _plain(name) == plain[slug] or (
                apart and bool(nearest_match(name, [own]) or nearest_match(_plain(name), [plain[slug]]))
            )
            if alike or (by_period and _follows(there, rows.records, periods)):
                found.setdefault(slug, _renamed(slug, own, name, rows, (column, by_period)))
    return found


def _renamed(slug: str, own: str, name: str, rows: Rows, where: tuple[str, bool]) -> Refusal:
    column, by_period = where
    span = f" ({min(rows.records)} to {max(rows.records)})" if by_period else ""
    says = f"{rows.count} {'row says' if rows.count == 1 else 'rows say'} {name!r}"
    return Refusal(
        slug,
        "unknown_name",
        f"{says}{span}, which no city of the fleet file is called; they may "
        f"well be rows of city {slug!r}, {own!r}",
        f"Write {own!r} in column {column!r}, or add a city with the name {name!r} to the fleet file; if the two have "
        "nothing to do with each other, add --allow-unknown.",
    )


def _plain(name: str) -> str:
    try:
        return naming.slug(name).replace("_", "")
    except ValueError:
        return name.casefold()


def _follows(there: Mapping[str, Record], new: Mapping[str, Record], periods: list[str]) -> bool:
    """Tell whether one name begins in the very period of the file in which another has ended."""
    if not there:
        return False
    at = bisect_right(periods, max(there))
    return at < len(periods) and min(new) == periods[at]


def fewer(  # noqa: PLR0917
    city: str,
    source: str,
    new: Rows | None,
    periods: int,
    last: str,
    names: list[str],
    by_period: bool = True,
) -> Refusal | None:
    """Compare a city's new rows with what they would replace.

    :param periods: how many periods the files hold that would be replaced, :param last: the newest of them.
    :param names: those files.
    :param by_period: whether rows have periods; those of a table are counted alone.
    """
    count = len(new.records) if new else 0
    newest = max(new.records) if new else ""
    if count >= periods and (newest >= last or not by_period):
        return None
    has, had = f"{count} different rows", f"{periods} different rows"
    if by_period:
        has, had = (
            f"rows of {count} periods, the last {newest}",
            f"rows of {periods} periods, the last {last}",
        )
    has = has if new else "no row"
    return Refusal(
        city,
        "fewer_rows",
        f"{source} has {has}, of city {city!r}; S3 has {had}, in {list_names(names)}",
        "Look whether the export is whole and the name is spelled as in the fleet file; if the rows may go, add "
        "--allow-fewer-rows, or leave the city out with --city. A file that only adds rows comes with --append.",
    )


def contradicting(  # noqa: PLR0917
    city: str, source: str, new: Mapping[str, Record], columns: tuple[str, ...], name: str, there: Mapping[str, Record]
) -> Refusal | None:  # fmt: skip
    """Compare a city's new rows with those of a file that stays: a run refuses what the two say differently."""
    both = [
        period for period in sorted(new.keys() & there.keys()) if new[period].values != there[period].values
    ]
    if not both:
        return None
    mine, other = new[both[0]], there[both[0]]
    column, got, had = next(
        (column, a, b)
        for column, a, b in zip(columns, mine.values, other.values, strict=True)
        if a != b
    )  # fmt: skip
    more = f", and {len(both) - 1} more like it" if len(both) > 1 else ""
    return Refusal(
        city,
        "contradiction",
        f"{source}, row {mine.row}: {both[0]} has {column!r} {_shown(got)}, and {_shown(had)} in row {other.row} of "
        f"{name}, which stays beside it{more}",
        f"Correct one of the two, or take the other file away: ./fleet data {city} --remove {name}, or ./fleet ingest "
        "without --append and with --replace-all.",
    )


def _shown(value: float | str | None) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else repr(value)
