"""Training jobs: the operations. training_run.py runs them, training_states.py knows their states."""

from __future__ import annotations

import functools
from typing import Any

from local.sagemaker.errors import ResourceInUse, ValidationException
from local.sagemaker.jobs.job_checks import (
    UNSUPPORTED_RESOURCES,
    UNSUPPORTED_SOURCE,
    UNSUPPORTED_TRAINING,
    check_training_request,
    refuse,
)
from local.sagemaker.jobs.training_metrics import check_definitions
from local.sagemaker.jobs.training_states import KIND, transition
from local.sagemaker.moments import now
from local.sagemaker.preconditions import check_job_role, check_training_inputs
from local.sagemaker.processes.images import has_train_command
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.quotas import SPOT_TRAINING, TRAINING, quota_name
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document, NotFound

DEFAULT_MAX_RUNTIME_SECONDS = 86_400


@operation(
    "CreateTrainingJob",
    source="API Reference; Developer Guide: How Amazon SageMaker AI Processes Training Output, Define Training Metrics,"
    " Managed Spot Training in Amazon SageMaker AI, Managed Spot Training Lifecycle, Uncompressed model output,"
    " SageMaker AI Managed Warm Pools, Checkpoints in Amazon SageMaker AI",
    differs=[
        "An image is a Python interpreter: it runs script mode (sagemaker_program), a ContainerEntrypoint, or a "
        "program train that stands beside it.",
        "One instance, which gets all files of a channel, ShardedByS3Key or not; input modes File and FastFile, which "
        "are the same here: files that are there before the script starts. Data types S3Prefix and ManifestFile.",
        "Checkpoints lie in a folder of their own below /opt/ml, are looked at each second and once more at the end; "
        "what a script deletes stays in S3.",
        "Where Linux lets the server make user and mount namespaces, /opt/ml is the job's own; elsewhere the path is "
        "rewritten in arguments, variables and hyperparameters, and in the scripts that the SageMaker SDK sends as the "
        "channel sm_drivers, and a file of yours that names it fails, with a reason that says so.",
        "A failed script's FailureReason is spelled as by the XGBoost image's toolkit, whatever the image.",
        "A job waits its turn while as many run as --max-running-jobs allows; that counts for no time limit. "
        "MaxRuntimeInSeconds counts the running time of all spot attempts together.",
        "The instance type decides on the quota alone; a spot instance costs 30 % of the price on demand.",
        "A warm pool saves the start-up delay, ends with the server, and is refused for a spot job.",
        "MetricDefinitions are looked for line by line in the job's log, and end in FinalMetricDataList; no metric "
        "goes to CloudWatch.",
    ],
    refused=[
        *UNSUPPORTED_TRAINING,
        *(f"ResourceConfig.{member}" for member in UNSUPPORTED_RESOURCES),
        "AlgorithmSpecification.AlgorithmName",
        "AlgorithmSpecification.TrainingInputMode=Pipe",
        "InputDataConfig.ShuffleConfig",
        *(f"InputDataConfig.DataSource.S3DataSource.{member}" for member in UNSUPPORTED_SOURCE),
        "InputDataConfig.DataSource.FileSystemDataSource",
        "InputDataConfig.DataSource.DatasetSource",
    ],
    no_effect=[
        "VpcConfig",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "ExperimentConfig",
        "DebugHookConfig",
        "ProfilerConfig",
        "RetryStrategy",
        "RemoteDebugConfig",
        "InfraCheckConfig",
        "MlflowConfig",
        "ResourceConfig.VolumeSizeInGB",
        "ResourceConfig.InstancePlacementConfig",
        "ResourceConfig.SelectedInstanceType",
        "ResourceConfig.SelectedInstanceCount",
        "AlgorithmSpecification.TrainingImageConfig",
        "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries",
        "StoppingCondition.MaxPendingTimeInSeconds",
    ],
)
def create_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Start a training job."""
    specification = request.get("AlgorithmSpecification", {})
    image = specification.get("TrainingImage", "")
    check_training_request(request, own_command=has_train_command(server.settings, image))
    check_definitions(specification.get("MetricDefinitions", []))
    check_job_role(server, request["RoleArn"])
    check_training_inputs(server, request)
    name = request["TrainingJobName"]
    arn = server.arn(KIND, name)
    document: Document = {**request}
    document["_tags"] = check_tags(document.pop("Tags", []))
    document["OutputDataConfig"] = {"KmsKeyId": "", **request["OutputDataConfig"]}
    document["StoppingCondition"] = {
        "MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS,
        **request.get("StoppingCondition", {}),
    }
    moment = now()
    document |= {
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
        "ProfilingStatus": "Disabled",
        "_region": server.region,
    }
    transition(document, "Starting", moment)
    resources = request["ResourceConfig"]
    usage = SPOT_TRAINING if document["EnableManagedSpotTraining"] else TRAINING
    pool = server.warm_pools.claim(document)
    if pool is not None or resources.get("KeepAlivePeriodInSeconds"):
        document["WarmPoolStatus"] = {"Status": "InUse"}
    if pool is not None:
        document["_on_warm_pool"] = True
    try:
        with server.store.transaction():
            server.store.insert(KIND, name, document)
            quota = quota_name(resources["InstanceType"], usage)
            taken = server.quotas.take((KIND, name), [(quota, resources["InstanceCount"])])
            server.store.when_undone(taken)
    except AlreadyExists:
        server.warm_pools.give_back(pool)
        raise ResourceInUse(
            "Training job names must be unique within an AWS account and region, and a training job with "
            "this name "
            f"already exists ({arn})"
        ) from None
    except BaseException:
        server.warm_pools.give_back(pool)
        raise
    server.warm_pools.reuse(pool, name)
    server.jobs.submit(KIND, name)
    return {"TrainingJobArn": arn}


@operation("DescribeTrainingJob")
def describe_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a training job."""
    server.warm_pools.expire()
    document = server.store.get(KIND, request["TrainingJobName"])
    if document is None:
        raise ValidationException("Requested resource not found.")
    return document


@operation(
    "UpdateTrainingJob",
    source="API Reference; Developer Guide: Use SageMaker AI managed warm pools",
    differs=[
        "Changes how long a warm pool that is Available waits, and nothing else; the wording of refusals is our own."
    ],
    refused=["ProfilerConfig", "ProfilerRuleConfigurations", "RemoteDebugConfig"],
)
def update_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Change how long an ended job's instance waits for the next one."""
    name = request["TrainingJobName"]
    refuse(request, ("ProfilerConfig", "ProfilerRuleConfigurations", "RemoteDebugConfig"))
    document = server.store.get(KIND, name)
    if document is None:
        raise ValidationException("Requested resource not found.")
    if "ResourceConfig" in request:
        seconds = request["ResourceConfig"]["KeepAlivePeriodInSeconds"]
        if not server.warm_pools.hold(name, seconds):
            raise ValidationException(f"The training job {name} has no warm pool that is Available.")
    return {"TrainingJobArn": document["TrainingJobArn"]}


@operation("StopTrainingJob")
def stop_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Stop a training job: SIGTERM, a grace period, SIGKILL."""

    def change(document: Document) -> None:
        status = document["TrainingJobStatus"]
        if status != "InProgress":
            raise ValidationException(
                f"The request was rejected because the training job is in status {status}."
            )
        document["TrainingJobStatus"] = "Stopping"
        transition(document, "Stopping", now())

    try:
        server.store.update(KIND, request["TrainingJobName"], change)
    except NotFound:
        raise ValidationException("Requested resource not found.") from None
    server.jobs.stop(KIND, request["TrainingJobName"])
    return {}


@operation("ListTrainingJobs")
def list_training_jobs(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Training jobs, filtered and sorted, a page at a time."""
    server.warm_pools.expire()
    documents = server.store.list(KIND)
    return list_page(
        "ListTrainingJobs",
        request,
        documents,
        name="TrainingJobName",
        status="TrainingJobStatus",
        keep=functools.partial(_is_in_pool_and_plan, request),
        default_order="Ascending",
    )


def _is_in_pool_and_plan(request: dict[str, Any], document: Document) -> bool:
    """Filter by warm pool and training plan; without either, a job is in none."""
    pool, plan = request.get("WarmPoolStatusEquals"), request.get("TrainingPlanArnEquals")
    return (pool is None or document.get("WarmPoolStatus", {}).get("Status") == pool) and (
        plan is None or document["ResourceConfig"].get("TrainingPlanArn") == plan
    )
