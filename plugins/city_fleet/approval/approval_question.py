"""What a person reads who is asked whether a model may go live. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from city_fleet import naming
from city_fleet.champions.release import target_model
from city_fleet.metrics import METRICS, METRICS_OF, REGRESSION, show
from city_fleet.outgoing_text import markdown, markdown_code, one_line
from city_fleet.plan import CityPlan
from city_fleet.state import registry
from city_fleet.state.registry import ModelPackage

_WHO = {"challenger": "new model", "champion": "serves now"}


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
        _table(decision),
        _list("Why the gate lets it go", decision["reasons"]),
    ]
    if decision.get("warnings"):
        parts.append(_list("Warnings", decision["warnings"]))
    if night:
        parts.append(f"**Breaker**: {markdown(night)}.")
    champion = decision.get("champion_target_model")
    tried = champion and plan.tries
    mine = f"`{target_model(plan.city.slug, version)}`"
    parts.append(
        f"Approve {f'puts {mine} on trial beside the champion' if tried else f'publishes {mine}'}; Reject keeps "
        + (
            f"{markdown_code(champion)}."
            if champion
            else "things as they are: no model of this city is live."
        )
        + f" The same by command: `./fleet approve {plan.city.slug}` or `./fleet reject {plan.city.slug}`.\n\n"
        f"Evaluation: {markdown_code(evaluation_uri)}  \nVersion: {markdown_code(version.arn)}"
    )
    return "\n\n".join(parts)


def _table(decision: Mapping[str, Any]) -> str:
    """Return the metrics of all that was judged on the same rows, the compared one first."""
    measured = {_WHO[who]: metrics for who, metrics in decision["metrics"].items() if who in _WHO}
    # A decision of an earlier version names no baselines, and knows regressions alone.
    measured |= decision.get("baselines") or {"last known value": decision["metrics"].get("naive", {})}
    names = METRICS_OF[decision.get("task", REGRESSION)]
    compared = decision.get("metric", names[0])
    lines = [
        f"| {decision['rows']} held-out rows | " + " | ".join(map(markdown, measured)) + " |",
        "|---" * (len(measured) + 1) + "|",
    ]
    for name in sorted(names, key=lambda each: each != compared):
        cells = (_number(name, metrics.get(name)) for metrics in measured.values())
        lines.append(f"| {METRICS[name].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _list(title: str, sentences: list[str]) -> str:
    return f"**{title}**\n\n" + "\n".join(f"* {markdown(sentence)}" for sentence in sentences)


def _number(name: str, value: float | None) -> str:
    return "–" if value is None else show(name, value)


def _day(stamp: str) -> str:
    return f"{naming.parse_as_of(stamp):%Y-%m-%d %H:%M} UTC"
