"""Judging a candidate anew, on the rows of its evaluation, when another model serves than it was compared with.

The champion's part in it is the half that was judged: what its artifact says that the models which judged it have
answered. Its serving model may have learned these very rows, and is asked only for those that are newer than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from city_fleet.champions import artifact, gate
from city_fleet.champions.answers import ask
from city_fleet.champions.artifact import Known
from city_fleet.champions.judged_half import JudgedHalf
from city_fleet.config import Gate
from city_fleet.errors import ArtifactError, PublishError
from city_fleet.metrics import holdout_metrics
from city_fleet.state import pointer_checks
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer, Versioned


def evaluate_again(
    city: CityContext,
    holdout: Mapping[str, Any],
    decision: gate.Decision,
    rule: Gate,
    champion: Versioned,
) -> gate.Decision:
    """Judge a challenger against the champion that serves now, on the same held-out rows.

    Its data were in order, and it has beaten the baselines, else it would not have come this far.

    :param holdout: ``holdout.json`` of its evaluation.
    :param decision: what the gate said of it, compared with another champion.
    """
    rows = holdout["rows"]
    actual = [row["actual"] for row in rows]
    seen = champion_on(city, holdout, champion)
    if holdout.get("of_rows", len(rows)) > len(rows):
        # The file holds a part of the rows, and all of them were enough, and the baselines were beaten on all of them.
        rule = rule.model_copy(
            update={"minimum_rows": 1, "must_beat_naive": False, "must_beat_all_baselines": False}
        )
    report = {
        "task": decision.task,
        "rows": len(rows),
        "zero_rows": actual.count(0),
        "challenger": holdout_metrics(holdout, [row["predicted"] for row in rows]),
        "champion": seen,
    }
    if decision.baselines:  # what they are of the same rows does not change
        report |= {"baselines": decision.baselines, "naive": decision.metrics.get("naive")}
    else:
        report["naive"] = holdout_metrics(holdout, [row["naive"] for row in rows])
    return gate.decide(report, rule)


def champion_on(city: CityContext, holdout: Mapping[str, Any], champion: Versioned) -> dict[str, Any]:
    """Return what the champion that serves now is on held-out rows, as an evaluation's report says it.

    :param holdout: ``holdout.json`` of the challenger's evaluation.
    :return: with ``error``, a sentence, where it can't be compared.
    """
    pointer = champion.pointer
    seen = {"target_model": pointer.target_model, "etag": champion.etag, "as_of": pointer.as_of}
    try:
        return seen | _measured(city, holdout, pointer)
    except (ArtifactError, PublishError) as error:
        return seen | {"error": str(error)}


def _measured(city: CityContext, holdout: Mapping[str, Any], pointer: LivePointer) -> dict[str, Any]:
    """Return the champion's metrics; and where it can't be asked for all rows, both models' on those that are left.

    :raises PublishError: it can't be compared.
    """
    rows = holdout["rows"]
    task = holdout.get("task", pointer_checks.REGRESSION)
    if (pointer.task == pointer_checks.REGRESSION) != (task == pointer_checks.REGRESSION):
        raise PublishError(f"its task is {pointer.task}, and this run's is {task}")
    if not any("step" in row for row in rows):
        answers = _asked(city, holdout, pointer, rows)
        return holdout_metrics(holdout, answers)
    half = _half(city, pointer)
    known: dict[int, Known | None] = {number: half.answer(row) for number, row in enumerate(rows)}
    newest = max((row.get("block", 0) for row in rows), default=0)
    fresh = [
        number for number, row in enumerate(rows) if known[number] is None and half.may_be_asked(row, newest)
    ]
    if fresh:
        asked = _asked(city, holdout, pointer, [rows[number] for number in fresh])
        known |= dict(zip(fresh, asked, strict=True))
    left = [number for number in known if known[number] is not None]
    if not left:
        raise PublishError("it has judged none of these rows, and has learned them all")
    same = {**holdout, "rows": [rows[number] for number in left]}
    return {
        "rows": len(left),
        "challenger": holdout_metrics(same, [row["predicted"] for row in same["rows"]]),
        **holdout_metrics(same, [known[number] for number in left]),
    }


def _half(city: CityContext, pointer: LivePointer) -> JudgedHalf:
    """Read how the champion was judged.

    :raises ArtifactError: its artifact is gone, or says it in another way.
    """
    said = artifact.backtest(city.aws.s3, city.keys.bucket, city.keys.model(pointer.target_model))
    try:
        return JudgedHalf.of(said)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ArtifactError(f"{pointer.target_model}: {artifact.BACKTEST_FILE}: {error}") from None


def _asked(
    city: CityContext, holdout: Mapping[str, Any], pointer: LivePointer, rows: Sequence[Mapping[str, Any]]
) -> list[Known]:
    """Have the champion answer rows.

    :raises PublishError: it does not, or needs features that these rows lack.
    """
    position = {name: index for index, name in enumerate(holdout["features"])}
    missing = [name for name in pointer.features if name not in position]
    if missing:
        raise PublishError(f"it needs the features {', '.join(missing)}, which this run's data does not have")
    order = [position[name] for name in pointer.features]
    return ask(
        city.aws.runtime,
        city.address_of(pointer),
        [[row["values"][index] for index in order] for row in rows],
        as_json=pointer.is_table,
        classes=len(holdout.get("classes") or ()),
    )
