"""What a training container finds below ``/opt/ml`` when it starts.

Follows the AWS documentation, "How Amazon SageMaker AI Provides Training Information".
"""

from __future__ import annotations

import json
from typing import Any

from local.sagemaker.jobs.checkpoints import DEFAULT_PATH
from local.sagemaker.processes.sandbox import Sandbox
from local.sagemaker.store import Document


def lay_out(document: Document, sandbox: Sandbox) -> None:
    """Make the folders and the configuration files of ``/opt/ml``.

    :param document: the training job.
    :param sandbox: stands for ``/opt/ml``.
    """
    for folder in ("input/config", "input/data", "model", "output/data", "output/intermediate", "code"):
        (sandbox.opt_ml / folder).mkdir(parents=True)
    instance_type = document["ResourceConfig"].get("InstanceType", "")
    configuration: dict[str, Any] = {
        "hyperparameters.json": {
            name: sandbox.to_local(value) for name, value in document.get("HyperParameters", {}).items()
        },
        "inputdataconfig.json": {
            channel["ChannelName"]: {
                "TrainingInputMode": channel.get("InputMode")
                or document["AlgorithmSpecification"]["TrainingInputMode"],
                "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                    "S3DataDistributionType", "FullyReplicated"
                ),
                "RecordWrapperType": "None",
                **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
            }
            for channel in document.get("InputDataConfig", [])
        },
        "resourceconfig.json": {
            "current_host": "algo-1",
            "current_instance_type": instance_type,
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [
                {
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": instance_type,
                    "hosts": ["algo-1"],
                }
            ],
            "network_interface_name": "eth0",
        },
    }
    if checkpoints := document.get("CheckpointConfig"):
        # The XGBoost image reads LocalPath of it (aws/sagemaker-xgboost-container, training.py).
        path = sandbox.to_local(checkpoints.get("LocalPath") or DEFAULT_PATH)
        configuration["checkpointconfig.json"] = {**checkpoints, "LocalPath": path}
    for name, content in configuration.items():
        (sandbox.opt_ml / "input/config" / name).write_text(json.dumps(content), encoding="utf-8")
