"""The forecasts of all cities of a fleet as one table, made by asking each city by its name as an application does.

So the table holds what an application would have got at that moment: by the model that serves, or the parent's where
that answers. A city without a forecast is a row that says why. Clients are passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from city_fleet import clock, periods
from city_fleet.errors import BadRequest, CityFleetError, NotReady, PredictError, UnknownCity
from city_fleet.naming import Keys
from city_fleet.prediction import substitute
from city_fleet.prediction.endpoint_answer import Forecast, Prediction
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import THREADS, Predictor
from city_fleet.state import forecast_table
from city_fleet.state.forecast_table import FORECAST, Row
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

#: Of a city: an endpoint that has to load its model takes as long at most.
CITY_SECONDS = 60.0
#: Cities whose answers are in memory at the same time, and rows of a row group.
_BATCH = 512
#: Where so many cities in a row get no answer in time, it is not about them.
_MOST_UNANSWERED = 4 * THREADS
_TOLD_EVERY = 1000
_PROBLEMS_KEPT = 20

Answer = Prediction | PredictError


class NoForecasts(CityFleetError):
    """No city has a model yet, so there is nothing to write."""


@dataclass(frozen=True)
class WrittenTable:
    """A night's table that was written.

    :param counts: how many cities there are of each ``status``.
    :param problems: a sentence for each city without a forecast, the first twenty; those without a model last.
    """

    night: str
    uri: str
    rows: int
    counts: Mapping[str, int]
    problems: Sequence[str]

    @property
    def cities(self) -> int:
        return sum(self.counts.values())

    @property
    def without(self) -> int:
        """Return how many cities have no forecast."""
        return self.cities - self.counts.get(FORECAST, 0)

    @property
    def sentence(self) -> str:
        """Return what was written, and where."""
        why = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()) if name != FORECAST)
        lacking = f", {self.without} of them without a forecast ({why})" if why else ""
        return f"{self.uri}: {self.rows} rows of {self.cities} cities{lacking}"


def predictor(s3: S3Client, runtime: SageMakerRuntimeClient, keys: Keys, endpoint: str) -> Predictor:
    """Return what asks each city once.

    :param s3: and ``runtime``: boto3 clients with settings of :func:`~city_fleet.prediction.predict.client_config`.
    :param endpoint: name of the fleet's own shared endpoint.
    """
    known = KnownCopies(s3, keys, max_cities=2 * THREADS)  # of a city that has been asked they serve nobody
    return Predictor(LivePointers(s3, keys), runtime, Endpoints(s3, keys, endpoint), known=known)


def write_night(
    store: ObjectStore,
    keys: Keys,
    predictor: Predictor,
    cities: Mapping[str, str],
    night: str,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> WrittenTable:
    """Ask every city for its forecast and write the night's table, in the place of one that is there.

    Nothing is written before the last city has answered, so whatever happens the table of before stays.

    :param predictor: with ``known``, so that forecasts go on from the newest values.
    :param cities: slug → name.
    :param night: an ISO date.
    :param say: is told about work that takes long.
    :raises NoForecasts: no city has a model.
    :raises PredictError: no city has a forecast: that of the first one; or endpoint or S3 answer nobody for a while.
    """
    writer, made_at = forecast_table.TableWriter(), clock.utc_now()
    counts: Counter[str] = Counter()
    problems: list[str] = []
    no_models: list[str] = []
    first: PredictError | None = None
    rows = 0
    for batch in _batches(sorted(cities.items())):
        answers = _ask(predictor, [slug for slug, _ in batch])
        made: list[Row] = []
        for (slug, name), answer in zip(batch, answers, strict=True):
            made += rows_of(keys, slug, name, answer, made_at)
            counts[made[-1]["status"]] += 1
            if isinstance(answer, PredictError):
                missing = isinstance(answer, UnknownCity)
                first = first if missing else first or answer
                kept = no_models if missing else problems
                kept += [str(answer)] * (len(kept) < _PROBLEMS_KEPT)
        writer.add(made)
        rows += len(made)
        done = counts.total()
        if done // _TOLD_EVERY > (done - len(batch)) // _TOLD_EVERY:
            say(f"{done} of {len(cities)} cities have been asked")
    if not counts[FORECAST]:
        if first is None:
            raise NoForecasts(
                f"fleet {keys.fleet!r}, {keys.environment}: none of its {len(cities)} cities has a model; nothing is "
                "written"
            )
        raise first
    body = writer.finish()
    without = counts.total() - counts[FORECAST]
    numbers = {"cities": counts.total(), "rows": rows, "without": without}
    uri = forecast_table.write(store, keys, night, body, numbers)
    return WrittenTable(night, uri, rows, dict(counts), [*problems, *no_models][:_PROBLEMS_KEPT])


def rows_of(keys: Keys, slug: str, name: str, answer: Answer, made_at: datetime) -> list[Row]:
    """Return a city's rows: one per period that is forecast, or one that says why there is none. Pure.

    :param made_at: with a zone.
    """
    base: Row = {
        "fleet": keys.fleet,
        "environment": keys.environment,
        "city": slug,
        "city_name": name,
        "made_at": made_at.replace(microsecond=0),
    }
    if isinstance(answer, PredictError) or answer.forecast is None:
        status = _status(answer) if isinstance(answer, PredictError) else "refused"
        return [base | {"status": status, "problem": str(answer)}]
    found: Forecast = answer.forecast
    base |= {
        "status": FORECAST,
        "intervals_withheld": found.intervals_withheld,
        "unit": found.unit,
        "known_until": None if found.known_until is None else periods.read_begin(found.known_until),
        "late_periods": found.late_periods,
        "warning": found.warning,
        "served_by": found.served_by,
        "by_parent": found.served_by not in (slug, substitute.BASELINE),
        "target_model": answer.target_model,
        "package_version": answer.package_version,
        "as_of": _as_of(answer.as_of),
    }
    rows = []
    for step in found.forecasts:
        own = {
            "period": periods.read_begin(step["period"]),
            "step": step["step"],
            "prediction": step["prediction"],
        }
        for level in forecast_table.LEVELS:
            between = step["intervals"].get(str(level))
            if between is not None:
                own |= {f"lower_{level}": between[0], f"upper_{level}": between[1]}
        rows.append(base | own)
    return rows


def _status(error: PredictError) -> str:
    if isinstance(error, UnknownCity):
        return "no_model"
    if isinstance(error, BadRequest):
        return "refused"
    return "no_answer" if isinstance(error, NotReady) else "failed"


def _as_of(text: str) -> datetime | None:
    """Return an as_of; None for one that a person wrote into a pointer, which is no moment."""
    try:
        return clock.parse(text)
    except ValueError:
        return None


def _batches(cities: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    left = iter(cities)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _ask(predictor: Predictor, slugs: list[str]) -> list[Answer]:
    """Ask cities for their forecasts, several at the same time.

    :raises NotReady: so many in a row got no answer in time that the others would get none either.
    """

    def ask(slug: str) -> Answer:
        try:
            return predictor.forecast(slug, seconds=CITY_SECONDS)
        except PredictError as error:
            return error

    answers: list[Answer] = []
    unanswered = 0
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="forecast")
    try:
        for answer in pool.map(ask, slugs):
            answers.append(answer)
            unanswered = unanswered + 1 if isinstance(answer, NotReady) else 0
            if unanswered >= _MOST_UNANSWERED:
                assert isinstance(answer, NotReady)  # noqa: S101 - it was counted
                raise answer
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return answers
