"""What a person reads who is asked whether a model may go live. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from city_fleet import naming
from city_fleet.champions.release import target_model
from city_fleet.outgoing_text import markdown, markdown_code, one_line
from city_fleet.plan import CityPlan
from city_fleet.state import registry
from city_fleet.state.registry import ModelPackage

_METRICS = {"mape": "MAPE", "rmse": "RMSE", "mae": "MAE", "r2": "R²"}
_WHO = {"challenger": "new model", "champion": "serves now", "naive": "last known value"}


def subject(plan: CityPlan) -> str:
    return f"May a new model of {one_line(plan.city.shown_name)} go live?"


def body(
    plan: CityPlan,
    version: ModelPackage,
    *,
    decision: Mapping[str, Any],
    evaluation_uri: str,
    night: str | None = None,
) -> str:
    """Return the text below it, as Markdown.

    :param decision: ``decision.json``.
    :param night: what the breaker says about the night, if it has stopped it.
    """
    parts = [
        f"Version {version.number} of `{plan.package_group}` was made as of {_day(version.as_of)}; the last period "
        f"that its data hold begins on {markdown(str(decision.get('data_until') or 'an unknown day'))}. It waits until "
        f" {_day(version.metadata[registry.EXPIRES_AT])}, then it counts as rejected.",
        _table(decision["metrics"], decision["rows"]),
        _list("Why the gate lets it go", decision["reasons"]),
    ]
    if decision.get("warnings"):
        parts.append(_list("Warnings", decision["warnings"]))
    if night:
        parts.append(f"**Breaker**: {markdown(night)}.")
    champion = decision.get("champion_target_model")
    parts.append(
        f"Approve publishes `{target_model(plan.city.slug, version)}`; Reject keeps "
        + (
            f"{markdown_code(champion)}."
            if champion
            else "things as they are: no model of this city is live."
        )
        + f" The same by command: `./fleet approve {plan.city.slug}` or `./fleet reject {plan.city.slug}`.\n\n"
        f"Evaluation: {markdown_code(evaluation_uri)}  \nVersion: {markdown_code(version.arn)}"
    )
    return "\n\n".join(parts)


def _table(metrics: Mapping[str, Mapping[str, float | None]], rows: int) -> str:
    shown = [who for who in _WHO if who in metrics]
    lines = [
        f"| {rows} held-out rows | " + " | ".join(_WHO[who] for who in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for name, title in _METRICS.items():
        cells = (_number(name, metrics[who].get(name)) for who in shown)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _list(title: str, sentences: list[str]) -> str:
    return f"**{title}**\n\n" + "\n".join(f"* {markdown(sentence)}" for sentence in sentences)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "mape":
        return f"{value:.1%}"
    return f"{value:.3f}" if name == "r2" else f"{value:,.0f}"


def _day(stamp: str) -> str:
    return f"{naming.parse_as_of(stamp):%Y-%m-%d %H:%M} UTC"
