"""Warnings of ``fleet lint``: legal settings that are hardly wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import challenger_lint, load_fleet
from city_fleet.config.lint import fleet_warnings
from city_fleet.errors import FleetFileError
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


def test_what_is_named_of_traffic_and_not_there_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "texas.yaml"
    text = TEXAS.read_text(encoding="utf-8")
    sections = """
metrics: {enabled: false, cities: [austin, wacko]}
capture: {mask: [Median, inventori, trend, inventory_lag_1], cities: [dalas]}
"""
    path.write_text(text + sections, encoding="utf-8")
    wrong, none, share, off, mask = [
        each.split(" field ")[1] for each in fleet_warnings(load_fleet(path, {}))
    ]
    assert wrong == "'metrics.cities[1]': wacko is no city of the fleet. Did you mean 'waco'?"
    assert none == "'capture.cities[0]': dalas is no city of the fleet. Did you mean 'dallas'?"
    assert share.startswith("'capture.share': no prediction is kept")
    assert off.startswith("'metrics.enabled': nothing is counted")
    assert mask.startswith("'capture.mask[1]': inventori is no column that a model is asked with")
    assert mask.endswith("Did you mean 'inventory'?")
    path.write_text(
        f"{text}\ncapture: {{share: 1, flush_seconds: 1, cities: [austin, waco]}}\n", encoding="utf-8"
    )
    assert fleet_warnings(load_fleet(path, {})) == []
    path.write_text(f"{text}\ncapture: {{share: 1, flush_seconds: 2}}\n", encoding="utf-8")
    (dear,) = fleet_warnings(load_fleet(path, {}))
    assert "47 cities that are asked all the time are as many objects every 2 s" in dear
    assert "about $10 a day" in dear


def test_trials_that_nobody_ends_or_can_decide_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.yaml"
    off = f"{SMALL}defaults: {{challenger: {{shadow: true}}}}\nreaper: {{schedule: null}}\ncities: {{a: , b: }}\n"
    path.write_text(off, encoding="utf-8")
    (shadow,) = [each for each in fleet_warnings(load_fleet(path, {})) if "tried" in each]
    assert "field 'defaults.challenger.share': no model is tried, whatever shadow says: share is 0" in shadow
    path.write_text(off.replace("{shadow: true}", "{share: 0.1}"), encoding="utf-8")
    reaper, monitor = [each for each in fleet_warnings(load_fleet(path, {})) if "tried" in each]
    assert "field 'reaper.schedule': models of 2 cities are tried before they go live, and no trial" in reaper
    assert "monitor.schedule is null, so a challenger falls back only where it does not answer" in monitor
    monkeypatch.setattr(challenger_lint, "MANY_TRIALS", 1)
    many, *_ = [each for each in fleet_warnings(load_fleet(path, {})) if "tried" in each]
    assert (
        "field 'defaults.challenger.share': models of 2 cities are tried before they go live, and all trials"
        in many
    )
    path.write_text(off.replace("b: ", "b: {challenger: {share: 1.5}}"), encoding="utf-8")
    (wrong,) = load_fleet(path, {}).errors
    assert "field 'challenger.share': got 1.5; allowed: a number from 0 to 1" in str(wrong)


def test_an_owner_without_a_notifier_and_one_without_a_city_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    sent = "[{notifier: airflow.providers.slack.notifications.slack.SlackNotifier}]"
    cities = "cities: {a: {owner: prices}, b: {owner: pricez}, c: {owner: d, tags: [sales]}, e: }\n"
    path.write_text(f"{SMALL}\n{cities}digest: {{owners: {{prices: {sent}, sales: [], slaes: {sent}}}}}\n")
    found = [each.split(" field ")[1] for each in fleet_warnings(load_fleet(path, {}))]
    empty, nobody, owner = [each for each in found if "owner" in each]
    assert empty == "'digest.owners.sales': 'sales' has no notifier, so nothing is sent"
    assert nobody == (
        "'digest.owners.slaes': no city has the owner or tag 'slaes', so nothing is sent; did you mean 'sales'?"
    )
    assert owner == (
        "'cities.b.owner': b has the owner 'pricez', for whom digest.owners has no notifier; did you mean 'prices'?"
    )


def test_cities_that_read_the_same_files_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    cities = 'cities: {a: , b: , c: {dataset: {raw: "s3://lake/c/"}}}\n'
    path.write_text(f"{SMALL}  raw: s3://lake/all/\n{cities}", encoding="utf-8")
    (warning,) = [text for text in fleet_warnings(load_fleet(path, {})) if "dataset.raw" in text]
    assert "field 'dataset.raw': 2 cities read the same files, a, b: put {name} or {slug}" in warning
    path.write_text(f"{SMALL}  raw: s3://lake/{{slug}}/\n{cities}", encoding="utf-8")
    assert not [text for text in fleet_warnings(load_fleet(path, {})) if "dataset.raw" in text]


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
        found = [line for line in fleet_warnings(load_fleet(path, {})) if "is a parent" not in line]
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


def test_an_image_that_others_can_change_is_warned_of_for_the_fleet_and_for_one_city(tmp_path: Path) -> None:
    tag = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-training:1"
    digest = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/my-training@sha256:{'0' * 64}"
    others = f"999999999999.dkr.ecr.us-east-1.amazonaws.com/my-training@sha256:{'0' * 64}"
    path = tmp_path / "fleet.yaml"
    cities = (
        f"cities:\n  a: {{algorithm: {{image: '{others}'}}}}\n  b: {{algorithm: {{image: '{digest}'}}}}\n"
    )
    path.write_text(f"{SMALL}defaults: {{algorithm: {{image: '{tag}'}}}}\n{cities}")
    found = [text for text in fleet_warnings(load_fleet(path, {})) if "algorithm.image" in text]
    assert len(found) == 2
    assert "names a tag, which can be moved" in found[0]
    assert "field 'cities.a.algorithm.image'" in found[1]
    assert "whoever owns it decides what runs in the jobs" in found[1]


KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_a_key_is_warned_of_where_aws_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    for settings, words in (
        (f"kms_key: {KEY}\ncities: {{a: }}\n", []),
        (f"kms_key: {KEY.replace('us-east-1', 'eu-west-1')}\ncities: {{a: }}\n", ["the key is in eu-west-1"]),
        (
            f"kms_key: {KEY}\ndefaults: {{training: {{instance_type: ml.g5.xlarge}}}}\ncities: {{a: , b: }}\n",
            ["'defaults.training.instance_type': ml.g5.xlarge has disks of its own"],
        ),
        (
            f"kms_key: {KEY}\ncities:\n  a: {{processing: {{instance_type: ml.r5d.large}}}}\n  b: \n",
            ["'cities.a.processing.instance_type': ml.r5d.large has disks of its own"],
        ),
        ("defaults: {training: {instance_type: ml.g5.xlarge}}\ncities: {a: }\n", []),
    ):
        path.write_text(SMALL + settings, encoding="utf-8")
        found = [
            line for line in fleet_warnings(load_fleet(path, {})) if "the key is" in line or "disks" in line
        ]
        assert len(found) == len(words), found
        assert all(word in line for word, line in zip(words, found, strict=True)), found


def test_an_installation_that_is_this_one_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    other = "installations:\n  prod: {environment: laptop}\n  staging: {environment: staging}\n"
    text = SMALL + other + "cities:\n  a: {name: A}\n"
    path.write_text(text, encoding="utf-8")
    (warning,) = (each for each in fleet_warnings(load_fleet(path, {})) if "field 'installations" in each)
    assert (
        "field 'installations.prod': prod is this installation itself, environment laptop in small-data"
        in warning
    )
    # A file of several installations may name them all.
    path.write_text("environment: ${CITY_FLEET_ENVIRONMENT:-laptop}\n" + text, encoding="utf-8")
    assert not [each for each in fleet_warnings(load_fleet(path, {})) if "field 'installations" in each]
    # Another account may use the same names.
    path.write_text(
        text.replace("{environment: laptop}", "{environment: laptop, profile: old}"), encoding="utf-8"
    )
    assert not [each for each in fleet_warnings(load_fleet(path, {})) if "field 'installations" in each]


def test_what_an_installation_must_be_like_is_said(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    other = "installations:\n  Prod: {environment: x}\n  now: {environment: live}\n  old: {envronment: x, bucket: s3://b}\n"
    path.write_text(SMALL + other + "cities:\n  a: {name: A}\n", encoding="utf-8")
    with pytest.raises(FleetFileError) as error:
        load_fleet(path, {})
    said = str(error.value)
    assert "'installations.now.environment': got 'live'" in said
    assert "got 'Prod'; allowed: the name of an installation" in said
    assert "'installations.old.envronment': got an unknown key; allowed: bucket, environment" in said
    assert "'installations.old.bucket': got 's3://b'; allowed: the name of an S3 bucket" in said
