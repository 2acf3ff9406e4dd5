"""What a request for forecasts says of periods to come, in the columns that are known ahead (``ahead``).

A model that was trained on the promotion of the very period it forecasts needs to be told what is planned: by the raw
data, whose rows of periods to come known.json keeps, or by whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from calendar_grid import period_start
from feature_table import Values, value_at
from period_entries import read_entries
from request_rows import BadRequest, shown
from series_layout import SeriesLayout

#: As far as a forecast reaches, and lags between now and then.
MOST_ROWS = 1000
_NAMED = 5


@dataclass(frozen=True)
class PlannedValues:
    """What the caller says.

    :param rows: number of a period → column → value; None where the caller says that nobody knows.
    """

    rows: Mapping[int, Mapping[str, float | None]]

    @classmethod
    def read(cls, ahead: Any, layout: SeriesLayout) -> PlannedValues:
        """Read the request's ``ahead``.

        :raises BadRequest: it is no list of periods with values of columns that are known ahead.
        """
        if ahead is None:
            return cls({})
        columns = layout.known_ahead
        if not columns:
            raise BadRequest(
                "Forecast: ahead: allowed: nothing, for the model has no column that is known ahead "
                "(dataset.features[].known_ahead)."
            )
        known_ahead = "those that are known ahead: "
        return cls(
            read_entries(
                ahead, "ahead", columns=columns, which=known_ahead, frequency=layout.frequency, most=MOST_ROWS
            )
        )

    def above(self, values: Values) -> Values:
        """Put the values above others: whoever asks knows best what is planned."""
        return {**values, **{index: {**values.get(index, {}), **row} for index, row in self.rows.items()}}

    def check_known(self, layout: SeriesLayout, values: Values, newest: int, periods: Iterable[int]) -> None:
        """Refuse to guess what is planned.

        :param values: all that is known, the caller's among them.
        :param newest: number of the newest known period; what is missing until then is missing, as in training.
        :param periods: numbers of those that are forecast.
        :raises BadRequest: naming the column and the periods of which nobody has said anything.
        """
        wanted = {
            (index - lag, item.column)
            for item in layout.columns
            if item.known_ahead
            for lag in item.lags
            for index in periods
        }
        lacking = [
            (index, column)
            for index, column in sorted(wanted)
            if index > newest
            and value_at(values, index, column) is None
            and column not in self.rows.get(index, {})
        ]
        if not lacking:
            return
        said = [
            f"'{column}' of {period_start(index, layout.frequency).isoformat()}"
            for index, column in lacking[:_NAMED]
        ]
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        index, column = lacking[0]
        row = f'{{"period": "{period_start(index, layout.frequency).isoformat()}", "{shown(column)}": 1}}'
        raise BadRequest(
            f"Forecast: not known: {', '.join(said)}{more}; allowed: a number for each in 'ahead', such as "
            f'{{"ahead": [{row}]}}, or null where nobody knows. Rows of the raw data may hold it as well, with an '
            "empty target."
        )
