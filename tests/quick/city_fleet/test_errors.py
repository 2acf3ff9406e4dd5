"""Errors read as one paragraph, keep their facts as fields, and survive the way between processes."""

from __future__ import annotations

import json
import pickle

import pytest

from city_fleet import errors
from city_fleet.errors import (
    AlgorithmError,
    CityFleetError,
    ConfigError,
    DataError,
    FleetFileError,
    JobError,
    PlatformError,
    PointerMoved,
    PublishError,
    RegistryError,
    UnknownName,
    list_names,
    nearest_match,
    show_value,
)

CONFIG = ConfigError(
    file="fleets/x.yaml",
    line=41,
    city="waco",
    field="gate.tolerance",
    got="'abc'",
    allowed="a number from 0 to 1",
    nearest="0.1",
    hint="Write a number.",
)


def test_a_config_error_is_one_readable_paragraph() -> None:
    assert str(CONFIG) == (
        "fleets/x.yaml:41: city 'waco', field 'gate.tolerance': got 'abc'; allowed: a number from 0 to 1. "
        "Did you mean '0.1'? Write a number."
    )
    assert str(ConfigError(got="nothing", field="scripts", allowed="a folder")) == (
        "field 'scripts': got nothing; allowed: a folder."
    )
    assert str(ConfigError(file="x.yaml", got="no such file")) == "x.yaml: got no such file."


def test_a_data_error_names_row_and_column() -> None:
    error = DataError(file="a.csv", row=7, column="median", got="-3", allowed="a number from 1000")
    assert str(error) == "a.csv:7: column 'median': got -3; allowed: a number from 1000."
    assert (error.row, error.column, error.nearest) == (7, "median", None)


def test_an_unknown_name_proposes_the_nearest() -> None:
    error = UnknownName("city", "wako", ["waco", "tyler"], "fleet 'texas'")
    assert str(error) == "fleet 'texas' has no city 'wako'; it has: tyler, waco. Did you mean 'waco'?"


def test_a_fleet_file_error_lists_mistakes_by_line() -> None:
    error = FleetFileError([CONFIG, ConfigError(file="fleets/x.yaml", line=3, got="b")])
    assert [mistake.line for mistake in error.errors] == [3, 41]
    assert str(error).splitlines()[1] == str(CONFIG)
    assert error.file == "fleets/x.yaml"
    with pytest.raises(ValueError, match="at least one"):
        FleetFileError([])


def test_errors_survive_pickling_and_become_json(subtests: pytest.Subtests) -> None:
    for error in [
        CONFIG,
        FleetFileError([CONFIG]),
        DataError(file="a.csv", got="nothing"),
        UnknownName("city", "x", ["y"], "here"),
        JobError("job a failed", job="a", status="Failed"),
        AlgorithmError("no rows", city="waco", ending="algorithm"),
        PlatformError("throttled"),
        PublishError("no endpoint", city="waco", notes=["sequence 3 is gone"]),
        PointerMoved("moved", city="waco"),
        RegistryError("no group"),
    ]:
        with subtests.test(error=error):
            copy = pickle.loads(pickle.dumps(error))
            assert type(copy) is type(error)
            assert str(copy) == str(error)
            assert copy.to_dict() == error.to_dict()
            assert json.loads(json.dumps(error.to_dict()))["error"] == type(error).__name__


def test_the_tree_is_the_one_in_the_module_docstring() -> None:
    assert issubclass(AlgorithmError, JobError)
    assert issubclass(PointerMoved, PublishError)
    assert not issubclass(PlatformError, JobError)
    documented = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, CityFleetError):
            assert name.startswith("_") or name in documented


@pytest.mark.parametrize(
    ("got", "allowed", "nearest"),
    [
        ("tolerence", ["tolerance", "metric"], "tolerance"),
        ("MAPE", ["mape", "mae"], "mape"),
        ("xyz", ["mape"], None),
        ("", ["a"], None),
        (3, ["a"], None),
        ("a", [], None),
    ],
)
def test_nearest_match(got: object, allowed: list[str], nearest: str | None) -> None:
    assert nearest_match(got, allowed) == nearest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        ("a", "'a'"),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ({}, "an empty mapping"),
        ({"b": 1, "a": 2}, "a mapping (b, a)"),
    ],
)
def test_values_are_shown_as_yaml_spells_them(value: object, shown: str) -> None:
    assert show_value(value) == shown


def test_long_values_and_lists_are_cut() -> None:
    assert len(show_value("x" * 500)) == 80
    assert list_names(str(i) for i in range(45)).endswith("39 and 5 more")
    assert list_names([]) == "nothing"
