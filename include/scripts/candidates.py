"""The loop above the algorithms: each candidate is fitted, judged on validation, and the best is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import algorithms
from algorithms import Algorithm, Fitted
from hyperparameters import checked
from job_failure import JobFailure, listed, nearest, sentence_of
from job_settings import Candidate
from table_parts import rows_of
from table_schema import Table
from validation_loss import loss, loss_name


@dataclass(frozen=True)
class Chosen:
    """The best candidate.

    :param algorithm: its name.
    :param loss: on validation, by a model that has not seen it.
    :param reports: of all candidates, in their order, as training.json has them.
    """

    fitted: Fitted
    algorithm: str
    loss: float
    reports: list[dict[str, Any]]

    def sentence(self) -> str:
        """Say which is the best, and by how much."""
        (name,) = (report["loss"]["metric"] for report in self.reports if report.get("chosen"))
        best = self.loss
        others = [
            f"{report['algorithm']} {report['loss']['value'] / best - 1:+.1%}"
            if "loss" in report and best > 0
            else f"{report['algorithm']} failed"
            for report in self.reports
            if not report.get("chosen")
        ]
        beside = f", beside {', '.join(others)}" if others else ""
        return f"{self.algorithm}, validation {name} {best:.6g}{beside}"


def choose(
    train: Table, validation: Table, candidates: Sequence[Candidate], *, seed: int, threads: int
) -> Chosen:
    """Fit all candidates and keep the one whose loss on validation is the smallest, of equal ones the first.

    :param candidates: ``seed`` may be one of their hyperparameters.
    :raises JobFailure: no candidate can be fitted; says why of each.
    """
    best: tuple[float, int, Fitted] | None = None
    reports: list[dict[str, Any]] = []
    failures = []
    for number, candidate in enumerate(candidates):
        name, started = candidate.algorithm, time.monotonic()
        report: dict[str, Any] = {"algorithm": name, "hyperparameters": dict(candidate.hyperparameters)}
        try:
            module = _module(name)
            hyperparameters = checked(module.SPEC, train.schema.task, report["hyperparameters"])
            own_seed = int(hyperparameters.pop("seed", seed))
            fitted = module.fit(train, validation, hyperparameters, seed=own_seed, threads=threads)
            judged = _judged(module, fitted, train, validation, (hyperparameters, own_seed, threads))
            value = loss(validation, judged)
            if math.isinf(value):
                raise JobFailure("its predictions for the validation part are no finite numbers.")
        except Exception as error:  # one candidate's end is not that of the others
            report["error"] = sentence_of(error)
            failures.append(report["error"] if len(candidates) == 1 else f"{name}: {report['error']}")
        else:
            report |= {
                "loss": {"metric": loss_name(train.schema.task), "value": value},
                "describe": fitted.describe(),
            }
            if best is None or value < best[0]:
                best = value, number, fitted
        report["seconds"] = round(time.monotonic() - started, 3)
        reports.append(report)
    if best is None:
        raise JobFailure(" ".join(failures))
    value, number, fitted = best
    reports[number]["chosen"] = True
    return Chosen(fitted, reports[number]["algorithm"], value, reports)


def _module(name: str) -> Algorithm:
    try:
        return algorithms.algorithm(name)
    except KeyError:
        known = algorithms.names()
        raise JobFailure(
            f"algorithm: got '{name}'; allowed: {listed(known)}, the modules of algorithms/.{nearest(name, known)}"
        ) from None


def _judged(
    module: Algorithm, fitted: Fitted, train: Table, validation: Table, how: tuple[dict[str, Any], int, int]
) -> np.ndarray:
    """Predictions for the validation part by a model that has not seen it; see ``Fitted``."""
    judged = getattr(fitted, "judged", None)
    if judged is None:
        hyperparameters, seed, threads = how
        held = max(1, min(len(validation), len(train) // 3))
        parts = rows_of(train, slice(None, -held)), rows_of(train, slice(-held, None))
        alone = module.fit(*parts, hyperparameters, seed=seed, threads=threads)
        judged = alone.predict(validation.values)
    return np.asarray(judged, dtype=np.float64)
