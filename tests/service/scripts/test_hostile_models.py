"""evaluate.py and inference.py with models that are not what train.py writes: a sentence, and the process lives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from booster_shape import WrongShape, check_shape
from tests.support.script_jobs import AS_OF, Jobs, pack, settings_city, train_with

Ask = Callable[..., dict[str, Any]]
BOOSTER, CARD = "xgboost-model.ubj", "city_fleet/model.json"


def set_booster(folder: Path, content: bytes, **changes: Any) -> None:
    """Replace the booster, and say in model.json that it is the right one."""
    (folder / BOOSTER).write_bytes(content)
    card = json.loads((folder / CARD).read_text(encoding="utf-8")) | changes
    card["files"][BOOSTER] = hashlib.sha256(content).hexdigest()
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def hostile_boosters(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Boosters that end XGBoost, hold it up or lead it astray, with what is said of each."""
    left = good.index(b"left_children")
    first = good.index(b"l", good.index(b"#", left) + 1)
    # In the list of left children: the root's own number, so that a row goes round and round.
    begin = good.index(b"$l#L", left) + 12
    circle = bytearray(good)
    circle[begin : begin + 4] = bytes(4)
    far = bytearray(good)
    far[begin : begin + 4] = (1 << 20).to_bytes(4, "big")
    assert first > 0
    return {
        "empty": (b"", "XGBoost does not survive it"),
        "cut": (good[:-1000], "XGBoost "),
        "a circle": (bytes(circle), "a node"),
        "out of the tree": (bytes(far), ""),
        "deep": (b"[" * 1_000_000, "XGBoost "),
    }


def test_a_booster_that_harms_is_refused_and_the_process_answers_on(
    ask: Ask, austin: Jobs, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    model = austin.root / "model" / "model"
    sample = json.loads((model / "city_fleet/samples.json").read_text(encoding="utf-8"))["rows"][0]
    line = ",".join("" if value is None else repr(value) for value in sample)
    good = ask(model, line)
    for what, (content, said) in hostile_boosters((model / BOOSTER).read_bytes()).items():
        with subtests.test(what):
            folder = Path(shutil.copytree(model, tmp_path / what))
            set_booster(folder, content)
            answer = ask(folder, line)
            assert answer["error"] == "ArtifactError", answer
            assert answer["text"].startswith(f"{BOOSTER}: ")
            assert said in answer["text"]
            assert "\n" not in answer["text"]
            assert "/" not in answer["text"]
            assert ask(model, line) == good


def champion_arguments(jobs: Jobs) -> list[str]:
    named = ["--champion-dir", str(jobs.root / "champion"), "--champion-target-model", "austin/c.tar.gz"]
    return [*named, "--champion-etag", "e", "--champion-as-of", AS_OF]


def test_a_champion_that_kills_xgboost_does_not_keep_the_challenger_from_being_judged(
    jobs: Jobs, austin: Jobs
) -> None:
    shutil.copytree(austin.out("test"), jobs.out("test"))
    shutil.copytree(austin.root / "model" / "packed", jobs.root / "model" / "packed")
    folder = Path(shutil.copytree(austin.root / "model" / "model", jobs.root / "hostile"))
    set_booster(folder, b"")
    pack(folder, jobs.root / "champion" / "c.tar.gz")
    finished = jobs.evaluate("austin", more=champion_arguments(jobs))
    assert finished.code == 0, finished.stderr
    report = jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")
    assert report["challenger"]["mape"] < report["naive"]["mape"]
    assert report["champion"]["error"].startswith(
        f"The champion cannot be compared: {BOOSTER}: XGBoost does not survive it"
    )


def test_a_challenger_that_kills_xgboost_fails_with_a_sentence(jobs: Jobs, austin: Jobs) -> None:
    shutil.copytree(austin.out("test"), jobs.out("test"))
    folder = Path(shutil.copytree(austin.root / "model" / "model", jobs.root / "hostile"))
    set_booster(folder, b"")
    pack(folder, jobs.root / "model" / "packed" / "model.tar.gz")
    finished = jobs.evaluate("austin")
    assert finished.code == 1
    assert (finished.message or "").startswith(
        f"The new model of austin cannot be evaluated: {BOOSTER}: XGBoost does not survive it"
    )
    assert "Traceback" not in finished.stderr


def test_an_archive_whose_headers_swell_is_refused(jobs: Jobs, austin: Jobs) -> None:
    """What tarfile reads on its own account, the attributes of a member, is bounded too: 400 MB from 400 KB."""
    shutil.copytree(austin.out("test"), jobs.out("test"))
    info = tarfile.TarInfo("attributes")
    info.type, info.size = tarfile.XHDTYPE, 400_000_000
    archive = jobs.root / "model" / "packed" / "model.tar.gz"
    archive.parent.mkdir(parents=True)
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(400):
            file.write(bytes(1_000_000))
    finished = jobs.evaluate("austin")
    assert finished.code == 1
    assert "too large; allowed: 100 members of" in (finished.message or "")


def test_a_prediction_that_is_no_number_is_a_refusal_not_an_answer(
    ask: Ask, austin: Jobs, subtests: pytest.Subtests
) -> None:
    model = austin.root / "model" / "model"
    features = json.loads((model / CARD).read_text(encoding="utf-8"))["features"]
    reference = features.index("median_mean_12")
    row = ["1"] * len(features)
    good = ",".join(row)
    row[reference] = "1.7e308"
    for body in (",".join(row), f"{good}\n{','.join(row)}"):
        with subtests.test(body=body):
            answer = ask(model, body)
            if answer.get("status_code"):
                assert answer["status_code"] == 400
                assert "is no finite number" in answer["text"]
                assert answer["text"].startswith(f"Row {body.count(chr(10)) + 1}: ")
            else:
                assert "inf" not in answer["text"]


def test_gzip_of_nothing_is_no_archive(jobs: Jobs, austin: Jobs) -> None:
    shutil.copytree(austin.out("test"), jobs.out("test"))
    archive = jobs.root / "model" / "packed" / "model.tar.gz"
    archive.parent.mkdir(parents=True)
    for content in (b"", gzip.compress(b""), io.BytesIO(bytes(10_240)).getvalue()):
        archive.write_bytes(content)
        finished = jobs.evaluate("austin")
        assert finished.code == 1
        assert "Traceback" not in finished.stderr
        assert "model.tar.gz" in (finished.message or "") or "model.json" in (finished.message or "")


def array_files(original: bytes) -> dict[str, bytes]:
    """Arrays that are not as they are saved: objects, which numpy would unpickle; swelling; of another shape."""
    arrays = dict(np.load(io.BytesIO(original)))
    first = next(iter(arrays))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return {
        "no archive": b"PK",
        "cut": original[: len(original) // 2],
        "compressed": packed.getvalue(),
        "objects": saved(arrays | {first: np.array([{"a": 1}], dtype=object)}),
        "whole numbers": saved({name: each.astype(np.int64) for name, each in arrays.items()}),
        "another shape": saved(arrays | {first: np.zeros((3, 1, 2))}),
        "no number": saved(arrays | {first: np.full(arrays[first].shape, np.nan)}),
        "none": saved({}),
        "too few columns": saved({name: each[..., :1] for name, each in arrays.items()}),
    }


def saved(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as numpy saves them."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


JSON_FILES = (
    b"{}",
    b"[]",
    b'{"n_neighbors": 1e9}',
    b'{"units": [5]}',
    b'{"activation": "exec", "units": [32, 1]}',
)


def test_arrays_that_are_not_as_they_are_saved_are_refused(
    ask: Ask, austin: Jobs, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for algorithm in ("baseline", "knn", "linear", "mlp"):
        finished = train_with(austin, f"hostile_{algorithm}", settings_city("austin", algorithm))
        assert finished.code == 0, finished.stderr
        model = austin.root / f"hostile_{algorithm}" / "model" / "city=austin"
        sample = json.loads((model / "city_fleet/samples.json").read_text(encoding="utf-8"))
        line = ",".join("" if value is None else repr(value) for value in sample["rows"][0])
        good = ask(model, line)
        assert float(good["text"]) == pytest.approx(sample["predictions"][0], rel=1e-12)
        name = f"city_fleet/{algorithm}.npz"
        damages = [
            (name, what, content) for what, content in array_files((model / name).read_bytes()).items()
        ]
        settings = f"city_fleet/{algorithm}.json"
        if (model / settings).is_file():
            damages += [(settings, content.decode(), content) for content in JSON_FILES]
        for file, what, content in damages:
            if (algorithm, what) == ("baseline", "too few columns"):
                continue  # it has one
            with subtests.test(f"{file} {what}"):
                folder = Path(
                    shutil.copytree(model, tmp_path / f"{algorithm}-{len(list(tmp_path.iterdir()))}")
                )
                (folder / file).write_bytes(content)
                card = json.loads((folder / CARD).read_text(encoding="utf-8"))
                card["files"][file] = hashlib.sha256(content).hexdigest()
                (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
                answer = ask(folder, line)
                assert answer["error"] == "ArtifactError", answer
                assert answer["text"].startswith("city_fleet")
                assert "\n" not in answer["text"]
        unknown = Path(shutil.copytree(model, tmp_path / f"{algorithm}-unknown"))
        text = (unknown / CARD).read_text(encoding="utf-8")
        (unknown / CARD).write_text(
            text.replace(f'"algorithm": "{algorithm}"', '"algorithm": "os"'), encoding="utf-8"
        )
        assert "got algorithm 'os'; allowed: baseline, " in ask(unknown, line)["text"]
        assert ask(model, line) == good


def test_a_booster_with_classes_and_categories_is_looked_at_split_by_split() -> None:
    draws = np.random.default_rng(0)
    values = np.column_stack([draws.normal(size=300), draws.integers(0, 6, 300)])
    label = (values[:, 1] + (values[:, 0] > 0)) % 3
    matrix = xgboost.DMatrix(values, label=label, feature_types=["q", "c"], enable_categorical=True)
    parameters = {"objective": "multi:softprob", "num_class": 3, "nthread": 1, "gamma": 0.5}
    booster = xgboost.train(parameters, matrix, 4)
    good = json.loads(bytes(booster.save_raw("json")))
    check_shape(json.dumps(good).encode())
    model = ("gradient_booster", "model")
    tree = (*model, "trees", 0)
    damages: list[tuple[tuple[Any, ...], Any]] = [
        ((*tree, "categories", 0), -1),
        ((*tree, "categories", 0), 1 << 30),
        ((*tree, "categories_sizes", 0), 1 << 40),
        ((*tree, "categories_sizes", 0), 0),
        ((*tree, "categories_segments", 0), 7),
        ((*tree, "categories_nodes", 0), 10_000),
        ((*tree, "categories_nodes"), []),
        ((*tree, "split_type", 0), 2),
        ((*tree, "parents", 1), 1 << 26),
        ((*tree, "parents", 1), -1),
        ((*tree, "parents", 1), 2),
        ((*tree, "base_weights"), []),
        ((*tree, "sum_hessian"), []),
        ((*model, "tree_info", 0), 3),
        ((*model, "tree_info", 0), -1),
        ((*model, "tree_info"), [0]),
        (("learner_model_param", "num_class"), "0"),
        (("learner_model_param", "num_class"), "1000000000"),
        (("learner_model_param", "num_class"), "2"),
        (("learner_model_param", "base_score"), "[1E0,2E0]"),
        (("objective", "name"), "multi:softmax"),
    ]
    for path, value in damages:
        bad = json.loads(json.dumps(good))
        place: Any = bad["learner"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(WrongShape):
            check_shape(json.dumps(bad).encode())
