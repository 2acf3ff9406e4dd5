"""Models of other libraries, really fitted: what is taken answers as its library does, what is not says why."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_servers import ModelServer
from tests.support.paths import IMPORT_PYTHON, IMPORTER, ROOT, SCRIPTS

pytestmark = pytest.mark.skipif(
    not IMPORT_PYTHON.is_file(), reason=".venv-import is not made (make environments)"
)
SUPPORT = ROOT / "tests" / "support"
#: Case → what its refusal says.
REFUSED = {
    "xgboost gblinear json": "it is a linear booster (gblinear)",
    "xgboost gblinear ubj": "it is a linear booster (gblinear)",
    "xgboost quantile json": "got objective 'reg:quantileerror'; allowed: ",
    "xgboost quantile ubj": "got objective 'reg:quantileerror'; allowed: ",
    "xgboost misspelled": "got input 'distnce'; allowed: the features of the city's rows: rooms, ",
    "xgboost three names": "--features: got 3 names; allowed: 2",
    "xgboost for classes": "predicts a number, and the city's target 'price' is a class",
    "artifact elsewhere": "it is of task regression on a table; allowed: binary",
    "onnx three inputs without names": "it has 3 inputs without names, and the city's rows have 5 features",
    "pickle": "it is a pickle, and opening one runs whatever is in it",
    "pickle of old": "it is a pickle, and opening one runs whatever is in it",
    "joblib": "it is a packed stream, as joblib writes pickles",
    "program": "it is a program; allowed: ",
    "nothing": "got 0 bytes",
    "junk": "it is of no kind that is known",
    "wrong format": "it is of format xgboost, not onnx",
    "deep json": "it holds lists in lists 1000001 deep; allowed: 100",
    "json": "can't read it",
    "tree in a circle": "a node leads out of its tree",
    "no such feature": "a node asks for a feature that no row has",
    "leaf without a number": "a threshold or a leaf is not a number",
    "onnx external": "tensor 'w0' lies in another file (external data)",
    "onnx large": "says that it holds 5497558138880 numbers, and holds 5",
    "onnx custom": "it uses Gift of com.example; allowed: ",
    "onnx control flow": "operator If holds a graph of its own (control flow)",
    "onnx erf": "it uses Erf; allowed: ",
    "onnx circle": "tree 0: a node leads out of it",
    "onnx mixed": "its layers have different activations",
    "onnx not": "it is no ONNX model",
    "skops function": "FunctionTransformer",
    "skops transformed": "TransformedTargetRegressor",
    "skops os": "it holds os.DecisionTreeRegressor, which is not on the list",
    "skops method": "(a MethodNode), which is not on the list",
    "skops empty": "skops has not written it",
    "skops bomb": "allowed: 60000 files of 536870912 bytes together",
    "scaled trees": "its trees stand behind a scaler",
    "missing values": "it does not take missing values, and the city's rows have some, of rooms, ",
    "artifact bomb": "not a readable tar.gz file",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gets the artifacts, in ``kept``."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, Any]:
    """What has come of each case: one process for all, as importing the libraries takes longest."""
    path = os.pathsep.join(map(str, (SCRIPTS, IMPORTER, SUPPORT)))
    done = subprocess.run(
        [IMPORT_PYTHON, str(SUPPORT / "foreign_models.py"), str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_taken_answers_as_its_own_library_does_on_a_thousand_rows(
    reports: dict[str, Any], subtests: pytest.Subtests
) -> None:
    taken = {name: report for name, report in reports.items() if name not in REFUSED}
    assert len(taken) > 60
    for name, report in taken.items():
        with subtests.test(name):
            assert "refused" not in report, report
            compared = report["origin"]["compared"]
            assert compared["rows"] == 1000
            assert compared["own_rows"] >= 1000
            assert compared["largest_difference"] <= 1e-5
            assert report["loaded"], "what was written does not answer as what was converted"


def test_each_kind_becomes_an_algorithm_that_servers_know(reports: dict[str, Any]) -> None:
    found = {report.get("algorithm") for report in reports.values()} - {None}
    assert found == {"xgboost", "linear", "mlp", "knn"}
    # Packed trees are what servers of thousands answer with; several sums without a link have none.
    packed = {name for name, report in reports.items() if report.get("packed")}
    assert {"xgboost gbtree json", "xgboost softprob ubj", "onnx BRANCH_GT 1"} <= packed
    assert reports["xgboost named"]["notes"][0].startswith("Of its 60 rounds the first 10 count")


def test_the_model_server_answers_as_their_own_libraries_do(
    reports: dict[str, Any], folder: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    server, asked = ModelServer(tmp_path, SAGEMAKER_SUBMIT_DIRECTORY=str(SCRIPTS)), 0
    try:
        for name, report in reports.items():
            if "refused" in report:
                continue
            with subtests.test(name):
                model = report["artifact"]
                assert server.load_folder(model, folder / "kept" / model)[0] == 200
                body = json.dumps({"instances": report["rows"]}).encode()
                status, answer = server.ask(model, body, "application/json", Accept="application/json")
                assert status == 200, answer
                got = [
                    list(each["probabilities"].values()) if isinstance(each, dict) else each
                    for each in answer["predictions"]
                ]
                asked += len(got)
                for one, other in zip(got, report["answers"], strict=True):
                    assert one == pytest.approx(other, rel=1e-5, abs=1e-5)
                assert server.call("DELETE", f"/models/{model}")[0] == 200
    finally:
        server.stop()
    assert asked > 500


def test_what_is_not_taken_says_why_in_one_sentence(
    reports: dict[str, Any], subtests: pytest.Subtests
) -> None:
    assert set(REFUSED) <= set(reports)
    for name, said in REFUSED.items():
        with subtests.test(name):
            sentence = reports[name].get("refused", "it was taken")
            assert sentence.startswith(f"{name}: ")
            assert said in sentence
            assert "\n" not in sentence
            assert "Not foreseen" not in sentence
