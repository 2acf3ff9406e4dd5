"""Airflow operator of the task ``register``: every trained model becomes a version of the registry."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerRegisterModelVersionOperator
from airflow.providers.amazon.aws.utils.sagemaker import ApprovalStatus
from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming
from city_fleet.approval import approvals
from city_fleet.champions import approval_states, gate, package_request
from city_fleet.champions.approval_states import Effect, Event, ModelState
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.orchestration.city_tasks.city_operator import PatientTask, city_of
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import name_of, refuse_old_layout, run_of, upstream
from city_fleet.orchestration.task_clients import CLIENT_SETTINGS
from city_fleet.plan import DECIDE, EVALUATE, PREPROCESS, TRAIN, CityPlan, Run
from city_fleet.state import package_status, registry
from city_fleet.state.author import Author

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterOperator(PatientTask, SageMakerRegisterModelVersionOperator):
    """Register every trained model as a version, and say where it stands after the gate's judgement."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        kwargs.setdefault("botocore_config", CLIENT_SETTINGS)
        super().__init__(image_uri="", model_url="", package_group_name=plan.package_group, **kwargs)
        self.plan = plan

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        try:
            return self._register(context)
        except ClientError as error:
            if not aws_errors.is_token_taken(error):
                raise
        self.log.info("Another DAG run about the same has registered this model in the meantime")
        return self._register(context)

    def _register(self, context: Context) -> dict[str, Any]:
        city = city_of(self.plan, self.aws_conn_id)
        refuse_old_layout(city.aws.s3, city.keys)
        run, sagemaker = run_of(self.plan, context), city.aws.sagemaker
        decision = gate.Decision.from_dict(upstream(context, DECIDE))
        event = Event.PROMOTE if decision.promote else Event.HOLD
        sha256 = upstream(context, EVALUATE)["report"]["artifact_sha256"]
        listed = registry.versions(sagemaker, city.group)
        known = [version for version in listed if version.artifact_sha256 == sha256]
        newest = registry.read(sagemaker, (known or listed)[0].arn) if listed else None
        if newest is not None:
            registry.refuse_other(city.keys, newest)
        state, arn = ModelState.NEW, ""
        if known and newest is not None:
            arn, state = newest.arn, approvals.state_of(city, newest)
            self.log.info("Version %d holds this artifact already, and is %s", known[0].number, state.value)
        step = approval_states.transition(state, event)
        author = Author(name_of(self.plan, context), decision.reasons[0])
        if step.effect is Effect.REGISTER:
            arn = self._create(context, run, step.state, event, before=len(known))
        else:
            package_status.note(sagemaker, arn, self._judgement(context))
            approvals.write(city.aws, registry.read(city.aws.sagemaker, arn), state, event, author)
        if step.state is ModelState.WAITING:
            approvals.make_room(city.aws, city.group, arn, author.by)
        package = registry.read(city.aws.sagemaker, arn)
        state = approvals.state_of(city, package)
        self.log.info("Version %d of %s is %s", package.number, city.group, state.value)
        goes = decision.promote and approval_states.status_of(state) != registry.REJECTED
        return {
            "package_arn": arn,
            "version": package.number,
            "status": package.status,
            "state": state.value,
            "proceed": run.force or goes,
            "reason": package.status_reason,
        }

    def _create(self, context: Context, run: Run, state: ModelState, event: Event, *, before: int) -> str:
        """Register a new version and return its ARN.

        :param before: how many versions hold the same artifact already.
        """
        sha256 = upstream(context, EVALUATE)["report"]["artifact_sha256"]
        status = str(approval_states.status_of(state))
        by = name_of(self.plan, context)
        self.image_uri = image_uri(self.plan.city.algorithm, self.plan.fleet.region)
        judged = upstream(context, EVALUATE).get("artifact_uri")
        self.model_url = judged or upstream(context, TRAIN)["artifact_uri"]
        self.model_approval = ApprovalStatus(status)
        self.package_desc = registry.package_description(run.stamp, sha256, by, run.key)
        lineage = {
            **self._judgement(context),
            "manifest_uri": upstream(context, PREPROCESS)["manifest_uri"],
            "code_uri": CodeBundle.of(self.plan).prefix_uri(self.plan.keys),
            "preprocess_job": upstream(context, PREPROCESS)["job"],
            "train_job": upstream(context, TRAIN)["job"],
        }
        model = package_request.TrainedModel(self.image_uri, self.model_url, sha256, lineage)
        expires_at = self._expires_at(context) if state is ModelState.WAITING else None
        decided = package_status.decided(status, event, by, expires_at=expires_at)
        self.extras = package_request.register_extras(self.plan, run, model, decided=decided, before=before)
        return str(super().execute(context))

    def _judgement(self, context: Context) -> dict[str, str]:
        """Return the metadata that say by which evaluation a version was judged last."""
        evaluation, decision = upstream(context, EVALUATE), upstream(context, DECIDE)
        return {
            "evaluation_uri": evaluation["evaluation_uri"],
            "evaluate_job": evaluation["job"],
            "decision_uri": decision["decision_uri"],
            "data_until": decision.get("data_until") or "",
        }

    def _expires_at(self, context: Context) -> str | None:
        """Return until when the model awaits approval by a person; None where no person is asked.

        It counts from the start of the run: a retry must send the same request, or SageMaker refuses its token.
        """
        city, dag_run = self.plan.city, context["dag_run"]
        if city.approval == "auto":
            return None
        start = dag_run.start_date or dag_run.run_after
        return naming.as_of_stamp(start + timedelta(hours=city.approval_expires_hours))
