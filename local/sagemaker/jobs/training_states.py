"""The states of a training job: secondary statuses, their messages and transitions, and what the job costs.

Statuses and messages: AWS documentation, DescribeTrainingJob and SecondaryStatusTransition; their order for
spot instances: "Managed Spot Training Lifecycle". The messages of Interrupted and MaxWaitTimeExceeded are not
documented; they are the stand-in's own.
"""

from __future__ import annotations

import math
from datetime import datetime

from local.sagemaker.store import Document

KIND = "training-job"
MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted: the managed spot instance was taken back",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
PREPARING = "Preparing the instances for training"


def transition(document: Document, status: str, moment: datetime) -> None:
    """Move a training job to its next secondary status.

    :param document: document of the job.
    :param status: the secondary status.
    :param moment: time of the transition.
    """
    transitions = document.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1].setdefault("EndTime", moment)
    transitions.append({"Status": status, "StartTime": moment, "StatusMessage": MESSAGES[status]})
    document["SecondaryStatus"] = status
    document["LastModifiedTime"] = moment


def close(document: Document, status: str, secondary: str, moment: datetime) -> None:
    """Move a training job to its end state.

    :param document: document of the job.
    :param status: Completed, Failed or Stopped.
    :param secondary: the last secondary status.
    :param moment: time of the transition.
    """
    document["TrainingJobStatus"] = status
    transition(document, secondary, moment)
    document["SecondaryStatusTransitions"][-1]["EndTime"] = moment
    document["TrainingEndTime"] = moment


def charge(document: Document, seconds: float, spot_share: float) -> None:
    """Note how long a training job had its instances, and what of it is billed.

    Both are whole seconds. On demand they are equal. Managed spot training bills less, so that (1 - billable /
    training) x 100 is the saving in per cent (DescribeTrainingJob).

    :param document: document of the job.
    :param seconds: the time on instances, all attempts together.
    :param spot_share: what a spot instance costs, as a share of the price on demand.
    """
    whole = max(1, math.ceil(seconds))
    document["TrainingTimeInSeconds"] = whole
    spot = document.get("EnableManagedSpotTraining")
    document["BillableTimeInSeconds"] = max(1, math.ceil(whole * spot_share)) if spot else whole
