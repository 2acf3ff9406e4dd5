"""A city's runs, their jobs and the versions that they have registered, as its story tells of them. Pure.

Made of run records and the registry; the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from city_fleet import naming
from city_fleet.champions.data_checks import finite
from city_fleet.naming import Keys
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.registry import PENDING, ModelPackage
from city_fleet.views.city_sources import KeptRecord, Sources, is_own_report
from city_fleet.views.untrusted import member, members, text

_LONGEST_SENTENCE, _SENTENCES = 600, 12
CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class Job:
    """A job of a run, as its record says it.

    :param seconds: billable; those of a cohort's job are the city's share.
    :param dollars: what they cost at the list price; None where no price of the instance type is known.
    """

    step: str
    name: str
    status: str
    instance_type: str
    seconds: float
    dollars: float | None = None


@dataclass(frozen=True)
class StoryRun:
    """A run of the city.

    :param promoted: what the gate decided; None where it did not come so far.
    :param values: what was compared, in the metric of the story: of the challenger, the champion and each baseline.
    :param beside_champion: of the challenger on the rows on which the champion could be measured; None where unknown.
    :param record_uri: of its record, and ``evaluation_uri`` of its report, which is empty where there is none.
    """

    as_of: str
    finished_at: str
    outcome: str
    promoted: bool | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    beside_champion: float | None = None
    algorithm: str = ""
    version: int | None = None
    package_arn: str = ""
    target_model: str = ""
    dag_id: str = ""
    run_id: str = ""
    jobs: tuple[Job, ...] = ()
    evaluation_uri: str = ""
    record_uri: str = ""
    failed_task: str = ""

    @property
    def seconds(self) -> float:
        return sum(job.seconds for job in self.jobs)

    @property
    def dollars(self) -> float | None:
        """What the run's jobs cost; None where the price of one is not known."""
        known = [job.dollars for job in self.jobs if job.dollars is not None]
        return sum(known) if known and len(known) == len(self.jobs) else None


@dataclass(frozen=True)
class Version:
    """A version of the model registry.

    :param reasons: what the gate said of it; empty where its run's record is not at hand.
    :param note: what was said with the approval status.
    :param serves: whether it is what serves now; ``waits`` whether for a person.
    """

    number: int
    arn: str
    status: str
    as_of: str
    created: datetime | None
    promoted: bool | None = None
    reasons: tuple[str, ...] = ()
    note: str = ""
    event: str = ""
    decided_by: str = ""
    serves: bool = False
    waits: bool = False


def runs_of(keys: Keys, sources: Sources, metric: str, prices: Mapping[str, float]) -> tuple[StoryRun, ...]:
    """Return the runs, newest as_of first; of one that ended more than once, how it ended last."""
    found: dict[tuple[str, str], StoryRun] = {}
    for kept in sources.records:
        run = _run(keys, kept, sources.reports, metric, prices)
        if run is None:
            continue
        place = (run.as_of, str(kept.record.get("run_key")))
        if place not in found or found[place].finished_at < run.finished_at:
            found[place] = run
    return tuple(sorted(found.values(), key=lambda run: (run.as_of, run.finished_at), reverse=True))


def _run(
    keys: Keys, kept: KeptRecord, reports: Mapping[str, Any], metric: str, prices: Mapping[str, float]
) -> StoryRun | None:
    record = kept.record
    decision = member(record, "decision")
    uri = record.get("evaluation_uri")
    uri = str(uri) if is_own_report(keys, uri) else ""
    try:
        as_of = naming.as_of_stamp(naming.parse_as_of(str(record.get("as_of"))))
    except ValueError:
        return None
    version = finite(record.get("package_version"))
    promoted = decision.get("promote")
    return StoryRun(
        as_of=as_of,
        finished_at=short(record.get("finished_at")),
        outcome=short(record.get("outcome")),
        promoted=promoted if isinstance(promoted, bool) else None,
        reasons=_sentences(decision.get("reasons") or record.get("reasons"), record.get("reasons")),
        warnings=_sentences(decision.get("warnings")),
        values=_values(decision, metric),
        beside_champion=finite(member(member(reports.get(uri), CHAMPION), CHALLENGER).get(metric)),
        algorithm=short(members(reports.get(uri)).get("algorithm")),
        version=int(version) if version is not None else None,
        package_arn=short(record.get("package_arn"), 300),
        target_model=short(record.get("target_model")),
        dag_id=short(record.get("dag_id"), 250),
        run_id=short(record.get("run_id"), 250),
        jobs=_jobs(record.get("jobs"), prices),
        evaluation_uri=uri,
        record_uri=keys.uri(kept.key),
        failed_task=short(record.get("failed_task")),
    )


def _values(decision: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return one metric of all that was compared; the names of baselines are the report's."""
    said = member(decision, "metrics")
    entries = {name: said.get(name) for name in (CHALLENGER, CHAMPION)}
    entries |= dict(member(decision, "baselines")) or {"baseline": said.get("naive")}
    found = {short(name): finite(members(entry).get(metric)) for name, entry in entries.items()}
    return {name: value for name, value in found.items() if value is not None}


def _jobs(said: Any, prices: Mapping[str, float]) -> tuple[Job, ...]:
    found = []
    for entry in said if isinstance(said, list) else ():
        each = members(entry)
        seconds, kind = finite(each.get("billable_seconds")), short(each.get("instance_type"))
        dollars = None if kind not in prices or seconds is None else prices[kind] * seconds / 3600
        name, status = short(each.get("job")), short(each.get("status"))
        found.append(Job(short(each.get("step")), name, status, kind, seconds or 0, dollars))
    return tuple(found)


def versions_of(
    packages: Sequence[ModelPackage], runs: Sequence[StoryRun], champion: LivePointer | None
) -> tuple[Version, ...]:
    of_run = {run.package_arn: run for run in reversed(runs) if run.package_arn}
    found = []
    for package in packages:
        run = of_run.get(package.arn)
        found.append(
            Version(
                number=package.number,
                arn=package.arn,
                status=short(package.status),
                as_of=short(package.as_of),
                created=package.created,
                promoted=run.promoted if run else None,
                reasons=run.reasons if run else (),
                note=short(package.status_reason, _LONGEST_SENTENCE),
                event=short(package.event),
                decided_by=short(package.metadata.get("decided_by") or package.changed_by),
                serves=champion is not None and champion.package_arn == package.arn,
                waits=package.status == PENDING and package.waits_for_person,
            )
        )
    return tuple(sorted(found, key=lambda version: -version.number))


def _sentences(said: Any, otherwise: Any = None) -> tuple[str, ...]:
    given = said if isinstance(said, list) and said else otherwise
    texts = given if isinstance(given, list) else []
    return tuple(short(text, _LONGEST_SENTENCE) for text in texts[:_SENTENCES])


def short(value: Any, longest: int = 160) -> str:
    """Return a value as a text of one line, as long as a table may have it."""
    return text(value, longest)
