"""./fleet try: the real scripts of a city on this machine, by the image's Python."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Done, fleet
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import IMAGE_PYTHON
from tests.support.script_jobs import DATA

#: Nobody answers there.
NO_AWS = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        server.client("s3").create_bucket(Bucket="city-fleet")
        yield server


def attempt(*arguments: str, **environ: str) -> Done:
    return fleet("try", *arguments, "--fleet", str(TEXAS), **{**NO_AWS, **environ})


def in_json(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def own_fleet(folder: Path, **own_scripts: str) -> Path:
    """The Texas fleet with scripts of Austin's own, beside its file."""
    named = []
    for step, text in own_scripts.items():
        (folder / f"{step}.py").write_text(text, encoding="utf-8")
        named.append(f"{step}: {folder / step}.py")
    text = TEXAS.read_text(encoding="utf-8")
    text = text.replace("include/data/txhousing.csv", str(DATA))
    line = "  austin: {name: Austin}\n"
    assert line in text
    path = folder / "texas.yaml"
    path.write_text(
        text.replace(line, f"  austin: {{name: Austin, own_scripts: {{{', '.join(named)}}}}}\n"),
        encoding="utf-8",
    )
    return path


def test_a_trial_says_what_the_gate_would_and_leaves_nothing(tmp_path: Path) -> None:
    done = attempt("Austin")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("note: the bucket can't be asked, so there is no champion to compare with: ")
    assert lines[1] == "Austin as of 2015-08-01: the new model would go live (xgboost)"
    assert "beats the last known value's 3.8%" in lines[2]
    assert any(line.startswith("this trial ") for line in lines)
    assert any(line.startswith("inventory_lag_1 ") and line.endswith("█") for line in lines)
    assert any(line.startswith("misses most: period ") for line in lines)
    assert "held-out rows of include/data/txhousing.csv" in lines[-1]


def test_a_setting_is_tried_and_the_lines_that_keep_it_are_said(tmp_path: Path) -> None:
    kept = tmp_path / "trial"
    report = in_json(attempt("austin", "--set", "max_depth=2", "--keep", str(kept), "--json"))
    assert report["settings"].splitlines()[0] == "cities:"
    assert "max_depth: 2" in report["settings"]
    assert report["artifact_sha256"] != in_json(attempt("austin", "--json"))["artifact_sha256"]
    archive = kept / "evaluation" / "city=austin" / "model.tar.gz"
    assert archive.is_file()
    again = attempt("austin", "--keep", str(kept))
    assert again.returncode == 1
    assert "got a folder that holds something" in again.stderr


def test_the_model_that_serves_is_judged_on_the_same_rows(aws: LocalSageMaker, tmp_path: Path) -> None:
    """And the rows are those of the bucket, as a run's."""
    environ = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    rows = [
        row for row in csv.reader(DATA.open(encoding="utf-8", newline="")) if row[0] in ("city", "Austin")
    ]
    body = "\n".join(",".join(row) for row in rows[:-12]) + "\n"
    s3 = aws.client("s3")
    s3.put_object(Bucket="city-fleet", Key="texas_housing/raw/city=austin/mine.csv", Body=body.encode())
    report = in_json(attempt("austin", "--json", **environ))
    assert report["data"] == "s3://city-fleet/texas_housing/raw/"
    assert report["data_until"] == "2014-07-01"
    assert report["notes"] == ["nothing serves austin: there is no champion to compare with"]


def test_other_data_take_the_place_of_those_of_the_bucket(tmp_path: Path) -> None:
    rows = list(csv.reader(DATA.open(encoding="utf-8", newline="")))
    newest = [row for row in rows if row[:2] == ["Austin", "2014"]]
    path = tmp_path / "newer.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [rows[0], *(row for row in rows if row[0] == "Austin" and row[1] < "2014")]
        )
    assert newest
    report = in_json(attempt("austin", "--data", str(path), "--as-of", "2014-01-01", "--json"))
    assert report["data"] == str(path)
    assert report["data_until"] == "2013-12-01"
    assert attempt("austin", "--data", str(tmp_path / "none.csv")).returncode == 1


def test_too_little_data_is_no_model(tmp_path: Path) -> None:
    done = attempt("austin", "--as-of", "2001-01-01")
    assert done.returncode == 1
    assert "Austin as of 2001-01-01: no model. " in done.stdout
    assert attempt("austin", "--as-of", "2101-01-01").returncode == 2


def test_a_mistake_in_ones_own_file_is_pointed_at_by_file_and_line(tmp_path: Path) -> None:
    path = own_fleet(
        tmp_path, features="import pandas\n\n\ndef features(frame, context):\n    return frame['medan']\n"
    )
    done = fleet("try", "austin", "--fleet", str(path), **NO_AWS)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{tmp_path / 'features.py'}:5: preprocess: ")
    assert "medan" in last
    assert str(tmp_path / "features.py") in done.stderr
    assert "city-fleet-try-" not in done.stderr


def test_a_script_that_crashes_or_ends_early_is_said(tmp_path: Path) -> None:
    path = own_fleet(tmp_path, train="import os\nos.kill(os.getpid(), 9)\n")
    done = fleet("try", "austin", "--fleet", str(path), **NO_AWS)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "train: it was ended by signal 9"
    (tmp_path / "train.py").write_text("print('done')\n", encoding="utf-8")
    done = fleet("try", "austin", "--fleet", str(path), **NO_AWS)
    assert done.returncode == 1
    assert "training.json: train.py has not left it as docs/steps.md says" in done.stderr


def test_scripts_see_no_credentials(tmp_path: Path) -> None:
    path = own_fleet(tmp_path, train="import os\nraise SystemExit(str(sorted(os.environ)))\n")
    done = fleet("try", "austin", "--fleet", str(path), **NO_AWS)
    assert "SM_CHANNEL_TRAIN" in done.stderr
    assert "AWS_" not in done.stderr


def test_a_python_and_data_are_found_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").symlink_to(IMAGE_PYTHON.parents[1])
    (tmp_path / "mine.csv").write_bytes(DATA.read_bytes())
    monkeypatch.chdir(tmp_path)
    report = in_json(
        attempt("austin", "--data", "mine.csv", "--json", CITY_FLEET_IMAGE_PYTHON="image/bin/python")
    )
    assert report["data"] == "mine.csv"


def test_a_python_without_the_packages_is_refused(tmp_path: Path) -> None:
    done = attempt("austin", CITY_FLEET_IMAGE_PYTHON=str(tmp_path / "python"))
    assert done.returncode == 1
    assert "field 'CITY_FLEET_IMAGE_PYTHON'" in done.stderr
    assert "uv venv --python 3.11 image" in done.stderr


def test_what_an_image_does_by_itself_is_refused(tmp_path: Path) -> None:
    done = attempt("austin", "--set", "entry=none")
    assert done.returncode == 1
    assert "field 'entry'" in done.stderr
