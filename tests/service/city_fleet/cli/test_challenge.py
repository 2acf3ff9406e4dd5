"""``./fleet challenge``, as a person types it: begun, listed, ended, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from city_fleet.naming import Keys
from tests.service.city_fleet.cli.test_moves import OnCall
from tests.support.factors import KEYS, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def desk(aws: LocalSageMaker, tmp_path: Path) -> OnCall:
    create_endpoint(aws)
    desk = OnCall(aws, tmp_path)
    desk.write()
    return desk


def test_a_trial_is_begun_listed_and_ended(desk: OnCall) -> None:
    city = desk.city()
    champion = city.go_live(1.1, month=1)
    trained, _ = city.train(1.05, month=2)
    planned = desk.run("challenge", city.slug, "--share", "0.1", "--dry-run", "--by", "ann")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert (
        f"{city.slug}: version 2 would be tried as a canary that answers 10 % of the requests."
        in planned.stdout
    )
    done = desk.run("challenge", city.slug, "--share", "0.1", "--by", "ann", "--reason", "new season")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{city.slug}: version 2 is tried as a canary that answers 10 % of the requests."
    assert lines[1].startswith(f"{city.slug}:   against {champion.target_model}, until ")
    listed = desk.run("challenge", "--json")
    (trial,) = (each for each in json.loads(listed.stdout) if each["city"] == city.slug)
    assert (trial["state"], trial["way"], trial["share"], trial["by"]) == ("running", "canary", 0.1, "ann")
    assert trial["target_model"] == trained.target_model
    shown = desk.run("history", city.slug)
    assert (
        f"{city.slug}: version 2 is on trial as a canary that answers 10 % of the requests, until "
        in shown.stdout
    )
    (snapshot,) = json.loads(desk.run("status", city.slug, "--json").stdout)[0]["cities"]
    assert (snapshot["trial"]["version"], snapshot["trial"]["answers"]) == (2, 0)
    assert snapshot["remarks"][-1].startswith(
        "version 2 is on trial as a canary that answers 10 % of the requests"
    )
    ended = desk.run("challenge", city.slug, "--end", "--by", "bob", "--reason", "enough")
    assert (ended.returncode, ended.stdout) == (0, f"{city.slug}: ended: ended by bob: enough.\n")
    again = desk.run("challenge", city.slug, "--end")
    assert (again.returncode, again.stdout) == (1, f"{city.slug}: no challenger of the city is on trial.\n")
    assert f"{city.slug}: version 2 ended " in desk.run("challenge").stdout
    assert city.pointer == champion


def test_wrong_usage_says_what_is_allowed(desk: OnCall, subtests: pytest.Subtests) -> None:
    city = desk.city()
    city.go_live(1.1, month=1)
    cases = {
        "say how it is tried: --share 0.1 answers a tenth": [city.slug],
        "--share: got 1.5; allowed: above 0 to 1": [city.slug, "--share", "1.5"],
        "give --days or --until, not both": [city.slug, "--shadow", "--days", "3", "--until", "2099-01-01"],
        "--until: got '2014-01-01'; allowed: an instant to come": [
            city.slug,
            "--shadow",
            "--until",
            "2014-01-01",
        ],
        "--end goes without --version": [city.slug, "--end", "--share", "0.1"],
        "name a city; without one, the trials are listed": ["--end"],
    }
    for sentence, arguments in cases.items():
        with subtests.test(sentence):
            done = desk.run("challenge", *arguments)
            assert done.returncode == 2
            assert sentence in " ".join(done.stderr.replace("│", " ").split())
    done = desk.run("challenge", city.slug, "--share", "0.1")
    assert done.returncode == 1
    assert "it is the champion already" in done.stderr


def test_what_can_not_be_read_is_said(desk: OnCall) -> None:
    key = Keys(KEYS.bucket, KEYS.fleet, "laptop").challengers()
    s3 = desk.aws.client("s3")
    s3.put_object(Bucket=KEYS.bucket, Key=key, Body=b"{")
    try:
        done = desk.run("challenge")
    finally:
        s3.delete_object(Bucket=KEYS.bucket, Key=key)
    assert done.returncode == 1
    assert "does not say which challengers are on trial" in done.stderr
    assert "The champions serve." in done.stderr
