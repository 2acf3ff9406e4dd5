"""A run in an experiment tracker, by MLflow's REST API: what a person sees there, and the calls that put it there.

By hand and not by MLflow's own package, which is some hundred megabytes in every worker for five calls.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from city_fleet import clock
from city_fleet.errors import PlatformError
from city_fleet.outgoing_text import one_line
from city_fleet.plan import CityPlan
from city_fleet.state.outcomes import Outcome

API = "/api/2.0/mlflow"
#: Names the run of City Fleet that a run of the tracker is: the same run is written once.
RUN_KEY = "city_fleet.run_key"
_TIMEOUT = urllib3.Timeout(connect=5, read=10)
#: Most of a batch, and of a value, that MLflow takes.
_MOST, _LONGEST = 100, 500
_MOST_ANSWER = 1 << 20
_TAGS = (
    *("fleet", "environment", "city", "as_of", "outcome", "target_model", "package_arn", "data_until"),
    *("evaluation_uri", "code_digest", "settings_digest", "dag_id", "run_id"),
)


@dataclass(frozen=True)
class TrackedRun:
    """What the tracker gets of a run.

    :param key: of the run, unique in the experiment.
    :param params: what the model was made by; names → texts, at most 100.
    :param ended: whether it has come to an end of its own: FINISHED, else FAILED.
    :param moment: when it ended, in milliseconds.
    """

    experiment: str
    name: str
    key: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    ended: bool
    moment: int

    @classmethod
    def of(cls, plan: CityPlan, record: Mapping[str, Any]) -> TrackedRun:
        """Make it of a run's record. Pure.

        :param record: as ``record_of`` makes it.
        """
        fleet, city = plan.fleet, plan.city
        made_by: dict[str, Any] = {
            f"candidate.{name}.{key}": value
            for _, name, hyperparameters in city.algorithm.trained()
            for key, value in hyperparameters.items()
        }
        made_by |= {"algorithms": ",".join(name for _, name, _ in city.algorithm.trained())}
        made_by |= dict(_flat(city.dataset.to_settings(), "dataset"))
        tags = {f"city_fleet.{name}": record[name] for name in _TAGS if record.get(name)}
        if record.get("target_model"):
            tags["city_fleet.model_uri"] = plan.keys.uri(plan.keys.model(record["target_model"]))
        said = "\n\n".join(record.get("reasons") or ())
        tags |= {RUN_KEY: record["run_key"], **({"mlflow.note.content": said} if said else {})}
        measured = record.get("metrics")
        jobs = [job["billable_seconds"] for job in record.get("jobs") or () if job["billable_seconds"]]
        return cls(
            experiment=f"{fleet.fleet}/{fleet.environment}",
            name=f"{city.slug} {record['as_of']}",
            key=record["run_key"],
            params={name: _text(value) for name, value in list(made_by.items())[:_MOST]},
            metrics={
                **(dict(_numbers(measured)) if isinstance(measured, Mapping) else {}),
                **({"billable_seconds": float(sum(jobs))} if jobs else {}),
            },
            tags={name: _text(value) for name, value in tags.items()},
            ended=record["outcome"] != Outcome.FAILED,
            moment=round(clock.parse(record["finished_at"]).timestamp() * 1000),
        )


class Mlflow:
    """An MLflow server.

    :param url: of the server, without ``/api``.
    :param headers: such as ``Authorization``. They are sent to that server alone: no redirect is followed.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._url, self._headers = url.rstrip("/"), dict(headers or {})
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)

    def write(self, run: TrackedRun) -> str:
        """Write a run, or what is new of one that is there; return its id.

        :raises PlatformError: the server does not answer, or refuses it.
        """
        experiment = self._experiment(run.experiment)
        run_id = self._known(experiment, run.key) or self._created(experiment, run)
        metrics = [
            {"key": name, "value": value, "timestamp": run.moment, "step": 0}
            for name, value in run.metrics.items()
        ]
        batch = {"run_id": run_id, "metrics": metrics, "params": _pairs(run.params), "tags": _pairs(run.tags)}
        self._ask("POST", "runs/log-batch", batch)
        status = "FINISHED" if run.ended else "FAILED"
        self._ask("POST", "runs/update", {"run_id": run_id, "status": status, "end_time": run.moment})
        return run_id

    def _experiment(self, name: str) -> str:
        found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name}, missing=True)
        if found is None:
            # Many runs of a night begin an experiment at once: who is not the first finds that of another.
            self._ask("POST", "experiments/create", {"name": name}, missing=True)
            found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name})
        return _id(found, "experiment", "experiment_id")

    def _known(self, experiment: str, key: str) -> str | None:
        asked = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{RUN_KEY}` = '{key}'",
            "max_results": 1,
        }
        found = self._ask("POST", "runs/search", asked) or {}
        runs = found.get("runs")
        return _id(runs[0], "info", "run_id") if runs else None

    def _created(self, experiment: str, run: TrackedRun) -> str:
        asked = {
            "experiment_id": experiment,
            "run_name": run.name,
            "start_time": run.moment,
            "tags": _pairs({RUN_KEY: run.key}),
        }
        return _id((self._ask("POST", "runs/create", asked) or {}).get("run"), "info", "run_id")

    def _ask(
        self, method: str, path: str, value: Mapping[str, Any], *, missing: bool = False
    ) -> dict[str, Any] | None:
        """Ask for something.

        :param missing: None where it is not there, or is there already; else that is refused as everything is.
        """
        url, body = f"{self._url}{API}/{path}", None
        if method == "GET":
            url += f"?{urlencode(value)}"
        else:
            body = json.dumps(value)
        headers = {**self._headers, "Content-Type": "application/json"}
        try:
            answer = self._pool.request(
                method, url, body=body, headers=headers, redirect=False, preload_content=False
            )
            said = answer.read(_MOST_ANSWER)
            answer.release_conn()
            found = json.loads(said or b"{}")
        except HTTPError as error:
            raise PlatformError(f"MLflow at {self._url} does not answer ({type(error).__name__})") from None
        except ValueError:
            found = {}
        found = found if isinstance(found, dict) else {}
        if answer.status == 200:
            return found
        code = str(found.get("error_code") or "")
        if missing and code in ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"):
            return None
        text = one_line(f"{code} {found.get('message') or ''}".strip())[:300] or "no more is said"
        raise PlatformError(f"MLflow at {self._url} refuses {path} with HTTP status {answer.status}: {text}")


def _id(found: Any, part: str, name: str) -> str:
    try:
        return str(found[part][name])
    except (KeyError, TypeError):
        raise PlatformError(f"MLflow's answer has no {part}.{name}") from None


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(each, f"{path}.{name}")
    elif value not in (None, [], ()):
        yield path, value


def _numbers(value: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, each in value.items():
        if isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each):
            yield str(name), float(each)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
