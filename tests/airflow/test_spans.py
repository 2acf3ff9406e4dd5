"""Spans stand below the task's own, by OpenTelemetry's SDK; where a run is not sampled nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from city_fleet.jobs.job_spans import Span
from city_fleet.orchestration import spans
from tests.support.otlp_collector import running_collector, tree

T = datetime(2026, 1, 1, 2, tzinfo=UTC)
JOB = Span(
    "job", T, T + timedelta(seconds=60), {"a": 1}, "it failed", (Span("phase", T, T + timedelta(seconds=9)),)
)


def task(*, sampled: bool) -> Any:
    """The context of a task whose own span has the id 7, as Airflow hands it on."""
    whose = SpanContext(5, 7, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else 0))
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(NonRecordingSpan(whose)))
    return {"ti": SimpleNamespace(context_carrier=carrier)}


def test_a_span_and_its_parts_stand_below_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    with running_collector() as collector:
        exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces", timeout=5)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        assert not spans.is_traced(task(sampled=False))
        spans.emit(task(sampled=False), JOB)
        assert collector.spans == []
        spans.emit(task(sampled=True), JOB)
        provider.shutdown()
    phase, job = collector.spans
    assert (int(job.trace, 16), int(job.parent, 16)) == (5, 7)
    assert (phase.trace, phase.parent) == (job.trace, job.id)
    assert (job.start, job.end) == (int(T.timestamp()) * 10**9, (int(T.timestamp()) + 60) * 10**9)
    assert (job.attributes, job.error) == ({"a": 1}, "it failed")
    assert tree(collector.spans) == [f"{'job':<58} {0:7.1f} {60:7.1f}", f"{'  phase':<58} {0:7.1f} {9:7.1f}"]


def test_a_span_that_can_not_be_written_fails_no_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError("no tracer")

    monkeypatch.setattr(trace, "get_tracer", broken)
    spans.emit(task(sampled=True), JOB)
    assert "The span job can't be written: RuntimeError: no tracer" in caplog.text
