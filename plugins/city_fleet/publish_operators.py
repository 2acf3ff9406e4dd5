"""Airflow operators of a city's DAG from the decision on: decide, register, publish, keep the champion, record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerRegisterModelVersionOperator
from airflow.providers.amazon.aws.utils.sagemaker import ApprovalStatus
from airflow.sdk import BaseOperator

from city_fleet import data_checks, failure_notes, gate, job_requests, naming, publish, registry, run_records
from city_fleet.code_bundle import CodeBundle
from city_fleet.images import image_uri
from city_fleet.plan import (
    DECIDE,
    EVALUATE,
    JOB_STEPS,
    KEEP_CHAMPION,
    PREPROCESS,
    PUBLISH,
    REGISTER,
    TRAIN,
    CityPlan,
    Run,
)
from city_fleet.run_context import run_of, upstream

if TYPE_CHECKING:
    from airflow.sdk import Context

FAILED = "failed"
TOO_LITTLE_DATA = "too_little_data"


class CityOperator(BaseOperator):
    """A task of a city's DAG that is no job.

    :param plan: the city's plan.
    :param aws_conn_id: Airflow connection for AWS; its endpoint URL is the only thing a laptop changes.
    """

    def __init__(self, *, plan: CityPlan, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.aws_conn_id = aws_conn_id

    def client(self, service: str) -> Any:
        """Return a boto3 client of the task's connection."""
        return AwsBaseHook(
            aws_conn_id=self.aws_conn_id, client_type=service, region_name=self.plan.fleet.region
        ).conn

    def read_json(self, uri: str) -> Any:
        """Read a small JSON object."""
        bucket, key = naming.split_uri(uri)
        return json.loads(self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


class DecideOperator(CityOperator):
    """Apply the gate to the evaluation report and keep the decision beside the run."""

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        report = upstream(context, EVALUATE)["report"]
        folder = f"{upstream(context, PREPROCESS)['outputs']['report']}city={self.plan.city.slug}/"
        rule = self.plan.city.gate
        data = data_checks.check(self.read_json(f"{folder}status.json"), report, rule.data)
        decision = gate.decide(report, rule, data=data, force=run.force)
        for reason in decision.reasons:
            self.log.info("%s: %s", "promote" if decision.promote else "hold", reason)
        for warning in decision.warnings:
            self.log.warning("%s", warning)
        value = decision.to_dict()
        key = self.plan.keys.decision(self.plan.city.slug, run.key, naming.digest(value))
        self.client("s3").put_object(
            Bucket=self.plan.keys.bucket,
            Key=key,
            Body=json.dumps(value, indent=2).encode(),
            ContentType="application/json",
        )
        return {**value, "decision_uri": self.plan.keys.uri(key)}


class RegisterOperator(SageMakerRegisterModelVersionOperator):
    """Register every trained model, once per artifact, with the status the decision gives it."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        super().__init__(image_uri="", model_url="", package_group_name=plan.package_group, **kwargs)
        self.plan = plan

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        decision = upstream(context, DECIDE)
        evaluation = upstream(context, EVALUATE)
        sha256 = evaluation["report"]["artifact_sha256"]
        self.image_uri = image_uri(self.plan.city.algorithm, self.plan.fleet.region)
        self.model_url = upstream(context, TRAIN)["artifact_uri"]
        status = gate.Decision.from_dict(decision).approval_status
        self.model_approval = ApprovalStatus(status)
        self.package_desc = registry.package_description(
            run.stamp, sha256, f"{self.plan.dag_id}/{run.run_id}"
        )
        arn = registry.find_version(self.hook.conn, self.package_group_name, sha256)
        if arn is not None:
            # The same artifact was judged again: one version, with what was decided last.
            self.log.info("The artifact is registered already as %s", arn)
            registry.set_status(self.hook.conn, arn, status, decision["reasons"][0])
        else:
            bundle = CodeBundle.load(self.plan.scripts)
            self.extras = job_requests.register_extras(
                self.plan,
                run,
                image_uri=self.image_uri,
                artifact_uri=self.model_url,
                artifact_sha256=sha256,
                evaluation_uri=evaluation["evaluation_uri"],
                decision_uri=decision["decision_uri"],
                manifest_uri=upstream(context, PREPROCESS)["manifest_uri"],
                code_uri=bundle.prefix_uri(self.plan.keys),
            )
            arn = super().execute(context)
        version = registry.version_of(arn)
        self.log.info("Version %d of %s, %s", version, self.package_group_name, status)
        return {"package_arn": arn, "version": version, "status": status}


class PublishOperator(CityOperator):
    """Make the registered model the one that serves the city."""

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        evaluation = upstream(context, EVALUATE)
        registered = upstream(context, REGISTER)
        report = evaluation["report"]
        candidate = publish.Candidate(
            city=self.plan.city.slug,
            as_of=run.as_of,
            artifact_uri=upstream(context, TRAIN)["artifact_uri"],
            artifact_sha256=report["artifact_sha256"],
            package_arn=registered["package_arn"],
            features=tuple(report["features"]),
            published_by=f"{self.plan.dag_id}/{run.run_id}",
            settings_digest=self.plan.settings_digest,
            code_digest=CodeBundle.load(self.plan.scripts).digest,
        )
        publication = publish.publish(
            self.client("s3"),
            self.client("sagemaker-runtime"),
            keys=self.plan.keys,
            endpoint=self.plan.endpoint,
            candidate=candidate,
            decision=gate.Decision.from_dict(upstream(context, DECIDE)),
            rule=self.plan.city.gate,
            holdout=self.read_json(evaluation["holdout_uri"]),
            force=run.force,
        )
        for reason in publication.reasons:
            self.log.info("%s: %s", publication.outcome, reason)
        if publication.outcome == publish.HELD:
            # Judged anew against a champion that moved in between; the registry must say what was decided last.
            registry.set_status(
                self.client("sagemaker"), registered["package_arn"], gate.REJECTED, publication.reasons[0]
            )
        return {
            "outcome": publication.outcome,
            "reasons": list(publication.reasons),
            "target_model": candidate.target_model,
            "live": publication.pointer.target_model,
        }


class KeepChampionOperator(CityOperator):
    """Say why the model that serves stays. It changes nothing."""

    def execute(self, context: Context) -> dict[str, Any]:
        decision = upstream(context, DECIDE)
        outcome = publish.SUPERSEDED if decision["superseded"] else publish.HELD
        for reason in decision["reasons"]:
            self.log.info("%s: %s", outcome, reason)
        return {"outcome": outcome, "reasons": decision["reasons"]}


class RecordOperator(CityOperator):
    """Write the run's one immutable record, however the run ended.

    The task is a teardown: it runs after success, failure and skip alike, and does not decide how the run counts.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        ti: Any = context["ti"]
        states = ti.get_task_states(dag_id=self.plan.dag_id, run_ids=[run.run_id])[run.run_id]
        results = {
            step: ti.xcom_pull(task_ids=step) or {}
            for step in (*JOB_STEPS, DECIDE, REGISTER, PUBLISH, KEEP_CHAMPION)
        }
        record = self._record(run, states, results, context)
        key = run_records.write(
            self.client("s3"), self.plan.keys, record, as_of=run.as_of, key_of_run=run.key
        )
        self.log.info("%s: %s", record["outcome"], "; ".join(record["reasons"]) or "no reason given")
        return {"record_uri": self.plan.keys.uri(key), "outcome": record["outcome"]}

    def _record(
        self, run: Run, states: dict[str, str], results: dict[str, dict[str, Any]], context: Context
    ) -> dict[str, Any]:
        ti: Any = context["ti"]
        failed_task = next((task for task, state in states.items() if state == "failed"), None)
        failed_job = ti.xcom_pull(task_ids=failed_task, key="failed_job") if failed_task else None
        failure = ti.xcom_pull(task_ids=failed_task, key=failure_notes.KEY) if failed_task else None
        ended = results[PUBLISH] or results[KEEP_CHAMPION]
        if failed_task is not None:
            said = f": {failure['message']}" if failure and failure["message"] else ""
            outcome, reasons = FAILED, [f"task {failed_task} failed{said}"]
        elif results[PREPROCESS].get("data_status") == TOO_LITTLE_DATA:
            outcome, reasons = TOO_LITTLE_DATA, [results[PREPROCESS]["reason"]]
        elif ended:
            outcome, reasons = ended["outcome"], ended["reasons"]
        else:
            outcome, reasons = FAILED, ["the run was stopped before it published or held a model"]
        decision = {key: value for key, value in results[DECIDE].items() if key != "decision_uri"}
        return {
            "format_version": 1,
            "fleet": self.plan.fleet.fleet,
            "environment": self.plan.fleet.environment,
            "city": self.plan.city.slug,
            "as_of": run.stamp,
            "dag_id": self.plan.dag_id,
            "run_id": run.run_id,
            "outcome": outcome,
            "reasons": reasons,
            "failed_task": failed_task,
            "failure": failure,
            "decision": decision or None,
            "metrics": decision.get("metrics"),
            "evaluation_uri": results[EVALUATE].get("evaluation_uri"),
            "holdout_uri": results[EVALUATE].get("holdout_uri"),
            "target_model": results[PUBLISH].get("target_model"),
            "package_arn": results[REGISTER].get("package_arn"),
            "package_version": results[REGISTER].get("version"),
            "jobs": [
                {key: job[key] for key in ("step", "job", "status", "instance_type", "billable_seconds")}
                for job in (*(results[step] for step in JOB_STEPS), failed_job)
                if job
            ],
            "code_digest": CodeBundle.load(self.plan.scripts).digest,
            "settings_digest": self.plan.settings_digest,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
