"""Airflow operator of the task ``register``: every trained model becomes a version of the registry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerRegisterModelVersionOperator
from airflow.providers.amazon.aws.utils.sagemaker import ApprovalStatus

from city_fleet.orchestration import lineage
from city_fleet.orchestration.city_tasks.city_operator import PatientTask, city_of, city_run_of
from city_fleet.orchestration.console_pages import say_made
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import refuse_old_layout
from city_fleet.orchestration.task_clients import CLIENT_SETTINGS
from city_fleet.plan import CityPlan
from city_fleet.run_steps import register_step
from city_fleet.run_steps.register_step import NewVersion

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterOperator(PatientTask, SageMakerRegisterModelVersionOperator):
    """Register every trained model as a version, and say where it stands after the gate's judgement."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        kwargs.setdefault("botocore_config", CLIENT_SETTINGS)
        super().__init__(image_uri="", model_url="", package_group_name=plan.package_group, **kwargs)
        self.plan = plan

    def take(self, plan: CityPlan) -> None:
        super().take(plan)
        self.package_group_name = plan.package_group

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        city = city_of(self.plan, self.aws_conn_id)
        refuse_old_layout(city.aws.s3, city.keys)

        def create(new: NewVersion) -> str:
            self.image_uri, self.model_url = new.image_uri, new.model_url
            self.package_desc, self.model_approval = new.description, ApprovalStatus(new.status)
            self.extras = dict(new.extras)
            # Of the provider's operator.
            return str(super(RegisterOperator, self).execute(context))

        at = city_run_of(city, context)
        result, package = register_step.register_once(at, create)
        self.lineage = partial(lineage.of_version, self.plan, at.run, result)
        say_made(context, city.aws.sagemaker, package=package.arn)
        return result
