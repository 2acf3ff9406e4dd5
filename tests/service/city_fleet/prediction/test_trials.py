"""A challenger beside the champion, on a real endpoint: its share, its failures, and shadows that change no answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.prediction.challenger_cache import Trials
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.model_question import Asked
from city_fleet.prediction.predict import Prediction
from city_fleet.state import challengers
from city_fleet.state.challengers import CANARY, SHADOW
from city_fleet.state.observed import Observed
from tests.support.aws_calls import Calls, client
from tests.support.local_sagemaker import running_server
from tests.support.on_trial import SECONDS, OnTrial
from tests.support.serving import KEYS, Serving, city_name, serve
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("trials")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


def test_a_canary_answers_its_share_and_says_so(serving: Serving) -> None:
    city = OnTrial(serving, CANARY, 0.3)
    answers = city.ask(300)
    by_role = {role: [each for each in answers if each.role == role] for role in ("champion", "challenger")}
    taken = [each for each in answers if city.trial.takes(each.prediction_id)]
    assert by_role["challenger"] == taken
    assert 50 < len(taken) < 130
    assert {each.target_model for each in taken} == {city.trial.model.target_model}
    assert all(each.prediction == pytest.approx(city.of_champion) for each in by_role["champion"])
    assert taken[0].prediction != pytest.approx(city.of_champion)
    assert taken[0].to_dict()["role"] == "challenger"
    assert "role" not in by_role["champion"][0].to_dict()
    assert len(city.seen) == 300
    assert sum(each.role == "challenger" for each in city.seen) == len(taken)
    assert not any(each.shadow for each in city.seen)
    # One caller has one model, and whose it is stands nowhere.
    assert len({each.target_model for each in city.ask(20, caller="user 7")}) == 1
    assert "caller" not in city.seen[-1].asked
    # One read for the whole fleet: cities without a trial cost nothing more.
    key = KEYS.challengers()
    assert sum(call.get("Key") == key for _, call in city.calls.seen) == 1
    assert city.is_as_before()


def test_a_canary_that_fails_costs_no_answer_and_is_asked_no_more(serving: Serving) -> None:
    city = OnTrial(serving, CANARY, 1.0)
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(city.trial.model.target_model))
    for _ in range(5):
        (answer,) = city.ask(1)
        assert (answer.role, answer.prediction) == ("champion", pytest.approx(city.of_champion))
    assert city.tally == (3, 3, True)
    failures = [each for each in city.seen if each.role == "challenger"]
    assert len(failures) == 3
    assert {(each.status, each.shadow, each.target_model) for each in failures} == {
        (502, True, city.trial.model.target_model)
    }
    assert failures[0].prediction_id == next(each for each in city.seen if each.status == 200).prediction_id
    assert city.is_as_before()


def test_a_canary_that_hangs_leaves_the_champion_its_time(serving: Serving) -> None:
    city = OnTrial(serving, CANARY, 1.0)
    free = threading.Event()
    of_challenger = city.predictor._of_challenger

    def hangs(*arguments: Any) -> dict[str, Any]:
        free.wait(SECONDS)
        return of_challenger(*arguments)

    city.predictor._of_challenger = hangs  # type: ignore[method-assign]
    (answer,) = city.predictor.predict_many([Asked(city.city, city.row)], 2.0)
    free.set()
    assert isinstance(answer, Prediction)
    assert answer.role == "champion"
    assert 900 < answer.latency_ms < 2000
    (failure,) = (each for each in city.seen if each.role == "challenger")
    assert failure.error.startswith("NotReady: ")


def test_what_neither_can_answer_is_nobodys_failure(serving: Serving) -> None:
    city = OnTrial(serving, CANARY, 1.0)
    answers = city.predictor.predict_many([Asked(city.city, {"trend": 1})] * 4, SECONDS)
    assert {type(each).__name__ for each in answers} == {"BadRequest"}
    assert city.tally == (0, 0, False)


def test_a_shadow_is_asked_and_changes_no_answer(serving: Serving) -> None:
    city = OnTrial(serving, SHADOW, 1.0)
    answers = []
    for asked in range(1, 9):
        # One after the other: of many at once some are left out where the shadow is slow.
        answers += city.ask(1)
        wait_until(lambda asked=asked: len(city.seen) == 2 * asked, 60, "the shadow is noted")
    assert {each.role for each in answers} == {"champion"}
    assert all(each.prediction == pytest.approx(city.of_champion) for each in answers)
    pairs: dict[str, list[Observed]] = {}
    for each in city.seen:
        pairs.setdefault(each.prediction_id, []).append(each)
    assert set(pairs) == {each.prediction_id for each in answers}
    for both in pairs.values():
        assert sorted((each.role, each.shadow) for each in both) == [
            ("challenger", True),
            ("champion", False),
        ]
    assert city.is_as_before()
    # One that fails changes nothing either.
    fallen = OnTrial(serving, SHADOW, 1.0)
    serving.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(fallen.trial.model.target_model))
    for _ in range(3):
        (answer,) = fallen.ask(1)
        assert answer.role == "champion"
    wait_until(lambda: fallen.tally == (3, 3, True), 20, "it has fallen back")


def test_a_trial_is_over_without_anybody_ending_it(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    city = OnTrial(serving, CANARY, 1.0)
    trials = Trials(serving.s3, KEYS, ttl_seconds=0)
    at = Deadline(5.0)
    assert trials.of(city.champion, at) == city.trial
    newer = serving.publish(city.city, 2)
    assert trials.of(newer, at) is None
    challengers.change(
        city.store, KEYS, lambda found: found.begun(replace(city.trial, until="2014-01-01T00:00:00+00:00"))
    )
    assert trials.of(city.champion, at) is None
    challengers.change(city.store, KEYS, lambda found: found.begun(city.trial))
    assert trials.of(city.champion, at) == city.trial
    before = serving.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.challengers())["Body"].read()
    others = before.replace(b'"environment": "laptop"', b'"environment": "production"')
    for body, said in ((b"{", "does not say which challengers"), (others, "belongs to fleet 'houses'")):
        serving.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.challengers(), Body=body)
        assert trials.of(city.champion, at) is None
        assert said in caplog.text
    serving.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.challengers(), Body=before)
    assert trials.of(city.champion, at) == city.trial


def test_an_installation_without_trials_reads_one_object_that_is_not_there(serving: Serving) -> None:
    s3 = client(serving.server, "s3")
    calls = Calls(s3)
    trials = Trials(s3, naming.Keys(KEYS.bucket, "others", "laptop"))
    city = serving.publish(city_name())
    assert [trials.of(city, Deadline(5.0)) for _ in range(3)] == [None] * 3
    assert len(calls.seen) == 1
