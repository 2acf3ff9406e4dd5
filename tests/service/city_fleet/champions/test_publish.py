"""Publishing against a real endpoint and real S3: what may go live does, what may not leaves everything as it was."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from city_fleet.champions import answers
from city_fleet.champions.gate import Decision
from city_fleet.errors import PublishError
from city_fleet.naming import split_uri
from city_fleet.state import live
from city_fleet.state.model_address import Address
from city_fleet.state.outcomes import Outcome
from tests.support.archives import archive
from tests.support.factors import CODE_DIGEST, ENDPOINT, KEYS, SETTINGS_DIGEST, City, Trained, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture(scope="module")
def endpoint(aws: LocalSageMaker) -> str:
    return create_endpoint(aws)


@pytest.fixture
def city(aws: LocalSageMaker, endpoint: str) -> City:
    return City(aws)


def test_a_published_model_answers_through_the_pointer(city: City) -> None:
    result = city.retrain(1.1, month=1)
    assert result.outcome == Outcome.LIVE
    assert city.pointer == result.pointer
    assert result.pointer.sequence == 1
    assert result.pointer.predecessor is None
    assert (result.pointer.settings_digest, result.pointer.code_digest) == (SETTINGS_DIGEST, CODE_DIGEST)
    rows = [[10.0, None], [20.0, 1.0]]
    assert answers.invoke(
        city.runtime, Address(ENDPOINT, result.pointer.target_model), rows
    ) == pytest.approx([11.0, 22.0])


def test_the_artifact_lies_under_its_content_and_its_as_of(city: City) -> None:
    candidate, holdout = city.train(1.1, month=2)
    city.publish(candidate, holdout, city.judge(holdout))
    assert candidate.target_model == f"{city.slug}/20140201T000000Z-{candidate.artifact_sha256[:12]}.tar.gz"
    body = city.s3.get_object(Bucket=KEYS.bucket, Key=KEYS.model(candidate.target_model))["Body"].read()
    assert hashlib.sha256(body).hexdigest() == candidate.artifact_sha256


def test_publishing_twice_is_harmless(city: City) -> None:
    candidate, holdout = city.train(1.1, month=1)
    decision = city.judge(holdout)
    first = city.publish(candidate, holdout, decision)
    second = city.publish(candidate, holdout, decision)
    assert (second.outcome, second.pointer) == (Outcome.LIVE, first.pointer)
    assert city.chain() == [first.pointer]


def test_an_older_run_never_replaces_a_newer_champion(city: City) -> None:
    newer = city.retrain(1.1, month=6)
    older = city.retrain(1.01, month=1)
    assert older.outcome == Outcome.SUPERSEDED
    assert "was made as of 20140601T000000Z" in older.reasons[0]
    assert city.pointer == newer.pointer


def test_an_equal_as_of_replaces(city: City) -> None:
    city.retrain(1.1, month=1)
    again = city.retrain(1.05, month=1)
    assert again.outcome == Outcome.LIVE
    assert again.pointer.sequence == 2


def test_a_champion_that_moved_is_evaluated_again_and_a_worse_challenger_is_held(city: City) -> None:
    candidate, holdout = city.train(1.1, month=2)
    stale = city.judge(holdout)
    good = city.retrain(1.01, month=1)
    result = city.publish(candidate, holdout, stale)
    assert result.outcome == Outcome.HELD
    assert "MAPE 10.0% is worse than the champion's 1.0%" in " ".join(result.reasons)
    assert result.decision.champion_target_model == good.pointer.target_model
    assert city.pointer == good.pointer


def test_a_champion_that_moved_is_evaluated_again_and_a_better_challenger_goes_live(city: City) -> None:
    candidate, holdout = city.train(1.01, month=2)
    stale = city.judge(holdout)
    city.retrain(1.1, month=1)
    result = city.publish(candidate, holdout, stale)
    assert result.outcome == Outcome.LIVE
    assert result.pointer.sequence == 2
    assert "holds against the champion's 10.0%" in " ".join(result.reasons)


def test_some_of_many_held_out_rows_are_enough_to_compare_with_a_champion_that_moved(city: City) -> None:
    """Of the rows of a large table the evaluation keeps a part; on all of them the baselines were beaten."""
    trained, holdout = city.train(1.01, month=2)
    stale = replace(city.judge(holdout), baselines={"median": {"mape": 0.0001}})
    city.retrain(1.1, month=1)
    held = city.publish(trained, {**holdout, "of_rows": len(holdout["rows"])}, stale)
    assert held.outcome == Outcome.HELD
    assert "does not beat the median's" in held.reasons[0], "all rows are there to be judged by"
    result = city.publish(trained, {**holdout, "of_rows": 100_000}, stale)
    assert result.outcome == Outcome.LIVE
    assert "holds against the champion's 10.0%" in " ".join(result.reasons)


def test_a_pinned_champion_stays_unless_forced(city: City) -> None:
    city.retrain(1.1, month=1)
    current = live.read(city.s3, KEYS, city.slug)
    assert current is not None
    live.move(city.s3, KEYS, replace(current.pointer, sequence=2, pinned=True), current)
    candidate, holdout = city.train(1.01, month=2)
    held = city.publish(candidate, holdout, city.judge(holdout))
    assert held.outcome == Outcome.HELD
    assert "is pinned" in held.reasons[0]
    forced = city.publish(candidate, holdout, city.judge(holdout), force=True)
    assert forced.outcome == Outcome.LIVE


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda body: body[:-20], "SHA-256"),
        (lambda body: bytes([body[0] ^ 1]) + body[1:], "SHA-256"),
    ],
)
def test_an_artifact_that_is_not_the_evaluated_one_is_refused(
    city: City, damage: Callable[[bytes], bytes], sentence: str
) -> None:
    candidate, holdout = city.train(1.1, month=1)
    bucket, key = split_uri(candidate.artifact_uri)
    body = city.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    city.s3.put_object(Bucket=bucket, Key=key, Body=damage(body))
    with pytest.raises(PublishError, match=sentence):
        city.publish(candidate, holdout, city.judge(holdout))
    assert city.pointer is None


def test_a_corrupt_artifact_never_goes_live(city: City) -> None:
    """The evaluation judged these very bytes, but the endpoint cannot load them."""
    candidate, holdout = city.train(1.1, month=1)
    bucket, key = split_uri(candidate.artifact_uri)
    read = city.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(read)) as tar:
        sides = {member.name: tar.extractfile(member) for member in tar if member.name != "factor"}
        body = archive({name: file.read() for name, file in sides.items() if file})
    city.s3.put_object(Bucket=bucket, Key=key, Body=body)
    model = replace(candidate.model, artifact_sha256=hashlib.sha256(body).hexdigest())
    candidate = replace(candidate, model=model)
    with pytest.raises(PublishError, match="does not answer with"):
        city.publish(candidate, holdout, city.judge(holdout))
    assert city.pointer is None


def test_an_endpoint_that_predicts_something_else_stops_the_publish(city: City) -> None:
    candidate, holdout = city.train(1.1, month=1)
    holdout["rows"][2]["predicted"] *= 1.001
    with pytest.raises(PublishError, match="for the held-out row 2013-03-01"):
        city.publish(candidate, holdout, city.judge(holdout))
    assert city.pointer is None


def test_a_refit_champion_is_compared_by_the_half_that_was_judged(city: City) -> None:
    """It has learned the held-out rows: by what it answers for them today no challenger would ever replace it."""
    candidate, holdout = city.train(1.02, month=3, judged=1.05)
    decision = city.judge(holdout)
    city.go_live(1.01, month=2, judged=1.08)
    result = city.publish(candidate, holdout, decision)
    assert result.outcome == Outcome.LIVE
    assert "MAPE 5.0% holds against the champion's 8.0% on 4 rows (tolerance 0%)" in result.reasons
    # What serves answers otherwise than what was judged, and the smoke test knows it.
    assert city.answer() == pytest.approx(1.02)


def test_a_champion_of_before_is_asked_and_one_that_has_learned_all_rows_is_not(city: City) -> None:
    candidate, holdout = city.train(1.02, month=3, judged=1.05)
    decision = city.judge(holdout)
    city.go_live(1.01, month=2)
    result = city.publish(candidate, holdout, decision)
    assert result.outcome == Outcome.HELD
    assert "worse than the champion's 1.0% on 4 rows" in " ".join(result.reasons)
    late, left = city.train(1.02, month=5, judged=1.05)
    decision = city.judge(left)
    city.go_live(1.01, month=4, judged=1.08)
    for row in left["rows"]:
        row["step"] = 2  # nobody has judged these, and its champion has learned them
    result = city.publish(late, left, decision)
    assert result.outcome == Outcome.HELD
    assert "it has judged none of these rows, and has learned them all" in " ".join(result.reasons)


def test_runs_that_publish_at_the_same_time_leave_the_newest_live(city: City) -> None:
    """A backfill: six runs, all evaluated against "no champion", each a little better than the one before."""
    ready = []
    for month in range(1, 7):
        candidate, holdout = city.train(1.1 - month / 100, month)
        ready.append((candidate, holdout, city.judge(holdout)))
    outcomes: dict[int, str] = {}

    def run(candidate: Trained, holdout: dict[str, Any], decision: Decision) -> None:
        outcomes[int(candidate.model.as_of[4:6])] = city.publish(candidate, holdout, decision).outcome

    threads = [threading.Thread(target=run, args=arguments) for arguments in reversed(ready)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert outcomes[6] == Outcome.LIVE
    assert set(outcomes.values()) <= {Outcome.LIVE, Outcome.SUPERSEDED}
    pointer = city.pointer
    assert pointer is not None
    assert pointer.as_of == "20140601T000000Z"
    chain = city.chain()
    assert [p.as_of for p in chain] == sorted(p.as_of for p in chain)
