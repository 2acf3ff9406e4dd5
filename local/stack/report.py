"""The demo's report: a table of all cities, and a sentence for each that is not live."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from city_fleet.metrics import METRICS
from city_fleet.metrics import show as show_metric
from local.stack.outcomes import LIVE, Outcome

_STYLES = {LIVE: "green", "failed": "bold red"}
_WIDTH = 200


def outcome_table(outcomes: list[Outcome]) -> Table:
    """Return one row per city. Its columns are those of the metric, and of what the fleet predicts."""
    metric = METRICS[outcomes[0].metric].title if len({each.metric for each in outcomes}) == 1 else "metric"
    candidates = any(each.algorithm for each in outcomes)
    values = [each.prediction.predicted for each in outcomes if each.prediction]
    classes = any(isinstance(each, tuple) for each in values)
    columns = [
        ("city", "left"),
        ("ended", "left"),
        *([("algorithm", "left")] if candidates else []),
        (f"{metric}\nnew", "right"),
        (f"{metric}\nnaive", "right"),
        ("version", "right"),
        ("target model", "left"),
        ("row" if classes or candidates else "period", "left"),
        ("predicted", "left" if classes else "right"),
        ("actual", "left" if classes else "right"),
        ("latency\nms", "right"),
    ]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title, justify in columns:
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for outcome in outcomes:
        prediction, record = outcome.prediction, outcome.record
        version = record.get("package_version")
        cells: list[RenderableType] = [
            outcome.city,
            Text(outcome.how.replace("_", " "), style=_STYLES.get(outcome.how, "yellow")),
            *([outcome.algorithm] if candidates else []),
            _measured(outcome, "challenger"),
            _measured(outcome, "naive"),
            "" if version is None else str(version),
            str(record.get("target_model") or "") if outcome.how == LIVE else "",
            Text(prediction.row) if prediction else "",
            Text(predicted(prediction.predicted)) if prediction else "",
            Text(_value(prediction.actual)) if prediction else "",
            f"{prediction.latency_ms:.1f}" if prediction else "",
        ]
        table.add_row(*cells)
    return table


def sentences(outcomes: list[Outcome]) -> list[str]:
    """Return a paragraph per city that is not live: its reason, or what explains its failure."""
    said = []
    for outcome in outcomes:
        if outcome.evidence:
            said.append(
                f"{outcome.city} {outcome.how}:\n" + "\n".join(f"  {line}" for line in outcome.evidence)
            )
        elif outcome.how != LIVE:
            said.append(f"{outcome.city}, {outcome.how.replace('_', ' ')}: {outcome.reason}")
    return said


def show(console: Console, outcomes: list[Outcome]) -> None:
    """Print the table, then the sentences.

    The table is never cut: a narrow terminal folds its lines, a file gets them whole.
    """
    table = outcome_table(outcomes)
    wide = Console(file=console.file, width=_WIDTH, force_terminal=console.is_terminal, highlight=False)
    wide.print(table, crop=False)
    naive = sorted({outcome.baseline for outcome in outcomes if outcome.baseline})
    if naive:
        console.print(f"\nnaive: predicted without a model, by {', '.join(naive)}", markup=False)
    for text in sentences(outcomes):
        console.print(f"\n{text}", markup=False)


def _measured(outcome: Outcome, whose: str) -> str:
    value = outcome.measured(whose)
    return "" if value is None else show_metric(outcome.metric, value)


def predicted(value: float | tuple[tuple[str, float], ...]) -> str:
    """Write a number, the likelier of two classes, or the likeliest of many."""
    if isinstance(value, float):
        return _value(value)
    shown = value[:1] if len(value) == 2 else value
    return ", ".join(f"{label} {share:.0%}" for label, share in shown)


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
