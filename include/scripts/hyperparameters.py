"""Hyperparameters: which an algorithm has, and what each may be, read from the ``SPEC`` of its module.

XGBoost itself only warns about a name it does not know, and trains another model than was meant; here that is
an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import algorithms
from calendar_grid import parse_as_of
from job_failure import JobFailure, listed, nearest
from table_schema import REGRESSION
from target_transform import TargetTransform


@dataclass(frozen=True)
class Number:
    """A numeric hyperparameter.

    :param whole: whether it must be a whole number.
    :param above: whether the smallest value itself is too little.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    above: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.low == -math.inf:
            return kind
        start = f"{kind} {'above' if self.above else 'from'} {self.low:.12g}"
        return start if self.high == math.inf else f"{start} to {self.high:.12g}"

    def read(self, text: str) -> float | int | None:
        """Read a value.

        :return: the value, or None when it is not allowed.
        """
        try:
            value = float(text)
        except ValueError:
            return None
        if (
            not math.isfinite(value)
            or not self.low <= value <= self.high
            or (self.above and value == self.low)
        ):
            return None
        if not self.whole:
            return value
        return int(value) if value.is_integer() else None


# Of train.py itself, where there is no settings channel; spelled as SageMaker hyperparameters.
OWN_TEXTS = ("city", "as_of", "target", "target_transform")
SEED = Number(0, 2**31 - 1, whole=True)
NUMBER_MEMBERS = ("low", "high", "whole", "above")


@dataclass(frozen=True)
class Hyperparameters:
    """What train.py was asked for.

    :param as_of: as it is written in keys.
    :param transform: what the model learns instead of it.
    :param num_boost_round: most rounds of boosting.
    :param early_stopping_rounds: rounds without a better validation score before it stops; 0 = never.
    :param xgboost: the others, which are XGBoost's own.
    """

    city: str
    as_of: str
    target: str
    transform: TargetTransform
    num_boost_round: int = 400
    early_stopping_rounds: int = 30
    seed: int = 0
    xgboost: dict[str, float | int | str] = field(default_factory=dict)


def parse_hyperparameters(arguments: Sequence[str]) -> Hyperparameters:
    """Read hyperparameters as the training toolkit passes them.

    :param arguments: ``--name value`` pairs.
    :raises JobFailure: naming the hyperparameter, what was got, what is allowed and the nearest match.
    """
    given: dict[str, str] = {}
    spec = algorithms.algorithm("xgboost").SPEC
    names = (*OWN_TEXTS, *_names(spec))
    words = iter(arguments)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in names or not word.startswith("--"):
            raise _unknown(name, names)
        if name in given:
            raise JobFailure(f"hyperparameter '{name}': given twice; allowed: once.")
        if not equals:
            value = next(words, "")
        given[name] = value
    _check_same(spec, given)
    for name in OWN_TEXTS[:3]:
        if not given.get(name):
            raise JobFailure(f"hyperparameter '{name}': missing; it is needed.")
    try:
        parse_as_of(given["as_of"])
    except ValueError:
        raise _refused("as_of", given["as_of"], "a UTC time written as 20140101T000000Z") from None
    try:
        transform = TargetTransform.parse(given.get("target_transform", "none"), given["target"])
    except ValueError as error:
        raise JobFailure(f"hyperparameter 'target_transform': {error}.") from None
    others = {name: text for name, text in given.items() if name not in OWN_TEXTS}
    values = checked(spec, REGRESSION, others)
    return Hyperparameters(
        city=given["city"],
        as_of=given["as_of"],
        target=given["target"],
        transform=transform,
        seed=int(values.pop("seed", 0)),
        num_boost_round=int(values.pop("num_boost_round")),
        early_stopping_rounds=int(values.pop("early_stopping_rounds")),
        xgboost=values,
    )


def checked(spec: Mapping[str, Any], task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check an algorithm's hyperparameters, and fill in the defaults.

    :param spec: the ``SPEC`` of its module.
    :param task: what is to be learned.
    :param given: name → value, or text that spells it. ``seed`` is one of every algorithm.
    :raises JobFailure: naming the hyperparameter, what was got, what is allowed and the nearest match.
    """
    if task not in spec["tasks"]:
        raise JobFailure(
            f"task: got '{task}'; allowed: {listed(spec['tasks'])}, which is what this algorithm does."
        )
    _check_same(spec, given)
    values = {
        name: member["default"] for name, member in spec["hyperparameters"].items() if "default" in member
    }
    for name, value in given.items():
        if name not in _names(spec):
            raise _unknown(name, _names(spec))
        member = spec["hyperparameters"].get(name)
        values[name] = _number(name, value, SEED) if member is None else _read(name, value, member, task)
    return values


def _names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    return ("seed", *spec["hyperparameters"])


def _check_same(spec: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for names in spec.get("same", ()):
        if all(name in given for name in names):
            raise JobFailure(f"hyperparameters '{names[0]}' and '{names[1]}' are the same; give one of them.")


def _read(name: str, value: Any, member: Mapping[str, Any], task: str) -> float | int | str:
    if "choices" in member:
        # Of a classification some choices only make sense; those of no task but others' are a regression's.
        only = member.get("only", {})
        others = {choice for choices in only.values() for choice in choices}
        allowed = only.get(task) or [choice for choice in member["choices"] if choice not in others]
        if value not in allowed:
            raise _refused(name, value, listed(allowed), nearest(str(value), allowed))
        return str(value)
    if member.get("text"):
        return str(value)
    return _number(name, value, Number(**{key: member[key] for key in NUMBER_MEMBERS if key in member}))


def _number(name: str, value: Any, kind: Number) -> float | int:
    number = None if isinstance(value, bool) else kind.read(str(value))
    if number is None:
        raise _refused(name, value, str(kind))
    return number


def _unknown(name: str, names: Sequence[str]) -> JobFailure:
    return JobFailure(
        f"hyperparameter '{name}': unknown.{nearest(name, names)} Allowed: {listed(names, len(names))}."
    )


def _refused(name: str, got: Any, allowed: str, hint: str = "") -> JobFailure:
    return JobFailure(f"hyperparameter '{name}': got '{got}'; allowed: {allowed}.{hint}")
