"""evaluate.py on tables: classes, baselines, champions with other encodings, and several cities in one job."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from city_fleet import metrics
from city_fleet.champions import gate
from city_fleet.config import Gate
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import AS_OF, Finished, pack, start_job

CLASSES = ["Franklin", "Thai Fresh", "Uchi"]
PARTY = {"name": "party", "kind": "number"}
OPEN = {"name": "open", "kind": "boolean"}
BUDGET = {"name": "budget", "kind": "number"}
CUISINE = {"name": "cuisine", "kind": "category", "categories": ["bbq", "thai", "sushi"]}
FEATURES = [PARTY, CUISINE, OPEN]
#: Writes the three tables of a city from rows of raw values, as preprocess.py of a table does.
_WRITE = """
import csv, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from table_file import write_table
from table_schema import Schema, Table
given = json.load(sys.stdin)
schema = Schema.from_json(given["schema"])
for part, rows in given["rows"].items():
    numbers = [schema.classes.index(r["choice"]) if r["choice"] in schema.classes else -1 for r in rows]
    target = np.array(numbers if schema.classes else [r["choice"] for r in rows], dtype=float)
    values = np.array([[f.encode(r.get(f.name)) for f in schema.features] for r in rows])
    folder = Path(sys.argv[2], part, "city=" + schema.city)
    names = [str(n) for n in range(len(rows))]
    write_table(folder, part, Table(schema, names, target, target, np.ones(len(rows)), values))
    if part == "test":
        with (folder / "raw.csv").open("w", encoding="utf-8", newline="") as file:
            lines = csv.DictWriter(file, list(rows[0]))
            lines.writeheader()
            lines.writerows({k: "" if v is None else v for k, v in r.items()} for r in rows)
"""


def orders(count: int, seed: int, classes: Sequence[str] = CLASSES) -> list[dict[str, Any]]:
    """Orders of synthetic guests: mostly the restaurant of their cuisine."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        at = chance.choices(range(len(classes)), weights=[3, 2, 1][: len(classes)])[0]
        likes = at if chance.random() < 0.7 else chance.randrange(3)
        rows.append(
            {
                "party": chance.choice((None, 1, 2, 4, 8)),
                "cuisine": ["bbq", "thai", "sushi"][likes],
                "open": chance.random() < 0.5,
                "budget": round(10 + 20 * at + chance.gauss(0, 8), 2),
                "choice": classes[at],
            }
        )
    return rows


class TableJobs:
    """The jobs of some cities with tables, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(
        self, city: str, *, features: list[Any] = FEATURES, task: str = "multiclass", **more: Any
    ) -> dict[str, Any]:
        classes = more.get("classes", CLASSES if task == "multiclass" else CLASSES[:2])
        made_of = more.get("made_of", classes)
        rows = {
            "train": orders(300, 1, made_of),
            "validation": orders(80, 2, made_of),
            "test": orders(150, 3, made_of),
        }
        rows["test"] += more.get("unusual", [])
        if task == "regression":
            rows = {
                part: [{**row, "choice": row["budget"] * 2} for row in each] for part, each in rows.items()
            }
        shares = [sum(row["choice"] == name for row in rows["train"]) / 300 for name in classes]
        schema = {
            "format_version": 1, "kind": "table", "task": task, "city": city, "as_of": AS_OF, "target": "choice",
            "transform": {"kind": "none", "window": None, "reference": None}, "features": features,
            "classes": None if task == "regression" else classes,
            "baseline": {"name": "median", "values": [60.0]} if task == "regression"
            else {"name": "class frequencies", "values": shares},
        }  # fmt: skip
        subprocess.run(
            [IMAGE_PYTHON, "-c", _WRITE, str(SCRIPTS), str(self.root / "preprocess")],
            input=json.dumps({"schema": schema, "rows": rows}), text=True, timeout=120, check=True,
        )  # fmt: skip
        return {"schema": schema, **rows}

    def settings(self, *cities: str, champion: dict[str, str] | None = None) -> Path:
        path = self.root / "settings" / "settings.json"
        path.parent.mkdir(exist_ok=True)
        asked = {"dataset": {"kind": "table"}, "seed": 0, "champion": champion,
                 "candidates": [{"algorithm": "xgboost", "hyperparameters": {"num_boost_round": 20}}]}  # fmt: skip
        value = {"format_version": 1, "as_of": AS_OF, "raw_uri": "s3://b/raw/",
                 "cities": [{"city": city, **asked} for city in cities]}  # fmt: skip
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    def train(self, *cities: str) -> None:
        self.settings(*cities)
        (self.root / "model").mkdir(exist_ok=True)
        finished = start_job(
            "train.py", [], self.root / "failure",
            SM_CHANNEL_SETTINGS=str(self.root / "settings"), SM_CHANNEL_TRAIN=str(self.root / "preprocess" / "train"),
            SM_CHANNEL_VALIDATION=str(self.root / "preprocess" / "validation"), SM_MODEL_DIR=str(self.root / "model"),
            SM_OUTPUT_DATA_DIR=str(self.root / "output"), SM_OUTPUT_DIR=str(self.root), SM_NUM_CPUS="1",
        )  # fmt: skip
        assert finished.code == 0, finished.stderr
        pack(self.root / "model", self.root / "packed" / "model.tar.gz")

    def evaluate(
        self, *cities: str, champion: dict[str, str] | None = None, more: Sequence[str] = ()
    ) -> Finished:
        message = self.root / "message"
        message.unlink(missing_ok=True)
        given = {"settings": self.settings(*cities, champion=champion), "test-dir": self.root / "preprocess" / "test",
                 "model-dir": self.root / "packed", "output-dir": self.root / "evaluate",
                 "message-file": message}  # fmt: skip
        arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        return start_job("evaluate.py", [*arguments, *more], message)

    def read(self, city: str, name: str = "evaluation.json") -> Any:
        path = self.root / "evaluate" / "evaluation" / f"city={city}" / name
        return json.loads(path.read_text(encoding="utf-8")) if name.endswith(".json") else path.read_bytes()


UNUSUAL = [
    {"party": 2, "cuisine": "ethiopian", "open": True, "budget": 30, "choice": "Aster's"},
    {"party": None, "cuisine": None, "open": None, "budget": None, "choice": "Uchi"},
]


@pytest.fixture(scope="module")
def restaurants(tmp_path_factory: pytest.TempPathFactory) -> TableJobs:
    """Two cities of one job; the holdout of one has a class and a category that training never saw."""
    jobs = TableJobs(tmp_path_factory.mktemp("restaurants"))
    jobs.write("austin", unusual=UNUSUAL)
    jobs.write("waco", task="binary")
    jobs.write("tyler", task="regression")
    jobs.train("austin", "waco", "tyler")
    finished = jobs.evaluate("austin", "waco", "tyler")
    assert finished.code == 0, finished.stderr
    return jobs


@pytest.mark.parametrize(
    ("city", "task"), [("austin", "multiclass"), ("waco", "binary"), ("tyler", "regression")]
)
def test_a_table_is_judged_by_its_tasks_metrics_against_its_baseline(
    restaurants: TableJobs, city: str, task: str
) -> None:
    report, holdout = restaurants.read(city), restaurants.read(city, "holdout.json")
    assert (report["task"], report["kind"], report["algorithm"]) == (task, "table", "xgboost")
    assert report["rows"] == holdout["of_rows"] == len(holdout["rows"]) == (152 if city == "austin" else 150)
    predicted = [row["predicted"] for row in holdout["rows"]]
    assert report["challenger"].pop("rows_trained") == 380
    assert report["challenger"] == pytest.approx(metrics.holdout_metrics(holdout, predicted), rel=1e-9)
    ((name, measured),) = report["baselines"].items()
    assert report["naive"] == measured
    schema = json.loads((restaurants.root / "preprocess/test" / f"city={city}" / "schema.json").read_text())
    values = schema["baseline"]["values"]
    constant = values[0] if task == "regression" else dict(zip(schema["classes"], values, strict=True))
    assert measured == pytest.approx(metrics.holdout_metrics(holdout, [constant] * report["rows"]), rel=1e-9)
    decision = gate.decide(restaurants.read(city), Gate())
    assert decision.promote, decision.reasons
    assert f"the {name}'" in decision.reasons[0]


def test_a_class_and_a_category_that_training_never_saw_are_told_by_their_names(
    restaurants: TableJobs,
) -> None:
    unseen, missing = restaurants.read("austin", "holdout.json")["rows"][-2:]
    assert (unseen["actual"], sorted(unseen["predicted"])) == ("Aster's", CLASSES)
    assert unseen["values"] == [2.0, "other", True]
    assert (missing["actual"], missing["values"]) == ("Uchi", [None, None, None])
    report = restaurants.read("austin")
    assert set(report["drift"]) == {"party"}, "neither categories nor truth values have a median"
    assert set(report["category_drift"]) == {"cuisine", "open"}
    assert max(report["category_drift"].values()) < 0.1, "the same draw"


def test_categories_drift_by_the_share_of_rows_that_went_over_to_others(
    restaurants: TableJobs, tmp_path: Path
) -> None:
    jobs = TableJobs(tmp_path)
    shutil.copytree(restaurants.root / "preprocess", tmp_path / "preprocess")
    shutil.copytree(restaurants.root / "packed", tmp_path / "packed")
    path = tmp_path / "preprocess/test/city=austin/test.csv"
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    at = header.index("cuisine")
    before = sum(row[at] == "2.0" for row in rows) / len(rows)
    for row in rows:
        row[at] = "2.0"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    assert jobs.evaluate("austin").code == 0
    found = jobs.read("austin")["category_drift"]
    assert found["cuisine"] == pytest.approx(1 - before, abs=0.15)
    assert found["cuisine"] > 0.5 > found["open"]


def test_equal_models_have_equal_archives_however_they_were_packed(
    restaurants: TableJobs, tmp_path: Path
) -> None:
    archive = restaurants.read("austin", "model.tar.gz")
    jobs = TableJobs(tmp_path)
    shutil.copytree(restaurants.root / "preprocess", tmp_path / "preprocess")
    folder = restaurants.root / "model" / "city=austin"
    packed = tmp_path / "packed" / "model.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(
        packed, "w:gz"
    ) as tar:  # at the root, in another order, with other times, modes and owners
        for path in sorted(folder.rglob("*"), reverse=True):
            info = tar.gettarinfo(path, str(path.relative_to(folder)))
            info.mtime, info.mode, info.uid, info.uname = 86_400, 0o700, 1234, "somebody"
            if path.is_file():
                tar.addfile(info, io.BytesIO(path.read_bytes()))
    assert jobs.evaluate("austin").code == 0
    assert jobs.read("austin", "model.tar.gz") == archive
    assert jobs.read("austin")["artifact_sha256"] == restaurants.read("austin")["artifact_sha256"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0o644, 0, 0, "", "")}
    assert "xgboost-model.ubj" in {member.name for member in members}


def test_one_citys_end_is_not_that_of_the_others(restaurants: TableJobs, tmp_path: Path) -> None:
    jobs = TableJobs(tmp_path)
    shutil.copytree(restaurants.root / "preprocess", tmp_path / "preprocess")
    shutil.copytree(restaurants.root / "packed", tmp_path / "packed")
    shutil.copytree(tmp_path / "preprocess/test/city=waco", tmp_path / "preprocess/test/city=bryan")
    finished = jobs.evaluate("bryan", "austin", "dallas", "waco")
    assert finished.code == 1
    assert "no city 'dallas'" in (finished.message or "")
    assert "schema.json: got city 'waco'" in (finished.message or "")
    assert sorted(os.listdir(tmp_path / "evaluate/evaluation")) == ["city=austin", "city=waco"]
    assert jobs.read("waco") == restaurants.read("waco")


def champion_of(jobs: TableJobs, champion: TableJobs, city: str) -> dict[str, Any]:
    """Judge a city again beside the model of other jobs, and return the champion's entry."""
    pack(champion.root / "model" / f"city={city}", jobs.root / "champion" / "c.tar.gz")
    named = {"target_model": f"{city}/c.tar.gz", "etag": '"e"', "as_of": AS_OF}
    finished = jobs.evaluate(city, champion=named, more=["--champion-dir", str(jobs.root / "champion")])
    assert finished.code == 0, finished.stderr
    entry: dict[str, Any] = jobs.read(city)["champion"]
    assert {name: entry.pop(name) for name in named} == named
    return entry


@pytest.fixture
def today(restaurants: TableJobs, tmp_path: Path) -> TableJobs:
    """Austin's new model, to be judged beside champions."""
    jobs = TableJobs(tmp_path / "today")
    shutil.copytree(restaurants.root / "preprocess", jobs.root / "preprocess")
    shutil.copytree(restaurants.root / "packed", jobs.root / "packed")
    return jobs


def test_a_champion_with_other_columns_categories_and_classes_is_judged_on_the_same_rows(
    today: TableJobs, tmp_path: Path
) -> None:
    """As by the table that its own settings make of the same rows."""
    old = TableJobs(tmp_path / "old")
    other = {**CUISINE, "categories": ["sushi", "ethiopian", "bbq"]}
    old.write(
        "austin",
        features=[BUDGET, other, PARTY],
        classes=[*reversed(CLASSES)],
        made_of=CLASSES,
        unusual=UNUSUAL,
    )
    old.train("austin")
    assert old.evaluate("austin").code == 0
    found = champion_of(today, old, "austin")
    assert found.pop("vanished_classes") == []
    expected = old.read("austin")["challenger"]
    assert found == pytest.approx(expected)
    assert found != today.read("austin")["challenger"], "it is another model"


def test_a_class_that_has_vanished_since_the_champion_is_named(today: TableJobs, tmp_path: Path) -> None:
    old = TableJobs(tmp_path / "old")
    old.write("austin", classes=["Franklin", "Closed", "Uchi"])
    old.train("austin")
    found = champion_of(today, old, "austin")
    assert found["vanished_classes"] == ["Closed"]
    assert 0 < found["accuracy"] < today.read("austin")["challenger"]["accuracy"]


def test_a_champion_that_can_t_be_compared_says_why(today: TableJobs, tmp_path: Path) -> None:
    old = TableJobs(tmp_path / "old")
    old.write("austin", features=[BUDGET, PARTY])
    old.train("austin")
    raw = today.root / "preprocess/test/city=austin/raw.csv"
    with raw.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with raw.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, ["party", "cuisine", "open", "choice"], extrasaction="ignore")
        lines.writeheader()
        lines.writerows(rows)
    error = champion_of(today, old, "austin")["error"]
    assert error.startswith(
        f"The champion cannot be compared: the model of {AS_OF} needs feature budget, which the test set lacks (it has "
        "party, cuisine, open), and the raw data hold only the columns party, cuisine, open, choice."
    )
    before = TableJobs(tmp_path / "before")
    before.write("austin", task="regression")
    before.train("austin")
    assert (
        "it is of a table and its task regression, the new model of a table and multiclass."
        in (champion_of(today, before, "austin")["error"])
    )
