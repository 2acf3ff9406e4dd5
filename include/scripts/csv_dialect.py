"""What stands between the cells of a CSV file, and which columns the names of its folders bring along."""

from __future__ import annotations

import csv
from collections.abc import Collection
from urllib.parse import unquote

DELIMITERS = (",", ";", "\t")
#: As Hive and Spark write a partition whose value is missing.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def delimiter_of(header: str, needed: Collection[str]) -> str:
    """Return what stands between the cells: the first of :data:`DELIMITERS` that makes the columns of the header.

    :param header: the file's first line.
    :param needed: columns that must be there; with none of the three they are not, and it is a comma.
    """
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            continue
        if {name.strip() for name in names}.issuperset(needed):
            return delimiter
    return DELIMITERS[0]


def folder_columns(name: str) -> dict[str, str]:
    """Return the columns that a file's folders name, as Hive and Spark write partitions: ``year=2015/month=07/``.

    :param name: the file's path below the city's folder.
    """
    found = {}
    for part in name.split("/")[:-1]:
        column, equals, value = part.partition("=")
        if equals and column:
            found[unquote(column)] = "" if value == _NO_VALUE else unquote(value)
    return found
