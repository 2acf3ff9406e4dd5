"""The sections of the fleet file about going live: the gate, its checks of the data, breaker and reconcile."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from city_fleet.config.section import Section, or_refuse
from city_fleet.config.value_types import CalendarSpan, Flag, Number, Problem, Range, Schedule, without_nulls
from city_fleet.errors import show_value
from city_fleet.metrics import METRICS, METRICS_OF

Metric = Literal[
    "mape", "wape", "rmse", "mae", "r2", "accuracy", "log_loss", "macro_f1", "roc_auc", "top_k_accuracy"
]
Approval = Literal["auto", "manual"]
Share = Annotated[float, Range(False, 0, 1)]


class DataChecks(Section):
    """What the data of a run must be like for its model to go live."""

    max_missing_share: Share = 0.5
    """Share of a column's values that may be missing in the last holdout_periods periods."""
    max_lost_rows_share: Share = 0.1
    """How many rows fewer than the champion a model may be trained on, as a share of the champion's."""
    max_deviations: Annotated[float, Range(False, 1)] | None = 100
    """How far a value may be from its column's median, in robust standard deviations; null for any distance."""
    max_age: CalendarSpan | None = None
    """How much older than expected the newest period may be; null for any age. From a slack on a warning says so."""
    vanished_classes: Literal["warn", "hold", "ignore"] = "hold"
    """What it means when a class that the champion knows is in no training row any more."""
    drift: Literal["warn", "hold", "ignore"] = "warn"
    """What a drift of the held-out rows away from the training rows means."""
    max_drift: Annotated[float, Range(False, 0)] = 5
    """From where on it is called drift: distance of a feature's medians, in robust standard deviations."""
    max_category_drift: Share = 0.25
    """The same of a category: which share of the rows has gone over to other categories, beyond chance."""


class Gate(Section):
    """The rule by which a new model goes live."""

    metric: Metric | None = None
    """The metric that is compared; null: mape of a regression, log_loss of a classification."""
    must_beat_naive: Flag = True
    """Hold a model that is no better than the naive prediction without a model."""
    must_beat_all_baselines: Flag | None = None
    """The same of every other baseline (of a series: same period last season, drift); false: only a warning. null:
    where the model is judged from rolling origins; one block, as of a train.py of one's own, is too little for that."""
    margin: Annotated[float, Range(False, 0, 0.99)] = 0.05
    """Of a series: by which share of a baseline's error a model must be better than it."""
    confidence: Annotated[float, Range(False, 0.5, 0.9999)] | None = 0.9
    """Of a series: how sure it must be that it is better, by a paired test over forecasts' origins; null: no test."""
    tolerance: Share = 0.02
    """How much worse than the champion a model may be, as a share of the champion's metric."""
    minimum_rows: Annotated[int, Range(True, 1)] = 6
    """Held-out rows needed to judge a model, and to compare it with the champion."""
    limits: Annotated[dict[Metric, Number], BeforeValidator(without_nulls)] = Field(default={})
    """Worst value of a metric with which a model may go live: the smallest where more is better."""
    data: DataChecks = DataChecks()
    """What the data of a run must be like."""

    @model_validator(mode="after")
    def _check(self) -> Gate:
        return or_refuse(
            self,
            [
                Problem(show_value(limit), allowed, path=("limits", name))
                for name, limit in self.limits.items()
                if (allowed := _outside(name, limit))
            ],
        )


def _outside(metric: str, limit: float) -> str | None:
    """Return what is allowed of a limit that no value of its metric could keep, or that every value keeps."""
    if metric != "r2" and limit <= 0:
        return "a number above 0"
    most = METRICS[metric].most
    return f"a number up to {most:g}" if most is not None and limit > most else None


def problems(gate: Gate, task: str) -> list[Problem]:
    """Return where the gate asks for metrics that models of a task do not have, with paths relative to the city.

    :param task: the dataset's: regression, binary or multiclass.
    """
    wanted: list[tuple[tuple[str, ...], str, bool]] = []
    if gate.metric:
        wanted.append((("gate", "metric"), gate.metric, False))
    wanted += [(("gate", "limits", name), name, True) for name in gate.limits]
    allowed = f"of a {task} model one of {', '.join(METRICS_OF[task])}"
    return [
        Problem(show_value(name), allowed, path=path, of_key=of_key)
        for path, name, of_key in wanted
        if name not in METRICS_OF[task]
    ]


class Breaker(Section):
    """When a night's models wait for a person, because too many of them are unfit."""

    max_failed_share: Share = 0.3
    """Share of a night's challengers that may be unfit."""
    minimum_sample: Annotated[int, Range(True, 1)] = 20
    """Challengers that must have been judged before the share means anything."""


class Reconcile(Section):
    """Carrying out what people have decided in the registry."""

    schedule: Schedule = "*/15 * * * *"
    """When to look, as a cron expression or preset, UTC; null for never."""
    on_live_rejected: Literal["alert", "rollback"] = "alert"
    """What to do when a person rejects the model that serves."""
