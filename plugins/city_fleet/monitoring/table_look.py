"""One look at the cities of tables: new outcomes below ``outcomes/`` and what was captured become scores and alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from city_fleet import clock
from city_fleet.config import City, Fleet
from city_fleet.monitoring import table_scoring
from city_fleet.prediction import reported_outcomes
from city_fleet.prediction.reported_outcomes import Reported
from city_fleet.state import captured, live, live_scores
from city_fleet.state.live_scores import LiveScores, Scored
from city_fleet.state.monitored import CityHealth
from city_fleet.state.objects import Item, ObjectStore

#: Files that were written so long before the newest one read are read again: S3 dates a long upload by its beginning,
#: and a prediction may be captured after its outcome has come. What is there already counts once.
OVERLAP = timedelta(hours=2)
_MOST_BYTES = 64 << 20
_HELD_OUT = "held_out"


@dataclass(frozen=True)
class NewOutcomes:
    """What has come since a look.

    :param by_city: slug → prediction id → what happened.
    :param until: when the newest file was written, by S3's clock, ISO 8601.
    :param problems: sentences about files, or lines of them, that can't be read.
    """

    by_city: Mapping[str, Mapping[str, Reported]] = field(default_factory=dict)
    until: str = ""
    problems: tuple[str, ...] = ()


def new_outcomes(
    store: ObjectStore, fleet: Fleet, until: str, now: datetime, say: Callable[[str], None]
) -> NewOutcomes:
    """Read the files of outcomes that are new, oldest first, so that what was said last counts.

    :param until: of the look before; empty for all files.
    """
    since = clock.parse(until) if until else None
    items = sorted(
        (
            item
            for item in store.items(fleet.keys.outcomes_prefix())
            if not item.key.endswith("/") and (since is None or item.modified >= since - OVERLAP)
        ),
        key=lambda item: (item.modified, item.key),
    )
    found: dict[str, dict[str, Reported]] = {}
    problems = []

    def wrong(city: str) -> str | None:
        return None if city in fleet.cities or city in fleet.broken else f"the fleet has no city {city!r}"

    for item in items:
        say(f"reading {store.uri(item.key)}")
        good, problem = _read(store, item, now, wrong)
        for each in good:
            found.setdefault(each.of.city, {})[each.of.text] = each
        # Once: not again by the looks that read it again.
        if problem and (since is None or item.modified > since):
            problems.append(problem)
    newest = clock.iso(items[-1].modified) if items else ""
    return NewOutcomes(found, max(until, newest), tuple(problems))


def _read(
    store: ObjectStore, item: Item, now: datetime, wrong: Callable[[str], str | None]
) -> tuple[tuple[Reported, ...], str]:
    """Return the rows of a file, and what is wrong with others; of one put there by hand the good ones count."""
    uri = store.uri(item.key)
    if not item.key.lower().endswith(reported_outcomes.KINDS):
        return (
            (),
            f"{uri}: no file of outcomes; allowed: names ending in {', '.join(reported_outcomes.KINDS)}",
        )
    stored = store.get(item.key, _MOST_BYTES)
    if stored is None:
        return (), ""
    if len(stored.body) > _MOST_BYTES:
        return (), f"{uri} is larger than {_MOST_BYTES:,} bytes and was not read; split it"
    try:
        text = stored.body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return (), f"{uri} is not UTF-8 text (byte {error.start}) and was not read"
    checked = reported_outcomes.check(reported_outcomes.rows_of(text, item.key), now, wrong)
    if not checked.mistakes:
        return checked.good, ""
    return (
        checked.good,
        f"{uri}: {len(checked.mistakes):,} rows are wrong and do not count. {checked.mistakes[0]}",
    )


def look_at(store: ObjectStore, fleet: Fleet, city: City, outcomes: Mapping[str, Reported]) -> CityHealth:
    """Bring one city's scores up to date by new outcomes, write them, and judge them.

    :param outcomes: of its predictions, by id.
    :raises BrokenScores: its scores can't be believed; :raises BrokenPointer: its live pointer can't.
    """
    keys, slug = fleet.keys, city.slug
    before = live_scores.read(store, keys, slug)
    there = {row.key: row for row in before.known}
    wanted = {
        name: each
        for name, each in outcomes.items()
        if name not in there or there[name].actual != table_scoring.truth_of(there[name], each.value)
    }
    answers: list[Scored] = [row for row in before.rows if row.key in wanted]
    masked: set[str] = set()
    for day in sorted({each.of.moment.date() for name, each in wanted.items() if name not in there}):
        for seen in captured.read(store, keys, slug, day):
            if seen.prediction_id in wanted and seen.status == 200:
                row = table_scoring.scored(seen)
                if row is None:
                    masked.add(seen.prediction_id)
                else:
                    answers.append(row)
    truths: dict[str, float | str] = {}
    strange: set[str] = set()
    for row in answers:
        truth = table_scoring.truth_of(row, wanted[row.key].value)
        if truth is None:
            strange.add(row.key)
        else:
            truths[row.key] = truth
    pointer = live.read(store.client, keys, slug)

    def change(scores: LiveScores) -> LiveScores:
        after = scores.with_answers(row for row in answers if row.key in truths).with_truths(truths)
        if pointer is None:
            return after
        now = pointer.pointer
        held_out = table_scoring.remembered(scores.notes.get(_HELD_OUT), now.target_model, now.metrics)
        return after.with_notes(**{_HELD_OUT: held_out})

    scores = before
    if outcomes or before.rows or pointer is not None:
        scores = live_scores.update(store, keys, slug, change)
    notes = []
    missing = len(wanted.keys() - {row.key for row in answers} - masked)
    if missing:
        share = f"capture.share is {fleet.capture.share:g}"
        notes.append(f"{missing:,} outcomes have no captured prediction: {share}")
    if masked:
        notes.append(f"{len(masked):,} outcomes can't be scored: capture.mask hides what was predicted")
    if strange:
        notes.append(f"{len(strange):,} outcomes are classes, and the model predicts numbers")
    return health_of(scores, city, notes)


def health_of(scores: LiveScores, city: City, notes: list[str]) -> CityHealth:
    """Judge a city's scores. Pure.

    :param notes: sentences that are no alarm.
    """
    rule = city.decay
    held_out = table_scoring.remembered(scores.notes.get(_HELD_OUT), "", {})
    found = table_scoring.losses(scores.rows, held_out)
    alarm = table_scoring.judge(scores.rows, held_out, rule.limit, rule.patience)
    reasons = []
    if alarm is not None and found is not None:
        classes = isinstance(scores.rows[-1].predicted, str)
        kind = "wrong classes" if classes else "mean absolute error"
        form = "{:.1%}" if classes else "{:,.4g}"
        beside = f", {form.format(found.held_out)} on held-out rows" if found.held_out is not None else ""
        reasons.append(f"{kind} of the last {found.count} predictions: {form.format(found.mean)}{beside}")
    return CityHealth(
        periods=found.count if found is not None else 0,
        error=found.share if found is not None else None,
        alarm=alarm.since if alarm is not None else None,
        reasons=tuple(reasons),
        notes=tuple(notes),
    )
