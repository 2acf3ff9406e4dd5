"""The doctor's look at what Airflow shows to others: is what is turned on able to go anywhere? Pure.

Nothing of it is needed for a run; Airflow itself says in a log at most that it sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from city_fleet.doctor.airflow_checks import AREA
from city_fleet.doctor.findings import Finding

#: Setting in Airflow's section ``metrics`` → what it is called, and the package that it needs; those of OpenTelemetry
#: are dependencies of Airflow.
_METRICS = {
    "statsd_datadog_enabled": ("metrics by Datadog", "datadog"),
    "statsd_on": ("metrics by StatsD", "statsd"),
    "otel_on": ("metrics by OpenTelemetry", ""),
}


def check(observed: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what the probe has found; nothing is said of what is off.

    :param observed: as :func:`city_fleet.doctor.airflow_probe.facts` returns it below ``observed``.
    """
    on = []
    if observed["traces"]:
        on.append("traces")
        if str(observed["traces_exporter"]).startswith("otlp") and not observed["traces_address"]:
            yield AREA.warn(
                "traces are on and have no address: they go to a collector on each process's own machine, if there is "
                "one",
                "Set OTEL_EXPORTER_OTLP_ENDPOINT on every process of Airflow (docs/observe.md)",
            )
    for name in observed["metrics"][:1]:
        what, package = _METRICS[name]
        on.append(what)
        if package and package not in observed["installed"]:
            yield AREA.warn(
                f"[metrics] {name} is on, and the package {package} is not installed: no metric is sent",
                f"pip install {package}, with Airflow's constraints, on every process of Airflow",
            )
    if observed["lineage"]:
        on.append("lineage")
        if "airflow.providers.openlineage" not in observed["installed"]:
            yield AREA.warn(
                "OpenLineage has an address, and its provider is not installed: no event is sent",
                "pip install apache-airflow-providers-openlineage, with Airflow's constraints, on every process of "
                "Airflow",
            )
    if on:
        yield AREA.ok(f"it shows others what it does: {', '.join(on)}")
