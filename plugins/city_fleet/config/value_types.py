"""The kinds of values in a fleet file: durations, dates, schedules, numbers, hyperparameters.

Each kind explains itself when it refuses a value, see :class:`Problem`. Numbers and flags may be given as
text, because values from ``${VARIABLES}`` and from a CSV list of cities are text.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from city_fleet.errors import ConfigError, nearest_match, show_value
from city_fleet.periods import Span
from city_fleet.ticks import PRESETS

FIRST_DAY, LAST_FIRST_DAY = date(1900, 1, 1), date(2199, 12, 31)
_LONGEST_DAYS = 36_600  # a hundred years: sums of it and a day of this time stay within the calendar


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value, still without its place in the file.

    :param got: what was found, as text to print.
    :param allowed: what may stand there.
    :param nearest: the nearest allowed value, if one is near.
    :param hint: one more sentence that says what to do.
    :param path: the field at fault, relative to the section that was checked.
    :param of_key: whether the key itself is at fault, and not the value behind it.
    :param of_file: whether the whole file is refused for it, wherever it stands.
    """

    got: str
    allowed: str | None = None
    nearest: str | None = None
    hint: str | None = None
    path: tuple[str | int, ...] = ()
    of_key: bool = False
    of_file: bool = False

    def error(
        self, *, file: str, line: int | None, field: str | None = None, city: str | None = None
    ) -> ConfigError:
        """Return the problem as an error, where its place is known."""
        return ConfigError(
            file=file,
            line=line,
            city=city,
            field=field or None,
            got=self.got,
            allowed=self.allowed,
            nearest=self.nearest,
            hint=self.hint,
        )


def refuse(*problems: Problem) -> PydanticCustomError:
    """Return the pydantic error that carries the problems to where file and line are known."""
    return PydanticCustomError("city_fleet", "{text}", {"text": problems[0].got, "problems": list(problems)})


@dataclass(frozen=True)
class Duration:
    """A calendar duration in whole units, the subset ``PnYnMnWnDTnH`` of ISO 8601.

    Months and years are calendar ones: P1M after 31 January is the last day of February.
    """

    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hours: int = 0

    ALLOWED = (
        "an ISO 8601 duration of years, months, weeks, days and hours such as P1M, P2W or PT6H (P0D for none)"
    )
    PATTERN = r"P(?=\d|T\d)(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?(?:T(\d{1,4})H)?"

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a duration.

        :raises ValueError: the text is not a duration.
        """
        match = re.fullmatch(cls.PATTERN, text)
        if match is None:
            raise ValueError(f"got {text!r}; allowed: {cls.ALLOWED}")
        return cls(*(int(part or 0) for part in match.groups()))

    def __str__(self) -> str:
        parts = ((self.years, "Y"), (self.months, "M"), (self.weeks, "W"), (self.days, "D"))
        days = "".join(f"{count}{unit}" for count, unit in parts if count)
        hours = f"T{self.hours}H" if self.hours else ""
        return f"P{days}{hours}" if days or hours else "P0D"

    @property
    def span(self) -> Span:
        """Return it as what can be added to a moment."""
        return Span(self.years * 12 + self.months, self.weeks * 7 + self.days, self.hours)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": f"^{cls.PATTERN}$",
            "patternErrorMessage": cls.ALLOWED,
            "examples": ["P1M"],
        }

    @classmethod
    def _validate(cls, value: object) -> Duration:
        if isinstance(value, cls):
            return value
        near = None
        if isinstance(value, str):
            if re.fullmatch(cls.PATTERN, value):
                found = cls.parse(value)
                days = found.years * 366 + found.months * 31 + found.weeks * 7 + found.days + found.hours / 24
                if days > _LONGEST_DAYS:
                    raise refuse(Problem(show_value(value), "a duration of at most 100 years"))
                return found
            repaired = value.strip().upper()
            near = next((t for t in (repaired, f"P{repaired}") if re.fullmatch(cls.PATTERN, t)), None)
        raise refuse(Problem(show_value(value), cls.ALLOWED, nearest=near))


#: A duration under a name, so that the schema defines it once.
CalendarSpan = Annotated[Duration, "ISO 8601"]


@dataclass(frozen=True)
class Range:
    """A number within limits, written as a number or as text.

    :param whole: whole numbers only.
    :param low: smallest number allowed, None for no limit.
    :param high: largest number allowed, None for no limit.
    """

    whole: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def allowed(self) -> str:
        """The limits in words."""
        text = "a whole number" if self.whole else "a number"
        if self.low is not None and self.high is not None:
            return f"{text} from {self.low} to {self.high}"
        return text if self.low is None else f"{text}, at least {self.low}"

    def check(self, value: object) -> int | float:
        """Return the value as a number if it is allowed.

        :raises PydanticCustomError: what is wrong with it, see :func:`refuse`.
        """
        number: object = value
        if isinstance(value, str):
            try:
                number = int(value) if self.whole else float(value)
            except ValueError:
                number = None
        good = isinstance(number, int if self.whole else int | float) and not isinstance(number, bool)
        if not good or not isinstance(number, int | float) or not math.isfinite(number):
            raise refuse(Problem(show_value(value), self.allowed))
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise refuse(Problem(show_value(number), self.allowed))
        return number if self.whole else float(number)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        limits = {"minimum": self.low, "maximum": self.high}
        found = {name: limit for name, limit in limits.items() if limit is not None}
        return {"type": "integer" if self.whole else "number", **found}


def _flag(value: object) -> object:
    text = value.strip().lower() if isinstance(value, str) else None
    return text == "true" if text in ("true", "false") else value


def _day(value: object) -> object:
    if isinstance(value, date):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip()):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
    raise refuse(Problem(show_value(value), "a date such as 2014-01-31"))


def _first_day(value: object) -> object:
    """A day on which a schedule may begin: every timetable and database can hold it."""
    day = _day(value)
    if isinstance(day, date) and not FIRST_DAY <= date(day.year, day.month, day.day) <= LAST_FIRST_DAY:
        hint = "For a schedule that is not to run, write schedule: null."
        raise refuse(Problem(show_value(day), f"a date from {FIRST_DAY} to {LAST_FIRST_DAY}", hint=hint))
    return day


def without_nulls(value: object) -> object:
    """Return a mapping without its nulls: a city removes a key of the defaults by setting it to null."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _parameter(value: object) -> object:
    """One hyperparameter: SageMaker carries it as text of at most 2,500 characters."""
    allowed = "a number, text or true/false, at most 2500 characters long"
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise refuse(Problem(show_value(value), allowed))
    if isinstance(value, str):
        if len(value) > 2500:
            raise refuse(Problem(f"{len(value)} characters", allowed))
        for kind in (int, float):
            try:
                number = kind(value)
            except ValueError:
                continue
            if str(number) == value and math.isfinite(number):  # text that is exactly a number
                return number
    return value


def _schedule(value: object) -> object:
    if value is None or value in tuple(PRESETS) or (isinstance(value, str) and _cron_fires(value)):
        return value
    allowed = f"a cron expression of five fields such as '0 3 * * *', one of {', '.join(PRESETS)}, or null"
    near = nearest_match(f"@{value.removeprefix('@')}", PRESETS) if isinstance(value, str) else None
    raise refuse(Problem(show_value(value), allowed, nearest=near))


_CRON_WORDS = frozenset({
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    "sun", "mon", "tue", "wed", "thu", "fri", "sat", "l",
})  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _cron_fires(expression: str) -> bool:
    """Tell whether a cron expression is well formed and ever fires (``0 0 30 2 *`` never does)."""
    from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

    # croniter also knows H and R: a minute by hash or by chance, which would be another one at every look.
    words = {word.lower() for word in re.findall("[A-Za-z]+", expression)}
    if len(expression.split()) != 5 or not words <= _CRON_WORDS:
        return False
    try:
        croniter(expression).get_next()
    except (CroniterError, ValueError, KeyError, AttributeError):
        return False
    return True


Number = Annotated[float, Range()]
Flag = Annotated[bool, Strict(), BeforeValidator(_flag)]
Day = Annotated[date, BeforeValidator(_day)]
FirstDay = Annotated[date, BeforeValidator(_first_day)]
Parameter = Annotated[
    int | float | bool | str,
    BeforeValidator(_parameter),
    WithJsonSchema({"type": ["number", "string", "boolean", "null"]}),
]
Schedule = Annotated[
    str | None,
    BeforeValidator(_schedule),
    WithJsonSchema({"type": ["string", "null"], "examples": [*PRESETS, "0 3 * * *"]}),
]
