"""Remove: a city serves no more. Its DAG is paused, its runs have ended, its live pointer goes into the history.

Nothing else is deleted: :func:`remains` says what is left and how to delete it. Clients are passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from city_fleet import clock
from city_fleet.airflow_rest import Dag
from city_fleet.errors import AirflowError, PublishError
from city_fleet.naming import Keys
from city_fleet.state import live, registry
from city_fleet.state.live import LivePointer, Versioned
from city_fleet.state.objects import ObjectStore
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient


_SHOWN_RUNS = 5


class AirflowRuns(Protocol):
    """What is asked of Airflow (:class:`~city_fleet.airflow_rest.AirflowRest` answers it)."""

    def dag(self, dag_id: str) -> Dag | None: ...
    def set_paused(self, dag_id: str, paused: bool) -> None: ...
    def unfinished_runs(self, dag_id: str) -> list[tuple[str, str]]: ...


@dataclass(frozen=True)
class Patience:
    """How long to wait for runs to end.

    :param seconds: 0 refuses at once.
    """

    seconds: float = 0.0
    poll_seconds: float = 5.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Removal:
    """What removing a city did.

    :param outcome: ``removed``, ``planned`` (a dry run), or ``unchanged`` (it was removed before, or never served).
    :param before: the state that served; None when nothing did.
    :param dag: what became of the DAG, as a sentence.
    """

    city: str
    outcome: Outcome
    before: LivePointer | None
    dag: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "note": self.note or None}


def remove(
    s3: S3Client,
    airflow: AirflowRuns | None,
    *,
    keys: Keys,
    dag_id: str,
    city: str,
    by: str,
    reason: str = "",
    patience: Patience | None = None,
    dry_run: bool = False,
) -> Removal:
    """Make a city serve no more. Repeating it is harmless.

    :param airflow: None leaves the DAG and its runs alone.
    :param by: who does it; ``reason``: why. The history keeps both.
    :param dry_run: look, and change nothing.
    :raises AirflowError: Airflow does not answer, or a run of the city has not ended. Nothing has changed then.
    :raises PublishError: the live pointer can't be read, or moved meanwhile. The DAG is as it was then.
    """
    found = live.read(s3, keys, city)
    if airflow is None:
        quieted, said = False, "its DAG was left alone"
    else:
        quieted, said = _quiet(airflow, dag_id, patience or Patience(), dry_run)
    if dry_run:
        note = "" if found is not None else "it serves nothing"
        return Removal(city, Outcome.PLANNED, found.pointer if found else None, said, note)
    try:
        # Runs that have ended meanwhile may have published: what is dropped is what serves now.
        found = live.read(s3, keys, city)
        end = _end(s3, keys, city, found, by=by, reason=reason)
        if end is None:
            return Removal(city, Outcome.UNCHANGED, None, said, "it serves nothing")
        live.drop(s3, keys, end, found)
    except Exception:
        if quieted and airflow is not None:
            airflow.set_paused(dag_id, False)
        raise
    return Removal(city, Outcome.REMOVED, found.pointer if found else None, said)


def _quiet(airflow: AirflowRuns, dag_id: str, patience: Patience, dry_run: bool) -> tuple[bool, str]:
    """Pause a DAG while none of its runs is unfinished: in a paused DAG they would never end.

    :return: whether it was paused by this, and what to say.
    :raises AirflowError: a run has not ended in time.
    """
    dag = airflow.dag(dag_id)
    if dag is None:
        return False, "Airflow has no DAG of it"
    end = patience.clock() + patience.seconds
    while True:
        runs = airflow.unfinished_runs(dag_id)
        if not runs and (dag.paused or dry_run):
            return False, "its DAG is paused already" if dag.paused else "its DAG would be paused"
        if not runs:
            airflow.set_paused(dag_id, True)
            runs = airflow.unfinished_runs(dag_id)
            if not runs:
                return True, "its DAG is paused"
            airflow.set_paused(dag_id, False)  # one began the moment before; it has to end first
        if dag.paused or patience.clock() >= end:
            raise AirflowError(_unfinished(dag_id, runs, dag.paused))
        patience.sleep(patience.poll_seconds)


def _unfinished(dag_id: str, runs: list[tuple[str, str]], paused: bool) -> str:
    named = ", ".join(f"{run_id} ({state})" for run_id, state in runs[:_SHOWN_RUNS])
    more = f" and {len(runs) - _SHOWN_RUNS} more" if len(runs) > _SHOWN_RUNS else ""
    cure = (
        "The DAG is paused, so they will not end by themselves: unpause it, or mark them failed in Airflow, "
        "then try again"
        if paused
        else "Wait for them with --wait SECONDS, or mark them failed in Airflow"
    )
    return f"{dag_id}: runs that have not ended could publish a model: {named}{more}. {cure}. Nothing was changed"


def _end(
    s3: S3Client, keys: Keys, city: str, found: Versioned | None, *, by: str, reason: str
) -> LivePointer | None:
    """Return the state that ends a city; None when it has ended, or never begun."""
    sequences = live.kept_sequences(s3, keys, city)
    if found is not None:
        last = found.pointer
    elif sequences:
        last = live.read_kept(s3, keys, city, sequences[-1])
        if last.move == live.REMOVE:
            return None
    else:
        return None
    if sequences and sequences[-1] > last.sequence:
        raise PublishError(
            f"city {city!r}: its history goes up to sequence {sequences[-1]}, but sequence {last.sequence} is live; "
            f"`./fleet rebuild {city}` puts that right first"
        )
    return replace(
        last,
        sequence=last.sequence + 1,
        predecessor=last.target_model,
        move=live.REMOVE,
        moved_at=clock.now_iso(),
        moved_by=by,
        reason=reason,
        restores=last.origin,
    )


@dataclass(frozen=True)
class Left:
    """Objects below one prefix that a removed city leaves behind."""

    what: str
    uri: str
    objects: int
    size_bytes: int


@dataclass(frozen=True)
class Remains:
    """What a removed city leaves behind.

    :param group: its model package group, and ``versions``: their ARNs.
    """

    left: tuple[Left, ...]
    group: str
    versions: tuple[str, ...]

    def commands(self) -> list[str]:
        """Return what deletes all of it for good."""
        found = [f"aws s3 rm --recursive {each.uri}" for each in self.left if each.objects]
        if self.versions:
            found += [
                f"for arn in $(aws sagemaker list-model-packages --model-package-group-name {self.group} "
                "--query 'ModelPackageSummaryList[].ModelPackageArn' --output text); do "
                "aws sagemaker delete-model-package --model-package-name $arn; done",
                f"aws sagemaker delete-model-package-group --model-package-group-name {self.group}",
            ]
        return found


def remains(s3: S3Client, sagemaker: SageMakerClient, *, keys: Keys, group: str, city: str) -> Remains:
    """Return what there still is of a city."""
    prefixes = {
        "raw data": keys.raw(city),
        "models": f"{keys.models_prefix()}{city}/",
        "runs": f"{keys.runs_prefix()}{city}/",
        "run records": keys.city_records(city),
        "history": keys.history_prefix(city),
    }
    left = []
    for what, prefix in prefixes.items():
        sizes = [item.size_bytes for item in ObjectStore(s3, keys.bucket).items(prefix)]
        left.append(Left(what, keys.uri(prefix), len(sizes), sum(sizes)))
    versions = tuple(version.arn for version in registry.versions(sagemaker, group))
    return Remains(tuple(left), group, versions)
