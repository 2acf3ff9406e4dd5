"""Command ``forecasts``: the tables of each night's forecasts, to look into, and to write by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, is_terminal, say, show, table
from city_fleet.cli.selection import CityNames, FleetName, as_slugs, fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.errors import DataError, UnknownName
from city_fleet.plan import endpoint_name, forecast_cities, forecast_night

if TYPE_CHECKING:
    from city_fleet.state.forecast_table import NightTable
    from city_fleet.state.objects import ObjectStore

_NIGHTS_SHOWN = 14
_MOST_ON_A_TERMINAL = 200
_PROBLEMS_SHOWN = 5


def forecasts(
    names: CityNames = None,
    *,
    night: Annotated[
        str | None,
        typer.Option(
            "--night", metavar="DATE", help="The rows of this night's table; the newest one with CITY."
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Ask every city now, and write tonight's table in the place of one that is there."
        ),
    ] = False,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Look at each night's table of forecasts, or write tonight's.

    A table is one Parquet object per night in the fleet's bucket: a row for each city and each period to come, and
    one for a city without a forecast that says why. The DAG <fleet>._forecasts writes it by forecasts.schedule of the
    fleet file; --write does the same now. docs/forecasts.md has the columns, and how Athena, pandas and DuckDB read
    them.

    Without CITY and --night it lists the newest nights. It needs the package pyarrow to write and to show rows.

    \b
    Examples:
      ./fleet forecasts --fleet texas_housing
      ./fleet forecasts austin "Fort Worth"
      ./fleet forecasts --night 2014-01-01 --json
      ./fleet forecasts --write --fleet texas_housing
    """
    if write and (names or night is not None):
        # What serves now is asked, so no other night can be made again.
        raise typer.BadParameter(
            "--write asks every city now, and writes tonight's table: give no CITY and no --night."
        )
    item = _fleet(fleet)
    if write:
        _write(item, as_json)
        return
    from city_fleet.state import forecast_table  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    store = ObjectStore(client(item, "s3"), item.bucket)
    with aws_errors():
        if night is None and not names:
            found = forecast_table.nights(store, item.keys)
            shown = [forecast_table.counted(store, item.keys, each) for each in found[:_NIGHTS_SHOWN]]
            show([asdict(each) for each in shown], _nights(item, shown, len(found)), as_json)
            return
        rows = _rows(item, store, night, names)
    show(rows, _lines(rows), as_json)


def _fleet(name: str | None) -> Fleet:
    """Return the fleet that is meant: without a name, the only one whose cities have a next period.

    :raises typer.BadParameter: there are several, or it is one of tables.
    """
    fleets = fleets_named(name)
    series = [each for each in fleets if each.dataset.kind == "series"]
    if not series:
        which = ", ".join(each.fleet for each in fleets)
        raise typer.BadParameter(
            f"{which}: dataset.kind is table, and a row of a table has no next period. ./fleet score predicts rows."
        )
    return only_fleet(series, "forecasts needs")


def _write(item: Fleet, as_json: bool) -> None:
    from city_fleet.prediction import night_forecasts  # noqa: PLC0415 - imports botocore
    from city_fleet.prediction.predict import S3_READ_SECONDS, client_config  # noqa: PLC0415
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    with aws_errors():
        predictor = night_forecasts.predictor(
            client(item, "s3", client_config(S3_READ_SECONDS)),
            client(item, "sagemaker-runtime", client_config(night_forecasts.CITY_SECONDS)),
            item.keys,
            endpoint_name(item),
        )
        store = ObjectStore(client(item, "s3"), item.bucket)
        made = night_forecasts.write_night(
            store,
            item.keys,
            predictor,
            forecast_cities(item),
            forecast_night(item, clock.utc_now()),
            say=lambda text: say(text, err=True),
        )

    def lines() -> Iterator[str]:
        yield made.sentence
        yield from made.problems[:_PROBLEMS_SHOWN]
        if made.without > _PROBLEMS_SHOWN:
            yield f"… and {made.without - _PROBLEMS_SHOWN} more: their rows in the table say why (column problem)."

    show({**asdict(made), "cities": made.cities, "without": made.without}, lines(), as_json)


def _rows(
    item: Fleet, store: ObjectStore, night: str | None, names: list[str] | None
) -> list[dict[str, Any]]:
    """Return the rows of a night that are asked for.

    :raises UnknownName: the table has no rows of a city.
    :raises DataError: there is no table.
    """
    from city_fleet.state import forecast_table  # noqa: PLC0415

    if night is None:
        found = forecast_table.nights(store, item.keys)
        if not found:
            raise DataError(
                file=item.keys.uri(item.keys.forecasts_prefix()),
                got="no table of forecasts",
                hint=f"Write one: ./fleet forecasts --write --fleet {item.fleet}",
            )
        night = found[0].night
    else:
        try:
            night = forecast_table.read_night(night)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    wanted = as_slugs([item], names or [])
    rows, seen = [], set()
    for row in forecast_table.read(store, item.keys, night):
        seen.add(row["city"])
        if not wanted or row["city"] in wanted:
            rows.append({"night": night, **row})
    for slug in wanted:
        if slug not in seen:
            raise UnknownName("city", slug, seen, f"The table of {night}")
    return rows


def _nights(item: Fleet, shown: list[NightTable], count: int) -> Iterator[str]:
    if not shown:
        yield f"{item.keys.uri(item.keys.forecasts_prefix())} holds no table yet: ./fleet forecasts --write makes one."
        return
    yield from table(
        ("night", "cities", "without", "rows", "KB", "written", "where"),
        [
            (
                each.night,
                *(
                    "?" if number is None else f"{number:,}"
                    for number in (each.cities, each.without, each.rows)
                ),
                f"{each.size_bytes / 1000:,.0f}",
                clock.iso(each.written_at),
                each.uri,
            )
            for each in shown
        ],
    )
    if count > len(shown):
        yield f"… and {count - len(shown):,} nights before them"


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    shown = rows[:_MOST_ON_A_TERMINAL] if is_terminal() else rows
    yield from table(
        (
            "night",
            "city",
            "period",
            "forecast",
            "80 % between",
            "95 % between",
            "version",
            "unit, or why there is none",
        ),
        [_cells(row) for row in shown],
    )
    if len(shown) < len(rows):
        yield f"… and {len(rows) - len(shown):,} rows more: --json has all, and the table itself."


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["prediction"] is None:
        return (row["night"], row["city"], "", "", "", "", "", f"{row['status']}: {row['problem']}")
    version = "" if row["package_version"] is None else str(row["package_version"])
    more = [row["unit"] or "", row["warning"] or ""]
    return (
        row["night"],
        row["city"],
        row["period"].isoformat().removesuffix("T00:00:00+00:00"),
        f"{row['prediction']:,.6g}",
        *(_between(row[f"lower_{level}"], row[f"upper_{level}"]) for level in (80, 95)),
        version,
        "; ".join(each for each in more if each),
    )


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:,.6g} – {high:,.6g}"
