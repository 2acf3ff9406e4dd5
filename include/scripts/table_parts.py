"""Some rows of a table, and the rows of several in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from table_schema import Table


def rows_of(table: Table, chosen: slice | np.ndarray) -> Table:
    """Take some rows of a table.

    :param chosen: a slice, or the numbers of the rows.
    """
    names = table.rows[chosen] if isinstance(chosen, slice) else [table.rows[at] for at in chosen]
    return replace(
        table,
        rows=names,
        target=table.target[chosen],
        label=table.label[chosen],
        weight=table.weight[chosen],
        values=table.values[chosen],
        baselines={name: values[chosen] for name, values in table.baselines.items()},
    )


def joined(*parts: Table) -> Table:
    """Put the rows of tables of one schema behind each other."""
    return replace(
        parts[0],
        rows=[name for part in parts for name in part.rows],
        target=np.concatenate([part.target for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        baselines={
            name: np.concatenate([part.baselines[name] for part in parts]) for name in parts[0].baselines
        },
    )
