"""One look at all cities of a fleet: new tables of forecasts and what is known become scores, and scores alarms.

Everything is made of what lies in the bucket, so a look that died is made again by the next one, and a second look
finds nothing new. One city that can't be read does not keep the others from being looked at. Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from city_fleet import clock
from city_fleet.config import City, Fleet
from city_fleet.config.series import Series
from city_fleet.errors import CityFleetError
from city_fleet.monitoring import decay, input_drift, scoring, table_look
from city_fleet.monitoring.table_look import NewOutcomes
from city_fleet.periods import noun
from city_fleet.state import city_actions, forecast_table, known_values, live_scores, monitored
from city_fleet.state.city_actions import Action
from city_fleet.state.forecast_table import Row
from city_fleet.state.live_scores import LiveScores
from city_fleet.state.monitored import CityHealth, Monitored
from city_fleet.state.objects import ObjectStore

THREADS = 16
#: Tables that a look reads at most, the newest.
MOST_NIGHTS = 62
#: Where so many cities alarm anew at once, and this share of all, it is not about them.
FEWEST_OF_FLEET, SHARE_OF_FLEET = 3, 0.5
#: Of an alarm that no run is started for.
NONE = "none"
_COLUMNS, _STANDING = "columns", "standing"


@dataclass(frozen=True)
class Look:
    """What a look has found.

    :param new: cities whose alarm this run tells of, sorted.
    :param retrain: those that alarm whose run is to be started now.
    :param rollback: those that are to be rolled back now.
    :param problems: sentences: cities that could not be looked at.
    """

    found: Monitored
    new: tuple[str, ...]
    retrain: tuple[str, ...]
    rollback: tuple[str, ...]
    problems: tuple[str, ...]


def look(
    store: ObjectStore,
    fleet: Fleet,
    run_id: str,
    now: datetime,
    say: Callable[[str], None] = lambda text: None,
) -> Look:
    """Look at every city of a fleet.

    :param run_id: of the DAG run; a look that is repeated tells of the same alarms.
    :raises BrokenScores: what the look before has found can't be believed.
    """
    keys = fleet.keys
    before = monitored.read(store, keys)
    rows: Mapping[str, list[Row]] = {}
    until = before.tables_until
    if fleet.dataset.kind == "series":
        rows, until = _new_rows(store, fleet, before.tables_until, say)
    cities = dict(fleet.with_raw_data)
    outcomes = NewOutcomes(until=before.outcomes_until)
    if any(not isinstance(city.dataset, Series) for city in cities.values()):
        outcomes = table_look.new_outcomes(store, fleet, before.outcomes_until, now, say)
    healths: dict[str, CityHealth] = {}
    problems = list(outcomes.problems)
    outcomes_until = outcomes.until

    def one(slug: str) -> CityHealth | CityFleetError:
        try:
            if isinstance(cities[slug].dataset, Series):
                return look_at(store, fleet, cities[slug], rows.get(slug, []), now)
            return table_look.look_at(store, fleet, cities[slug], outcomes.by_city.get(slug, {}))
        except CityFleetError as error:
            return error

    with ThreadPoolExecutor(THREADS, thread_name_prefix="monitor") as pool:
        for slug, health in zip(cities, pool.map(one, cities), strict=True):
            old = before.cities.get(slug, CityHealth())
            if isinstance(health, CityFleetError):
                problems.append(f"city {slug!r}: {health}")
                if slug in outcomes.by_city:  # they are read again by the next look
                    outcomes_until = before.outcomes_until
                healths[slug] = old
            else:
                healths[slug] = _continued(old, health, run_id)
    new = tuple(slug for slug in sorted(healths) if healths[slug].alarm and healths[slug].told_by == run_id)
    together = ""
    if len(new) >= max(FEWEST_OF_FLEET, SHARE_OF_FLEET * len(cities)):
        together = (
            f"{len(new)} of {len(cities)} cities alarm in one look: has the feed changed for all of them? No run is "
            "started and none is rolled back; look at their raw data, then retrain by `./fleet run`"
        )
    if together:
        healths |= {slug: replace(healths[slug], action=NONE) for slug in new}
    left = [
        slug
        for slug, health in healths.items()
        if health.alarm and not health.action and cities[slug].decay.action != "alert"
    ]
    repeated = [slug for slug, health in healths.items() if health.action == run_id]
    acting = tuple(dict.fromkeys([*repeated, *left]))[: fleet.monitor.most_actions]
    for slug in acting:
        healths[slug] = replace(healths[slug], action=run_id)
    found = Monitored(clock.iso(now), until, healths, together, outcomes_until)
    monitored.write(store, keys, found)
    retrain, rollback = (
        tuple(slug for slug in acting if cities[slug].decay.action == action)
        for action in ("retrain", "rollback")
    )
    for kind, slugs in ((city_actions.ALARM, new), (city_actions.RETRAIN, retrain)):
        for slug in slugs:
            why = "; ".join(healths[slug].reasons)
            said = f"no longer right since {healths[slug].alarm}: {why}"
            said = f"{said}; {together}" if together else said
            try:
                city_actions.keep(store, keys, slug, Action(clock.iso(now), kind, said, run_id))
            except CityFleetError as error:
                problems.append(f"city {slug!r}: {error}")
    return Look(found, new, retrain, rollback, tuple(problems))


def look_at(store: ObjectStore, fleet: Fleet, city: City, rows: list[Row], now: datetime) -> CityHealth:
    """Bring one city's scores up to date, write them, and judge them.

    :param rows: of the tables that are new.
    :raises BrokenScores: its scores can't be believed; :raises BrokenKnown: what is known of it can't.
    """
    keys, rule, dataset = fleet.keys, city.decay, city.dataset
    assert isinstance(dataset, Series)  # noqa: S101 - the caller has chosen
    grid = dataset.grid
    known = None
    for item in known_values.copies(store, keys, city.slug)[:1]:
        known = known_values.read_copy(store.client, keys, city.slug, item)
    newer = scoring.history_of(known) if known is not None else {}
    target = known.columns[0] if known is not None else ""
    said: list[str] = []
    broken: list[input_drift.Broken] = []

    def change(before: LiveScores) -> LiveScores:
        nonlocal said, broken
        columns = scoring.remembered(before.notes.get(_COLUMNS), newer, input_drift.REMEMBERED)
        values = columns.get(target, {})
        truths = {period: value for period, value in values.items() if value is not None}
        answers = scoring.answers_of(rows, grid, values)
        after = before.with_answers(answers).with_truths(truths)
        said = scoring.corrected(before, after)
        standing = before.notes.get(_STANDING)
        standing = standing if isinstance(standing, dict) else {}
        broken = input_drift.look(columns, rule.patience, standing) if rule.inputs else []
        notes = {_COLUMNS: columns, _STANDING: {each.column: each.since for each in broken}}
        return after.with_notes(**notes) if known is not None else after

    scores = live_scores.update(store, keys, city.slug, change)
    return health_of(scores, city, broken, said, now)


def health_of(
    scores: LiveScores, city: City, broken: list[input_drift.Broken], changed: list[str], now: datetime
) -> CityHealth:
    """Judge a city's scores. Pure.

    :param broken: its columns that are not like before.
    :param changed: periods whose truth was corrected since the last look.
    """
    dataset, rule = city.dataset, city.decay
    assert isinstance(dataset, Series)  # noqa: S101 - the caller has chosen
    unit = noun(str(dataset.grid))
    live, alarm = decay.live_error(scores.rows), decay.judge(scores.rows, rule.limit, rule.patience)
    reasons, since = [], []
    if alarm is not None:
        newest = decay.nearest(scores.rows)
        count = sum(row.key >= alarm.since for row in newest)
        side = "high" if alarm.high else "low"
        naive = f", without a model {live.naive:.1%}" if live is not None and live.naive is not None else ""
        share = (
            f" (live error {live.share:.1%}{naive})" if live is not None and live.share is not None else ""
        )
        reasons.append(f"forecasts of the last {count} {unit}s are too {side}{share}")
        since.append(alarm.since)
    for each in broken:
        reasons.append(each.sentence)
        since.append(each.since)
    notes = []
    late = scoring.due(scores, dataset.grid, dataset.available_after.span, now)
    if len(late) >= rule.no_truth_after:
        notes.append(f"no truth came for {scoring.in_words(late, unit)}: has the feed stopped?")
    if changed:
        notes.append(f"the truth of {scoring.in_words(changed, unit)} was corrected, and scored anew")
    return CityHealth(
        periods=live.periods if live is not None else 0,
        error=live.share if live is not None else None,
        naive=live.naive if live is not None else None,
        alarm=min(since, default=None),
        reasons=tuple(reasons),
        notes=tuple(notes),
    )


def _continued(old: CityHealth, new: CityHealth, run_id: str) -> CityHealth:
    """Return what is found now, with who has told of the alarm; one that goes on was told of before."""
    if new.alarm is None:
        return new
    if old.alarm is not None and old.told_by:
        return replace(new, alarm=min(old.alarm, new.alarm), told_by=old.told_by, action=old.action)
    return replace(new, told_by=run_id)


def _new_rows(
    store: ObjectStore, fleet: Fleet, seen_until: str, say: Callable[[str], None]
) -> tuple[Mapping[str, list[Row]], str]:
    """Return the rows of the tables that were written since a look, by city, the oldest table first."""
    tables = sorted(forecast_table.nights(store, fleet.keys)[:MOST_NIGHTS], key=lambda table: table.night)
    seen = clock.parse(seen_until) if seen_until else None
    found: dict[str, list[Row]] = {}
    for table in tables:
        # Of the same second: an answer that is there already counts once.
        if seen is None or table.written_at >= seen:
            say(f"reading {table.uri}")
            for row in forecast_table.read(store, fleet.keys, table.night):
                found.setdefault(row["city"], []).append(row)
    newest = max((table.written_at for table in tables), default=None)
    return found, clock.iso(newest) if newest is not None else seen_until
