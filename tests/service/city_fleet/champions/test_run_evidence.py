"""Who may write below ``runs/`` can spoil a model that waits, and can not have it published on other terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions import promotion
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.errors import PlatformError, PublishError
from city_fleet.jobs import fixed_run
from city_fleet.naming import split_uri
from city_fleet.state import objects
from city_fleet.state.registry import ModelPackage
from tests.support.archives import archive
from tests.support.desk import ANN, Desk
from tests.support.factors import KEYS, City, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def desk(aws: LocalSageMaker, tmp_path: Path) -> Desk:
    create_endpoint(aws)
    return Desk(aws, tmp_path)


def read(desk: Desk, uri: str) -> Any:
    return json.loads(objects.read_uri(desk.s3, uri) or b"null")


def forge(desk: Desk, uri: str, value: Any) -> None:
    bucket, key = split_uri(uri)
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    desk.s3.put_object(Bucket=bucket, Key=key, Body=body)


def uris(version: ModelPackage) -> tuple[str, str, str]:
    """Where the decision, the report and the held-out rows of a version are."""
    evaluation = version.metadata["evaluation_uri"]
    return version.metadata["decision_uri"], evaluation, evaluation.replace("evaluation.json", "holdout.json")


def test_a_forged_decision_spares_no_comparison_with_the_champion(desk: Desk) -> None:
    """A model of 30 % error waits; meanwhile one of 1 % goes live. Its ETag in the decision would skip the gate."""
    version = desk.wait(1.3, 1)
    champion = desk.go_live(1.01, month=1)
    decision, _, _ = uris(version)
    etag = desk.s3.head_object(Bucket=KEYS.bucket, Key=KEYS.live(desk.slug))["ETag"]
    honest = read(desk, decision)
    forge(desk, decision, {**honest, "champion_etag": etag})
    with pytest.raises(
        PublishError, match=r"was changed after the gate had decided .* Clear the task 'evaluate'"
    ):
        desk.decide(version, Event.APPROVE)
    assert desk.pointer == champion
    forge(desk, decision, honest)
    desk.look()
    assert desk.pointer == champion
    assert desk.state(version.arn) is not ModelState.LIVE


def test_forged_rows_do_not_win_the_second_comparison(desk: Desk) -> None:
    version = desk.wait(1.3, 1)
    champion = desk.go_live(1.01, month=1)
    _, _, holdout = uris(version)
    rows = read(desk, holdout)["rows"]
    forge(
        desk, holdout, {"features": ["x", "y"], "rows": [{**row, "actual": row["predicted"]} for row in rows]}
    )
    with pytest.raises(PublishError, match=r"holdout\.json: was changed .* the gate judged [0-9a-f]{64}"):
        desk.decide(version, Event.APPROVE)
    assert desk.pointer == champion


def test_a_forged_report_does_not_turn_the_features_around(desk: Desk) -> None:
    """Applications would send each value in another's place, and the model would answer."""
    version = desk.wait(1.1, 1)
    _, evaluation, _ = uris(version)
    forge(desk, evaluation, {**read(desk, evaluation), "features": ["y", "x"]})
    with pytest.raises(PublishError, match=r"evaluation\.json: was changed after the gate had decided"):
        desk.decide(version, Event.APPROVE)
    assert desk.pointer is None


def test_a_report_that_was_forged_before_the_gate_read_it_is_held_against_the_artifact(
    desk: Desk, subtests: pytest.Subtests
) -> None:
    for what, features in {"turned around": ("y", "x"), "others": ("x", "z"), "fewer": ("x",)}.items():
        trained, holdout = desk.train(1.1, month=1)
        candidate = desk.candidate(trained, holdout, desk.judge(holdout))
        said = type(candidate.model)(**{**vars(candidate.model), "features": features})
        with subtests.test(what), pytest.raises(PublishError, match="features x, y; its evaluation says"):
            desk.publish(type(trained)(said, trained.artifact_uri, trained.by), holdout, desk.judge(holdout))
    assert desk.pointer is None


def test_an_artifact_of_another_city_is_not_published(desk: Desk, aws: LocalSageMaker) -> None:
    """Its digest fits, since whoever registered it has read it in the other city's run."""
    theirs, holdout = City(aws).train(1.1, month=1)
    mine = type(theirs.model)(
        **{
            **vars(theirs.model),
            "city": desk.slug,
            "target_model": theirs.target_model.replace(theirs.model.city, desk.slug),
        }
    )
    with pytest.raises(PublishError, match=rf"is a model of city '{theirs.model.city}'"):
        desk.publish(type(theirs)(mine, theirs.artifact_uri, theirs.by), holdout, desk.judge(holdout))
    assert desk.pointer is None


def test_garbage_is_a_sentence_and_promote_goes_by_the_artifact(
    desk: Desk, subtests: pytest.Subtests
) -> None:
    for number, body in enumerate((b"{", b"[" * 100_000, b"[1]", b"null", b'"x"'), start=1):
        version = desk.wait(1.1, number)
        for uri in uris(version):
            honest = read(desk, uri)
            forge(desk, uri, body)
            with subtests.test(f"{uri[-20:]}: {body[:5]!r}"), pytest.raises(PublishError, match="s3://"):
                desk.decide(version, Event.APPROVE)
            forge(desk, uri, honest)
        forge(desk, uris(version)[0], body)
        moved = promotion.promote(desk.context(), ANN, promotion.Choice(version.number))
        assert moved.after is not None
        assert (moved.after.package_arn, moved.after.metrics) == (version.arn, {})


def test_an_artifact_that_was_changed_in_its_run_is_neither_published_nor_promoted(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    forge(desk, version.artifact_uri, archive({"factor": b"9"}))
    with pytest.raises(PublishError, match="the artifact was changed or cut off after training"):
        desk.decide(version, Event.APPROVE)
    with pytest.raises(PublishError, match="it was registered with"):
        promotion.promote(desk.context(), ANN, promotion.Choice(version.number))
    assert desk.pointer is None


def test_what_a_run_is_about_is_not_believed_of_another_run(desk: Desk, subtests: pytest.Subtests) -> None:
    store, key = desk.context().objects, "0123456789"
    good = fixed_run.FixedRun(key, "20140101T000000Z", 1, (), None, "factors.austin/r1/0")
    forge(desk, KEYS.uri(KEYS.run_facts(desk.slug, key)), good.to_json())
    assert fixed_run.read(store, KEYS, desk.slug, key) == good
    value = json.loads(good.to_json())
    for what, body in {
        "another's": json.dumps({**value, "key": "9876543210"}).encode(),
        "a way out": json.dumps({**value, "key": "../../live"}).encode(),
        "deep": b"[" * 100_000,
        "no object": b"3",
        "no members": b"{}",
        "no files": json.dumps({**value, "raw": 3}).encode(),
        "no champion": json.dumps({**value, "champion": "x"}).encode(),
    }.items():
        forge(desk, KEYS.uri(KEYS.run_facts(desk.slug, key)), body)
        with (
            subtests.test(what),
            pytest.raises(PlatformError, match=r"run\.json: does not hold .*aws s3 rm s3://"),
        ):
            fixed_run.read(store, KEYS, desk.slug, key)
