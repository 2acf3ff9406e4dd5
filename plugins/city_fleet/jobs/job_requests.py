"""Requests to SageMaker as boto3 takes them, made of a plan, a run and upstream results. Pure.

A job's output URIs hold the job's name, and the name holds a digest of the request, so requests are built with
``JOB_NAME`` in place of the name and :func:`named` fills it in for an attempt. The digest is over what makes the
job's result, so equal work has an equal name, whoever asks for it and on which instance: SageMaker itself then refuses
to run the same job twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.config.settings import TrainingSettings
from city_fleet.jobs.cohort_plan import CohortPlan
from city_fleet.jobs.job_files import SETTINGS_NAME, learns_again, raw_manifest, settings_file
from city_fleet.plan import COHORT, EVALUATE, PREPROCESS, TRAIN, CityPlan, Run

JOB_NAME = "{job_name}"
_INPUT = "/opt/ml/processing/input"
_OUTPUT = "/opt/ml/processing/output"
_MESSAGE_FILE = "/opt/ml/output/message"

TAG_CITY = "city-fleet:city"
#: Of a job of a cohort's DAG, of many cities or of one; a job of many has no tag of a city.
TAG_COHORT = "city-fleet:cohort"
TAG_RUN = "city-fleet:run"
TAG_STEP = "city-fleet:step"
TAG_DAG_RUN = "city-fleet:dag-run"

#: Members of a request that say who asks and how the job runs, and change nothing about its result.
_MAKES_NO_RESULT = (
    "Tags",
    "RoleArn",
    "ProcessingResources",
    "ResourceConfig",
    "StoppingCondition",
    "EnableManagedSpotTraining",
    "NetworkConfig",
    "VpcConfig",
    "EnableInterContainerTrafficEncryption",
)
#: The same within a member: which key encrypts what a job writes.
_ENCRYPTS = "KmsKeyId"
#: The folders that a processing job writes.
_OUTPUTS = {PREPROCESS: ("train", "validation", "test", "report"), EVALUATE: ("evaluation",)}


def named(
    request: Mapping[str, Any], plan: CityPlan | CohortPlan, run: Run, step: str, attempt: int
) -> tuple[str, dict[str, Any]]:
    """Return the job name of an attempt and the request with that name filled in.

    :param request: a request of this module with ``JOB_NAME`` placeholders.
    :param attempt: 1 for the first job of the step in this run.
    """
    fleet = plan.fleet
    makes_result = {
        member: {name: each for name, each in value.items() if name != _ENCRYPTS}
        if isinstance(value, Mapping)
        else value
        for member, value in request.items()
        if member not in _MAKES_NO_RESULT
    }
    request_digest = naming.digest([fleet.fleet, fleet.environment, plan.who, run.key, makes_result])
    who = plan.who.lstrip("_")
    name = naming.job_name(
        fleet.fleet, fleet.environment, who, step, request_digest=request_digest, attempt=attempt
    )
    return name, _fill(request, name)


def _fill(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value.replace(JOB_NAME, name)
    if isinstance(value, Mapping):
        return {key: _fill(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, name) for item in value]
    return value


def preprocess_request(
    plan: CityPlan, run: Run, *, image_uri: str, code_uri: str, raw: Sequence[str], installs: bool = False
) -> dict[str, Any]:
    """Return the CreateProcessingJob request that turns raw data into training, validation and test rows.

    :param code_uri: folder of the job scripts in S3.
    :param raw: names of the city's raw data files, as the run has fixed them.
    :param installs: whether the code has requirements that the job installs first.
    """
    arguments = [
        *_settings_argument(),
        *("--raw-dir", f"{_INPUT}/raw"),
        *("--output-dir", _OUTPUT),
        *("--message-file", _MESSAGE_FILE),
    ]
    manifest = plan.keys.uri(raw_manifest(plan, run, raw).key)
    inputs = {"code": code_uri, "settings": _settings_uri(plan, run, PREPROCESS, raw), "raw": manifest}
    return _processing_request(
        plan, run, PREPROCESS, image_uri=image_uri, arguments=arguments, inputs=inputs, installs=installs
    )


def _settings_uri(plan: CityPlan, run: Run, step: str, raw: Sequence[str] = ()) -> str:
    """Return the folder of the settings file: a channel is a prefix."""
    return plan.keys.uri(settings_file(plan, run, step, raw).key.removesuffix(SETTINGS_NAME))


def _folder(plan: CityPlan, name: str) -> str:
    """Return the folder of an input in the job; a city's raw data are below ``city=<slug>/``, wherever they lie."""
    elsewhere = name == "raw" and not plan.raw.own
    return f"{_INPUT}/{name}/city={plan.city.slug}" if elsewhere else f"{_INPUT}/{name}"


def _settings_argument() -> tuple[str, str]:
    return "--settings", f"{_INPUT}/settings/{SETTINGS_NAME}"


def train_request(
    plan: CityPlan,
    run: Run,
    *,
    image_uri: str,
    code_archive_uri: str,
    data: Mapping[str, str],
    on_demand: bool = False,
) -> dict[str, Any]:
    """Return the CreateTrainingJob request.

    :param code_archive_uri: source archive with ``train.py``.
    :param data: the preprocess job's output URIs by name.
    :param on_demand: leave spare capacity alone, whatever the fleet file says.
    """
    settings = plan.city.training
    data_channels = [_channel(name, data[name], "text/csv") for name in _trained_on(plan)]
    return {
        "TrainingJobName": JOB_NAME,
        "AlgorithmSpecification": {"TrainingImage": image_uri, "TrainingInputMode": "File"},
        "RoleArn": plan.fleet.role,
        "HyperParameters": _of_toolkit(plan.fleet, "train.py", code_archive_uri)
        if plan.city.entry == "script"
        else {},
        "InputDataConfig": [
            _channel("settings", _settings_uri(plan, run, TRAIN), "application/json"),
            *data_channels,
        ],
        "OutputDataConfig": {
            "S3OutputPath": plan.keys.uri(plan.keys.step(plan.city.slug, run.key, TRAIN)).rstrip("/"),
            **_key(plan.fleet, _ENCRYPTS),
        },
        **_where(plan.fleet, settings, on_demand=on_demand),
        "Tags": _tags(plan, run, TRAIN),
    }


def cohort_request(
    plan: CohortPlan | CityPlan,
    run: Run,
    *,
    image_uri: str,
    code_archive_uri: str,
    channels: Mapping[str, str],
    tags: Mapping[str, str],
    on_demand: bool = False,
) -> dict[str, Any]:
    """Return the CreateTrainingJob request of the job that prepares, trains and evaluates cities one after the other.

    :param plan: of a cohort, or of one of its cities that is trained alone.
    :param code_archive_uri: source archive with ``cohort.py``.
    :param channels: name → URI: of ``settings``, a folder; of all others, a manifest.
    :param tags: beside those of the fleet and of the run.
    :param on_demand: leave spare capacity alone, whatever the fleet file says.
    """
    settings = plan.training if isinstance(plan, CohortPlan) else plan.city.training
    inputs = [
        _channel("settings", uri, "application/json")
        if name == "settings"
        else _channel(name, uri, "application/octet-stream", "ManifestFile")
        for name, uri in channels.items()
    ]
    output = plan.keys.uri(plan.keys.step(plan.who, run.key, COHORT)).rstrip("/")
    return {
        "TrainingJobName": JOB_NAME,
        "AlgorithmSpecification": {"TrainingImage": image_uri, "TrainingInputMode": "File"},
        "RoleArn": plan.fleet.role,
        "HyperParameters": _of_toolkit(plan.fleet, "cohort.py", code_archive_uri),
        "InputDataConfig": inputs,
        # File by file: each city's task reads its own.
        "OutputDataConfig": {
            "S3OutputPath": output,
            "CompressionType": "NONE",
            **_key(plan.fleet, _ENCRYPTS),
        },
        **_where(plan.fleet, settings, on_demand=on_demand),
        "Tags": _as_tags(
            {
                naming.TAG_FLEET: plan.fleet.fleet,
                naming.TAG_ENVIRONMENT: plan.fleet.environment,
                TAG_RUN: run.key,
                TAG_DAG_RUN: naming.tag_of_run_id(run.run_id),
                **tags,
            }
        ),
    }


def _of_toolkit(fleet: Fleet, program: str, code_archive_uri: str) -> dict[str, str]:
    # The toolkit decodes hyperparameters as JSON: its own are JSON strings. An image's own train command needs none.
    return {
        "sagemaker_program": json.dumps(program),
        "sagemaker_submit_directory": json.dumps(code_archive_uri),
        "sagemaker_region": json.dumps(fleet.region),
    }


def _where(fleet: Fleet, settings: TrainingSettings, *, on_demand: bool) -> dict[str, Any]:
    """Return on what a training job runs, where, how long, and on whose capacity."""
    spot = settings.spot and not on_demand
    stopping: dict[str, Any] = {"MaxRuntimeInSeconds": settings.max_runtime_seconds}
    if spot:
        stopping["MaxWaitTimeInSeconds"] = settings.max_wait_seconds or settings.max_runtime_seconds
    kept = settings.keep_alive_seconds
    return {
        "ResourceConfig": {
            "InstanceType": settings.instance_type,
            "InstanceCount": 1,
            "VolumeSizeInGB": settings.volume_size_gb,
            **({} if kept is None else {"KeepAlivePeriodInSeconds": kept}),
            **_key(fleet, "VolumeKmsKeyId"),
        },
        **_training_network(fleet),
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": spot,
    }


def _trained_on(plan: CityPlan) -> tuple[str, ...]:
    """Return the parts that a training job gets: the test part only where it makes more than one model."""
    return ("train", "validation", "test") if learns_again(plan) else ("train", "validation")


def _channel(name: str, uri: str, content_type: str, data_type: str = "S3Prefix") -> dict[str, Any]:
    source = {"S3DataType": data_type, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": content_type}


def _hyperparameter(value: object) -> str:
    """Spell a value so that SageMaker's training toolkit, which decodes what is JSON, hands it on as it is.

    Most texts are no JSON and go as they are; ``12e4``, ``null`` or ``"x"`` go in quotes. For a train.py that takes its
    hyperparameters as arguments; the fleet's own reads them from the settings file.
    """
    if not isinstance(value, str):
        return json.dumps(value) if isinstance(value, bool | list | dict) or value is None else str(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    except RecursionError:
        pass
    return json.dumps(value, ensure_ascii=False)


def evaluate_request(
    plan: CityPlan,
    run: Run,
    *,
    image_uri: str,
    inputs: Mapping[str, str],
    installs: bool = False,
) -> dict[str, Any]:
    """Return the CreateProcessingJob request that judges the new model, the naive forecast and the champion.

    The champion's target model and the ETag of the pointer it was read from travel by the settings file into the
    report, so the decision knows which state of the pointer it is about.

    :param inputs: URIs of ``code``, the job scripts; ``test``, the rows of the preprocess job; and ``model``, the
        ``model.tar.gz`` of the training job.
    :param installs: whether the code has requirements that the job installs first.
    """
    champion = run.champion
    arguments = [*_settings_argument(), "--test-dir", f"{_INPUT}/test", "--model-dir", f"{_INPUT}/model"]
    inputs = {**inputs, "settings": _settings_uri(plan, run, EVALUATE)}
    if champion is not None:
        arguments += ["--champion-dir", f"{_INPUT}/champion"]
        inputs["champion"] = plan.keys.uri(plan.keys.model(champion.target_model))
    if run.parent is not None:
        arguments += ["--parent-dir", f"{_INPUT}/parent"]
        inputs["parent"] = plan.keys.uri(plan.keys.model(run.parent.target_model))
    arguments += ["--output-dir", _OUTPUT, "--message-file", _MESSAGE_FILE]
    return _processing_request(
        plan, run, EVALUATE, image_uri=image_uri, arguments=arguments, inputs=inputs, installs=installs
    )


def _processing_request(
    plan: CityPlan,
    run: Run,
    step: str,
    *,
    image_uri: str,
    arguments: list[str],
    inputs: Mapping[str, str],
    installs: bool,
) -> dict[str, Any]:
    settings = plan.city.processing
    script = f"{_INPUT}/code/{step}.py"
    base = plan.keys.uri(plan.keys.step(plan.city.slug, run.key, step))
    return {
        "ProcessingJobName": JOB_NAME,
        "AppSpecification": {
            "ImageUri": image_uri,
            "ContainerEntrypoint": _installing(script) if installs else ["python3", script],
            "ContainerArguments": arguments,
        },
        "RoleArn": plan.fleet.role,
        "ProcessingInputs": [
            {
                "InputName": name,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": _folder(plan, name),
                    "S3DataType": "ManifestFile" if name == "raw" else "S3Prefix",
                    "S3InputMode": "File",
                    "S3DataDistributionType": "FullyReplicated",
                },
            }
            for name, uri in inputs.items()
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": name,
                    "S3Output": {
                        "S3Uri": f"{base}{JOB_NAME}/{name}/",
                        "LocalPath": f"{_OUTPUT}/{name}",
                        "S3UploadMode": "EndOfJob",
                    },
                }
                for name in _OUTPUTS[step]
            ],
            **_key(plan.fleet, _ENCRYPTS),
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": settings.instance_type,
                "VolumeSizeInGB": settings.volume_size_gb,
                **_key(plan.fleet, "VolumeKmsKeyId"),
            }
        },
        **_processing_network(plan),
        "StoppingCondition": {"MaxRuntimeInSeconds": settings.max_runtime_seconds},
        "Tags": _tags(plan, run, step),
    }


def _key(fleet: Fleet, member: str) -> dict[str, str]:
    return {member: fleet.kms_key} if fleet.kms_key else {}


def vpc_config(fleet: Fleet) -> dict[str, Any]:
    """Return the member of a request that says in which VPC a training job or a model runs; nothing without one."""
    if fleet.network is None:
        return {}
    network = fleet.network
    return {"VpcConfig": {"SecurityGroupIds": [*network.security_group_ids], "Subnets": [*network.subnets]}}


def _training_network(fleet: Fleet) -> dict[str, Any]:
    encrypts = fleet.network is not None and fleet.network.encrypt_traffic
    return vpc_config(fleet) | ({"EnableInterContainerTrafficEncryption": True} if encrypts else {})


def _processing_network(plan: CityPlan) -> dict[str, Any]:
    network = plan.fleet.network
    if network is None:
        return {}
    return {
        "NetworkConfig": {
            "EnableNetworkIsolation": network.isolate_processing,
            "EnableInterContainerTrafficEncryption": network.encrypt_traffic,
            **vpc_config(plan.fleet),
        }
    }


def _installing(script: str) -> list[str]:
    """Return an entrypoint that installs the code's requirements first: nothing in a processing container does so."""
    install = f"python3 -m pip install --require-hashes -r {_INPUT}/code/requirements.txt"
    return ["/bin/sh", "-c", f'{install} && exec python3 {script} "$@"', "sh"]


def _tags(plan: CityPlan, run: Run, step: str) -> list[dict[str, str]]:
    tags = {
        naming.TAG_FLEET: plan.fleet.fleet,
        TAG_CITY: plan.city.slug,
        naming.TAG_ENVIRONMENT: plan.fleet.environment,
        TAG_RUN: run.key,
        TAG_STEP: step,
        TAG_DAG_RUN: naming.tag_of_run_id(run.run_id),
    }
    return _as_tags(tags)


def _as_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
