"""Warnings of ``fleet lint``: legal settings that are hardly wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from city_fleet.config.lint import fleet_warnings
from tests.support.fleets import SMALL, TEXAS, texas


def test_the_texas_fleet_has_no_warnings() -> None:
    assert fleet_warnings(texas()) == []


@pytest.mark.parametrize(
    ("old", "new", "subject", "text"),
    [
        ('"@monthly"', '"@daily"', "field 'schedule'", "more often than there are new data"),
        ("ml.t3.medium", "ml.t9.medium", "field 'defaults.processing.instance_type'", "'ml.t3.medium'"),
        ("  instance_count: 1", "  model_cache: false", "field 'endpoint.model_cache'", "every request"),
        ("month_of_year, trend", "day_of_week", "field 'dataset.calendar[0]'", "tells a model nothing"),
        ("P1M", "P0D", "field 'dataset.available_after'", "the moment it begins"),
        ("    min: 1000\n", "", "field 'dataset.target'", "without a min above 0"),
        ("  scripts: include/scripts", "  scripts: include/script", "field 'defaults.scripts'", "train.py"),
        (
            "{name: Waco}",
            "{name: Waco, gate: {tolerance: 0.5}}",
            "city 'waco', field 'gate.tolerance'",
            "50%",
        ),
        ("{name: Waco}", "{name: Tyle}", "city 'waco', field 'name'", "is it the right city?"),
        (
            "{name: Waco}",
            "{name: Waco, training: {spot: true, max_wait_seconds: 900}}",
            "city 'waco', field 'training.max_wait_seconds'",
            "no time to wait",
        ),
        (
            "{name: Waco}",
            "{name: Waco, waiter_delay_seconds: 1000}",
            "city 'waco', field 'waiter_delay_seconds'",
            "noticed late",
        ),
    ],
)
def test_a_warning_names_its_place_once(tmp_path: Path, old: str, new: str, subject: str, text: str) -> None:
    original = TEXAS.read_text(encoding="utf-8")
    assert old in original
    path = tmp_path / "texas.yaml"
    path.write_text(original.replace(old, new, 1), encoding="utf-8")
    (warning,) = fleet_warnings(load_fleet(path, {}))
    line = original[: original.index(old)].count("\n") + 1
    if new:
        assert warning.startswith(f"{path}:{line}: {subject}: ")
    assert subject in warning
    assert text in warning


def test_a_slug_that_says_less_or_more_than_the_name_is_no_mistake(tmp_path: Path) -> None:
    original = TEXAS.read_text(encoding="utf-8")
    for slug in ("waco", "wac", "waco_north", "waxo"):
        path = tmp_path / f"{slug}.yaml"
        path.write_text(original.replace("waco: {name: Waco}", f"{slug}: {{name: Waco}}"), encoding="utf-8")
        assert fleet_warnings(load_fleet(path, {})) == [], slug


def test_a_schedule_that_fits_the_data_is_no_mistake(tmp_path: Path) -> None:
    for schedule, warned in (("@monthly", 0), ("@quarterly", 0), ("@weekly", 1), ("@daily", 1)):
        path = tmp_path / "texas.yaml"
        path.write_text(
            TEXAS.read_text(encoding="utf-8").replace('"@monthly"', f'"{schedule}"'), encoding="utf-8"
        )
        assert len(fleet_warnings(load_fleet(path, {}))) == warned, schedule


def test_mape_is_warned_of_where_the_target_may_be_zero(tmp_path: Path) -> None:
    path = tmp_path / "texas.yaml"
    original = TEXAS.read_text(encoding="utf-8").replace("transform: log_ratio_to_mean", "transform: none")
    for low, warned in (("min: 1000", 0), ("min: 0", 1), ("min: -5", 1), ("min: null", 1)):
        path.write_text(original.replace("min: 1000", low, 1), encoding="utf-8")
        found = fleet_warnings(load_fleet(path, {}))
        assert ["mape is not defined where the target is 0" in warning for warning in found] == [
            True
        ] * warned, low


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("managed", []),
        ("own", []),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/server@sha256:" + "a" * 64, []),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/server:1", ["names a tag"]),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/x@sha256:" + "a" * 64, []),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0", ["names a tag"]),
        ("999999999999.dkr.ecr.us-east-1.amazonaws.com/server@sha256:" + "a" * 64, ["account 999999999999"]),
        (
            "999999999999.dkr.ecr.us-east-1.amazonaws.com/server:latest",
            ["account 999999999999", "names a tag"],
        ),
    ],
)
def test_an_image_that_others_can_change_is_warned_of(tmp_path: Path, image: str, words: list[str]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + f"endpoint: {{image: '{image}'}}\ncities: {{a: }}\n", encoding="utf-8")
    found = [line for line in fleet_warnings(load_fleet(path, {})) if "'endpoint.image'" in line]
    assert len(found) == len(words)
    assert all(word in line for word, line in zip(words, found, strict=True))
