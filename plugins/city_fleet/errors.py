"""The errors of City Fleet: each reads as one paragraph and carries its facts as typed attributes.

::

    CityFleetError      base: ``str(error)`` is the paragraph, ``error.to_dict()`` all of it for ``--json``
    ├── ConfigError, FleetFileError (holds every ConfigError of a file), UnknownName, AmbiguousCity, DataError
    ├── JobError
    │   └── AlgorithmError      a retry would fail again
    ├── PlatformError           AWS or the network failed: a retry may help
    │   └── Busy                others are at it: it passes
    │       └── EndpointUnderWay    a SageMaker endpoint is being made
    │           EndpointClosed      it is outside of its hours
    ├── AirflowError, RegistryError
    ├── ScriptFailed            a job script failed at the desk
    ├── OldLayout               what an earlier version left has to be moved first
    ├── PublishError
    │   └── PointerMoved, BrokenPointer, ArtifactError, OtherInstallation
    ├── BrokenKnown             what is known of a city can't be read
    ├── BrokenScores            what predictions of a city were worth can't be read
    └── PredictError            ``.status`` is the HTTP status
        └── BadRequest (400), UnknownCity (404), ServingError (502), NotReady (503)

Standard library only, and :mod:`city_fleet.outgoing_text`: AWS Lambda functions carry this module too.
"""

from __future__ import annotations

import copyreg
import difflib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from city_fleet.outgoing_text import printable

MAX_SHOWN_CHARACTERS = 80
MAX_LISTED_NAMES = 40
#: Lines of mistakes that are shown at once.
SCREENFUL = 20
_LINES_OF_A_KIND = 5


@dataclass(eq=False, repr=False)
class CityFleetError(Exception):
    """Base of all errors of this library.

    :param message: one readable paragraph: where, what was got, what is allowed, what to do.
    """

    #: Whether :meth:`to_dict` names attributes that are None as well.
    shows_none: ClassVar[bool] = False

    message: str

    def __post_init__(self) -> None:
        # Much of it is others' text: a bucket's, the registry's, a job's. It ends in terminals and logs.
        self.message = printable(self.message)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Airflow pickles errors. Exception's own way would call the class with the message alone.
        return copyreg.__newobj__, (type(self), self.message), vars(self)  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready data: ``error`` (the class name), ``message`` and its other attributes."""
        facts = {
            name: value
            for name, value in vars(self).items()
            if (value is not None or self.shows_none) and not name.startswith("__")  # __notes__ of add_note
        }
        return {"error": type(self).__name__, "message": self.message, **facts}


@dataclass(eq=False, repr=False, kw_only=True)
class _Mistake(CityFleetError):
    """Something in a file that is not allowed; the message is made of the facts.

    :param file: the file as the user named it, or None when no single file is at fault.
    :param got: what was found, as text to print.
    :param allowed: what may stand there, as text to print.
    :param nearest: the nearest allowed name or value, if one is near.
    :param hint: one more sentence that says what to do.
    """

    shows_none = True

    message: str = field(init=False)
    file: str | None = None
    got: str
    allowed: str | None = None
    nearest: str | None = None
    hint: str | None = None

    def __post_init__(self) -> None:
        line, names = self._where()
        place = self.file if self.file is None or line is None else f"{self.file}:{line}"
        subject = ", ".join(f"{word} {name!r}" for word, name in names.items() if name is not None)
        text = ": ".join([part for part in (place, subject) if part] + [f"got {self.got}"])
        text += f"; allowed: {self.allowed}." if self.allowed else "."
        if self.nearest is not None:
            text += f" Did you mean {self.nearest!r}?"
        self.message = f"{text} {self.hint}" if self.hint else text
        super().__post_init__()

    def _where(self) -> tuple[int | None, dict[str, str | None]]:
        """Return the line, if it is known, and the names of what is at fault there."""
        raise NotImplementedError


@dataclass(eq=False, repr=False, kw_only=True)
class ConfigError(_Mistake):
    """One mistake in a fleet file or in a list of cities.

    :param line: 1-based line of the mistake, or None when it has no place (a file that is missing).
    :param city: slug of the city whose settings are wrong, or None for the fleet's own.
    :param field: dotted path (``defaults.gate.tolerance``, ``dataset.features[2].lags``), or None.
    """

    line: int | None = None
    city: str | None = None
    field: str | None = None

    def _where(self) -> tuple[int | None, dict[str, str | None]]:
        return self.line, {"city": self.city, "field": self.field}


class FleetFileError(CityFleetError):
    """A fleet file that cannot be used, with every mistake found in it.

    :param errors: at least one ConfigError; kept in the order of the file's lines.
    :param file: the fleet file as the user named it, where a mistake may lie in another (a list of cities).
    """

    def __init__(self, errors: Iterable[ConfigError], file: str | None = None) -> None:
        self.errors = sorted(errors, key=lambda error: (error.file or "", error.line or 0))
        if not self.errors:
            raise ValueError("FleetFileError needs at least one ConfigError")
        super().__init__("\n".join(screenful(self.errors)))
        #: The fleet file as the user named it.
        self.file = file or str(self.errors[0].file)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready data, with one entry per mistake."""
        errors = [error.to_dict() for error in self.errors]
        return {"error": type(self).__name__, "file": self.file, "errors": errors}


class UnknownName(CityFleetError):
    """A fleet, city or other named thing that does not exist.

    :param kind: what was looked for, e.g. ``city``.
    :param got: the name given.
    :param allowed: the names that exist.
    :param where: where they were looked for, e.g. the fleet file.
    """

    shows_none = True

    def __init__(self, kind: str, got: str, allowed: Iterable[str], where: str) -> None:
        names = sorted(allowed)
        nearest = nearest_match(got, names)
        text = f"{where} has no {kind} {got!r}; it has: {list_names(names)}."
        super().__init__(text if nearest is None else f"{text} Did you mean {nearest!r}?")
        self.kind, self.got, self.allowed, self.where, self.nearest = kind, got, names, where, nearest


@dataclass(eq=False, repr=False, kw_only=True)
class AmbiguousCity(CityFleetError):
    """A city that several fleets have, where one is meant.

    :param fleets: their names, parted by commas.
    """

    city: str
    fleets: str


@dataclass(eq=False, repr=False, kw_only=True)
class DataError(_Mistake):
    """A raw data file that cannot be used.

    :param row: 1-based line of the file (the header is line 1), if one row is at fault.
    :param column: the column at fault, if one is.
    """

    row: int | None = None
    column: str | None = None

    def _where(self) -> tuple[int | None, dict[str, str | None]]:
        return self.row, {"column": self.column}


@dataclass(eq=False, repr=False, kw_only=True)
class _AboutJob(CityFleetError):
    """What is known of the SageMaker job that an error is about.

    :param step: the pipeline's step, e.g. ``train``.
    :param job: name of the job.
    :param status: its status, as SageMaker names it.
    :param ending: how it ended, a value of ``jobs.job_faults.Ending``.
    """

    city: str | None = None
    step: str | None = None
    job: str | None = None
    status: str | None = None
    ending: str | None = None


class JobError(_AboutJob):
    """A SageMaker job that did not complete."""


class AlgorithmError(JobError):
    """A job that failed because of the job script or the city's data; running it again would fail again."""


@dataclass(eq=False, repr=False, kw_only=True)
class PlatformError(_AboutJob):
    """A failure of AWS or the network; the same request may succeed later.

    :param bucket: the S3 bucket asked for.
    :param operation: the AWS operation that was refused, e.g. ``PutObject``.
    :param code: AWS's error code.
    """

    bucket: str | None = None
    operation: str | None = None
    code: str | None = None


class Busy(PlatformError):
    """Others are at it: they write the same object again and again, or it is changing. Nothing was changed."""

    #: For ``aws_errors.is_passing``.
    passes: ClassVar[bool] = True


class EndpointUnderWay(Busy):
    """A SageMaker endpoint is being made, which takes minutes: whoever needs it comes back until it is there."""

    #: How long to wait before the next look.
    look_again_seconds: ClassVar[float] = 20.0


@dataclass(eq=False, repr=False, kw_only=True)
class EndpointClosed(Busy):
    """A shared endpoint is closed by ``endpoint.hours``: whoever needs it comes back when it has opened.

    :param until: when it is to open; ISO 8601.
    """

    until: str


@dataclass(eq=False, repr=False, kw_only=True)
class ScriptFailed(CityFleetError):
    """A job script that failed on this machine.

    :param step: such as ``train``.
    :param where: ``file:line`` in the user's own file; None where nothing points there.
    :param log: the last lines that it has printed.
    """

    step: str | None = None
    where: str | None = None
    log: list[str] | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class AirflowError(CityFleetError):
    """Airflow's REST API does not answer, or refuses.

    :param status: HTTP status of the answer; None without an answer.
    """

    shows_none = True

    status: int | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class OldLayout(CityFleetError):
    """The bucket holds what an earlier version of City Fleet has written for this installation, not moved yet.

    :param fleet: the fleet's name.
    :param command: the command that moves it.
    """

    fleet: str
    command: str


@dataclass(eq=False, repr=False, kw_only=True)
class PublishError(CityFleetError):
    """A model that could not be published; what was live before is still live.

    :param notes: the models that were passed over, and why.
    """

    city: str | None = None
    notes: Sequence[str] | None = None


class OtherInstallation(PublishError):
    """An object of S3, or a thing in AWS, that says it belongs to another fleet or environment; it was left alone."""


class PointerMoved(PublishError):
    """The live pointer is no longer the one the decision was taken against: evaluate again."""


class BrokenPointer(PublishError):
    """The object of a live pointer, or of a copy in the history, cannot be read as one."""


class ArtifactError(PublishError):
    """A model.tar.gz that is gone, is not what was registered, or cannot be read."""


class BrokenKnown(CityFleetError):
    """What a run says is known of a city cannot be believed; forecasts go on from what was known before."""


class BrokenScores(CityFleetError):
    """What predictions of a city were worth can't be believed."""


class RegistryError(CityFleetError):
    """A model package or group that could not be read or written."""


class PredictError(CityFleetError):
    """A prediction that could not be made; ``status`` is the HTTP status that says so to an application."""

    status: ClassVar[int] = 500

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready data, with its status."""
        return {"status": self.status, **super().to_dict()}


@dataclass(eq=False, repr=False, kw_only=True)
class BadRequest(PredictError):
    """A request for a prediction that the caller can correct.

    :param mistakes: one entry per feature that is wrong: ``feature``, ``problem``, ``got``, ``allowed``, ``nearest``.
    :param features: the model's features, where they are known.
    """

    status = 400

    mistakes: Sequence[Mapping[str, Any]]
    features: Sequence[str] | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class UnknownCity(PredictError):
    """A city of which no model is live.

    :param nearest: the nearest city of which one is.
    """

    status = 404
    shows_none = True

    city: str
    nearest: str | None


@dataclass(eq=False, repr=False, kw_only=True)
class ServingError(PredictError):
    """The model, the endpoint or the live pointer is at fault: the same request would fail again.

    :param log_stream_arn: the CloudWatch log stream that holds the model's own words, where SageMaker names it.
    """

    status = 502

    city: str
    log_stream_arn: str | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class NotReady(PredictError):
    """No answer in time; the same request may succeed later.

    :param attempts: how often AWS was asked.
    """

    status = 503
    #: For ``aws_errors.is_passing``.
    passes: ClassVar[bool] = True

    retry_after_seconds: int
    attempts: int


def nearest_match(got: object, allowed: Iterable[str]) -> str | None:
    """Return the allowed name nearest to what was typed, or None when none is near.

    :param got: what was typed; anything but text has no nearest name.
    :param allowed: the names that exist.
    """
    if not isinstance(got, str) or not got:
        return None
    by_lower: dict[str, str] = {}
    for name in allowed:
        by_lower.setdefault(name.lower(), name)
    found = difflib.get_close_matches(got.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def list_names(names: Iterable[str]) -> str:
    """Return the names joined by commas, cut after a screenful; ``nothing`` for no names."""
    listed = list(names)
    shown = ", ".join(listed[:MAX_LISTED_NAMES])
    if len(listed) > MAX_LISTED_NAMES:
        shown += f" and {len(listed) - MAX_LISTED_NAMES} more"
    return shown or "nothing"


def show_value(value: object) -> str:
    """Return a value as errors quote it: text in quotes; null, true and false as YAML spells them."""
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


def screenful(mistakes: Sequence[ConfigError]) -> list[str]:
    """Return mistakes as lines, a screenful at most: of more, an example of each kind and how many there are.

    A kind is a field, in a file, with what may stand there. The most frequent come first.
    """
    if len(mistakes) <= SCREENFUL:
        return [str(each) for each in mistakes]
    kinds: dict[tuple[str | None, ...], list[ConfigError]] = {}
    for each in mistakes:
        kinds.setdefault((each.file, each.field, each.allowed), []).append(each)
    # Two lines a kind, the last line for the kinds that found no room.
    shown = sorted(kinds.values(), key=len, reverse=True)[: (SCREENFUL - 1) // 2]
    lines = []
    for found in shown:
        lines.append(str(found[0]))
        if len(found) > 1:
            lines.append(f"  … and {len(found) - 1:,} more like it{_on_lines(found[1:])}")
    left = len(mistakes) - sum(map(len, shown))
    if left:
        lines.append(f"… and {left:,} mistakes of {len(kinds) - len(shown):,} other kinds.")
    return lines


def _on_lines(mistakes: Sequence[ConfigError]) -> str:
    lines = list(dict.fromkeys(each.line for each in mistakes if each.line is not None))
    if not lines:
        return ""
    more = ", …" if len(lines) > _LINES_OF_A_KIND else ""
    return f": line {', '.join(map(str, lines[:_LINES_OF_A_KIND]))}{more}"


def raised_in(error: BaseException) -> str:
    """Return where an exception was raised, ``at cities.py:51``, for whoever has to mend the code."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "at an unknown place"


def display_path(path: Path) -> str:
    """Return a path as errors name it: relative to the working directory when it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
