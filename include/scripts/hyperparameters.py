"""The hyperparameters of train.py: which there are, and what each may be.

XGBoost itself only warns about a name it does not know, and trains another model than was meant; here that is
an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from calendar_grid import parse_as_of
from job_failure import JobFailure, listed, nearest
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


_SHARE = Number(0, 1, above=True)
_WEIGHT = Number(0)
_COUNT = Number(1, whole=True)

# Our own; spelled as SageMaker hyperparameters.
OWN_NUMBERS = {
    "num_boost_round": Number(1, 100_000, whole=True),
    "early_stopping_rounds": Number(0, whole=True),
    "seed": Number(0, 2**31 - 1, whole=True),
}
OWN_TEXTS = ("city", "as_of", "target", "target_transform")

# XGBoost's parameters for regression with trees; both spellings where it has two. nthread and device are left
# out: they follow from the machine, and the same inputs must give the same model.
XGBOOST_NUMBERS = {
    **dict.fromkeys(("eta", "learning_rate"), Number(0, 1, above=True)),
    **dict.fromkeys(("gamma", "min_split_loss"), _WEIGHT),
    "max_depth": Number(0, 64, whole=True),
    "min_child_weight": _WEIGHT,
    "max_delta_step": _WEIGHT,
    "subsample": _SHARE,
    **dict.fromkeys(("colsample_bytree", "colsample_bylevel", "colsample_bynode"), _SHARE),
    **dict.fromkeys(("lambda", "reg_lambda", "alpha", "reg_alpha"), _WEIGHT),
    "max_leaves": Number(0, whole=True),
    "max_bin": Number(2, whole=True),
    "num_parallel_tree": _COUNT,
    "base_score": Number(),
    "tweedie_variance_power": Number(1, 2, above=True),
    "huber_slope": Number(0, above=True),
    "rate_drop": Number(0, 1),
    "skip_drop": Number(0, 1),
    "one_drop": Number(0, 1, whole=True),
    "verbosity": Number(0, 3, whole=True),
}
XGBOOST_CHOICES = {
    "objective": (
        "reg:squarederror",
        "reg:absoluteerror",
        "reg:pseudohubererror",
        "reg:squaredlogerror",
        "reg:gamma",
        "reg:tweedie",
        "count:poisson",
    ),
    "eval_metric": ("rmse", "mae", "mape", "rmsle", "mphe"),
    "booster": ("gbtree", "dart"),
    "tree_method": ("auto", "exact", "approx", "hist"),
    "grow_policy": ("depthwise", "lossguide"),
    "sampling_method": ("uniform",),
    "sample_type": ("uniform", "weighted"),
    "normalize_type": ("tree", "forest"),
}
XGBOOST_TEXTS = ("monotone_constraints", "interaction_constraints")
SAME_PARAMETER = (
    ("eta", "learning_rate"),
    ("gamma", "min_split_loss"),
    ("lambda", "reg_lambda"),
    ("alpha", "reg_alpha"),
)
NAMES = (*OWN_TEXTS, *OWN_NUMBERS, *XGBOOST_NUMBERS, *XGBOOST_CHOICES, *XGBOOST_TEXTS)


@dataclass(frozen=True)
class Hyperparameters:
    """What train.py was asked for.

    :param as_of: as it is written in keys.
    :param transform: what the model learns instead of it.
    :param num_boost_round: most rounds of boosting.
    :param early_stopping_rounds: rounds without a better validation score before it stops; 0 = never.
    :param xgboost: parameters for XGBoost.
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
    words = iter(arguments)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in NAMES or not word.startswith("--"):
            raise JobFailure(
                f"hyperparameter '{name}': unknown.{nearest(name, NAMES)} "
                f"Allowed: {listed(NAMES, len(NAMES))}."
            )
        if name in given:
            raise JobFailure(f"hyperparameter '{name}': given twice; allowed: once.")
        if not equals:
            value = next(words, "")
        given[name] = value
    for names in SAME_PARAMETER:
        if all(name in given for name in names):
            raise JobFailure(f"hyperparameters '{names[0]}' and '{names[1]}' are the same; give one of them.")
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
    own = {name: int(_number(name, given[name], kind)) for name, kind in OWN_NUMBERS.items() if name in given}
    return Hyperparameters(
        city=given["city"],
        as_of=given["as_of"],
        target=given["target"],
        transform=transform,
        xgboost=_xgboost_parameters(given),
        **own,
    )


def _xgboost_parameters(given: dict[str, str]) -> dict[str, float | int | str]:
    parameters: dict[str, float | int | str] = {}
    for name, text in given.items():
        if name in XGBOOST_NUMBERS:
            parameters[name] = _number(name, text, XGBOOST_NUMBERS[name])
        elif name in XGBOOST_CHOICES:
            if text not in XGBOOST_CHOICES[name]:
                allowed = XGBOOST_CHOICES[name]
                raise _refused(name, text, listed(allowed), nearest(text, allowed))
            parameters[name] = text
        elif name in XGBOOST_TEXTS:
            parameters[name] = text
    return parameters


def _number(name: str, text: str, kind: Number) -> float | int:
    value = kind.read(text)
    if value is None:
        raise _refused(name, text, str(kind))
    return value


def _refused(name: str, got: str, allowed: str, hint: str = "") -> JobFailure:
    return JobFailure(f"hyperparameter '{name}': got '{got}'; allowed: {allowed}.{hint}")
