"""What a job request may ask for: the stand-in's limits and the combinations SageMaker documents.

A member the stand-in can't honour is refused by name, never ignored: a job that passes here must mean the
same on AWS. Settings without a meaning on one machine (network, encryption, role, instance type, volume) are
accepted and described.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from local.sagemaker.errors import ValidationException
from local.sagemaker.processes.s3_transfer import TransferError, split_uri
from local.sagemaker.processes.sandbox import OPT_ML

PROCESSING_ROOT = f"{OPT_ML}/processing"

MANIFEST_FILE = "ManifestFile"
DATA_TYPES = ("S3Prefix", MANIFEST_FILE)
#: FastFile streams on AWS; a script sees the same plain files.
TRAINING_INPUT_MODES = ("File", "FastFile")
#: The one instance there is gets all files either way.
DISTRIBUTIONS = ("FullyReplicated", "ShardedByS3Key")
#: What SageMaker itself puts below /opt/ml of a training job.
_TAKEN = ("input", "model", "output", "code")

#: Members of CreateTrainingJob the stand-in can't honour.
UNSUPPORTED_TRAINING = (
    "DebugRuleConfigurations",
    "ModelPackageConfig",
    "ProfilerRuleConfigurations",
    "ServerlessJobConfig",
    "SessionChainingConfig",
    "TensorBoardOutputConfig",
)
#: Members of a channel's S3DataSource that say which data is meant, and that nothing here heeds.
UNSUPPORTED_SOURCE = ("AttributeNames", "InstanceGroupNames", "ModelAccessConfig", "HubAccessConfig")
UNSUPPORTED_RESOURCES = ("InstanceGroups", "InstancePreferences", "TrainingPlanArn")


def check_training_request(request: dict[str, Any], *, own_command: bool) -> None:
    """Check a CreateTrainingJob request that is valid by itself.

    :param request: the parsed request.
    :param own_command: whether what stands for the image has a ``train`` command of its own.
    :raises ValidationException: for the first thing that can't be done.
    """
    refuse(request, UNSUPPORTED_TRAINING)
    for required in ("AlgorithmSpecification", "ResourceConfig"):
        if required not in request:
            raise ValidationException(f"{required} is required.")
    specification = request["AlgorithmSpecification"]
    if "TrainingImage" not in specification:
        raise unsupported("AlgorithmSpecification", "an algorithm by AlgorithmName", "TrainingImage")
    mode = specification["TrainingInputMode"]
    _only("AlgorithmSpecification.TrainingInputMode", mode, *TRAINING_INPUT_MODES)
    _check_resources(request["ResourceConfig"], "ResourceConfig")
    _check_uri("OutputDataConfig.S3OutputPath", request["OutputDataConfig"]["S3OutputPath"])
    channels = request.get("InputDataConfig", [])
    _check_unique("InputDataConfig: channel names", (channel["ChannelName"] for channel in channels))
    for channel in channels:
        _check_channel(channel)
    _check_checkpoints(request.get("CheckpointConfig"))
    _check_spot(request)
    if "ContainerEntrypoint" not in specification and (is_script_mode(request) or not own_command):
        _check_script_mode(request)


def check_processing_request(request: dict[str, Any]) -> None:
    """Check a CreateProcessingJob request that is valid by itself.

    :param request: the parsed request.
    :raises ValidationException: for the first thing that can't be done.
    """
    if "ContainerEntrypoint" not in request["AppSpecification"]:
        raise unsupported("AppSpecification", "an image's own entrypoint", "ContainerEntrypoint")
    _check_resources(request["ProcessingResources"]["ClusterConfig"], "ProcessingResources.ClusterConfig")
    inputs = request.get("ProcessingInputs", [])
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    _check_unique("ProcessingInputs: input names", (each["InputName"] for each in inputs))
    _check_unique("ProcessingOutputConfig: output names", (each["OutputName"] for each in outputs))
    for each in inputs:
        path = f"ProcessingInputs '{each['InputName']}'"
        if "S3Input" not in each:
            raise unsupported(path, "DatasetDefinition", "S3Input")
        if each.get("AppManaged"):
            raise unsupported(path, "AppManaged", "inputs managed by SageMaker")
        source = each["S3Input"]
        _only(f"{path}: S3DataType", source["S3DataType"], *DATA_TYPES)
        _only(f"{path}: S3InputMode", source.get("S3InputMode", "File"), "File")
        distribution = source.get("S3DataDistributionType", "FullyReplicated")
        _only(f"{path}: S3DataDistributionType", distribution, *DISTRIBUTIONS)
        _only(f"{path}: S3CompressionType", source.get("S3CompressionType", "None"), "None")
        _check_uri(f"{path}: S3Uri", source["S3Uri"])
        _check_local_path(path, source.get("LocalPath", ""))
    # AWS refuses this too, with an empty message.
    _check_unique(
        "ProcessingInputs: local paths", (each["S3Input"]["LocalPath"].rstrip("/") for each in inputs)
    )
    for each in outputs:
        path = f"ProcessingOutputConfig '{each['OutputName']}'"
        if "S3Output" not in each:
            raise unsupported(path, "FeatureStoreOutput", "S3Output")
        if each.get("AppManaged"):
            raise unsupported(path, "AppManaged", "outputs managed by SageMaker")
        target = each["S3Output"]
        _only(f"{path}: S3UploadMode", target["S3UploadMode"], "EndOfJob")
        _check_uri(f"{path}: S3Uri", target["S3Uri"])
        _check_local_path(path, target.get("LocalPath", ""))


def is_script_mode(request: dict[str, Any]) -> bool:
    """Whether the training toolkit of the image is to run a script, and not the image its own command.

    :param request: request or document of a training job.
    """
    return bool(decoded_hyperparameter(request, "sagemaker_program"))


def decoded_hyperparameter(request: dict[str, Any], name: str) -> str:
    """A hyperparameter of the toolkit's own, decoded from JSON where it is JSON; empty when absent.

    :param request: request or document of a training job.
    :param name: for example ``sagemaker_program``.
    """
    raw = request.get("HyperParameters", {}).get(name, "")
    try:
        value = json.loads(raw)
    except ValueError:
        value = raw
    return str(value)


def refuse(request: dict[str, Any], members: Iterable[str], where: str = "") -> None:
    """Refuse members that the stand-in can't honour.

    :param where: what stands before their names in the sentence.
    :raises ValidationException: for the first that is there.
    """
    for member in members:
        if request.get(member):
            raise ValidationException(
                f"{where}{member}: the local SageMaker does not support it; leave it out."
            )


def unsupported(where: str, got: str, allowed: str) -> ValidationException:
    """The refusal of something SageMaker can do and the stand-in can't.

    :param where: member of the request.
    :param got: what it asks for.
    :param allowed: what can be asked for.
    """
    return ValidationException(f"{where}: the local SageMaker does not support {got}; supported: {allowed}.")


def _only(where: str, got: str, *allowed: str) -> None:
    if got not in allowed:
        raise unsupported(where, got, ", ".join(allowed))


def _check_resources(config: dict[str, Any], where: str) -> None:
    refuse(config, UNSUPPORTED_RESOURCES, f"{where}.")
    if "InstanceType" not in config:
        raise ValidationException(f"{where}: InstanceType is required.")
    count = config.get("InstanceCount", 0)
    if count != 1:
        raise unsupported(f"{where}.InstanceCount", f"{count} instances", "1")


def _check_channel(channel: dict[str, Any]) -> None:
    path = f"InputDataConfig '{channel['ChannelName']}'"
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise unsupported(f"{path}: DataSource", next(iter(channel["DataSource"]), "nothing"), "S3DataSource")
    _only(f"{path}: InputMode", channel.get("InputMode", "File"), *TRAINING_INPUT_MODES)
    _only(f"{path}: CompressionType", channel.get("CompressionType", "None"), "None")
    _only(f"{path}: RecordWrapperType", channel.get("RecordWrapperType", "None"), "None")
    _only(f"{path}: S3DataType", source["S3DataType"], *DATA_TYPES)
    distribution = source.get("S3DataDistributionType", "FullyReplicated")
    _only(f"{path}: S3DataDistributionType", distribution, *DISTRIBUTIONS)
    refuse(channel, ("ShuffleConfig",), f"{path}: ")
    refuse(source, UNSUPPORTED_SOURCE, f"{path}: S3DataSource.")
    _check_uri(f"{path}: S3Uri", source["S3Uri"])


def _check_checkpoints(config: dict[str, Any] | None) -> None:
    if config is None:
        return
    _check_uri("CheckpointConfig.S3Uri", config["S3Uri"])
    path = config.get("LocalPath") or f"{OPT_ML}/checkpoints"
    first, *more = path.rstrip("/").removeprefix(f"{OPT_ML}/").split("/")
    if not path.startswith(f"{OPT_ML}/") or first in ("", *_TAKEN) or ".." in (first, *more):
        raise unsupported(
            "CheckpointConfig.LocalPath",
            f"'{path}'",
            f"a folder of its own below {OPT_ML}, such as {OPT_ML}/checkpoints",
        )


def _check_spot(request: dict[str, Any]) -> None:
    keeps = request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    if keeps and request.get("EnableManagedSpotTraining"):
        raise ValidationException(
            f"KeepAlivePeriodInSeconds: got {keeps}; a warm pool cannot be used with managed spot training."
        )
    condition = request.get("StoppingCondition", {})
    wait, runtime = condition.get("MaxWaitTimeInSeconds"), condition.get("MaxRuntimeInSeconds", 86_400)
    if request.get("EnableManagedSpotTraining"):
        if wait is None:
            raise ValidationException(
                "MaxWaitTimeInSeconds is required when EnableManagedSpotTraining is true."
            )
        if wait < runtime:
            raise ValidationException(
                f"Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                f"MaxRuntimeInSeconds; "
                f"got {wait} and {runtime}."
            )
    elif wait is not None:
        raise ValidationException(
            "MaxWaitTimeInSeconds is only valid when EnableManagedSpotTraining is true."
        )


def _check_script_mode(request: dict[str, Any]) -> None:
    if not is_script_mode(request):
        raise unsupported(
            "HyperParameters",
            "an image's built-in algorithm",
            "script mode (sagemaker_program and sagemaker_submit_directory), a ContainerEntrypoint, or an image for "
            "which an interpreter stands that has a program train beside it",
        )
    _check_uri(
        "HyperParameters.sagemaker_submit_directory",
        decoded_hyperparameter(request, "sagemaker_submit_directory"),
    )


def _check_uri(where: str, uri: str) -> None:
    try:
        split_uri(uri)
    except TransferError as error:
        raise ValidationException(f"{where}: {error}.") from error


def _check_local_path(where: str, path: str) -> None:
    if not f"{path}/".startswith(f"{PROCESSING_ROOT}/") or ".." in path.split("/"):
        raise ValidationException(f"{where}: LocalPath must be a path under {PROCESSING_ROOT}, got '{path}'.")


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValidationException(f"{what} must be unique, got '{name}' twice.")
        seen.add(name)
