"""The demo's report: a table of all cities, and a sentence for each that is not live."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from local.stack.outcomes import LIVE, Outcome

_STYLES = {LIVE: "green", "failed": "bold red"}
_WIDTH = 200
_COLUMNS = (
    ("city", "left"),
    ("ended", "left"),
    ("MAPE\nnew", "right"),
    ("MAPE\nnaive", "right"),
    ("version", "right"),
    ("target model", "left"),
    ("period", "left"),
    ("predicted", "right"),
    ("actual", "right"),
    ("latency\nms", "right"),
)


def outcome_table(outcomes: list[Outcome]) -> Table:
    """Return one row per city."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title, justify in _COLUMNS:
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for outcome in outcomes:
        prediction, record = outcome.prediction, outcome.record
        version = record.get("package_version")
        cells: list[RenderableType] = [
            outcome.city,
            Text(outcome.how.replace("_", " "), style=_STYLES.get(outcome.how, "yellow")),
            _percent(outcome.mape("challenger")),
            _percent(outcome.mape("naive")),
            "" if version is None else str(version),
            str(record.get("target_model") or "") if outcome.how == LIVE else "",
            prediction.period if prediction else "",
            _amount(prediction.predicted) if prediction else "",
            _amount(prediction.actual) if prediction else "",
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
    for text in sentences(outcomes):
        console.print(f"\n{text}", markup=False)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
