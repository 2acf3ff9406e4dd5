"""The control plane: one HTTP request, one SageMaker operation."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from concurrent.futures import ThreadPoolExecutor

from starlette.responses import Response

from local.sagemaker import disk
from local.sagemaker.errors import InternalFailure, SageMakerError, UnsupportedOperation
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.protocol.operations import OPERATIONS
from local.sagemaker.protocol.validation import validate
from local.sagemaker.reach import Server

WORKERS = 32

log = logging.getLogger(__name__)


class ControlPlane:
    """Answers the operations in the register; operations are plain functions and run in a pool of threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="control-plane")

    async def answer(self, server: Server, request: BoundedRequest) -> Response | None:
        """Answer a request whose X-Amz-Target is a SageMaker operation."""
        target = request.fields.get("x-amz-target", "")
        if not target.startswith(wire.TARGET_PREFIX):
            return None
        operation = target.removeprefix(wire.TARGET_PREFIX)
        body = await request.body()
        work = functools.partial(contextvars.copy_context().run, answer, server, operation, body)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def answer(server: Server, operation: str, body: bytes) -> Response:
    """Parse, validate, run and serialise one operation; blocks."""
    try:
        handler = OPERATIONS.get(operation)
        if handler is None:
            raise UnsupportedOperation(
                f"The local SageMaker does not answer {operation}. It answers:"
                f" {', '.join(sorted(OPERATIONS))}."
            )
        parameters = wire.parse_request(operation, body)
        validate(wire.operation_model(operation).input_shape, parameters)
        return wire.result_response(operation, handler(server, parameters))
    except SageMakerError as error:
        return wire.error_response(error)
    except OSError as error:  # the store changes wholly or not at all
        reason = disk.full(error.filename or "") if disk.is_full(error) else str(error)
        log.error("%s: %s", operation, reason)
        return wire.error_response(InternalFailure(f"Nothing was changed: {reason}."))
    except Exception as error:  # a bug of ours: the caller gets a 500 that names it, the log has the rest
        log.exception("%s failed", operation)
        return wire.error_response(InternalFailure(f"{operation}: {type(error).__name__}: {error}"))
