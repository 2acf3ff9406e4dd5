"""The tree of errors of City Fleet; every error reads as one paragraph and carries its facts as fields.

::

    CityFleetError            base: ``str(error)`` is the paragraph, ``error.fields`` the facts
    ├── ConfigError           one mistake in a fleet file: file, line, city, field, got, allowed, nearest
    ├── FleetFileError        a fleet file that cannot be used: ``.errors`` holds every ConfigError
    ├── UnknownName           a fleet or city that does not exist: kind, got, allowed, nearest
    ├── DataError             a raw data file that cannot be used: file, row, column, got, allowed
    ├── JobError              a SageMaker job that did not complete
    │   └── AlgorithmError    … because of our script or the city's data: a retry will not help
    ├── PlatformError         AWS's or the network's fault: a retry may help
    ├── AirflowError          Airflow's REST API does not answer, or refuses: status
    ├── PublishError          a model that could not be published
    │   ├── PointerMoved      … because another run moved the live pointer: evaluate again
    │   ├── BrokenPointer     a live pointer, or its copy in the history, that can't be read
    │   └── ArtifactError     a model.tar.gz that is gone, is not what was registered, or can't be read
    ├── RegistryError         a model package that could not be written or read
    └── PredictError          a prediction that could not be made; .status as HTTP has it
        ├── BadRequest        400: the caller can put it right: mistakes
        ├── UnknownCity       404: no model of the city is live: city, nearest
        ├── ServingError      502: model, endpoint or pointer is at fault; asking again will not help
        └── NotReady          503: not in time; asking again may help: retry_after_seconds

Standard library only: AWS Lambda functions carry this module too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_SHOWN_CHARACTERS = 80
MAX_LISTED_NAMES = 40


class CityFleetError(Exception):
    """Base of all errors of this library.

    :param message: one readable paragraph: where, what was got, what is allowed, what to do.
    :param fields: the same facts as data, for logs, the page and ``--json``; also readable as attributes.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, Any] = fields

    def __getattr__(self, name: str) -> Any:
        # Only called for names that are no ordinary attributes. `fields` itself is absent while unpickling.
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword fields do not survive pickling by default, and processes exchange them.
        return (_rebuild, (type(self), self.message, self.fields))

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        """:return: the error as JSON-ready data: ``error`` (class name), ``message`` and the fields."""
        return {"error": type(self).__name__, "message": self.message, **self.fields}


def _rebuild(kind: type[CityFleetError], message: str, fields: dict[str, Any]) -> CityFleetError:
    error = kind.__new__(kind)
    CityFleetError.__init__(error, message, **fields)
    return error


class ConfigError(CityFleetError):
    """One mistake in a fleet file or in a list of cities.

    :param got: what was found, as text to print.
    :param file: the file as the user named it, or None when no single file is at fault.
    :param line: 1-based line of the mistake, or None when it has no place (a file that is missing).
    :param city: slug of the city whose settings are wrong, or None for the fleet's own.
    :param field: dotted path (``defaults.gate.tolerance``, ``dataset.features[2].lags``), or None.
    :param allowed: what may stand there, as text to print.
    :param nearest: the nearest allowed name or value, if one is near.
    :param hint: one more sentence that says what to do.
    """

    def __init__(
        self,
        *,
        got: str,
        file: str | None = None,
        line: int | None = None,
        city: str | None = None,
        field: str | None = None,
        allowed: str | None = None,
        nearest: str | None = None,
        hint: str | None = None,
    ) -> None:
        subject = ", ".join(
            [f"{word} {value!r}" for word, value in (("city", city), ("field", field)) if value is not None]
        )
        place = file if file is None or line is None else f"{file}:{line}"
        super().__init__(
            _paragraph([place, subject], got, allowed, nearest, hint),
            file=file,
            line=line,
            city=city,
            field=field,
            got=got,
            allowed=allowed,
            nearest=nearest,
            hint=hint,
        )


class FleetFileError(CityFleetError):
    """A fleet file that cannot be used, with every mistake found in it.

    :param errors: at least one ConfigError, in the order of the file's lines.
    """

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        found = sorted(errors, key=lambda error: (error.file or "", error.line or 0))
        if not found:
            raise ValueError("FleetFileError needs at least one ConfigError")
        super().__init__("\n".join(str(error) for error in found), errors=found)

    @property
    def file(self) -> str:
        """The fleet file as the user named it."""
        return str(self.fields["errors"][0].file)

    def as_dict(self) -> dict[str, Any]:
        """:return: JSON-ready data with one entry per mistake."""
        return {
            "error": type(self).__name__,
            "file": self.file,
            "errors": [error.as_dict() for error in self.fields["errors"]],
        }


class UnknownName(CityFleetError):
    """A fleet, city or other named thing that does not exist.

    :param kind: what was looked for, e.g. ``city``.
    :param got: the name given.
    :param allowed: the names that exist.
    :param where: where they were looked for, e.g. the fleet file.
    """

    def __init__(self, kind: str, got: str, allowed: Iterable[str], where: str) -> None:
        names = sorted(allowed)
        nearest = nearest_match(got, names)
        text = f"{where} has no {kind} {got!r}; it has: {list_names(names)}."
        if nearest is not None:
            text += f" Did you mean {nearest!r}?"
        super().__init__(text, kind=kind, got=got, allowed=names, where=where, nearest=nearest)


class DataError(CityFleetError):
    """A raw data file that cannot be used.

    :param file: path or URI of the file.
    :param got: what was found, as text to print.
    :param allowed: what is allowed there, as text to print.
    :param row: 1-based line of the file (the header is line 1), if one row is at fault.
    :param column: the column at fault, if one is.
    :param nearest: the nearest column or name that exists.
    :param hint: one more sentence that says what to do.
    """

    def __init__(
        self,
        *,
        file: str,
        got: str,
        allowed: str | None = None,
        row: int | None = None,
        column: str | None = None,
        nearest: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = file if row is None else f"{file}:{row}"
        subject = None if column is None else f"column {column!r}"
        super().__init__(
            _paragraph([place, subject], got, allowed, nearest, hint),
            file=file,
            row=row,
            column=column,
            got=got,
            allowed=allowed,
            nearest=nearest,
            hint=hint,
        )


class JobError(CityFleetError):
    """A SageMaker job that did not complete (fields: job, step, status, reason, logs as far as known)."""


class AlgorithmError(JobError):
    """A job that failed because of our script or the city's data; running it again would fail again."""


class PlatformError(CityFleetError):
    """A failure of AWS or the network; the same request may succeed later."""


class AirflowError(CityFleetError):
    """Airflow's REST API does not answer, or refuses (field: status, of HTTP; None without an answer)."""


class PublishError(CityFleetError):
    """A model that could not be published; what was live before is still live."""


class PointerMoved(PublishError):
    """The live pointer is no longer the one the decision was taken against: evaluate again."""


class BrokenPointer(PublishError):
    """What stands in the place of a live pointer, or of a copy in the history, is none."""


class ArtifactError(PublishError):
    """A model.tar.gz that is gone, is not what was registered, or can't be read."""


class RegistryError(CityFleetError):
    """A model package or group that could not be read or written."""


class PredictError(CityFleetError):
    """A prediction that could not be made; ``status`` is the HTTP status that says so to an application."""

    status = 500

    def as_dict(self) -> dict[str, Any]:
        """:return: the error as JSON-ready data, with its status."""
        return {"status": self.status, **super().as_dict()}


class BadRequest(PredictError):
    """A request for a prediction that the caller can put right (fields: mistakes, one entry per mistake)."""

    status = 400


class UnknownCity(PredictError):
    """A city of which no model is live (fields: city, nearest)."""

    status = 404


class ServingError(PredictError):
    """The model, the endpoint or the live pointer is at fault: the same request would fail again."""

    status = 502


class NotReady(PredictError):
    """No answer in time, but perhaps next time (fields: retry_after_seconds, attempts)."""

    status = 503


def _paragraph(
    places: list[str | None], got: str, allowed: str | None, nearest: str | None, hint: str | None
) -> str:
    """:return: ``place: subject: got …; allowed: …. Did you mean …? What to do.``"""
    text = ": ".join([place for place in places if place] + [f"got {got}"])
    text += f"; allowed: {allowed}." if allowed else "."
    if nearest is not None:
        text += f" Did you mean {nearest!r}?"
    return f"{text} {hint}" if hint else text


def nearest_match(got: object, allowed: Iterable[str]) -> str | None:
    """The allowed name nearest to what was typed.

    :param got: what was typed.
    :param allowed: the names that exist.
    :return: the nearest name, or None when none is near.
    """
    if not isinstance(got, str) or not got:
        return None
    by_lower: dict[str, str] = {}
    for name in allowed:
        by_lower.setdefault(name.lower(), name)
    found = difflib.get_close_matches(got.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def list_names(names: Iterable[str]) -> str:
    """:return: the names joined by commas, cut after a screenful; ``nothing`` when there is none."""
    listed = list(names)
    shown = ", ".join(listed[:MAX_LISTED_NAMES])
    if len(listed) > MAX_LISTED_NAMES:
        shown += f" and {len(listed) - MAX_LISTED_NAMES} more"
    return shown or "nothing"


def show_value(value: object) -> str:
    """:return: a value as errors quote it: text in quotes, null, true and false as YAML spells them."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"a mapping ({list_names(str(key) for key in value)})" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 1]}…"


def display_path(path: Path) -> str:
    """:return: a path as errors name it: relative to the working directory when it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
