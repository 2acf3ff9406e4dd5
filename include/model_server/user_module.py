"""The user's ``inference.py`` with the semantics of the SageMaker inference toolkit.

Which functions there are, what each gets and what its answer means follows ``transformer.py`` of the toolkit
and the defaults of the XGBoost image's handler (default ``input_fn``, ``predict_fn`` and ``output_fn``).

One function more may be there, ``packed_model_fn(model_dir)``: it says that the module's functions mean by an artifact
what plain_model.py computes, so that a request that is simple enough need not go through them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from model_server.answers import JSON, RequestError

CSV = "text/csv"
TEXT_TYPES = (JSON, CSV)  # bodies of these types reach input_fn as str, all others as bytes
ANY = "*/*"
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\"]+/)+")


class Context:
    """What a user function gets as its optional last argument.

    :param model_dir: folder of the extracted artifact.
    :param headers: headers of the request, by name in lower case.
    """

    def __init__(self, model_dir: str, headers: Mapping[str, str]) -> None:
        self.system_properties = {"model_dir": model_dir}
        self._headers = headers

    def get_request_header(self, _index: int, name: str) -> str | None:
        """One header of the request, or None.

        :param name: name in any case.
        """
        return self._headers.get(name.lower())


class UserModule:
    """The imported ``inference.py``: imported once, when the server starts.

    :param code_dir: folder that holds it.
    :param program: its file name, from ``SAGEMAKER_PROGRAM``.
    :param default_accept: type of the answer when the caller asks for none.
    """

    def __init__(self, code_dir: Path, program: str, default_accept: str = JSON) -> None:
        self.default_accept = default_accept
        module = import_program(code_dir, program)
        transform_fn = getattr(module, "transform_fn", None)
        parts = [getattr(module, name, None) for name in ("input_fn", "predict_fn", "output_fn")]
        if transform_fn and any(parts):
            raise ValueError(
                "Cannot use transform_fn implementation in conjunction with "
                "input_fn, predict_fn, and/or output_fn implementation"
            )
        model_fn = getattr(module, "model_fn", None)
        if model_fn is None:
            raise NotImplementedError(
                f"{program} has no model_fn(model_dir). Please provide a model_fn implementation."
            )
        self._model_fn: Callable[..., Any] = model_fn
        self.packed_model_fn: Callable[[str], Any] | None = getattr(module, "packed_model_fn", None)
        self._transform_fn: Callable[..., Any] = transform_fn or self._transform
        self._input_fn: Callable[..., Any] = parts[0] or default_input_fn
        self._predict_fn: Callable[..., Any] = parts[1] or default_predict_fn
        self._output_fn: Callable[..., Any] = parts[2] or default_output_fn

    def load(self, model_dir: str) -> Any:
        """Load a model.

        :param model_dir: folder of the extracted artifact.
        :raises RequestError: whatever ``model_fn`` raised.
        """
        try:
            return call(self._model_fn, Context(model_dir, {}), model_dir)
        except MemoryError as error:
            said = without_folders(str(error))
            raise RequestError(507, f"Insufficient memory to load the model: {said}") from error
        except Exception as error:
            raise failure(error) from error

    def invoke(
        self, model: Any, model_dir: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[bytes, str]:
        """Answer one request.

        :param model: what ``model_fn`` returned.
        :param headers: headers of the request, by name in lower case.
        :return: body and content type of the answer.
        :raises RequestError: whatever the user's functions raised.
        """
        try:
            content_type = headers.get("content-type") or JSON
            accept = headers.get("accept") or ANY
            if accept == ANY:
                accept = self.default_accept
            data = text(body, content_type) if content_type in TEXT_TYPES else body
            context = Context(model_dir, headers)
            result = call(self._transform_fn, context, model, data, content_type, accept)
            if isinstance(result, tuple):
                result, accept = result[0], str(result[1])
            return to_bytes(result), accept
        except Exception as error:
            raise failure(error) from error

    def _transform(self, model: Any, data: Any, content_type: str, accept: str, context: Context) -> Any:
        decoded = call(self._input_fn, context, data, content_type)
        prediction = call(self._predict_fn, context, decoded, model)
        return call(self._output_fn, context, prediction, accept)


def import_program(code_dir: Path, program: str) -> ModuleType:
    """Import the user's module from its folder.

    :param code_dir: folder that holds it.
    :raises FileNotFoundError: when it is not there.
    """
    if not (code_dir / program).is_file():
        held = sorted(path.name for path in code_dir.iterdir()) if code_dir.is_dir() else []
        raise FileNotFoundError(
            f"The program {program!r} named by SAGEMAKER_PROGRAM is not in the code folder; it holds {held}."
        )
    sys.path.insert(0, str(code_dir))
    return importlib.import_module(program.removesuffix(".py").replace("/", "."))


def call(function: Callable[..., Any], context: Context, *arguments: Any) -> Any:
    """Call a user function with or without the context, as its signature asks.

    :param context: the context it may take as one argument more.
    """
    expected = parameter_count(function)
    if expected == len(arguments):
        return function(*arguments)
    if expected == len(arguments) + 1:
        return function(*arguments, context)
    raise TypeError(f"{function.__name__} takes {expected} arguments but {len(arguments)} were given.")


@functools.lru_cache(maxsize=64)
def parameter_count(function: Callable[..., Any]) -> int:
    """How many parameters a user function has."""
    return len(inspect.signature(function).parameters)


def failure(error: Exception) -> RequestError:
    """Turn an exception of the user's code into an answer.

    :param error: an exception with ``status_code`` and ``message`` keeps both; any other one is a 500, and its
        traceback goes into the log alone: callers are told no path of this machine.
    """
    if isinstance(error, RequestError):
        return error
    status = getattr(error, "status_code", None)
    message = str(getattr(error, "message", None) or error or type(error).__name__)
    if isinstance(status, int) and 400 <= status <= 599:
        return RequestError(status, message)
    print(traceback.format_exc(), file=sys.stderr, flush=True)
    return RequestError(
        500, f"{type(error).__name__}: {without_folders(message)}. The endpoint's log says more."
    )


def without_folders(message: str) -> str:
    """A message for callers: its first line, and of each path in it the last part only."""
    first = message.strip().partition("\n")[0].rstrip(". ")
    return _FOLDERS.sub("", first)


def text(body: bytes, content_type: str) -> str:
    """A body as the text it must be.

    :raises RequestError: 400 when it is not UTF-8.
    """
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"The body is {content_type}, but not UTF-8 (byte {error.start}).") from None


def to_bytes(result: Any) -> bytes:
    """Body of an answer as bytes.

    :param result: str, bytes, or something JSON can hold.
    """
    if isinstance(result, (bytes, bytearray, memoryview)):
        return bytes(result)
    if isinstance(result, str):
        return result.encode("utf-8")
    return json.dumps(result).encode("utf-8")


def default_input_fn(data: Any, content_type: str) -> Any:
    """Decode rows of numbers; an XGBoost ``DMatrix`` where the image has XGBoost.

    :param content_type: text/csv or application/json.
    :raises RequestError: 400 for anything but rows of numbers, 415 for another type.
    """
    import numpy  # noqa: PLC0415  # the image has it, but few handlers need it

    if content_type not in (CSV, JSON):
        raise RequestError(415, f"Content type {content_type} is not supported by this framework.")
    try:
        if content_type == CSV:
            rows = [[float(cell or "nan") for cell in line.split(",")] for line in data.splitlines() if line]
        else:
            rows = json.loads(data)
        array = numpy.asarray(rows, dtype=float)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RequestError(400, f"The body is {content_type}, but no rows of numbers: {error}.") from error
    try:
        from xgboost import DMatrix  # noqa: PLC0415  # not every image has it
    except ImportError:
        return array
    return DMatrix(numpy.atleast_2d(array))


def default_predict_fn(data: Any, model: Any) -> Any:
    """Predict without checking feature names, as the XGBoost image does.

    :param data: what ``input_fn`` returned.
    :param model: what ``model_fn`` returned.
    """
    return model.predict(data, validate_features=False)


def default_output_fn(prediction: Any, accept: str) -> tuple[str, str]:
    """Encode a prediction.

    :param prediction: array, list or number.
    :param accept: application/json or text/csv; the first one known wins.
    """
    values = prediction.tolist() if hasattr(prediction, "tolist") else prediction
    for content_type in (part.split(";")[0].strip() for part in accept.split(",")):
        if content_type in (JSON, ANY):
            return json.dumps(values), JSON
        if content_type == CSV:
            flat = values if isinstance(values, list) else [values]
            return ",".join(str(value) for value in flat), CSV
    raise RequestError(406, f"Content type {accept} is not supported by this framework.")
