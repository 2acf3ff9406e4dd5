"""Why a task failed, kept where the run record finds it: Airflow itself keeps that in the task's log alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "failure"
_LONGEST = 1000


def keep(context: Mapping[str, Any]) -> None:
    """Keep the exception of a task that has failed for good, as XCom ``failure``: ``{error, message}``.

    A failure callback. Airflow reports the task's end before it runs this, so a record that is written within the
    same moment may miss it and then names the task only; as it does for a worker that was killed.

    :param context: the failed task's.
    """
    error = context.get("exception")
    if error is not None:
        message = str(error).strip()
        context["ti"].xcom_push(key=KEY, value={"error": type(error).__name__, "message": message[:_LONGEST]})
