"""What a city's predictions were worth once the truth was known: one object per city below ``state/scores/``.

A row is one answer of one model: a forecast's step for a period, or a prediction by its id. It is written down before
its truth is known, and completed when that comes; a truth that comes twice changes nothing, a corrected one counts
anew.
Pure but for :func:`read` and :func:`update`; standard library and a boto3 S3 client only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from city_fleet import clock
from city_fleet.errors import BrokenScores, show_value
from city_fleet.naming import Keys
from city_fleet.state.objects import json_of
from city_fleet.state.observed import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from city_fleet.state.objects import ObjectStore

FORMAT_VERSION = 1
#: Rows kept of a city, the newest by ``at``: four years of months forecast three ahead, ten days of hours.
MOST_ROWS = 600
MAX_BYTES = 1 << 20
_LONGEST = 300

Identity = tuple[str, int, str, str]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One answer of one model, and what it was worth.

    :param key: beginning of the period that was forecast, an ISO date or moment; or the ``prediction_id``.
    :param step: how many periods ahead, from 1; 0 of a prediction that is no forecast.
    :param role: ``champion`` or ``challenger``.
    :param target_model: the artifact that answered.
    :param at: when it was asked; ISO 8601, UTC.
    :param predicted: the answer, in the target's unit; of a classification the label.
    :param actual: the truth; None until it is known.
    :param error: ``predicted - actual``; of a classification 0 or 1; None until the truth is known.
    :param deviation: standard deviation of such errors on the model's held-out rows, in the unit of ``error``; None
        where nobody knows.
    :param naive: what would have been answered without a model; None where nobody knows.
    :param corrected: how often the truth has changed since it was first known.
    """

    key: str
    step: int
    target_model: str
    at: str
    predicted: float | str
    role: str = CHAMPION
    actual: float | str | None = None
    error: float | None = None
    deviation: float | None = None
    naive: float | None = None
    corrected: int = 0

    @property
    def identity(self) -> Identity:
        """Return what two rows about the same answer have in common."""
        return self.key, self.step, self.role, self.target_model

    @property
    def standardized(self) -> float | None:
        """Return the error in standard deviations of the held-out rows; None where one of both is not known."""
        if self.error is None or not self.deviation:
            return None
        return self.error / self.deviation

    @property
    def share(self) -> float | None:
        """Return the absolute error as a share of the truth; None where that is not known, no number or 0."""
        if self.error is None or isinstance(self.actual, str) or not self.actual:
            return None
        return abs(self.error / self.actual)

    def with_truth(self, actual: float | str) -> Scored:
        """Return the row with its truth: itself where it has that already."""
        if actual == self.actual:
            return self
        if isinstance(self.predicted, str) or isinstance(actual, str):
            error = float(str(self.predicted) != str(actual))
        else:
            error = self.predicted - actual
        corrected = self.corrected + (self.actual is not None)
        return replace(self, actual=actual, error=error, corrected=corrected)


_NAMES = tuple(each.name for each in fields(Scored))


@dataclass(frozen=True)
class LiveScores:
    """The scores of a city.

    :param rows: by ``at``, and of one moment by key and step; those without a truth too.
    :param notes: what the look that wrote them remembers for the next one, by name; JSON.
    """

    city: str
    rows: tuple[Scored, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> tuple[Scored, ...]:
        """Return the rows whose truth is known."""
        return tuple(row for row in self.rows if row.actual is not None)

    def of(self, role: str, target_model: str | None = None) -> tuple[Scored, ...]:
        """Return the rows with a truth of a role, and of one model where it is given."""
        return tuple(
            row
            for row in self.known
            if row.role == role and (target_model is None or row.target_model == target_model)
        )

    def with_answers(self, rows: Iterable[Scored]) -> LiveScores:
        """Add answers; one that is there stays as it is, whatever the truth of the new one."""
        found = {row.identity: row for row in self.rows}
        for row in rows:
            found.setdefault(row.identity, row)
        return self._with(found.values())

    def with_truths(self, truths: Mapping[str, float | str]) -> LiveScores:
        """Complete rows by what has become known.

        :param truths: by the rows' ``key``; of what is not there nothing changes.
        """
        return self._with(row.with_truth(truths[row.key]) if row.key in truths else row for row in self.rows)

    def with_notes(self, **notes: Any) -> LiveScores:
        """Return the scores with these notes beside the others."""
        return replace(self, notes={**self.notes, **notes})

    def _with(self, rows: Iterable[Scored]) -> LiveScores:
        kept = sorted(rows, key=lambda row: (row.at, row.key, row.step, row.role, row.target_model))
        return replace(self, rows=tuple(kept[-MOST_ROWS:]))

    def to_bytes(self) -> bytes:
        """Return the scores as they stand in S3; rows are lists in the order of ``columns``."""
        value = {
            "format_version": FORMAT_VERSION,
            "city": self.city,
            "notes": dict(self.notes),
            "columns": list(_NAMES),
            "rows": [list(asdict(row).values()) for row in self.rows],
        }
        return (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, body: bytes, where: str, city: str) -> LiveScores:
        """Read scores without trusting them.

        :param where: URI for the error message.
        :param city: slug of the city whose they must be.
        :raises BrokenScores: they are too large, no JSON, of another city, or a member is of another type.
        """
        try:
            if len(body) > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES:,} bytes")
            value = json_of(body)
            if not isinstance(value, Mapping) or value.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"format_version: this version of City Fleet reads {FORMAT_VERSION}")
            if value.get("city") != city:
                raise ValueError(f"city is {show_value(value.get('city'))}; it must be {city!r}")
            columns, rows, notes = value.get("columns"), value.get("rows"), value.get("notes")
            if not isinstance(columns, list) or not isinstance(rows, list) or not isinstance(notes, dict):
                raise ValueError("columns, rows and notes must be two lists and an object")
            return cls(city, tuple(_row(columns, row) for row in rows[-MOST_ROWS:]), notes)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise BrokenScores(
                f"{where}: are not the live scores of city {city!r}: {error}. Delete the object: the next look begins "
                "anew with the forecasts and truths that are there"
            ) from error


def read(store: ObjectStore, keys: Keys, city: str) -> LiveScores:
    """Return a city's scores; empty ones where there are none.

    :raises BrokenScores: what is there can't be believed.
    """
    key = keys.live_scores(city)
    found = store.get(key, MAX_BYTES)
    return LiveScores(city) if found is None else LiveScores.from_bytes(found.body, keys.uri(key), city)


def update(
    store: ObjectStore, keys: Keys, city: str, change: Callable[[LiveScores], LiveScores]
) -> LiveScores:
    """Change a city's scores, whatever others do at the same time, and return them as they are afterwards.

    :param change: may be called several times.
    :raises BrokenScores: what is there can't be believed.
    :raises Busy: others got in the way for a minute.
    """
    key = keys.live_scores(city)
    last = LiveScores(city)

    def changed(body: bytes | None) -> bytes | None:
        nonlocal last
        before = LiveScores(city) if body is None else LiveScores.from_bytes(body, keys.uri(key), city)
        last = change(before)
        return None if last == before else last.to_bytes()

    store.update(key, changed)
    return last


def _row(columns: list[Any], values: Any) -> Scored:
    if not isinstance(values, list) or len(values) != len(columns):
        raise ValueError(f"a row is no list of {len(columns)} values")
    given = {name: value for name, value in zip(columns, values, strict=True) if name in _NAMES}
    row = Scored(**given)
    clock.parse(row.at)
    texts = (row.key, row.target_model, row.role)
    if not all(isinstance(text, str) and len(text) <= _LONGEST for text in texts):
        raise ValueError("key, target_model or role of a row is no short text")
    if row.role not in (CHAMPION, CHALLENGER):
        raise ValueError(f"role is {show_value(row.role)}; allowed: {CHAMPION}, {CHALLENGER}")
    for name in ("step", "corrected"):
        number = getattr(row, name)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"{name} is {show_value(number)}; allowed: a whole number from 0")
    for name in ("predicted", "actual", "error", "deviation", "naive"):
        value = getattr(row, name)
        text_allowed = name in ("predicted", "actual")
        if not (
            _is_number(value)
            or (value is None and name != "predicted")
            or (text_allowed and _is_label(value))
        ):
            raise ValueError(f"{name} is {show_value(value)}; allowed: a number")
    return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST
