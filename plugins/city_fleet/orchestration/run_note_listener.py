"""Writes the note of a city's run when the run ends. The plugin registers it; Airflow's scheduler calls it.

A task can't set a note: the execution API has no call for it (3.3.2), and REST would need a login. The scheduler has
the run at hand, in the transaction in which it ends; the task that records the run has left the text as an XCom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from city_fleet.orchestration.run_notes import NOTE, changed, is_superseded

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

#: As plan.py has it, which would bring the settings of fleet files into every process of Airflow.
_RECORD = "record"
#: The tasks that say what came of the run.
_ENDS = ("publish", "keep_champion")
_RECORDS = {
    ("city_fleet.orchestration.city_tasks.record_operator", "RecordOperator"),
    ("city_fleet.orchestration.cohort_tasks.cohort_record_operator", "RecordCohortOperator"),
}


class RunNoteListener:
    """Hears of every run that begins or ends, of any DAG; leaves those alone that are no city's."""

    @hookimpl
    def on_dag_run_running(self, dag_run: DagRun, msg: str) -> None:
        # It was cleared: what came of it before does not count any more.
        _write(dag_run, ended=False)

    @hookimpl
    def on_dag_run_success(self, dag_run: DagRun, msg: str) -> None:
        _write(dag_run, ended=True)

    @hookimpl
    def on_dag_run_failed(self, dag_run: DagRun, msg: str) -> None:
        _write(dag_run, ended=True)


def _write(dag_run: DagRun, *, ended: bool) -> None:
    """Write the run's note within the transaction in which its state changes. Airflow catches and logs what fails."""
    if not _is_of_city(dag_run):
        return
    # Of the processes that know the database, and only where there is a run of a city.
    from airflow.models.taskinstance import TaskInstance  # noqa: PLC0415
    from airflow.models.xcom import XComModel  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415
    from sqlalchemy.orm import object_session  # noqa: PLC0415

    session = object_session(dag_run)
    if session is None:
        return
    with session.no_autoflush:
        ours: Any = ""
        if ended:
            newest = (
                select(XComModel.value)
                .where(XComModel.dag_run_id == dag_run.id, XComModel.key == NOTE)
                .order_by(XComModel.timestamp.desc())
                .limit(1)
            )
            ours = session.scalar(newest)
            ours = ours if isinstance(ours, str) else ""
        _put(dag_run, "dag_run_note", ours)
        ends = select(TaskInstance).where(
            TaskInstance.dag_id == dag_run.dag_id,
            TaskInstance.run_id == dag_run.run_id,
            TaskInstance.task_id.in_(_ENDS),
        )
        for task in session.scalars(ends):
            marked = is_superseded(ours) and task.state == "success"
            _put(task, "task_instance_note", ours if marked else "")


def _put(noted: Any, relation: str, ours: str) -> None:
    """Replace our paragraph in the note of a run or a task.

    :param relation: name of the member that holds the note.
    """
    before = noted.note or ""
    note = changed(before, ours)
    if note == before:
        return
    if not note:
        setattr(noted, relation, None)
    elif getattr(noted, relation) is None:
        noted.note = note
    else:
        getattr(noted, relation).content = note


def _is_of_city(dag_run: DagRun) -> bool:
    dag = dag_run.dag
    task = dag.task_dict.get(_RECORD) if dag is not None else None
    return (getattr(task, "_task_module", None), getattr(task, "task_type", None)) in _RECORDS
