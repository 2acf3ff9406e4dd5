"""Take a city out of service: pause its DAG while no run is unfinished, and move its live pointer into the history.

Nothing else is deleted: :func:`remains` says what is left and how to delete it. Clients are passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from city_fleet import clock
from city_fleet.airflow_rest.airflow_client import Dag
from city_fleet.errors import AirflowError, PublishError
from city_fleet.state import live, registry
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live import LivePointer, Versioned
from city_fleet.state.outcomes import Outcome

_SHOWN_RUNS = 5


class AirflowRuns(Protocol):
    """What is asked of Airflow (:class:`~city_fleet.airflow_rest.airflow_client.AirflowRest` answers it)."""

    def dag(self, dag_id: str) -> Dag | None: ...
    def set_paused(self, dag_id: str, paused: bool) -> None: ...
    def unfinished_runs(self, dag_id: str) -> list[tuple[str, str]]: ...


@dataclass(frozen=True)
class CityDag:
    """The DAG of the city that is removed.

    :param wait_seconds: how long to wait for runs to end; 0 refuses at once.
    """

    airflow: AirflowRuns
    dag_id: str
    wait_seconds: float = 0.0
    poll_seconds: float = 5.0
    sleep: Callable[[float], None] = time.sleep

    def pause(self, dry_run: bool) -> tuple[bool, str]:
        """Pause the DAG while none of its runs is unfinished: in a paused DAG they would never end.

        :return: whether this call paused it, and a sentence about it.
        :raises AirflowError: a run has not ended in time.
        """
        dag = self.airflow.dag(self.dag_id)
        if dag is None:
            return False, "Airflow has no DAG of it"
        end = time.monotonic() + self.wait_seconds
        while True:
            runs = self.airflow.unfinished_runs(self.dag_id)
            if not runs and (dag.paused or dry_run):
                return False, "its DAG is paused already" if dag.paused else "its DAG would be paused"
            if not runs:
                self.airflow.set_paused(self.dag_id, True)
                runs = self.airflow.unfinished_runs(self.dag_id)
                if not runs:
                    return True, "its DAG is paused"
                self.unpause()  # a run began just before; it has to end first
            if dag.paused or time.monotonic() >= end:
                raise AirflowError(_unfinished(self.dag_id, runs, dag.paused))
            self.sleep(self.poll_seconds)

    def unpause(self) -> None:
        self.airflow.set_paused(self.dag_id, False)


@dataclass(frozen=True)
class Removal:
    """The result of removing a city.

    :param outcome: ``removed``, ``planned`` (a dry run), or ``unchanged`` (it was removed before, or never served).
    :param before: the state that served; None when none did.
    :param dag: what became of the DAG, as a sentence.
    """

    city: str
    outcome: Outcome
    before: LivePointer | None
    dag: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "note": self.note or None}


def remove(city: CityContext, author: Author, dag: CityDag | None, *, dry_run: bool = False) -> Removal:
    """Take a city out of service. Repeating it is harmless.

    :param author: who does it, and why; the history keeps both.
    :param dag: None leaves the DAG and its runs alone.
    :param dry_run: make the same checks, and change nothing.
    :raises AirflowError: Airflow does not answer, or a run of the city has not ended. Nothing has changed then.
    :raises PublishError: the live pointer can't be read, or moved meanwhile. The DAG is as it was then.
    """
    s3, keys = city.aws.s3, city.keys
    found = live.read(s3, keys, city.slug)
    paused, said = (False, "its DAG was left alone") if dag is None else dag.pause(dry_run)
    if dry_run:
        note = "" if found is not None else "it serves nothing"
        return Removal(city.slug, Outcome.PLANNED, found.pointer if found else None, said, note)
    try:
        # A run that ended meanwhile may have published: what is dropped is what serves now.
        found = live.read(s3, keys, city.slug)
        end = _end(city, author, found)
        if end is None:
            return Removal(city.slug, Outcome.UNCHANGED, None, said, "it serves nothing")
        kept = live.drop(s3, keys, end, found)
    except Exception:
        if dag is not None and paused:
            dag.unpause()
        raise
    if kept != end:
        note = f"{kept.moved_by} has removed it in the same moment"
        return Removal(city.slug, Outcome.UNCHANGED, None, said, note)
    return Removal(city.slug, Outcome.REMOVED, found.pointer if found else None, said)


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


def _end(city: CityContext, author: Author, found: Versioned | None) -> LivePointer | None:
    """Return the state that ends the city's service; None when it has ended, or never begun."""
    sequences = live.kept_sequences(city.aws.s3, city.keys, city.slug)
    if found is not None:
        last = found.pointer
    elif sequences:
        last = live.read_kept(city.aws.s3, city.keys, city.slug, sequences[-1])
        if last.move == live.REMOVE:
            return None
    else:
        return None
    if sequences and sequences[-1] > last.sequence:
        raise PublishError(
            f"city {city.slug!r}: its history goes up to sequence {sequences[-1]}, but sequence {last.sequence} is "
            f"live; `./fleet rebuild {city.slug}` puts that right first"
        )
    return replace(
        last,
        sequence=last.sequence + 1,
        predecessor=last.target_model,
        move=live.REMOVE,
        moved_at=clock.now_iso(),
        moved_by=author.by,
        reason=author.note,
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
        """Return the commands that delete all of it for good."""
        found = [f"aws s3 rm --recursive {each.uri}" for each in self.left if each.objects]
        if self.versions:
            found += [
                f"for arn in $(aws sagemaker list-model-packages --model-package-group-name {self.group} "
                "--query 'ModelPackageSummaryList[].ModelPackageArn' --output text); do "
                "aws sagemaker delete-model-package --model-package-name $arn; done",
                f"aws sagemaker delete-model-package-group --model-package-group-name {self.group}",
            ]
        return found


def remains(city: CityContext) -> Remains:
    """Return what a city has in the bucket and in the registry."""
    keys, slug = city.keys, city.slug
    prefixes = {
        "raw data": keys.raw(slug),
        "models": f"{keys.models_prefix()}{slug}/",
        "runs": f"{keys.runs_prefix()}{slug}/",
        "run records": keys.city_records(slug),
        "history": keys.history_prefix(slug),
        "known values": keys.known_prefix(slug),
    }
    left = []
    for what, prefix in prefixes.items():
        sizes = [item.size_bytes for item in city.objects.items(prefix)]
        left.append(Left(what, keys.uri(prefix), len(sizes), sum(sizes)))
    versions = tuple(version.arn for version in registry.versions(city.aws.sagemaker, city.group))
    return Remains(tuple(left), city.group, versions)
