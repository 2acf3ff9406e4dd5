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
from learning_curve import history_of
from table_parts import joined, rows_of, seen_by
from table_schema import Table
from validation_loss import loss_name, row_losses

#: Where validation has fewer rows, candidates are compared on more: a choice by the twelve months of a series is mostly
#: luck. So nothing larger than some hundred rows is ever fitted more than twice.
JUDGED_ROWS = 100
#: Of a table without a time; as often each candidate is fitted.
FOLDS = 10
#: Of a series or a table with a time at least this share lies before the first row that is judged.
LEAST_SHARE = 0.4
LEAST_ROWS = 10
#: Of these the first that is among the candidates is kept, unless another is better by more than so many standard
#: errors of the difference; a last value, which is soon beaten, on fewer judged rows than FEW_ROWS alone.
FLOORS = {"ets": 2.0, "theta": 2.0, "baseline": 1.0}
FEW_ROWS = 30


@dataclass(frozen=True)
class Chosen:
    """The best candidate.

    :param fitted: to training and validation.
    :param algorithm: its name.
    :param candidate: what was asked for.
    :param loss: on validation, by a model that has not seen it.
    :param reports: of all candidates, in their order, as training.json has them.
    """

    fitted: Fitted
    algorithm: str
    loss: float
    reports: list[dict[str, Any]]
    candidate: Candidate

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


@dataclass(frozen=True)
class _Asked:
    """What all candidates are compared by.

    :param folds: how they are judged beside validation; see :func:`_folds`.
    :param name: of the loss.
    """

    folds: list[tuple[Table, Table, Table]]
    name: str
    seed: int
    threads: int


def choose(
    train: Table,
    validation: Table,
    candidates: Sequence[Candidate],
    *,
    seed: int,
    threads: int,
    metric: str | None = None,
    ordered: bool = True,
) -> Chosen:
    """Fit all candidates and keep the one whose loss is the smallest, of equal ones the first.

    :param candidates: ``seed`` may be one of their hyperparameters.
    :param metric: what the gate compares; None for the task's own loss.
    :param ordered: whether later rows are later ones; else each may stand for any other.
    :raises JobFailure: no candidate can be fitted; says why of each.
    """
    folds = _folds(train, validation, ordered, seed) if len(candidates) > 1 else []
    asked = _Asked(folds, _measurable(loss_name(train.schema.task, metric), validation, folds), seed, threads)
    found: dict[int, tuple[np.ndarray, Fitted]] = {}
    reports: list[dict[str, Any]] = []
    failures = []
    for number, candidate in enumerate(candidates):
        name, started = candidate.algorithm, time.monotonic()
        report: dict[str, Any] = {"algorithm": name, "hyperparameters": dict(candidate.hyperparameters)}
        try:
            losses, fitted = _measured(train, validation, candidate, asked)
        except Exception as error:  # one candidate's end is not that of the others
            report["error"] = sentence_of(error)
            failures.append(report["error"] if len(candidates) == 1 else f"{name}: {report['error']}")
        else:
            found[number] = losses, fitted
            report |= {
                "loss": {"metric": asked.name, "value": _mean(losses, asked.name), "rows": len(losses)},
                "describe": fitted.describe(),
            }
            curve = history_of(fitted)
            report |= {} if curve is None else {"history": curve}
        report["seconds"] = round(time.monotonic() - started, 3)
        reports.append(report)
    if not found:
        raise JobFailure(" ".join(failures))
    number = _best(found, [candidate.algorithm for candidate in candidates])
    reports[number]["chosen"] = True
    losses, fitted = found[number]
    candidate = candidates[number]
    return Chosen(fitted, candidate.algorithm, _mean(losses, asked.name), reports, candidate)


def fit_again(candidate: Candidate, train: Table, validation: Table, *, seed: int, threads: int) -> Fitted:
    """Fit a candidate to other rows, with the same settings.

    :raises JobFailure: it can't be fitted.
    """
    module = _module(candidate.algorithm)
    hyperparameters = checked(module.SPEC, train.schema.task, dict(candidate.hyperparameters))
    seed = int(hyperparameters.pop("seed", seed))
    return module.fit(train, validation, hyperparameters, seed=seed, threads=threads)


def _measured(
    train: Table, validation: Table, candidate: Candidate, asked: _Asked
) -> tuple[np.ndarray, Fitted]:
    """Fit a candidate as it would go live, and judge it by models that have not seen what they are judged by.

    :return: losses of the judged rows, and the model.
    """
    module = _module(candidate.algorithm)
    train, validation = seen_by(candidate.algorithm, train), seen_by(candidate.algorithm, validation)
    folds = [tuple(seen_by(candidate.algorithm, part) for part in fold) for fold in asked.folds]
    hyperparameters = checked(module.SPEC, train.schema.task, dict(candidate.hyperparameters))
    seed = int(hyperparameters.pop("seed", asked.seed))
    how = hyperparameters, seed, asked.threads
    fitted = module.fit(train, validation, hyperparameters, seed=seed, threads=asked.threads)
    parts = []
    for before, chosen_on, fold in folds:
        # The whole way of a night: what the algorithm chooses it chooses on other rows than it is judged by.
        model = module.fit(before, chosen_on, hyperparameters, seed=seed, threads=asked.threads)
        parts.append(row_losses(fold, np.asarray(model.predict(fold.values), np.float64), asked.name))
    if not parts:
        parts = [row_losses(validation, _judged(module, fitted, train, validation, how), asked.name)]
    losses = np.concatenate(parts)
    targets = np.concatenate([fold.target for *_, fold in asked.folds] or [validation.target])
    if asked.name == "mape":
        losses = losses[targets != 0]
    if not np.isfinite(losses).all():
        raise JobFailure("its predictions for the validation part are no finite numbers.")
    return losses, fitted


def _measurable(name: str, validation: Table, folds: list[tuple[Table, Table, Table]]) -> str:
    """Fall back from shares of the target where all targets are 0."""
    judged = [fold for *_, fold in folds] or [validation]
    return "mae" if name == "mape" and not any((part.target != 0).any() for part in judged) else name


def _mean(losses: np.ndarray, name: str) -> float:
    mean = float(losses.mean())
    return math.sqrt(mean) if name == "rmse" else mean


def _best(found: dict[int, tuple[np.ndarray, Fitted]], names: Sequence[str]) -> int:
    """Return the number of the candidate to keep.

    :param found: number → losses of the judged rows, which are the same rows for all.
    """
    best = min(found, key=lambda number: (float(found[number][0].mean()), number))
    floor = next((number for name in FLOORS for number in found if names[number] == name), best)
    gain = found[floor][0] - found[best][0]
    if len(gain) < 2 or (names[floor] == "baseline" and len(gain) >= FEW_ROWS):
        return best
    needed = FLOORS.get(names[floor], 0.0)
    return floor if gain.mean() <= needed * gain.std(ddof=1) / math.sqrt(len(gain)) else best


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


def _folds(train: Table, validation: Table, ordered: bool, seed: int) -> list[tuple[Table, Table, Table]]:
    """Say what candidates are fitted to and judged by, where validation has few rows.

    :return: rows to fit, rows to choose on (as many as validation has of all), rows to judge; none where validation
        alone is enough. Of ordered rows each fold is as long as validation, and lies behind all that its model knows.
        Otherwise all rows are judged, each in the one of FOLDS drawn parts that its model does not know.
    """
    size, rows = len(validation), len(train) + len(validation)
    if size >= JUDGED_ROWS:
        return []
    table = joined(train, validation)
    found: list[tuple[Table, Table, Table]] = []
    if ordered:
        end = rows
        while (
            size * len(found) < JUDGED_ROWS
            and end - size >= LEAST_SHARE * rows
            and end - 2 * size >= LEAST_ROWS
        ):
            at = slice(0, end - 2 * size), slice(end - 2 * size, end - size), slice(end - size, end)
            found.append((rows_of(table, at[0]), rows_of(table, at[1]), rows_of(table, at[2])))
            end -= size
        return found
    if rows < 2 * FOLDS:
        return []
    draws = np.random.default_rng(seed)
    part = draws.permutation(np.arange(rows) % FOLDS)
    for number in range(FOLDS):
        rest = draws.permutation(np.flatnonzero(part != number))
        held = max(1, len(rest) * size // rows)
        own = np.sort(rest[held:]), np.sort(rest[:held]), np.flatnonzero(part == number)
        found.append((rows_of(table, own[0]), rows_of(table, own[1]), rows_of(table, own[2])))
    return found
