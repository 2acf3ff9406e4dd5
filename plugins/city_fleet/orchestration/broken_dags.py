"""What stands in a DAG's place when it can't be built: a DAG whose one task fails and says why.

Whatever one city or one file raises stays with that city or file. An exception that left a DAG file would take every
DAG of that file out of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming, outgoing_text
from city_fleet.config import Fleet
from city_fleet.errors import FleetFileError, raised_in
from city_fleet.outgoing_text import markdown, printable

_LONGEST_NAME = 32  # of a fleet
_UNFORESEEN = "unforeseen"
_log = outgoing_text.logger(__name__)


class FleetFileMistake(BaseOperator):
    """Fail with what is wrong in a fleet file."""

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Any) -> None:
        raise AirflowFailException(self.message)


def storable(text: str) -> str:
    """Return a text that Airflow's database takes and its pages show: a file's name may hold bytes that are no text."""
    return printable(text)


def broken_dag(dag_id: str, fleet: str, reason: str) -> DAG:
    """Return the DAG that fails with a reason, without a schedule.

    :param fleet: name of the fleet, or what stands for it.
    """
    text = storable(reason)
    with DAG(
        dag_id=dag_id,
        description="The fleet file has a mistake",
        doc_md="The fleet file has a mistake. `./fleet lint` shows it too.\n\n"
        + "  \n".join(map(markdown, text.splitlines())),
        schedule=None,
        tags=[naming.fleet_tag(fleet), "broken"],
        default_args={"owner": "data-engineering", "retries": 0},
        auto_register=False,
    ) as dag:
        FleetFileMistake(task_id="fleet_file_mistake", message=text, execution_timeout=timedelta(minutes=15))
    return dag


def broken_file(error: FleetFileError) -> DAG:
    """Return the DAG of a fleet file that can't be used at all, ``<file>._fleet_file``."""
    path = Path(error.file)
    name = _slug_or_nothing(path.stem)
    if name != path.stem or path.suffix != ".yaml" or len(name) > _LONGEST_NAME:
        # Two files never share a DAG: what a slug leaves out of the file's name is in the digest.
        digest = naming.digest(path.name.encode("utf-8", "surrogateescape").hex(), 6)
        name = f"{name[: _LONGEST_NAME - 7].rstrip('_')}_{digest}".lstrip("_")
    return broken_dag(naming.fleet_dag_id(name, "fleet_file"), name, str(error))


def built_or_broken(build: Callable[[], DAG], dag_id: str, fleet: str) -> DAG:
    """Return the DAG that ``build`` returns, or the one that fails with what it raised."""
    try:
        return build()
    except Exception as error:
        _log.exception("DAG %s can't be built", dag_id)
        reason = (
            # Its text stands in the log alone: it may hold what the environment has given.
            f"DAG {dag_id!r} can't be built from its settings in the fleet file ({type(error).__name__} "
            f"{raised_in(error)}, more in the log of Airflow's dag-processor). "
            "Take back the last change of these settings, and tell the maintainers: `./fleet lint` should refuse it."
        )
        dag = broken_dag(dag_id, fleet, reason)
        dag.tags.add(_UNFORESEEN)
        return dag


def unbuilt(dags: Iterable[DAG]) -> dict[str, str]:
    """Return why DAGs could not be built, by their ids; a mistake in a fleet file is no such reason."""
    return {dag.dag_id: task.message for dag in dags if _UNFORESEEN in dag.tags for task in dag.tasks}


def told(dag: DAG, fleet: Fleet, *, starts: bool) -> DAG:
    """Let a DAG of a fleet whose file can't be used say so, in its text and in the logs of its runs.

    :param starts: whether a task starts now; what is logged then stands in the task's log.
    """
    if fleet.last_good is not None:
        sentence = storable(fleet.last_good.sentence)
        dag.doc_md = f"{markdown(sentence)}\n\n{dag.doc_md or ''}"
        dag.tags.add("last-good-form")
        if starts:
            _log.warning("%s", sentence)
    return dag


def _slug_or_nothing(text: str) -> str:
    try:
        return naming.slug(text)
    except ValueError:
        return ""
