"""An OpenTelemetry collector of a test: takes traces by OTLP/HTTP, as a real one does, and keeps them."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.http_server import running_http_server


@dataclass(frozen=True)
class Kept:
    """A span as it has arrived; times in nanoseconds since 1970."""

    trace: str
    id: str
    parent: str
    name: str
    start: int
    end: int
    attributes: dict[str, Any]
    error: str


@dataclass
class Collector:
    """What has arrived so far.

    :param url: what ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set to.
    """

    url: str = ""
    spans: list[Kept] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """Return what turns on Airflow's traces and has them sent here."""
        return {
            "AIRFLOW__TRACES__OTEL_ON": "True",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_SERVICE_NAME": "airflow",
            # Seconds, for one that is gone holds no process up; on a busy machine an answer takes some.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "10",
        }

    def trace_of(self, dag_id: str, run_id: str) -> list[Kept]:
        """Return the spans of a DAG run's trace, in the order of their beginnings."""
        trace = next(
            (
                span.trace
                for span in list(self.spans)
                if span.attributes.get("airflow.dag_run.run_id") == run_id
                and span.attributes.get("airflow.dag_id") == dag_id
            ),
            None,
        )
        return sorted((span for span in list(self.spans) if span.trace == trace), key=lambda span: span.start)


def tree(spans: list[Kept]) -> list[str]:
    """Return a trace as lines, each below what it is a part of, with seconds since the trace's beginning."""
    first = min(span.start for span in spans)
    known = {span.id for span in spans}
    below: dict[str, list[Kept]] = {}
    for span in spans:
        below.setdefault(span.parent if span.parent in known else "", []).append(span)

    def lines(parent: str, depth: int) -> Iterator[str]:
        for span in below.get(parent, []):
            since, until = ((moment - first) / 1e9 for moment in (span.start, span.end))
            yield f"{'  ' * depth + span.name:<58} {since:7.1f} {until:7.1f}"
            yield from lines(span.id, depth + 1)

    return list(lines("", 0))


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Collect on a free port until the block ends."""
    collector, lock = Collector(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                collector.spans += _read(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            # Who does not wait for it sends the same spans again; each is known by its id.
            with contextlib.suppress(ConnectionError):
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None: ...

    with running_http_server(Handler) as url:
        collector.url = url
        yield collector


def _read(body: bytes) -> Iterator[Kept]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = {
                    each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
                }
                yield Kept(
                    span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name,
                    span.start_time_unix_nano, span.end_time_unix_nano, values,
                    span.status.message if span.status.code == 2 else "",
                )  # fmt: skip
