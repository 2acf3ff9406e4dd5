"""Command ``outcome``: what really happened after a prediction, for the nightly look at live errors."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, show
from city_fleet.cli.selection import FleetName, fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.config.table import Table
from city_fleet.errors import BadRequest, nearest_match

if TYPE_CHECKING:
    from city_fleet.prediction.reported_outcomes import Row

_MOST_BYTES = 64 << 20
_ROWS_PER_OBJECT = 50_000


def outcome(
    prediction_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The prediction_id of the answer.")
    ] = None,
    value: Annotated[
        str | None, typer.Argument(metavar="[VALUE]", help="What really happened: a number, or a class.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="Of many: .csv or .jsonl with prediction_id and outcome."
        ),
    ] = None,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Say what really happened after a prediction.

    Every answer has a prediction_id. The next look of the _monitor DAG holds what is said of it against the prediction,
    where that was captured (capture.share). All rows are kept, or none. Of a series its data say it.

    \b
    Examples:
      ./fleet outcome austin.20150801T061500Z.5f0c2a9b41de 255000
      ./fleet outcome --file outcomes.csv
      ./fleet outcome --file outcomes.jsonl --fleet house_sales --json
    """
    if (file is None) == (prediction_id is None) or (prediction_id is None) != (value is None):
        raise typer.BadParameter("give a prediction's ID and a VALUE, or --file.")
    item = only_fleet(fleets_named(fleet), "outcome needs")
    from city_fleet.prediction import reported_outcomes  # noqa: PLC0415 - with its errors

    rows: Iterator[Row] | list[Row]
    if file is not None:
        rows = reported_outcomes.rows_of(_text(file), file.name)
    else:
        said = {"prediction_id": prediction_id, "outcome": reported_outcomes.number_or_text(value or "")}
        rows = [("outcome", said)]
    checked = reported_outcomes.check(rows, clock.utc_now(), lambda city: _wrong(item, city))
    if checked.mistakes:
        count = len(checked.mistakes)
        where = f"{file}: {count:,} rows are wrong, so nothing was written. " if file is not None else ""
        raise BadRequest(where + checked.sentence, mistakes=[{"got": each} for each in checked.mistakes])
    if not checked.good:
        raise BadRequest(f"{file}: there is no row; allowed: {reported_outcomes.EXAMPLE}.", mistakes=[])
    from city_fleet.state.encryption import encrypting  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    store = ObjectStore(encrypting(client(item, "s3"), item.kms_key), item.bucket)
    written = []
    now, name = clock.utc_now(), secrets.token_hex(6)
    with aws_errors():
        for first in range(0, len(checked.good), _ROWS_PER_OBJECT):
            part = checked.good[first : first + _ROWS_PER_OBJECT]
            key = item.keys.outcomes(now, f"{name}-{first}" if first else name)
            store.put(key, reported_outcomes.to_lines(part), reported_outcomes.CONTENT_TYPE)
            written.append(store.uri(key))
    share = item.capture.share
    not_kept = sum(not reported_outcomes.is_kept(each.of, share) for each in checked.good)
    report = {
        "fleet": item.fleet,
        "accepted": len(checked.good),
        "cities": len({each.of.city for each in checked.good}),
        "not_kept": not_kept,
        "share": share,
        "objects": written,
    }
    show(report, _lines(item, report), as_json)


def _lines(item: Fleet, report: dict[str, Any]) -> Iterator[str]:
    accepted, not_kept = report["accepted"], report["not_kept"]
    yield f"{accepted:,} outcomes of {report['cities']:,} cities are in {', '.join(report['objects'])}."
    if not_kept:
        yield (
            f"{not_kept:,} of them are of predictions that are not captured now: capture.share is "
            f"{item.capture.share:g}. Only captured ones can be scored."
        )
    if item.monitor.schedule is None:
        yield "Nobody looks at them: monitor.schedule is null."


def _text(file: Path) -> str:
    """:raises typer.BadParameter: it can't be read, or is none of those that are allowed."""
    from city_fleet.prediction.reported_outcomes import KINDS  # noqa: PLC0415

    if not file.name.lower().endswith(KINDS):
        raise typer.BadParameter(
            f"--file: got {str(file)!r}; allowed: a file ending in {' or '.join(KINDS)}."
        )
    try:
        size = file.stat().st_size
        if size > _MOST_BYTES:
            raise typer.BadParameter(
                f"--file: {str(file)!r} has {size:,} bytes; allowed: at most {_MOST_BYTES:,}. Split it."
            )
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"--file: {str(file)!r} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"--file: {str(file)!r} is not UTF-8 text (byte {error.start}); write it as UTF-8."
        ) from None


def _wrong(item: Fleet, city: str) -> str | None:
    """Return why no outcome of a city's predictions is taken."""
    if city in item.broken:
        return None
    known = item.cities.get(city)
    if known is None:
        near = nearest_match(city, item.cities)
        hint = f". Did you mean {near!r}?" if near else ""
        return f"fleet {item.fleet!r} has no city {city!r}{hint}".rstrip(".")
    if not isinstance(known.dataset, Table):
        from city_fleet.prediction.outcome_inbox import OF_SERIES  # noqa: PLC0415 - imports botocore

        return f"city {city!r}: {OF_SERIES}"
    return None
