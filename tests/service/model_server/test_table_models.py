"""Models of tables: classes and raw values are answered alike by packed trees, by XGBoost, by row and by request."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import table_artifacts
from tests.support.model_servers import ModelServer
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.table_artifacts import expected

#: Sums are XGBoost's to the last bit; the exponential is the C library's on one side and XGBoost's on the other.
CLOSE = 1e-6
PACKED = ("number", "log", "two", "many", "mixed", "mixed_two")
BY_LINE = ("number", "log", "two", "many")
TREES, CARD = "city_fleet/trees.bin", "city_fleet/model.json"
HEADER = struct.Struct("<8s6I")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracted artifacts of tables, each with rows and XGBoost's own answers in ``<name>.expected.json``."""
    return table_artifacts.make(tmp_path_factory.mktemp("tables"))


def cell(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def same(got: Any, wanted: Any) -> None:
    if not isinstance(wanted, dict):
        assert got == pytest.approx(wanted, rel=CLOSE)
        return
    assert got["label"] == wanted["label"]
    assert got["probabilities"] == pytest.approx(wanted["probabilities"], abs=CLOSE)


@pytest.mark.parametrize("name", [*PACKED, "categories", "categories_many"])
def test_rows_are_answered_as_xgboost_answers_them(
    plain_server: ModelServer, tables: Path, name: str
) -> None:
    case = expected(tables, name)
    assert plain_server.load_folder(name, tables / name)[0] == 200
    before = plain_server.metric("plain_total")
    by_name = [dict(zip(case["features"], row, strict=True)) for row in case["rows"]]
    for rows in (case["rows"], by_name):
        body = json.dumps({"instances": rows}).encode()
        status, answer = plain_server.ask(name, body, "application/json", Accept="application/json")
        assert status == 200
        for got, wanted in zip(answer["predictions"], case["json"], strict=True):
            same(got, wanted)
    for row, wanted in zip(case["rows"], case["json"], strict=True):
        line = ",".join(f'"{cell(value)}"' if "," in cell(value) else cell(value) for value in row)
        status, answer = plain_server.ask(name, line.encode())
        assert status == 200
        if not isinstance(wanted, dict):
            assert float(answer) == pytest.approx(wanted, rel=CLOSE)
            continue
        ((label, probability),) = csv.reader([answer])
        assert label == wanted["label"]
        assert float(probability) == pytest.approx(max(wanted["probabilities"].values()), abs=CLOSE)
    # A line of numbers does without the user's functions where the trees take those very numbers, and nowhere else.
    plain = plain_server.metric("plain_total") - before
    assert plain == (len(case["rows"]) if name in BY_LINE else 0)
    assert plain_server.call("DELETE", f"/models/{name}")[0] == 200


LIBRARIES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import inference
for name in sys.argv[3:]:
    folder = f"{sys.argv[2]}/{name}"
    with open(f"{folder}.expected.json") as file:
        body = json.dumps({"instances": json.load(file)["rows"]})
    for load in (inference.packed_model_fn, inference.model_fn):
        model = load(folder)
        if load is inference.model_fn:
            assert inference.output_fn(inference.predict_fn(inference.input_fn(body, "application/json"), model), None)
    print(sorted({"pandas", "pyarrow", "sklearn", "scipy.optimize"} & sys.modules.keys()))
"""


def test_answering_needs_neither_pandas_nor_scikit_learn(tables: Path) -> None:
    names = ("mixed", "two", "categories_many")
    command = [IMAGE_PYTHON, "-c", LIBRARIES, str(SCRIPTS), str(tables), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["[]"] * len(names)


def test_a_number_where_the_model_wants_a_truth_value_is_refused_though_trees_would_take_it(
    plain_server: ModelServer, tables: Path
) -> None:
    assert plain_server.load_folder("mixed", tables / "mixed")[0] == 200
    status, answer = plain_server.ask("mixed", b"1.5,1,2015-07-31")
    assert (status, answer) == (
        400,
        "Row 1, feature 'pool': got '1'; allowed: true or false, or empty where missing.",
    )
    plain_server.call("DELETE", "/models/mixed")


def test_the_most_probable_classes_are_asked_for_by_header(plain_server: ModelServer, tables: Path) -> None:
    case = expected(tables, "many")
    assert plain_server.load_folder("many", tables / "many")[0] == 200
    body = json.dumps({"instances": case["rows"]}).encode()
    header = {"X_Amzn_SageMaker_Custom_Attributes": "top_k=2", "Accept": "application/json"}
    status, answer = plain_server.ask("many", body, "application/json", **header)
    assert status == 200
    for got, wanted in zip(answer["predictions"], case["json"], strict=True):
        best = sorted(wanted["probabilities"].items(), key=lambda each: -each[1])[:2]
        assert [each["label"] for each in got["top_k"]] == [name for name, _ in best]
    plain_server.call("DELETE", "/models/many")


def damaged(content: bytes, **members: int) -> bytes:
    """The same with another head."""
    names = ("magic", "trees", "nodes", "features", "depth", "groups", "link")
    head = dict(zip(names, HEADER.unpack_from(content), strict=True)) | members
    return HEADER.pack(*head.values()) + content[HEADER.size :]


def test_trees_of_classes_that_are_not_what_they_say_are_refused(
    plain_server: ModelServer, tables: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    whole = (tables / "many" / TREES).read_bytes()
    sizes = HEADER.size + 4 * 7
    first = struct.unpack_from("<I", whole, sizes)[0]
    hostile = {
        "a link that there is not": damaged(whole, link=4),
        "a link of numbers": damaged(whole, link=0),
        "sigmoid of many": damaged(whole, link=2),
        "no group": damaged(whole, groups=0),
        "one group of softmax": damaged(whole, groups=1),
        "groups beyond the file": damaged(whole, groups=0xFFFFFFFF),
        "one group more": damaged(whole, groups=8),
        "more trees than the groups have": damaged(whole, trees=1),
        "a group with a tree too many": whole[:sizes] + struct.pack("<I", first + 1) + whole[sizes + 4 :],
        "groups whose sum goes round": whole[:sizes]
        + struct.pack("<2I", 0xFFFFFFFF, first + 26)
        + whole[sizes + 8 :],
        "a base score that is none": whole[: HEADER.size]
        + struct.pack("<f", float("nan"))
        + whole[HEADER.size + 4 :],
        "cut off": whole[: sizes + 2],
        "another magic": b"CFTREES3" + whole[8:],
        "trees of numbers": b"CFTREES1" + whole[8:],
    }
    folder = Path(shutil.copytree(tables / "many", tmp_path / "many"))
    card = json.loads((folder / CARD).read_text())
    for what, trees in hostile.items():
        with subtests.test(what):
            (folder / TREES).write_bytes(trees)
            card["files"][TREES] = hashlib.sha256(trees).hexdigest()
            (folder / CARD).write_text(json.dumps(card))
            status, _ = plain_server.load_folder("hostile", folder)
            assert status == 500
    assert plain_server.call("GET", "/ping")[0] == 200


def test_trees_that_contradict_the_samples_of_classes_are_not_used(
    plain_server: ModelServer, tables: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tables / "two", tmp_path / "two"))
    trees = bytearray((folder / TREES).read_bytes())
    (score,) = struct.unpack_from("<f", trees, HEADER.size)
    struct.pack_into("<f", trees, HEADER.size, score + 0.01)
    (folder / TREES).write_bytes(trees)
    card = json.loads((folder / CARD).read_text())
    card["files"][TREES] = hashlib.sha256(trees).hexdigest()
    (folder / CARD).write_text(json.dumps(card))
    before = plain_server.metric("plain_total")
    assert plain_server.load_folder("differs", folder)[0] == 200
    case = expected(tables, "two")
    body = json.dumps({"instances": case["rows"]}).encode()
    answer = plain_server.ask("differs", body, "application/json", Accept="application/json")[1]
    assert answer["predictions"] == case["json"]
    assert plain_server.metric("plain_total") == before
    plain_server.call("DELETE", "/models/differs")
