"""Mistakes in a fleet file: reported with file, line, city, field, what was got and the nearest match."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from city_fleet.config import load_fleet
from city_fleet.config.variables import MORE_VARIABLE
from city_fleet.errors import ConfigError, FleetFileError

# Line numbers matter here: each case replaces text of this file without adding lines before it.
GOOD = """\
fleet: shops
environment: test
bucket: shop-data
role: arn:aws:iam::123456789012:role/shops
region: eu-west-1
owner: data
tags: [retail, weekly]
schedule: "@weekly"
start_date: 2020-01-06
end_date: 2030-01-01
dataset:
  source: shops.csv
  city_column: shop
  time: {columns: [year, month]}
  frequency: month
  available_after: P1M
  target: {column: revenue, min: 1, transform: log, lags: [1, 2]}
  features:
    - {column: visitors, lags: [1, 12], min: 0}
  calendar: [month_of_year]
  minimum_periods: 60
defaults:
  algorithm: {version: "3.2-0", hyperparameters: {eta: 0.05}}
  processing: {instance_type: ml.t3.medium, volume_size_gb: 5}
  training: {instance_type: ml.m5.large, spot: false, max_runtime_seconds: 900}
  gate: {metric: mape, tolerance: 0.02, limits: {mape: 0.25}}
  retries: 2
endpoint: {name: shops-test, instance_count: 1}
pools: {jobs: shop_jobs}
cities:
  harbour: {name: Harbour}
  main_street: {name: Main Street}
  station: {name: Station}
"""

# what to replace, by what, line, field, part of "got", nearest match
FLEET_MISTAKES: list[tuple[str, str, int, str | None, str, str | None]] = [
    ("owner: data", "ownr: data", 6, "ownr", "an unknown key", "owner"),
    ("cities:", "citys:", 30, "citys", "an unknown key", "cities"),
    ("fleet: shops", "fleet: Shop-Sales", 1, "fleet", "'Shop-Sales'", "shop_sales"),
    ("environment: test", "environment: Test!", 2, "environment", "'Test!'", "test"),
    ("bucket: shop-data", "bucket: s3://shop-data", 3, "bucket", "'s3://shop-data'", None),
    ("bucket: shop-data", "bucket: 20200101", 3, "bucket", "20200101", None),
    ("bucket: shop-data", "bucket: ${SHOP_BUKET}", 3, "bucket", "${SHOP_BUKET}", "SHOP_BUCKET"),
    ("bucket: shop-data", "bucket: ${SHOP_ROLE}", 3, "bucket", "${SHOP_ROLE}, but", None),
    ("role/shops", "user/shops", 4, "role", "'arn:aws:iam::123456789012:user/shops'", None),
    ("eu-west-1", "europe", 5, "region", "'europe'", None),
    ("[retail, weekly]", "[retail, '50 % off']", 7, "tags[1]", "'50 % off'", None),
    ("[retail, weekly]", "retail", 7, "tags", "'retail'", None),
    ('"@weekly"', '"@weekli"', 8, "schedule", "'@weekli'", "@weekly"),
    ('"@weekly"', "0 0 30 2 *", 8, "schedule", "'0 0 30 2 *'", None),
    ('"@weekly"', '"* * * * * *"', 8, "schedule", "'* * * * * *'", None),
    ("2020-01-06", "2020-13-06", 9, "start_date", "'2020-13-06'", None),
    ("2020-01-06", "20200106", 9, "start_date", "20200106", None),
    ("2020-01-06", "9999-12-31", 9, "start_date", "9999-12-31", None),
    ("2020-01-06", "2200-01-01", 9, "start_date", "2200-01-01", None),
    ("2020-01-06", '"0001-01-01"', 9, "start_date", "0001-01-01", None),
    ("2020-01-06", "1899-12-31", 9, "start_date", "1899-12-31", None),
    ("2030-01-01", "10000-01-01", 10, "end_date", "'10000-01-01'", None),
    ("P1M", "P9999M", 16, "dataset.available_after", "'P9999M'", None),
    ("city_column: shop", "city_colum: shop", 13, "dataset.city_colum", "an unknown key", "city_column"),
    (
        "columns: [year, month]",
        "columns: [year, year]",
        14,
        "dataset.time.columns[1]",
        "'year' a second",
        None,
    ),
    ("columns: [year, month]", "columns: []", 14, "dataset.time.columns", "an empty list", None),
    ("[year, month]}", '[year, month], format: "%Y"}', 14, "dataset.time.format", "'%Y'", None),
    ("frequency: month", "frequency: monthly", 15, "dataset.frequency", "'monthly'", "month"),
    ("frequency: month", "frequency: day", 15, "dataset.frequency", "'day'", None),
    ("P1M", "p1m", 16, "dataset.available_after", "'p1m'", "P1M"),
    ("P1M", "PT90M", 16, "dataset.available_after", "'PT90M'", None),
    ("  available_after: P1M\n", "\n", 11, "dataset.available_after", "nothing", None),
    ("transform: log", "transform: logarithm", 17, "dataset.target.transform", "'logarithm'", None),
    ("min: 1,", "min: 0,", 17, "dataset.target.min", "0", None),
    ("min: 1,", "min: 1, max: 1,", 17, "dataset.target.max", "1", None),
    ("lags: [1, 2]", "lags: [1, 0]", 17, "dataset.target.lags[1]", "0", None),
    ("lags: [1, 2]", "lags: [1, 1]", 17, "dataset.target.lags[1]", "1 a second time", None),
    ("column: visitors", "column: revenue", 19, "dataset.features[0].column", "the target's column", None),
    ("  source: shops.csv", "  kind: tabel", 12, "dataset.kind", "'tabel'", "table"),
    ("  source: shops.csv", "  kind: [table]", 12, "dataset.kind", "['table']", "table"),
    ("hyperparameters: {eta: 0.05}", "name: Linear", 23, "defaults.algorithm.name", "'Linear'", "linear"),
    ("hyperparameters: {eta: 0.05}", "seed: -1", 23, "defaults.algorithm.seed", "-1", None),
    (
        "hyperparameters: {eta: 0.05}",
        "candidates: [knn, {algoritm: linear}]",
        23,
        "defaults.algorithm.candidates[1].algoritm",
        "an unknown key",
        "algorithm",
    ),
    (
        "hyperparameters: {eta: 0.05}",
        "name: knn, candidates: [linear]",
        23,
        "defaults.algorithm.name",
        "'knn'",
        None,
    ),
    ("[month_of_year]", "[month_of_yaer]", 20, "dataset.calendar[0]", "'month_of_yaer'", "month_of_year"),
    ("minimum_periods: 60", "minimum_periods: 20", 21, "dataset.minimum_periods", "20", None),
    ('"3.2-0"', "3.2", 23, "defaults.algorithm.version", "3.2", None),
    ("{eta: 0.05}", "{eta: [1]}", 23, "defaults.algorithm.hyperparameters.eta", "a list of 1", None),
    ("{eta: 0.05}", "{city: x}", 23, "defaults.algorithm.hyperparameters.city", "a reserved name", None),
    (
        "{eta: 0.05}",
        f"{{a: {'x' * 2501}}}",
        23,
        "defaults.algorithm.hyperparameters.a",
        "2501 characters",
        None,
    ),
    ("ml.t3.medium", "ml.t3.medum", 24, "defaults.processing.instance_type", "'ml.t3.medum'", "ml.t3.medium"),
    ("volume_size_gb: 5", "volume_size_gb: 0", 24, "defaults.processing.volume_size_gb", "0", None),
    ("volume_size_gb: 5", "volume_size_gb: 5 GB", 24, "defaults.processing.volume_size_gb", "'5 GB'", None),
    ("spot: false", "spot: yes", 25, "defaults.training.spot", "'yes'", None),
    ("spot: false", "spot: true", 25, "defaults.training.max_wait_seconds", "null", None),
    (
        "spot: false",
        "spot: true, max_wait_seconds: 600",
        25,
        "defaults.training.max_wait_seconds",
        "600",
        None,
    ),
    ("seconds: 900", "seconds: 9000000", 25, "defaults.training.max_runtime_seconds", "9000000", None),
    ("metric: mape", "metric: mapes", 26, "defaults.gate.metric", "'mapes'", "mape"),
    ("tolerance: 0.02", "tolerence: 0.02", 26, "defaults.gate.tolerence", "an unknown key", "tolerance"),
    ("tolerance: 0.02", "tolerance: two percent", 26, "defaults.gate.tolerance", "'two percent'", None),
    ("tolerance: 0.02", "tolerance: .nan", 26, "defaults.gate.tolerance", "nan", None),
    ("limits: {mape: 0.25}", "limits: {mapee: 0.25}", 26, "defaults.gate.limits.mapee", "'mapee'", "mape"),
    ("limits: {mape: 0.25}", "limits: {mape: -1}", 26, "defaults.gate.limits.mape", "-1.0", None),
    ("retries: 2", "retries: -1", 27, "defaults.retries", "-1", None),
    ("retries: 2", "retries: true", 27, "defaults.retries", "true", None),
    ("  retries: 2", "  retries: 2\n  retries: 3", 28, "defaults.retries", "the key a second time", None),
    ("name: shops-test", "name: shops_test", 28, "endpoint.name", "'shops_test'", "shops-test"),
    ("jobs: shop_jobs", "jobs: shop jobs", 29, "pools.jobs", "'shop jobs'", None),
    ("cities:", "cities: {}\ncities:", 31, "cities", "the key a second time", None),
    ("endpoint: {name: shops-test, instance_count: 1}", "endpoint:", 28, "endpoint", "null", None),
    ("region: eu-west-1", "region: [eu-west-1", 6, None, "text that is not YAML", None),
]

CITY_MISTAKES: list[tuple[str, str, int, str, str | None, str, str | None]] = [
    ("name: Station", "nam: Station", 33, "station", "nam", "an unknown key", "name"),
    ("name: Station", "gate: {tolerance: x}", 33, "station", "gate.tolerance", "'x'", None),
    ("{name: Station}", "{gat: {}}", 33, "station", "gat", "an unknown key", "gate"),
    ("{name: Station}", "{gate: 3}", 33, "station", "gate", "3", None),
    ("{name: Station}", "{gate: {minimum_rows: 13}}", 33, "station", "gate.minimum_rows", "13", None),
    ("{name: Station}", "{gate: {metric: accuracy}}", 33, "station", "gate.metric", "'accuracy'", None),
    ("{name: Station}", "{gate: {limits: {log_loss: 1}}}", 33, "station", "gate.limits.log_loss", "'log_loss'", None),
    ("{name: Station}", "\n    name: St\n    gate:\n      metric: rmes", 36, "station", "gate.metric",
     "'rmes'", "rmse"),
    ("{name: Station}", "{dataset: {holdout_periods: 90}}", 33, "station", "dataset.minimum_periods",
     "60", None),
    ("{name: Station}", "{end_date: 2019-01-01}", 33, "station", "end_date", "2019-01-01", None),
    ("{name: Station}", "{schedule: hourly}", 33, "station", "schedule", "'hourly'", "@hourly"),
    ("{name: Station}", "{name: '${AWS_REGION}'}", 33, "station", "name", "${AWS_REGION}", None),
    ("{name: Station}", "{bucket: other}", 33, "station", "bucket", "an unknown key", None),
    ("{name: Station}", "Station", 33, "station", None, "'Station'", None),
    ("{name: Station}", "{name: Harbour}", 33, "station", "name", "'Harbour', which city 'harbour'", None),
    ("  station: {name: Station}", "  Main Station: {}", 33, "Main Station", None, "'Main Station' as a slug",
     "main_station"),
    ("  station: {name: Station}", "  station: {}\n  station: {}", 34, "station", None,
     "the key a second", None),
    ("  station: {name: Station}", "  東京: {name: Station}", 33, "東京", None, "'東京' as a slug", None),
    ("  station: {name: Station}", f"  {'s' * 96}: {{}}", 33, "s" * 96, None, "a slug of 96 characters", None),
    ("  station: {name: Station}", f"  {'s' * 999}: {{}}", 33, "s" * 120 + "…", None,
     "a slug of 999 characters", None),
    ("{name: Station}", '{name: "a\\0b"}', 33, "station", "name", "'a\\x00b'", None),
    ("{name: Station}", "{schedule: R * * * *}", 33, "station", "schedule", "'R * * * *'", None),
    ("{name: Station}", "{schedule: H(0-5) * * * *}", 33, "station", "schedule", "'H(0-5) * * * *'", None),
]  # fmt: skip


def _write(folder: Path, old: str, new: str) -> Path:
    assert GOOD.count(old) >= 1, f"the case replaces {old!r}, which is not in the file"
    path = folder / "shops.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_file_the_mistakes_are_made_in_is_good(tmp_path: Path) -> None:
    fleet = load_fleet(_write(tmp_path, "owner: data", "owner: data"), {})
    assert list(fleet.cities) == ["harbour", "main_street", "station"]
    assert not fleet.broken


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "got", "nearest"),
    FLEET_MISTAKES,
    ids=[case[1].strip()[:40] for case in FLEET_MISTAKES],
)
def test_mistake_of_the_fleet(
    *, tmp_path: Path, old: str, new: str, line: int, field: str | None, got: str, nearest: str | None
) -> None:
    path = _write(tmp_path, old, new)
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {"SHOP_BUCKET": "x", MORE_VARIABLE: "SHOP_BUCKET, SHOP_ROLE"})
    errors: list[ConfigError] = caught.value.errors
    error = next((error for error in errors if error.field == field), errors[0])
    assert (error.file, error.line, error.city, error.field) == (str(path), line, None, field)
    assert error.got.startswith(got) or got in error.got
    assert error.nearest == nearest
    assert str(error).startswith(f"{path}:{line}: ")
    assert error.allowed or error.hint, "says what to do"
    # A misspelt key also leaves a required one out; apart from that nothing else is reported.
    assert all(other is error or other.got in ("nothing", "no city") for other in errors), errors


@pytest.mark.parametrize(
    ("old", "new", "line", "city", "field", "got", "nearest"),
    CITY_MISTAKES,
    ids=[case[1].strip()[:40] for case in CITY_MISTAKES],
)
def test_mistake_of_a_city_breaks_that_city_alone(
    *,
    tmp_path: Path,
    old: str,
    new: str,
    line: int,
    city: str,
    field: str | None,
    got: str,
    nearest: str | None,
) -> None:
    path = _write(tmp_path, old, new)
    fleet = load_fleet(path, {})
    assert list(fleet.cities) == ["harbour", "main_street"]
    (error,) = fleet.broken.values()
    assert (error.file, error.line, error.city, error.field) == (str(path), line, city, field)
    assert got in error.got
    assert error.nearest == nearest
    assert fleet.errors == (error,)


def test_a_variable_that_is_not_utf_8_is_refused_where_it_is_used(tmp_path: Path) -> None:
    environ = {"AWS_REGION": os.fsdecode(b"S\xff")}
    (error,) = load_fleet(_write(tmp_path, "Station}", "'${AWS_REGION}'}"), environ).errors
    assert (error.city, error.field, error.got) == ("station", "name", "'${AWS_REGION}'")
    assert error.allowed == "text in UTF-8, without NUL characters"
    str(error).encode()


@pytest.mark.parametrize("text", ["- " * 100_000, "fleet: " + "{a: " * 50_000, "[" * 4000])
def test_text_nested_too_deeply_is_refused_before_it_takes_the_process(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(FleetFileError, match="nested too deeply"):
        load_fleet(path, {})


def test_every_mistake_is_listed_by_line(tmp_path: Path) -> None:
    text = GOOD.replace("ml.m5.large", "m5").replace("metric: mape", "metric: x").replace("P1M", "1M")
    text = text.replace("name: Station", "gate: {tolerance: 7}")
    path = tmp_path / "shops.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {})
    found = [(error.line, error.city, error.field) for error in caught.value.errors]
    assert found == [
        (16, None, "dataset.available_after"),
        (25, None, "defaults.training.instance_type"),
        (26, None, "defaults.gate.metric"),
        (33, "station", "gate.tolerance"),
    ]
    assert len(str(caught.value).splitlines()) == 4


def test_a_fleet_mistake_is_not_repeated_for_each_city(tmp_path: Path) -> None:
    text = GOOD.replace("metric: mape", "metric: x").replace("name: Station", "gate: {tolerance: 0.5}")
    path = tmp_path / "shops.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {})
    assert [(error.line, error.city) for error in caught.value.errors] == [(26, None)]


@pytest.mark.parametrize(
    ("text", "line", "got"),
    [
        ("", 1, "no settings"),
        ("- a\n- b\n", 1, "no mapping at the top"),
        ("fleet: a\n\tbucket: b\n", 2, "text that is not YAML"),
        ("fleet: !!python/object:os.system x\n", None, "nothing"),
        ("a: &a\n  b: *a\n", None, "values nested too deeply"),
        ("x: " + "[" * 40 + "]" * 40 + "\n", 1, "values nested too deeply"),
        ("--- {a: 1}\n--- {b: 1}\n", None, "text that is not YAML"),
        ("fleet: \x07\n", None, "text that is not YAML"),
        ("defaults: {retries: ${RETRIES}}\n", 1, "text that is not YAML"),
    ],
)
def test_text_that_is_no_fleet_file(tmp_path: Path, text: str, line: int | None, got: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {})
    matching = [error for error in caught.value.errors if got in error.got]
    assert matching
    assert line is None or matching[0].line == line


def test_anchors_cannot_stand_for_billions_of_values(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(FleetFileError, match="anchors that stand for too many values"):
        load_fleet(path, {})


def test_a_file_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "shops.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(tmp_path / "shop.yaml", {})
    assert caught.value.errors[0].nearest == "shops.yaml"


def test_bytes_that_are_no_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(GOOD.replace("Station}", "Bahnhof Südkreuz}").encode("latin-1"))
    with pytest.raises(FleetFileError) as caught:
        load_fleet(path, {})
    assert (caught.value.errors[0].line, caught.value.errors[0].allowed) == (33, "UTF-8 text")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (8 * 1024 * 1024 + 1))
    with pytest.raises(FleetFileError, match="at most 8 MiB"):
        load_fleet(path, {})


_FRAGMENTS = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ": ",
            "- ",
            "#",
            "\n",
            "\n  ",
            "&a ",
            "*a",
            "<<: *a",
            "<<: ",
            "!!str ",
            "? ",
            "|",
            "~",
        ),
        *(
            "null",
            "${AWS_REGION}",
            "${AWS_REGION:-1}",
            "${",
            "1e999",
            ".nan",
            "0x1F",
            "2020-02-30",
            "'",
            '"',
            "\t",
            "é",
            "true",
            "a: ",
        ),
        *GOOD.replace("\n", " ").split(),
    ]
)


@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 20), _FRAGMENTS), min_size=1, max_size=4))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_there_is_a_fleet_or_an_explained_error(
    tmp_path: Path, edits: list[tuple[int, int, str]]
) -> None:
    text = GOOD
    for start, length, fragment in edits:
        text = text[:start] + fragment + text[start + length :]
    path = tmp_path / "shops.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        errors = load_fleet(path, {}).errors
    except FleetFileError as error:
        errors = tuple(error.errors)
    for error in errors:
        assert error.file == str(path)
        assert error.got
        assert error.line is None or 1 <= error.line <= text.count("\n") + 2


def test_only_what_looks_like_text_without_quotes_is_told_to_be_quoted(tmp_path: Path) -> None:
    for value, quoted in (
        ("20200101", True),
        ("1.5", True),
        ("2020-01-01", True),
        ("true", False),
        ("[a]", False),
    ):
        path = tmp_path / "shops.yaml"
        path.write_text(GOOD.replace("bucket: shop-data", f"bucket: {value}"), encoding="utf-8")
        with pytest.raises(FleetFileError) as caught:
            load_fleet(path, {})
        assert ("Put it in quotes" in str(caught.value)) is quoted, value
