"""Spans of what Airflow does not know, in the trace that Airflow writes of a DAG run: OpenTelemetry, where it is on.

Airflow (3.3) writes a span for each DAG run and each task, and its processes hand on which trace they belong to. What
is added here stands below a task's own span, ``task_run.<task>``, which it may have been in several processes of.
Where tracing is off, or the run was not sampled, nothing is made: the tasks' carrier says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from city_fleet import outgoing_text
from city_fleet.jobs.cohort_plan import CohortPlan
from city_fleet.jobs.job_spans import Span
from city_fleet.plan import CityPlan, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context
    from opentelemetry.context import Context as Parent
    from opentelemetry.trace import Tracer

_SCOPE = "city_fleet"

_log = outgoing_text.logger(__name__)


def is_traced(context: Context) -> bool:
    """Tell whether the task's run is in a trace, so that it is worth while to ask for what its spans say."""
    return _parent(context) is not None


def emit(context: Context, span: Span) -> None:
    """Write a span below the task's own. Never fails the task.

    Written by the process that calls this, when it ends: one that is killed takes its spans along.
    """
    try:
        parent = _parent(context)
        if parent is not None:
            from opentelemetry import trace  # noqa: PLC0415 - where tracing is on alone

            _write(trace.get_tracer(_SCOPE), parent, span)
    except Exception as error:  # a job that was paid for is not given up for a picture
        _log.warning("The span %s can't be written: %s: %s", span.name, type(error).__name__, error)


def about(plan: CityPlan | CohortPlan, run: Run | None = None) -> dict[str, str | int]:
    """Return the attributes that say whose a span is."""
    found: dict[str, str | int] = {
        "cityfleet.fleet": plan.fleet.fleet,
        "cityfleet.environment": plan.fleet.environment,
    }
    if isinstance(plan, CohortPlan):
        found["cityfleet.cohort"] = plan.name
    else:
        found["cityfleet.city"] = plan.city.slug
    if run is not None:
        found |= {"cityfleet.as_of": run.stamp, "cityfleet.run_key": run.key}
    return found


def since(moment: datetime, name: str, attributes: Mapping[str, str | int | None]) -> Span:
    """Return the span of what began at a moment and is over now.

    :param attributes: those without a value are left out.
    """
    kept = {key: value for key, value in attributes.items() if value is not None}
    return Span(name, moment, max(moment, datetime.now(UTC)), kept)


def begun(context: Context) -> datetime:
    """Return when the task has begun, in the first of its processes."""
    ti: Any = context["ti"]
    moment: datetime | None = getattr(ti, "start_date", None)
    return moment or datetime.now(UTC)


def _parent(context: Context) -> Parent | None:
    """Return what the task's own span is the innermost of; None where nothing is written of the run."""
    carrier: Any = getattr(context["ti"], "context_carrier", None)
    if not carrier:
        return None
    # Airflow's own task runner has imported both.
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    parent = TraceContextTextMapPropagator().extract(carrier)
    return parent if trace.get_current_span(parent).get_span_context().trace_flags.sampled else None


def _write(tracer: Tracer, parent: Parent, span: Span) -> None:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    made = tracer.start_span(
        span.name, context=parent, start_time=_nanoseconds(span.start), attributes=span.attributes
    )
    if not made.is_recording():
        return
    made.set_status(Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK))
    below = trace.set_span_in_context(made, parent)
    for part in span.parts:
        _write(tracer, below, part)
    made.end(end_time=_nanoseconds(span.end))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
