"""Deletion of jobs that have ended; their names can be used again. Outputs in S3 and logs stay."""

from __future__ import annotations

from typing import Any

from local.sagemaker.errors import ResourceInUse, ResourceNotFound
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server

_ENDED = frozenset({"Completed", "Failed", "Stopped"})
_WORDING = "The API Reference names the errors ResourceNotFound and ResourceInUse; their wording is our own."


@operation("DeleteTrainingJob", differs=[_WORDING])
def delete_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a training job that has ended."""
    return _delete(server, "training-job", request["TrainingJobName"], "TrainingJobStatus")


@operation("DeleteProcessingJob", differs=[_WORDING])
def delete_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a processing job that has ended."""
    return _delete(server, "processing-job", request["ProcessingJobName"], "ProcessingJobStatus")


def _delete(server: Server, kind: str, name: str, status_member: str) -> dict[str, Any]:
    with server.store.transaction():
        document = server.store.get(kind, name)
        if document is None:
            raise ResourceNotFound(f"Could not find {kind.replace('-', ' ')} {name}.")
        status = document[status_member]
        if status not in _ENDED:
            raise ResourceInUse(
                f"The {kind.replace('-', ' ')} {name} is in status {status}; only a job that has ended can be"
                " deleted."
            )
        server.store.delete(kind, name)
    return {}
