"""What must be true after a chaos run, told from what it has left. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STEPS = ("preprocess", "train", "evaluate")
#: How a run may end. Chaos does not make a model better or worse, so the gate decides as it would without.
OUTCOMES = ("live", "held", "superseded")


@dataclass(frozen=True)
class Job:
    """A job as SageMaker knows it.

    :param run_id: DAG run that it was started for, from its tag.
    :param artifact_sha256: of the archive that a completed evaluation has left, else None.
    :param failure: why it failed, in SageMaker's words.
    """

    name: str
    city: str
    step: str
    run_id: str
    status: str
    artifact_sha256: str | None = None
    failure: str = ""

    @property
    def lost(self) -> bool:
        """Tell whether SageMaker itself has ended it, so that it had to be made anew."""
        return self.status == "Failed" and self.failure.startswith("InternalServerError")


@dataclass(frozen=True)
class Run:
    """A DAG run.

    :param as_of: its stamp, which sorts by time.
    :param records: its run records, as they stand in S3; exactly one is right.
    :param tries: task id → how many tries it took.
    """

    city: str
    run_id: str
    as_of: str
    state: str
    records: Sequence[Mapping[str, Any]] = ()
    tries: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return what messages call it."""
        return f"{self.city} {self.run_id}"

    @property
    def outcome(self) -> str | None:
        """Return how it ended by its record."""
        return str(self.records[0]["outcome"]) if self.records else None


@dataclass(frozen=True)
class Evidence:
    """What a chaos run has left.

    :param versions: city → SHA-256 of each of its model packages.
    :param pointers: city → its live pointer, where it has one.
    :param histories: city → its replaced pointers, oldest first.
    :param models: keys of the published artifacts below the endpoint's prefix.
    """

    jobs: Sequence[Job]
    runs: Sequence[Run]
    versions: Mapping[str, Sequence[str]]
    pointers: Mapping[str, Mapping[str, Any]]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    models: frozenset[str]


#: What a finding may be about.
KINDS = (
    "runs_not_well",
    "runs_without_one_record",
    "green_runs_that_did_nothing",
    "jobs_paid_twice",
    "orphans",
    "lost_or_double_versions",
    "wrong_pointers",
    "other_ends_than_undisturbed",
)


def judge(
    evidence: Evidence, undisturbed: Mapping[tuple[str, str], str] | None = None
) -> dict[str, list[str]]:
    """Return what is wrong, sentences by what they are about; all empty is as it should be.

    :param undisturbed: (city, as_of) → how the run ends when nothing happens; None where that is not known.
    """
    found = (
        _of_runs(evidence),
        _of_records(evidence),
        _of_green(evidence),
        _of_jobs(evidence),
        _of_orphans(evidence),
        _of_versions(evidence),
        [sentence for city in _cities(evidence) for sentence in _of_pointer(evidence, city)],
        _of_ends(evidence, undisturbed or {}),
    )
    return dict(zip(KINDS, found, strict=True))


def jobs_needed(evidence: Evidence) -> int:
    """Return how many jobs the runs need when nothing is paid for twice."""
    return len(evidence.runs) * len(STEPS)


def _cities(evidence: Evidence) -> list[str]:
    return sorted({run.city for run in evidence.runs})


def _of_runs(evidence: Evidence) -> list[str]:
    wrong = []
    for run in evidence.runs:
        if run.state != "success":
            wrong.append(f"{run.name}: its state is {run.state}, tries {dict(run.tries)}")
        if run.records and run.outcome not in OUTCOMES:
            wrong.append(f"{run.name}: its outcome is {run.outcome}: {run.records[0].get('reasons')}")
    return wrong


def _of_records(evidence: Evidence) -> list[str]:
    return [
        f"{run.name}: {len(run.records)} run records instead of one"
        for run in evidence.runs
        if len(run.records) != 1
    ]


def _of_green(evidence: Evidence) -> list[str]:
    done = {(job.city, job.run_id, job.step) for job in evidence.jobs if job.status == "Completed"}
    return [
        f"{run.name} is green, and did nothing"
        for run in evidence.runs
        if run.state == "success"
        and (not run.records or any((run.city, run.run_id, step) not in done for step in STEPS))
    ]


def _of_ends(evidence: Evidence, undisturbed: Mapping[tuple[str, str], str]) -> list[str]:
    return [
        f"{run.name} ended as {run.outcome}; undisturbed it is {undisturbed[run.city, run.as_of]}"
        for run in evidence.runs
        if (run.city, run.as_of) in undisturbed and undisturbed[run.city, run.as_of] != run.outcome
    ]


def _of_orphans(evidence: Evidence) -> list[str]:
    return [
        f"{job.name} is still {job.status}: an orphan"
        for job in evidence.jobs
        if job.status in ("InProgress", "Stopping")
    ]


def _of_jobs(evidence: Evidence) -> list[str]:
    """Each step of each run has one job that completed, beside those that SageMaker itself has ended."""
    wrong = []
    of_step: dict[tuple[str, str, str], list[Job]] = {
        (run.city, run.run_id, step): [] for run in evidence.runs for step in STEPS
    }
    for job in evidence.jobs:
        mine = of_step.get((job.city, job.run_id, job.step))
        if mine is None:
            wrong.append(f"{job.name} ({job.status}) belongs to no run: {job.city} {job.run_id} {job.step}")
        else:
            mine.append(job)
    for (city, run_id, step), jobs in of_step.items():
        if [job.status for job in jobs if not job.lost] != ["Completed"]:
            found = ", ".join(f"{job.name} {job.status}" for job in jobs) or "none"
            wrong.append(f"{city} {run_id}: step {step} needs one job that completed; there are: {found}")
    return wrong


def _of_versions(evidence: Evidence) -> list[str]:
    """Each artifact has one version, and each version an artifact."""
    wrong = []
    for city in _cities(evidence):
        made = {job.artifact_sha256 for job in evidence.jobs if job.city == city and job.artifact_sha256}
        versions = Counter(evidence.versions.get(city, ()))
        wrong += [
            f"{city}: artifact {sha[:12]} has {count} versions"
            for sha, count in versions.items()
            if count > 1
        ]
        wrong += [f"{city}: artifact {sha[:12]} is not registered" for sha in sorted(made - set(versions))]
        wrong += [
            f"{city}: version of an unknown artifact {sha[:12]}" for sha in sorted(set(versions) - made)
        ]
    return wrong


def _of_pointer(evidence: Evidence, city: str) -> list[str]:
    """The pointer is what the newest promoted run has published, and the history leads to it without a gap."""
    wrong = []
    promoted = sorted(
        (run for run in evidence.runs if run.city == city and run.outcome == "live"), key=_as_of
    )
    pointer = evidence.pointers.get(city)
    if pointer is None:
        return [f"{city}: {len(promoted)} runs went live, but there is no live pointer"] if promoted else []
    if not promoted:
        return [f"{city}: {pointer['target_model']} is live, but no run has published it"]
    newest = promoted[-1].records[0]
    if pointer["target_model"] != newest["target_model"]:
        wrong.append(
            f"{city}: {pointer['target_model']} is live; the newest promoted run is {promoted[-1].run_id} with "
            f"{newest['target_model']}"
        )
    line = [*evidence.histories.get(city, ()), pointer]
    if [each["sequence"] for each in line] != list(range(1, len(line) + 1)):
        wrong.append(f"{city}: the history has the sequences {[each['sequence'] for each in line]}")
    if [each["predecessor"] for each in line] != [None, *(each["target_model"] for each in line[:-1])]:
        wrong.append(f"{city}: a predecessor in the history is not what served before")
    served = [each["target_model"] for each in line]
    published = list(dict.fromkeys(run.records[0]["target_model"] for run in promoted))
    if served != published:
        wrong.append(f"{city}: these have served: {served}; these were published: {published}")
    wrong += [
        f"{city}: {model} has served, but is not there" for model in served if model not in evidence.models
    ]
    return wrong


def _as_of(run: Run) -> str:
    return run.as_of
