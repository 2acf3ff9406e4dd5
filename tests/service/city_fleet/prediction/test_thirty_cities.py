"""Thirty cities over three algorithms and two tasks: made by one job for each step, answered by one endpoint."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions.artifact import parse
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Asked, Prediction, Predictor
from tests.support.aws_calls import client
from tests.support.local_sagemaker import running_server
from tests.support.script_jobs import Jobs, pack, settings_city, settings_of, start_job, train_with
from tests.support.serving import KEYS, Serving, serve

CITIES = 30
ROWS = 120
CALLERS = 4
ASKED_ROWS = 2
CLOSE = 1e-6
# On a busy machine thirty models are loaded while their first rows wait.
PATIENCE_SECONDS = 100.0
ALGORITHMS: dict[str, dict[str, Any]] = {
    "xgboost": {"num_boost_round": 8, "max_depth": 3, "subsample": 0.7},
    "linear": {},
    "knn": {"n_neighbors": 7, "weights": "distance"},
}
TASKS = ("regression", "multiclass")
FEATURES = ("cuisine", "distance", "party")


class City:
    """A city of the thirty: its algorithm and task by its number, and a table that no other city has."""

    def __init__(self, number: int) -> None:
        self.slug = f"city_{number:02}"
        self.algorithm = list(ALGORITHMS)[number % len(ALGORITHMS)]
        self.task = TASKS[number // len(ALGORITHMS) % len(TASKS)]
        self._number = number

    @property
    def settings(self) -> dict[str, Any]:
        dataset = {
            "kind": "table",
            "task": self.task,
            "target": {"column": "wanted"},
            "time": {"columns": ["day"]},
            "minimum_rows": 50,
        }
        candidate = {"algorithm": self.algorithm, "hyperparameters": ALGORITHMS[self.algorithm]}
        return {**settings_city(self.slug, candidate), "dataset": dataset, "seed": self._number}

    def raw(self) -> list[list[Any]]:
        """Draw evenings of guests: what they spend, or to which restaurant of their city they go."""
        chance = random.Random(self._number)
        lines: list[list[Any]] = [["day", "party", "distance", "cuisine", "wanted"]]
        for at in range(ROWS):
            party, distance = chance.choice(("", 1, 2, 4, 8)), round(chance.uniform(0, 10), 2)
            # The last are held out: their cuisine is one that no training row has.
            cuisine = "ethiopian" if at >= ROWS - 3 else chance.choice(("bbq", "bbq", "sushi", "thai", ""))
            goes_to = len(cuisine) % 3 if chance.random() < 0.8 else chance.randrange(3)
            spends = 1000 * (self._number + 1) + 30 * int(party or 3) - 20 * distance + 50 * len(cuisine)
            wanted = round(spends, 2) if self.task == "regression" else f"{self.slug} place {goes_to}"
            lines.append([date(2015, 1, 1) + timedelta(days=at), party, distance, cuisine, wanted])
        return lines


THIRTY = [City(number) for number in range(CITIES)]


def run_jobs(root: Path, cities: Sequence[City]) -> Jobs:
    """Run the three jobs, each once, on all of these cities."""
    jobs, settings = Jobs(root), [city.settings for city in cities]
    for city in cities:
        jobs.write_raw(city.slug, city.raw())
    folder = settings_of(jobs, "run", *settings)["SM_CHANNEL_SETTINGS"]
    common = ["--settings", f"{folder}/settings.json", "--message-file", str(root / "message")]
    arguments = [*common, "--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out())]
    finished = start_job("preprocess.py", arguments, root / "message")
    assert finished.code == 0, finished.stderr
    finished = train_with(jobs, "model", *settings)
    assert finished.code == 0, finished.stderr
    packed = pack(root / "model" / "model", root / "packed" / "model.tar.gz").parent
    arguments = [*common, "--test-dir", str(jobs.out("test")), "--model-dir", str(packed)]
    finished = start_job(
        "evaluate.py", [*arguments, "--output-dir", str(root / "evaluate")], root / "message"
    )
    assert finished.code == 0, finished.stderr
    return jobs


def archive(jobs: Jobs, city: City) -> bytes:
    return (jobs.root / "evaluate" / "evaluation" / f"city={city.slug}" / "model.tar.gz").read_bytes()


def read(jobs: Jobs, city: City, name: str) -> Any:
    return jobs.read_json("evaluate", "evaluation", f"city={city.slug}", name)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return run_jobs(tmp_path_factory.mktemp("thirty"), THIRTY)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("thirty-served")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


def check(answer: object, top_k: int | None, predicted: float | dict[str, float]) -> None:
    """Hold an answer against what the evaluation says of the row."""
    assert isinstance(answer, Prediction), answer
    said = answer.to_dict()
    if not isinstance(predicted, dict):
        assert said["prediction"] == pytest.approx(predicted, rel=CLOSE)
        assert {"label", "probabilities", "top_k"}.isdisjoint(said)
        return
    best = sorted(predicted.items(), key=lambda each: -each[1])
    assert said["label"] == best[0][0]
    assert "prediction" not in said
    if top_k is None:
        assert said["probabilities"] == pytest.approx(predicted, abs=CLOSE)
        assert "top_k" not in said
    else:
        assert [each["label"] for each in said["top_k"]] == [name for name, _ in best[:top_k]]
        shares = [each["probability"] for each in said["top_k"]]
        assert shares == pytest.approx([share for _, share in best[:top_k]], abs=CLOSE)
        assert "probabilities" not in said


def test_thirty_cities_over_three_algorithms_and_two_tasks_answer_from_one_endpoint(
    serving: Serving, jobs: Jobs
) -> None:
    live, known = {}, []
    for city in THIRTY:
        report, holdout = read(jobs, city, "evaluation.json"), read(jobs, city, "holdout.json")
        assert (report["algorithm"], report["task"]) == (city.algorithm, city.task)
        body = archive(jobs, city)
        made = parse(body, city.slug)
        assert sorted(made.features) == sorted(FEATURES)
        live[city.slug] = serving.publish(
            city.slug, body, features=made.features, endpoint=serving.endpoint, **made.says
        )
        assert live[city.slug].artifact_sha256 == report["artifact_sha256"]
        # The first held-out rows, and the last, whose category training never saw.
        for row in (*holdout["rows"][: ASKED_ROWS - 1], holdout["rows"][-1]):
            values = dict(zip(holdout["features"], row["values"], strict=True))
            known.append((city, values, None, row["predicted"]))
            if city.task != "regression":
                known.append((city, values, 2, row["predicted"]))
        assert values["cuisine"] == "other"
    assert len({each.artifact_sha256 for each in live.values()}) == CITIES, "each has a model of its own"
    s3, runtime = (
        client(serving.server, name, read_timeout=PATIENCE_SECONDS, max_pool_connections=64)
        for name in ("s3", "sagemaker-runtime")
    )
    predictor = Predictor(
        LivePointers(s3, KEYS), runtime, Endpoints(s3, KEYS, "an-endpoint-that-there-is-not")
    )

    def call(caller: int) -> int:
        chance = random.Random(caller)
        order = chance.sample(known, len(known))
        asked = [
            Asked(city.slug, dict(chance.sample(list(values.items()), len(values))), top_k)
            for city, values, top_k, _ in order
        ]
        answers = predictor.predict_many(asked, PATIENCE_SECONDS)
        for (city, _, top_k, predicted), answer in zip(order, answers, strict=True):
            check(answer, top_k, predicted)
            assert isinstance(answer, Prediction)
            assert (answer.city, answer.target_model) == (city.slug, live[city.slug].target_model)
        return len(answers)

    with ThreadPoolExecutor(CALLERS) as callers:
        answered = list(callers.map(call, range(CALLERS)))
    assert answered == [len(known)] * CALLERS


@pytest.mark.parametrize("number", [4, 12, 17])  # of each algorithm one, of both tasks
def test_a_city_of_a_job_of_thirty_has_the_bytes_of_a_job_of_its_own(
    jobs: Jobs, tmp_path: Path, number: int
) -> None:
    city = THIRTY[number]
    alone = run_jobs(tmp_path, [city])
    assert archive(alone, city) == archive(jobs, city)
    assert read(alone, city, "holdout.json") == read(jobs, city, "holdout.json")
