"""Asks the stack's processes over HTTP whether they work."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx

from local.stack.environment import Layout

# The names under which Airflow's health endpoint reports the components that keep a heartbeat.
HEARTBEATS = ("scheduler", "dag_processor", "triggerer")


def unhealthy(layout: Layout, since: datetime) -> list[str]:
    """Return the components that do not answer, or have no recent heartbeat.

    :param since: a heartbeat before this moment is another stack's: it would look healthy for half a minute
    """
    missing = []
    with httpx.Client(trust_env=False, timeout=5) as http:
        if not _answer(http, f"{layout.sagemaker_url}/_local/health"):
            missing.append("sagemaker")
        if not _answer(http, f"{layout.execution_url}health"):
            missing.append("execution-api")
        health = _answer(http, f"{layout.ui_url}/api/v2/monitor/health")
    if not health:
        return [*missing, "api-server"]
    beating = [name for name in HEARTBEATS if _is_beating(health.get(name) or {}, name, since)]
    return missing + [name.replace("_", "-") for name in HEARTBEATS if name not in beating]


def _is_beating(report: dict[str, Any], name: str, since: datetime) -> bool:
    latest = report.get(f"latest_{name}_heartbeat")
    return bool(report.get("status") == "healthy" and latest and datetime.fromisoformat(latest) >= since)


def _answer(http: httpx.Client, url: str) -> dict[str, Any]:
    """Return the JSON object behind a URL, or {} where there is none (yet)."""
    try:
        response = http.get(url)
        body = response.json() if response.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
