"""Some rows of a table, and the rows of several in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from table_schema import Feature, Table


def rows_of(table: Table, chosen: slice | np.ndarray) -> Table:
    """Take some rows of a table.

    :param chosen: a slice, or the numbers of the rows.
    """
    names = table.rows[chosen] if isinstance(chosen, slice) else [table.rows[at] for at in chosen]
    members = table.members
    if members:
        members = members[chosen] if isinstance(chosen, slice) else tuple(members[at] for at in chosen)
    return replace(
        table,
        rows=names,
        members=members,
        target=table.target[chosen],
        label=table.label[chosen],
        weight=table.weight[chosen],
        values=table.values[chosen],
        baselines={name: values[chosen] for name, values in table.baselines.items()},
    )


def seen_by(algorithm: str, table: Table) -> Table:
    """Take the columns that an algorithm gets: a series' forecasts by smoothing are those of one algorithm each."""
    layout = table.schema.layout
    if layout is None or not layout.smoothed:
        return table
    own = layout.seen_by(algorithm)
    columns = [table.schema.names.index(name) for name in own.features]
    schema = replace(table.schema, layout=own, features=tuple(Feature(name) for name in own.features))
    return replace(table, schema=schema, values=table.values[:, columns])


def joined(*parts: Table) -> Table:
    """Put the rows of tables of one schema behind each other."""
    return replace(
        parts[0],
        rows=[name for part in parts for name in part.rows],
        members=tuple(member for part in parts for member in part.members),
        target=np.concatenate([part.target for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        baselines={
            name: np.concatenate([part.baselines[name] for part in parts]) for name in parts[0].baselines
        },
    )
