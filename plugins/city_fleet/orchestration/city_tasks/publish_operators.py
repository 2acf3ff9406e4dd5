"""Airflow operators of a city's DAG from the decision on: decide, register, publish, keep the champion."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerRegisterModelVersionOperator
from airflow.providers.amazon.aws.utils.sagemaker import ApprovalStatus
from airflow.sdk import BaseOperator

from city_fleet import naming
from city_fleet.approval import approvals
from city_fleet.champions import approval_states, breaker, data_checks, gate, package_request, publish
from city_fleet.champions.approval_states import Effect, Event, ModelState
from city_fleet.champions.registered_model import publish_version, target_model
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.orchestration.run_context import author_of, run_of, upstream
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.plan import APPROVE, DECIDE, EVALUATE, PREPROCESS, REGISTER, TRAIN, CityPlan, Run
from city_fleet.state import registry
from city_fleet.state.author import Author

if TYPE_CHECKING:
    from airflow.sdk import Context


class CityOperator(BaseOperator):
    """A task of a city's DAG that is no job.

    :param plan: the city's plan.
    :param aws_conn_id: Airflow connection for AWS; its endpoint URL is the only thing a laptop changes.
    """

    def __init__(self, *, plan: CityPlan, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.aws_conn_id = aws_conn_id

    def clients(self) -> TaskClients:
        """Return the clients of the task's connection."""
        return TaskClients(self.aws_conn_id, self.plan.fleet.region)


class DecideOperator(CityOperator):
    """Apply the gate to the evaluation report, keep the decision beside the run, and count it for the night."""

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        s3, keys, city = self.clients().s3, self.plan.keys, self.plan.city
        report = upstream(context, EVALUATE)["report"]
        data = data_checks.check(self._data_report(s3, context), report, city.gate.data)
        decision = gate.decide(report, city.gate, data=data, force=run.force)
        for reason in decision.reasons:
            self.log.info("%s: %s", "promote" if decision.promote else "hold", reason)
        for warning in decision.warnings:
            self.log.warning("%s", warning)
        value = decision.to_dict()
        key = keys.decision(city.slug, run.key, naming.digest(value))
        s3.put_object(
            Bucket=keys.bucket,
            Key=key,
            Body=json.dumps(value, indent=2).encode(),
            ContentType="application/json",
        )
        if not decision.superseded:  # an older run says nothing about the night
            breaker.mark(s3, keys, run.stamp, city.slug, decision.reasons if decision.unfit else ())
        return {**value, "decision_uri": keys.uri(key)}

    def _data_report(self, s3: Any, context: Context) -> Any:
        """Return what the preprocess job has measured of the data."""
        folder = upstream(context, PREPROCESS)["outputs"]["report"]
        bucket, key = naming.split_uri(f"{folder}city={self.plan.city.slug}/status.json")
        return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


class RegisterOperator(SageMakerRegisterModelVersionOperator):
    """Register every trained model as a version, and say where it stands after the gate's judgement."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        super().__init__(image_uri="", model_url="", package_group_name=plan.package_group, **kwargs)
        self.plan = plan

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        aws = TaskClients(self.aws_conn_id, self.plan.fleet.region)
        decision = gate.Decision.from_dict(upstream(context, DECIDE))
        event = Event.PROMOTE if decision.promote else Event.HOLD
        sha256 = upstream(context, EVALUATE)["report"]["artifact_sha256"]
        versions = registry.versions(aws.sagemaker, self.package_group_name)
        known = [version for version in versions if version.artifact_sha256 == sha256]
        state, arn = ModelState.NEW, ""
        if known:
            arn = known[0].arn
            state = approvals.state_of(aws, self.plan, approvals.read(aws, arn))
            self.log.info("Version %d holds this artifact already, and is %s", known[0].number, state.value)
        step = approval_states.transition(state, event)
        author = Author(f"{self.plan.dag_id}/{run.run_id}", decision.reasons[0])
        if step.effect is Effect.REGISTER:
            arn = self._create(context, run, step.state, event, before=len(known))
        else:
            registry.note(aws.sagemaker, arn, self._judgement(context))
            approvals.write(aws, approvals.read(aws, arn), state, event, author)
        if step.state is ModelState.WAITING:
            approvals.make_room(aws, self.package_group_name, arn, author.by)
        version = approvals.read(aws, arn)
        state = approvals.state_of(aws, self.plan, version)
        self.log.info("Version %d of %s is %s", version.number, self.package_group_name, state.value)
        return {
            "package_arn": arn,
            "version": version.number,
            "status": version.status,
            "state": state.value,
            "proceed": run.force
            or (decision.promote and approval_states.status_of(state) != registry.REJECTED),
            "reason": version.status_reason,
        }

    def _create(self, context: Context, run: Run, state: ModelState, event: Event, *, before: int) -> str:
        """Register a new version and return its ARN.

        :param before: how many versions hold the same artifact already.
        """
        evaluation = upstream(context, EVALUATE)
        sha256 = evaluation["report"]["artifact_sha256"]
        status = str(approval_states.status_of(state))
        by = f"{self.plan.dag_id}/{run.run_id}"
        self.image_uri = image_uri(self.plan.city.algorithm, self.plan.fleet.region)
        self.model_url = upstream(context, TRAIN)["artifact_uri"]
        self.model_approval = ApprovalStatus(status)
        self.package_desc = registry.package_description(run.stamp, sha256, by)
        self.extras = package_request.register_extras(
            self.plan,
            run,
            image_uri=self.image_uri,
            artifact_uri=self.model_url,
            artifact_sha256=sha256,
            evaluation_uri=evaluation["evaluation_uri"],
            lineage={
                **self._judgement(context),
                "manifest_uri": upstream(context, PREPROCESS)["manifest_uri"],
                "code_uri": CodeBundle.load(self.plan.scripts).prefix_uri(self.plan.keys),
                "preprocess_job": upstream(context, PREPROCESS)["job"],
                "train_job": upstream(context, TRAIN)["job"],
            },
            decided=registry.decided(
                status,
                event,
                by,
                expires_at=self._expires_at(context) if state is ModelState.WAITING else None,
            ),
            before=before,
        )
        return str(super().execute(context))

    def _judgement(self, context: Context) -> dict[str, str]:
        """Return the metadata that say by which evaluation a version was judged last."""
        evaluation = upstream(context, EVALUATE)
        return {
            "evaluation_uri": evaluation["evaluation_uri"],
            "evaluate_job": evaluation["job"],
            "decision_uri": upstream(context, DECIDE)["decision_uri"],
        }

    def _expires_at(self, context: Context) -> str | None:
        """Return when the model stops waiting for a person; None where no person is asked.

        It counts from the start of the run: a retry must send the same request, or SageMaker refuses its token.
        """
        city, dag_run = self.plan.city, context["dag_run"]
        if city.approval == "auto":
            return None
        start = dag_run.start_date or dag_run.run_after
        return naming.as_of_stamp(start + timedelta(hours=city.approval_expires_hours))


class PublishOperator(CityOperator):
    """Make the registered model the one that serves the city, unless its night waits for a person."""

    def execute(self, context: Context) -> dict[str, Any]:
        run = run_of(self.plan, context)
        aws = self.clients()
        version = approvals.read(aws, upstream(context, REGISTER)["package_arn"])
        state = approvals.state_of(aws, self.plan, version)
        author = author_of(self.plan, context)
        event = Event.APPROVE if run.force else Event.RELEASE
        if state is ModelState.WAITING and not run.force:
            if self.plan.city.approval == "manual":
                # Somebody has marked the question as answered without answering it.
                return self._ended(version, publish.PENDING, ["nobody has approved it yet"], None)
            night = breaker.stop_or_read(aws.s3, self.plan.keys, run.stamp, self.plan.fleet.breaker)
            if night is not None and night.state == breaker.TRIPPED:
                approvals.wait_for_person(aws, self.plan, version, night.sentence)
                return self._ended(version, publish.PENDING, [night.sentence], None)
            if night is not None:
                event = Event.APPROVE if night.state == breaker.APPROVED else Event.REJECT
                author = Author(night.by, night.note)
        step = approval_states.transition(state, event)
        if step.effect in (Effect.PUBLISH, Effect.NOTHING) or run.force:
            approves = None if version.status == registry.APPROVED else event
            decided = publish_version(
                aws, self.plan, version, state, author, approves=approves, force=run.force, record=False
            )
            return self._ended(version, decided.outcome, list(decided.reasons), decided.live)
        step, version = approvals.write(aws, version, state, event, author)
        outcome = publish.SUPERSEDED if step.state is ModelState.SUPERSEDED else publish.HELD
        return self._ended(version, outcome, [version.status_reason], None)

    def _ended(
        self, version: registry.ModelPackage, outcome: str, reasons: list[str], serves: str | None
    ) -> dict[str, Any]:
        for reason in reasons:
            self.log.info("%s: %s", outcome, reason)
        return {
            "outcome": outcome,
            "reasons": reasons,
            "target_model": target_model(self.plan, version),
            "live": serves,
        }


class KeepChampionOperator(CityOperator):
    """Say why the model that serves stays. It changes nothing."""

    def execute(self, context: Context) -> dict[str, Any]:
        decision = upstream(context, DECIDE)
        registered = upstream(context, REGISTER)
        asked: Any = context["ti"].xcom_pull(task_ids=APPROVE)
        if asked:
            outcome, reasons = asked["outcome"], asked["reasons"]
        elif decision["promote"]:  # the gate lets it go, but somebody or something else does not
            superseded = registered["state"] == ModelState.SUPERSEDED.value
            outcome = publish.SUPERSEDED if superseded else publish.HELD
            reasons = [registered["reason"]]
        else:
            outcome = publish.SUPERSEDED if decision["superseded"] else publish.HELD
            reasons = decision["reasons"]
        for reason in reasons:
            self.log.info("%s: %s", outcome, reason)
        return {"outcome": outcome, "reasons": reasons}
