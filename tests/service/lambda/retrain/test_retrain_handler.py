"""What the retrain function does with events of a queue, of a schedule, of a person; tests/e2e asks Airflow itself."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from tests.support.airflow_server import FakeDag, moment
from tests.support.arrival_airflow import ArrivalAirflow, running_mwaa

AUSTIN = "houses.austin"


def notified(city: str, at: datetime | None = None, name: str = "a.csv") -> dict[str, Any]:
    """S3's notification of a file."""
    time = (at or datetime.now(UTC)).isoformat().replace("+00:00", "Z")
    place = {"bucket": {"name": "city-fleet"}, "object": {"key": f"houses/raw/city%3D{city}/{name}"}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": time, "s3": place}
    return {"Records": [record]}


def batch(*bodies: object) -> dict[str, Any]:
    """Lambda's event of messages of a queue, which are called 0, 1, …"""
    sent = str(int(datetime.now(UTC).timestamp() * 1000))
    records = [
        {
            "messageId": str(number),
            "eventSource": "aws:sqs",
            "body": body if isinstance(body, str) else json.dumps(body),
            "attributes": {"SentTimestamp": sent},
        }
        for number, body in enumerate(bodies)
    ]
    return {"Records": records}


def failed(answer: dict[str, Any]) -> list[str]:
    assert set(answer) == {"batchItemFailures"}
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


class Left:
    """What Lambda says of a call."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def test_many_files_of_a_moment_are_one_run(function: ModuleType, airflow: ArrivalAirflow) -> None:
    now = datetime.now(UTC).replace(second=20, microsecond=0) - timedelta(minutes=5)
    for first in range(0, 200, 10):
        bodies = [
            notified("austin", now + timedelta(milliseconds=100 * number), f"{number}.csv")
            for number in range(first, first + 10)
        ]
        assert failed(function.handler(batch(*bodies), None)) == []
    (run_id,) = airflow.of(AUSTIN)
    assert run_id == f"arrival__{now + timedelta(seconds=40):%Y%m%dT%H%M%SZ}"
    run = airflow.runs[AUSTIN][run_id]
    # The window is over: it starts now, and so it sees what is there now.
    assert now + timedelta(minutes=4) < moment(run["run_after"]) <= datetime.now(UTC)
    assert run["conf"] == {}


def test_a_run_waits_for_the_end_of_its_window(function: ModuleType, airflow: ArrivalAirflow) -> None:
    function.handler(batch(notified("austin")), None)
    (run,) = airflow.runs[AUSTIN].values()
    left = moment(run["run_after"]) - datetime.now(UTC)
    assert timedelta(seconds=-5) < left <= timedelta(seconds=60)
    assert run["dag_run_id"].endswith("00Z")


def test_a_newer_run_takes_back_those_that_have_not_begun_and_no_other(
    function: ModuleType, airflow: ArrivalAirflow
) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)

    def arrives(minutes: int) -> None:
        assert (
            failed(function.handler(batch(notified("austin", hour + timedelta(minutes=minutes))), None)) == []
        )
        newest = max(airflow.runs[AUSTIN].values(), key=lambda run: run["dag_run_id"])
        # As if the message had come in time.
        newest["run_after"] = (hour + timedelta(minutes=minutes + 1)).isoformat()

    arrives(0)
    airflow.pass_time(AUSTIN)
    arrives(10)
    arrives(20)
    arrives(30)
    first, last = sorted(airflow.runs[AUSTIN])
    assert airflow.runs[AUSTIN][first]["state"] == "running"
    assert last.endswith(f"{hour + timedelta(minutes=31):%H%M}00Z")
    # A run that a person has cleared waits again, and holds what its tasks have done: it is left.
    airflow.runs[AUSTIN][first]["state"] = "queued"
    arrives(40)
    assert len(airflow.of(AUSTIN)) == 2
    assert first in airflow.of(AUSTIN)
    # Runs of others are never looked at.
    other = {"dag_run_id": "manual__x", "state": "queued", "run_after": hour.isoformat()}
    airflow.runs[AUSTIN]["manual__x"] = other
    arrives(50)
    assert "manual__x" in airflow.of(AUSTIN)


def test_a_message_that_comes_late_is_covered_by_a_newer_run(
    function: ModuleType, airflow: ArrivalAirflow
) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    function.handler(batch(notified("austin", hour + timedelta(minutes=10))), None)
    function.handler(batch(notified("austin", hour)), None)
    assert len(airflow.of(AUSTIN)) == 1


def test_each_message_fails_or_succeeds_by_itself(
    function: ModuleType, airflow: ArrivalAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    airflow.dags["houses.dallas"] = FakeDag(stale=True, tags=TAGS)
    airflow.dags["houses.houston"] = FakeDag(tags=("fleet:houses", "environment:production"))
    airflow.dags["houses.waco"].paused = True
    with caplog.at_level(logging.INFO):
        answer = function.handler(
            batch(
                notified("austin"),
                "{",
                notified("nowhere"),
                notified("dallas"),
                notified("houston"),
                notified("waco"),
                {"Service": "Amazon S3", "Event": "s3:TestEvent"},
                {"cities": ["austin", "dallas"]},
                notified("nowhere"),
                {"city": "el_paso"},
            ),
            None,
        )
    assert failed(answer) == ["1", "3", "4", "7"]
    assert {name for name in airflow.runs if airflow.of(name)} == {AUSTIN, "houses.waco", "houses.el_paso"}
    said = caplog.text
    assert "Message 1 can't be read: The message is no JSON" in said
    assert said.count("fleet 'houses' has no city 'nowhere'; nothing to do for 2 message(s)") == 1
    assert "has no DAG file with houses.dallas any more" in said
    assert "runs environment 'production' of the fleet (houses.houston says so)" in said


TAGS = ("fleet:houses", "environment:laptop")


def test_an_unknown_city_is_kept_while_airflow_knows_no_city_of_the_fleet(
    function: ModuleType, airflow: ArrivalAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    """It has just been set up, and has not read the DAG files yet."""
    airflow.dags = {"sales": FakeDag()}
    assert failed(function.handler(batch(notified("austin")), None)) == ["0"]
    assert "knows no DAG of fleet 'houses', environment 'laptop'" in caplog.text


@pytest.mark.parametrize("status", [429, 500, 502, 503, 403, 302, 200])
def test_what_airflow_does_not_do_now_is_tried_again(
    function: ModuleType, airflow: ArrivalAirflow, status: int
) -> None:
    """An answer of 200 is that of a proxy: JSON, and not Airflow's."""
    for before in range(3 if status != 200 else 2):
        airflow.statuses = [*[None] * before, status]
        assert failed(function.handler(batch(notified("austin")), None)) == ["0"]
        assert airflow.of(AUSTIN) == []
    assert failed(function.handler(batch(notified("austin")), None)) == []
    assert len(airflow.of(AUSTIN)) == 1


def test_a_run_that_can_not_be_taken_back_fails_nothing(
    function: ModuleType, airflow: ArrivalAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    function.handler(batch(notified("austin", hour)), None)
    (run,) = airflow.runs[AUSTIN].values()
    run["run_after"] = hour.isoformat()
    original = airflow.answer

    def denied(method: str, *rest: Any) -> tuple[int, Any]:
        return (403, {"detail": "Forbidden"}) if method == "PATCH" else original(method, *rest)

    airflow.answer = denied  # type: ignore[method-assign]
    assert failed(function.handler(batch(notified("austin")), None)) == []
    assert len(airflow.of(AUSTIN)) == 2
    assert "a run of an earlier window stays" in caplog.text


def test_airflow_away_keeps_every_message(
    load: Any, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    away = load({**environment, "CITY_FLEET_AIRFLOW_URL": "http://127.0.0.1:9"})
    answer = away.handler(batch(*(notified(city) for city in ("austin", "dallas", "waco"))), None)
    assert failed(answer) == ["0", "1", "2"]
    assert "Airflow at http://127.0.0.1:9 does not answer (POST /auth/token)" in caplog.text
    assert "Traceback" not in caplog.text
    with pytest.raises(away.RetrainFailed, match=r"1 of 1 cities have no run. austin: Airflow at"):
        away.handler({"city": "austin"}, None)


def test_a_changed_password_is_read_anew_and_a_wrong_one_is_a_sentence(
    function: ModuleType, airflow: ArrivalAirflow, secret: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, arn = secret
    client.put_secret_value(SecretId=arn, SecretString='{"username": "admin", "password": "old-one"}')
    assert failed(function.handler(batch(notified("austin"), notified("waco")), None)) == ["0", "1"]
    assert "refused the login of 'admin' (401): Invalid" in caplog.text
    client.put_secret_value(SecretId=arn, SecretString='{"username": "admin", "password": "secret"}')
    assert failed(function.handler(batch(notified("austin")), None)) == []
    airflow.tokens = set()  # the token has run out
    assert failed(function.handler(batch(notified("waco")), None)) == []
    for text in ("no JSON", "[]", '{"username": "admin"}', '{"username": "admin", "password": 7}'):
        client.put_secret_value(SecretId=arn, SecretString=text)
        airflow.tokens = set()
        assert failed(function.handler(batch(notified("dallas")), None)) == ["0"]
    assert 'the secret is to hold {"username": "…", "password": "…"}' in caplog.text
    assert "old-one" not in caplog.text
    assert "no JSON" not in caplog.text


def test_all_cities_are_started_page_by_page_and_none_of_another_fleet(
    function: ModuleType, airflow: ArrivalAirflow
) -> None:
    answer = function.handler({"cities": "all"}, None)
    assert (answer["started"], answer["covered"], answer["unknown"]) == (5, 0, 0)
    assert [each["city"] for each in answer["cities"]] == ["austin", "dallas", "el_paso", "houston", "waco"]
    assert sum(path == "/dags" for _, path in airflow.asked) == 3  # two of a page
    assert not any(airflow.of(name) for name in ("houses._endpoint", "sales"))
    again = function.handler({"cities": "all", "as_of": "2015-08-01"}, None)
    assert again["started"] == 5
    (run,) = (
        run for name, run in airflow.runs[AUSTIN].items() if name.startswith("as_of__20150801T000000Z__")
    )
    assert run["conf"] == {"as_of": "2015-08-01T00:00:00+00:00"}


def test_a_city_of_a_cohort_is_retrained_by_its_cohort_alone(
    function: ModuleType, airflow: ArrivalAirflow
) -> None:
    homes = {
        "austin": "cohort_002",
        "waco": "cohort_001",
        "dallas": "cohort_001",
    }  # by their hashes, of three
    airflow.dags = {name: dag for name, dag in airflow.dags.items() if name.partition(".")[2] not in homes}
    for cohort in ("cohort_001", "cohort_002", "cohort_003"):
        airflow.dags[f"houses._{cohort}"] = FakeDag(tags=TAGS)
        airflow.proposed[f"houses._{cohort}"] = [city for city, home in homes.items() if home == cohort]
    now = datetime.now(UTC) - timedelta(minutes=5)
    for city in homes:
        assert failed(function.handler(batch(notified(city, now, "a.csv")), None)) == []
        assert failed(function.handler(batch(notified(city, now, "b.csv")), None)) == []
    runs = airflow.runs["houses._cohort_001"].values()
    assert [run["conf"] for run in runs] == [{"cities": ["waco"]}, {"cities": ["dallas"]}]
    assert [run["conf"] for run in airflow.runs["houses._cohort_002"].values()] == [{"cities": ["austin"]}]
    answer = function.handler({"cities": "all"}, None)
    assert sorted(each["city"] for each in answer["cities"]) == [
        "cohort_001", "cohort_002", "cohort_003", "el_paso", "houston",
    ]  # fmt: skip
    assert [run["conf"] for run in airflow.runs["houses._cohort_003"].values()] == [{}]
    unknown = function.handler({"city": "atlantis"}, None)
    assert unknown["unknown"] == 1


def test_all_cities_take_back_what_waits_as_one_does(function: ModuleType, airflow: ArrivalAirflow) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    old = {"dag_run_id": "arrival__20200101T000000Z", "state": "queued", "run_after": hour.isoformat()}
    airflow.runs = {f"houses.{city}": {old["dag_run_id"]: dict(old)} for city in ("austin", "waco")}
    airflow.begun = set()
    assert function.handler({"cities": "all"}, None)["started"] == 5
    assert {len(airflow.of(f"houses.{city}")) for city in ("austin", "waco", "dallas")} == {1}
    assert old["dag_run_id"] not in airflow.of(AUSTIN)
    asked = len(airflow.asked)
    assert function.handler({"cities": "all"}, None)["covered"] == 5
    assert len(airflow.asked) - asked < 12, "every city's own requests"


def test_what_there_was_no_time_for_is_asked_again_and_started_once(
    function: ModuleType, airflow: ArrivalAirflow
) -> None:
    for number in range(40):
        airflow.dags[f"houses.town_{number}"] = FakeDag(tags=TAGS)
    event = batch({"cities": "all"})
    airflow.seconds = 0.05
    assert failed(function.handler(event, Left(function.RESERVE_SECONDS + 1.6))) == ["0"]
    begun = [name for name in airflow.runs if airflow.of(name)]
    assert 0 < len(begun) < 45
    airflow.seconds = 0.0
    assert failed(function.handler(event, Left(60))) == []
    assert {len(airflow.of(f"houses.town_{number}")) for number in range(40)} == {1}


def test_a_call_without_a_queue_raises_what_has_to_be_tried_again(
    function: ModuleType, airflow: ArrivalAirflow
) -> None:
    answer = function.handler({"cities": ["austin", "nowhere"]}, None)
    assert {each["city"]: each["came"] for each in answer["cities"]} == {
        "austin": "started",
        "nowhere": "unknown",
    }
    assert function.handler({"Records": []}, None) == {"started": 0, "covered": 0, "unknown": 0, "cities": []}
    for event, said in (
        ({"city": "Austin"}, "got 'Austin'"),
        ([], "an empty list"),
        (None, "got null"),
        ({"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}, "'city' or 'cities'"),
    ):
        with pytest.raises(function.RetrainFailed, match=said):
            function.handler(event, None)
    airflow.statuses = [503]
    with pytest.raises(function.RetrainFailed, match=r"answered 503 to GET /dags/houses\.waco: not now"):
        function.handler({"city": "waco"}, None)


def test_over_mwaa_the_same_is_asked(
    load: Any, environment: dict[str, str], airflow: ArrivalAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    with airflow_channel(airflow) as channel, running_mwaa(channel) as mwaa:
        mine = {name: value for name, value in environment.items() if "AIRFLOW" not in name} | {
            "CITY_FLEET_MWAA_ENVIRONMENT": "fleets",
            "AWS_ENDPOINT_URL_MWAA": mwaa.url,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        }
        function = load(mine)
        hour = datetime.now(UTC) - timedelta(hours=1)
        assert failed(function.handler(batch(notified("austin", hour), notified("nowhere")), None)) == []
        (old,) = airflow.runs[AUSTIN].values()
        old["run_after"] = hour.isoformat()
        assert failed(function.handler(batch(notified("austin")), None)) == []
        (run_id,) = airflow.of(AUSTIN)
        assert run_id != old["dag_run_id"]
        assert function.handler({"cities": "all"}, None)["started"] == 4
        assert {"Path": "/dags/houses.austin", "Method": "GET"} in mwaa.asked
        assert all(
            name in {"Path", "Method", "QueryParameters", "Body"} for each in mwaa.asked for name in each
        )
        assert {type(value) for each in mwaa.asked for value in each.get("QueryParameters", {}).values()} <= {
            str,
            int,
        }
        mwaa.throttled = 2  # botocore asks a second time by itself
        assert failed(function.handler(batch(notified("waco")), None)) == ["0"]
        assert "ThrottlingException" in caplog.text
        airflow.statuses = [500]
        assert failed(function.handler(batch(notified("waco")), None)) == ["0"]
        gone = load({**mine, "CITY_FLEET_MWAA_ENVIRONMENT": "other"})
        assert failed(gone.handler(batch(notified("austin")), None)) == ["0"]
        assert "Environment other not found" in caplog.text


def airflow_channel(airflow: ArrivalAirflow) -> Any:
    """A channel to the Airflow, closed in the end."""
    from contextlib import closing

    from city_fleet.airflow_rest.login_channel import LoginChannel

    return closing(LoginChannel(airflow.url, login=lambda: ("admin", "secret"), use_proxies=False))


SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:airflow-AbCdEf"


def test_settings_that_are_wrong_are_all_named_and_never_shown(
    function: ModuleType, subtests: pytest.Subtests
) -> None:
    good = {
        "CITY_FLEET_BUCKET": "b",
        "CITY_FLEET_FLEET": "houses",
        "CITY_FLEET_ENVIRONMENT": "production",
        "CITY_FLEET_AIRFLOW_URL": "https://airflow.example/base",
        "CITY_FLEET_AIRFLOW_SECRET_ARN": SECRET,
    }
    read = function.Settings.from_environment
    assert read(good).burst_seconds == 60
    assert read({**good, "CITY_FLEET_AIRFLOW_URL": "http://a", "CITY_FLEET_AIRFLOW_PLAIN_HTTP": "true"}).url
    cases = {
        "nothing": ({}, ["CITY_FLEET_BUCKET is not set", "CITY_FLEET_FLEET is not set", "Where is Airflow?"]),
        "no secret": ({**good, "CITY_FLEET_AIRFLOW_SECRET_ARN": ""}, ["Where is Airflow?"]),
        "both": ({**good, "CITY_FLEET_MWAA_ENVIRONMENT": "m"}, ["Where is Airflow?"]),
        "http": ({**good, "CITY_FLEET_AIRFLOW_URL": "http://a.example"}, ["password in clear"]),
        "a login in the URL": ({**good, "CITY_FLEET_AIRFLOW_URL": "https://u:hush@a"}, ["without a login"]),
        "the secret": ({**good, "CITY_FLEET_AIRFLOW_SECRET_ARN": "hush"}, ["the ARN of a secret"]),
        "no slug": ({**good, "CITY_FLEET_FLEET": "A b"}, ["CITY_FLEET_FLEET: got 'A b'"]),
        "no seconds": ({**good, "CITY_FLEET_BURST_SECONDS": "0.5"}, ["CITY_FLEET_BURST_SECONDS: got '0.5'"]),
        "too long": ({**good, "CITY_FLEET_BURST_SECONDS": "3601"}, ["from 1 to 3600"]),
    }
    for name, (environ, said) in cases.items():
        with subtests.test(name), pytest.raises(Exception, match="environment variables") as caught:
            read(environ)
        for each in said:
            with subtests.test(f"{name}: {each}"):
                assert each in str(caught.value)
        with subtests.test(f"{name}: no secret"):
            assert "hush" not in str(caught.value)
