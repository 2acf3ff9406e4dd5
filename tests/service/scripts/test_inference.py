"""inference.py through its four functions, in a process of the image's Python, with a model of real data."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.script_jobs import Jobs

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def model(austin: Jobs) -> Path:
    return austin.root / "model" / "model"


@pytest.fixture
def samples(austin: Jobs) -> dict[str, Any]:
    return austin.read_json("model/model/city_fleet/samples.json")


@pytest.fixture
def features(austin: Jobs) -> list[str]:
    return austin.read_json("model/model/city_fleet/model.json")["features"]


def line(row: list[float | None], missing: str = "") -> str:
    return ",".join(missing if value is None else repr(value) for value in row)


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8", "TEXT/CSV", None, ""])
@pytest.mark.parametrize("accept", ["text/csv", "*/*", None, "", "image/png, text/csv;q=0.5"])
def test_csv_in_csv_out(
    ask: Ask, model: Path, samples: dict[str, Any], content_type: str | None, accept: str | None
) -> None:
    body = "\n".join(line(row) for row in samples["rows"])
    for as_text in (False, True):
        answer = ask(model, body, content_type, accept=accept, as_text=as_text)
        assert [float(value) for value in answer["text"].split(",")] == samples["predictions"]
        assert answer["text"].count("\n") == 0


def test_json_in_json_out_by_order_and_by_name(
    ask: Ask, model: Path, samples: dict[str, Any], features: list[str]
) -> None:
    named = [dict(zip(reversed(features), reversed(row), strict=True)) for row in samples["rows"]]
    for instances in (samples["rows"], named, [samples["rows"][0], *named[1:]]):
        answer = ask(
            model,
            json.dumps({"instances": instances}),
            "application/json; charset=UTF-8",
            accept="application/json",
        )
        assert json.loads(answer["text"]) == {"predictions": samples["predictions"]}


def test_a_missing_value_is_the_same_however_it_is_written(
    ask: Ask, model: Path, samples: dict[str, Any]
) -> None:
    row = [*samples["rows"][0][:-4], None, *samples["rows"][0][-3:]]
    answers = {
        ask(model, line(row, missing) + end)["text"]
        for missing in ("", "nan", "NaN", " ")
        for end in ("", "\r\n")
    }
    answers.add(ask(model, json.dumps({"instances": [row]}), "application/json")["text"])
    assert len(answers) == 1
    assert float(answers.pop()) > 100_000


REFERENCE = "Row 1, feature 'median_mean_12': got {got}; allowed: a number above 0"
BAD_REQUESTS = [
    (
        "1,2,3",
        "text/csv",
        "Row 1: got 3 values; allowed: 16, the features of the model of austin in this order: median_mean",
    ),
    ("", "text/csv", "The request holds no rows; at least 1 is needed."),
    ("a,b", "text/csv", "Row 1, value 1: got 'a'; allowed: a number, or empty (no header row)."),
    ("1,inf", "text/csv", "Row 1, value 2: got 'inf'; allowed: a number"),
    ("," * 15, "text/csv", REFERENCE.format(got="nothing")),
    ("-1" + "," * 15, "text/csv", REFERENCE.format(got="-1")),
    ("1", "text/libsvm", "Content-Type: got 'text/libsvm'; allowed: text/csv, application/json."),
    ("{", "application/json", "The request is not JSON"),
    ("[[1]]", "application/json", "The request has no list of instances; allowed:"),
    ('{"instances": 5}', "application/json", "The request has no list of instances; allowed:"),
    ('{"instances": []}', "application/json", "The request holds no rows"),
    ('{"instances": [5]}', "application/json", "Row 1: got 5; allowed: a list of values or an object."),
    (
        '{"instances": [["1"]]}',
        "application/json",
        'Row 1, value 1: got "1"; allowed: a number, or null where missing.',
    ),
    ('{"instances": [[true]]}', "application/json", "Row 1, value 1: got true; allowed: a number"),
    ('{"instances": [[1e999]]}', "application/json", "Row 1, value 1: got Infinity; allowed: a number"),
    (
        '{"instances": [{"median_lag_1": 1}]}',
        "application/json",
        "Row 1: got feature 'median_lag_1', which the model of austin does not have; allowed: median_mean",
    ),
    (
        '{"instances": [{"median_mean_12": 1}]}',
        "application/json",
        "Row 1: feature median_lag_1_ratio, median_lag_2_ratio,",
    ),
]


def test_a_bad_request_gets_a_sentence_and_400(ask: Ask, model: Path, subtests: pytest.Subtests) -> None:
    for body, content_type, sentence in BAD_REQUESTS:
        with subtests.test(body=body):
            answer = ask(model, body, content_type)
            assert answer["error"] == "BadRequest"
            assert answer["status_code"] == 400
            assert answer["is_value_error"]
            assert answer["message"] == answer["text"]
            assert answer["text"].startswith(sentence)
            assert "\n" not in answer["text"]


def test_the_nearest_feature_is_named(ask: Ask, model: Path) -> None:
    answer = ask(model, '{"instances": [{"median_mean_21": 1}]}', "application/json")
    assert answer["text"].endswith("Did you mean 'median_mean_12'?")


def test_an_unknown_answer_format_is_refused(ask: Ask, model: Path, samples: dict[str, Any]) -> None:
    answer = ask(model, line(samples["rows"][0]), accept="image/png")
    assert answer["text"] == "Accept: got 'image/png'; allowed: text/csv, application/json."


def change_booster(folder: Path, content: bytes) -> None:
    """Replace the booster by something else, and its sha256 too."""
    (folder / "xgboost-model.ubj").write_bytes(content)
    files = json.loads((folder / "city_fleet" / "model.json").read_text(encoding="utf-8"))["files"]
    change_card(folder, files=files | {"xgboost-model.ubj": hashlib.sha256(content).hexdigest()})


def change_card(folder: Path, **changes: Any) -> None:
    path = folder / "city_fleet" / "model.json"
    card = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(
        json.dumps({key: value for key, value in card.items() if value is not None}), encoding="utf-8"
    )


BROKEN = [
    (
        lambda folder: (folder / "city_fleet/model.json").unlink(),
        "city_fleet/model.json: missing in the artifact;",
    ),
    (lambda folder: (folder / "xgboost-model.ubj").unlink(), "xgboost-model.ubj: missing in the artifact;"),
    (
        lambda folder: (folder / "xgboost-model.ubj").write_bytes(b""),
        "xgboost-model.ubj: damaged; its 0 bytes do not have the sha256 of city_fleet/model.json.",
    ),
    (
        lambda folder: change_booster(folder, b"{L" * 99),
        "xgboost-model.ubj: XGBoost cannot read it (",
    ),
    (
        lambda folder: (folder / "city_fleet/model.json").write_text("["),
        "city_fleet/model.json: not as train.py writes it",
    ),
    (
        lambda folder: change_card(folder, format_version=3),
        "got format_version 3; allowed: up to 2. The artifact is newer",
    ),
    (
        lambda folder: change_card(folder, features=["a"]),
        "features: not those of its schema",
    ),
    (
        lambda folder: change_card(folder, target_transform={"kind": "cube"}),
        "allowed kinds: none, log, log_ratio_to_mean",
    ),
    (lambda folder: change_card(folder, city=None), "city_fleet/model.json: field 'city' is missing."),
]


@pytest.mark.parametrize(("damage", "sentence"), BROKEN)
def test_a_broken_or_newer_artifact_is_refused_by_name(
    ask: Ask, model: Path, tmp_path: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    damage(folder)
    answer = ask(folder, "1")
    assert answer["error"] == "ArtifactError"
    assert sentence in answer["text"]
    assert answer["message"] == answer["text"]
    assert len(answer["text"]) < 1000


def test_a_truncated_booster_is_refused(ask: Ask, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    whole = (folder / "xgboost-model.ubj").read_bytes()
    for length in (1, 100, len(whole) // 2, len(whole) - 1):
        (folder / "xgboost-model.ubj").write_bytes(whole[:length])
        assert "damaged" in ask(folder, "1", reload=True)["text"]
