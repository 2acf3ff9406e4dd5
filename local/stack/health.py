"""Asks the stack's processes over HTTP whether they work."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx

from local.stack import redis_server
from local.stack.engine_settings import broker_url
from local.stack.layout import Layout
from local.stack.secrets_file import stack_secrets

# The names under which Airflow's health endpoint reports the components that keep a heartbeat.
HEARTBEATS = ("scheduler", "dag_processor", "triggerer")
PING_SECONDS = 2.0


def unhealthy(layout: Layout, since: datetime) -> list[str]:
    """Return the components that do not answer, or have no recent heartbeat.

    :param since: a heartbeat before this moment is another stack's: it would look healthy for half a minute
    """
    missing = []
    with httpx.Client(trust_env=False, timeout=5) as http:
        if not _answer(http, f"{layout.sagemaker_url}/_local/health"):
            missing.append("sagemaker")
        if not layout.engine.postgres and not _answer(http, f"{layout.execution_url}health"):
            missing.append("execution-api")
        health = _answer(http, f"{layout.ui_url}/api/v2/monitor/health")
    if not health:
        return [*missing, "api-server"]
    missing += _silent_workers(layout) if layout.engine.celery else []
    beating = [name for name in HEARTBEATS if _is_beating(health.get(name) or {}, name, since)]
    return missing + [name.replace("_", "-") for name in HEARTBEATS if name not in beating]


def _silent_workers(layout: Layout) -> list[str]:
    """Return the Celery workers, and the broker between us and them, that do not answer."""
    if not redis_server.answers(layout):
        return ["redis"]
    from celery import Celery  # noqa: PLC0415 - a second that a stack without workers need not pay

    app = Celery(broker=broker_url(layout, stack_secrets(layout)), set_as_current=False)
    try:
        answers = app.control.ping(timeout=PING_SECONDS) or []
    except OSError:
        answers = []
    finally:
        app.close()
    there = {name.partition("@")[0] for answer in answers for name in answer}
    wanted = [f"worker-{number}" for number in range(1, layout.engine.workers + 1)]
    return [name for name in wanted if name not in there]


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
