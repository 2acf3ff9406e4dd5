"""AWS Lambda: data that arrive become runs of their cities' DAGs, in an Airflow that is asked for nothing until then.

The edge only: reads events, and tells SQS which messages have to be tried again. Messages are read by
``city_fleet.arrivals.messages``, runs started by ``city_fleet.arrivals.retraining``. README.md beside this file has the
events, the answers, and how to deploy it.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming, outgoing_text, raw_places
from city_fleet.airflow_rest.airflow_client import AirflowRest
from city_fleet.airflow_rest.channel import Channel
from city_fleet.airflow_rest.login_channel import LoginChannel
from city_fleet.airflow_rest.mwaa_channel import MwaaChannel
from city_fleet.arrivals import messages
from city_fleet.arrivals.bursts import WINDOW_SECONDS
from city_fleet.arrivals.messages import Arrival, Refused
from city_fleet.arrivals.retraining import AT_ONCE, Came, CityOutcome, Retrainer
from city_fleet.errors import AirflowError, CityFleetError, show_value

log = outgoing_text.logger("retrain")

# One request to Airflow; and what is kept back of what Lambda leaves a call, to write the answer.
REQUEST_SECONDS = 15.0
RESERVE_SECONDS = 2.0
# A call without Lambda, as a person tries it.
UNBOUNDED_SECONDS = 60.0
SHOWN_CITIES = 100
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRUE, _FALSE = "true", "false"


@dataclass(frozen=True)
class Settings:
    """What the function's environment variables say.

    :param url: where Airflow's api-server answers, :param secret_arn: of the secret with the login; both None for MWAA.
    :param mwaa: name of the MWAA environment; None for another Airflow.
    :param burst_seconds: arrivals of a window of so many seconds become one run.
    :param at_once: so many cities are asked for at the same time.
    :param elsewhere: where else raw data lie: template → names of cities whose slug is not made of them → that slug.
    """

    bucket: str
    fleet: str
    environment: str
    url: str | None
    secret_arn: str | None
    mwaa: str | None
    burst_seconds: float
    at_once: int
    elsewhere: dict[str, dict[str, str]]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read them.

        :raises CityFleetError: naming every variable that is missing or wrong, and what is allowed.
        """
        mistakes: list[str] = []

        def text(name: str) -> str | None:
            return environment.get(name, "").strip() or None

        def needed(name: str, what: str) -> str:
            value = text(name)
            if value is None:
                mistakes.append(f"{name} is not set; allowed: {what}.")
            return value or ""

        fleet = needed("CITY_FLEET_FLEET", "the fleet's name, as in its fleet file")
        installation = needed(
            "CITY_FLEET_ENVIRONMENT", "the environment in its fleet file, for example production"
        )
        for name, value in (("CITY_FLEET_FLEET", fleet), ("CITY_FLEET_ENVIRONMENT", installation)):
            if value and not naming.is_slug(value):
                mistakes.append(
                    f"{name}: got {show_value(value)}; allowed: lower-case letters and digits, words joined by one "
                    "underscore."
                )
        url, secret, mwaa = (
            text(f"CITY_FLEET_{name}") for name in ("AIRFLOW_URL", "AIRFLOW_SECRET_ARN", "MWAA_ENVIRONMENT")
        )
        if (mwaa is None) == (url is None) or (url is None) != (secret is None):
            mistakes.append(
                "Where is Airflow? Allowed: CITY_FLEET_AIRFLOW_URL with CITY_FLEET_AIRFLOW_SECRET_ARN, or "
                "CITY_FLEET_MWAA_ENVIRONMENT alone."
            )
        if secret is not None and not secret.startswith("arn:"):
            # Not shown: it may be the secret itself.
            mistakes.append(
                "CITY_FLEET_AIRFLOW_SECRET_ARN: allowed: the ARN of a secret of AWS Secrets Manager, never the secret."
            )
        if url is not None:
            mistakes += _mistakes_of_url(url, text("CITY_FLEET_AIRFLOW_PLAIN_HTTP") or _FALSE)

        def number(name: str, default: int, most: int) -> int:
            value = text(name) or str(default)
            found = int(value) if value.isdecimal() and len(value) < 6 else 0
            if not 1 <= found <= most:
                mistakes.append(f"{name}: got {show_value(value)}; allowed: a whole number from 1 to {most}.")
            return found

        settings = cls(
            bucket=needed("CITY_FLEET_BUCKET", "the fleet's S3 bucket"),
            fleet=fleet,
            environment=installation,
            url=url,
            secret_arn=secret,
            mwaa=mwaa,
            burst_seconds=float(number("CITY_FLEET_BURST_SECONDS", int(WINDOW_SECONDS), 3600)),
            at_once=number("CITY_FLEET_AT_ONCE", AT_ONCE, 16),
            elsewhere=_elsewhere(text("CITY_FLEET_RAW_ELSEWHERE") or "{}", mistakes),
        )
        if mistakes:
            raise CityFleetError(
                f"The function's environment variables: {' '.join(mistakes)} Set them with "
                "`aws lambda update-function-configuration --environment`."
            )
        return settings


def _elsewhere(text: str, mistakes: list[str]) -> dict[str, dict[str, str]]:
    try:
        value = {
            str(template): {str(name): str(slug) for name, slug in names.items()}
            for template, names in json.loads(text).items()
        }
        if not any(raw_places.problem_of(template) for template in value):
            return value
    except (ValueError, AttributeError, RecursionError):
        pass
    mistakes.append(
        f"CITY_FLEET_RAW_ELSEWHERE: got {show_value(text)}; allowed: templates of dataset.raw with names and slugs, "
        '{"s3://lake/sales/city={name}/": {"Frankfurt/Main": "ffm"}}.'
    )
    return {}


def _mistakes_of_url(url: str, plain_http: str) -> list[str]:
    mistakes = []
    there = urlsplit(url)
    if plain_http not in (_TRUE, _FALSE):
        mistakes.append(
            f"CITY_FLEET_AIRFLOW_PLAIN_HTTP: got {show_value(plain_http)}; allowed: {_TRUE}, {_FALSE}."
        )
    # Never shown as it is: somebody may have written a password into it.
    if there.scheme not in ("http", "https") or not there.hostname or there.username or there.query:
        mistakes.append(
            "CITY_FLEET_AIRFLOW_URL: allowed: https://<host>[:<port>][/<path>], without a login in it."
        )
    elif there.scheme == "http" and there.hostname not in _LOOPBACK and plain_http != _TRUE:
        mistakes.append(
            "CITY_FLEET_AIRFLOW_URL: http would send the password in clear; allowed: https. Where the network is your "
            f"own, set CITY_FLEET_AIRFLOW_PLAIN_HTTP={_TRUE}."
        )
    return mistakes


class RetrainFailed(Exception):
    """A call that has to be made again: Lambda does so for events that nobody waits for."""


def login_of_secret(client: Any, arn: str) -> tuple[str, str]:
    """Return user and password as a secret of AWS Secrets Manager holds them: ``{"username": …, "password": …}``.

    :raises AirflowError: it can't be read; nothing of it is shown.
    """
    try:
        text = client.get_secret_value(SecretId=arn)["SecretString"]
    except (ClientError, BotoCoreError) as error:
        raise AirflowError(
            f"Airflow's login: {aws_errors.sentence(error, 'Secrets Manager')}", status=401
        ) from error
    except KeyError:
        text = ""
    try:
        login = json.loads(text)
        user, password = login["username"], login["password"]
    except (ValueError, KeyError, TypeError):
        user = password = None
    if not (isinstance(user, str) and isinstance(password, str) and user and password):
        raise AirflowError(
            'Airflow\'s login: the secret is to hold {"username": "…", "password": "…"}.', status=401
        )
    return user, password


def channel_of(settings: Settings) -> Channel:
    """Return the way to the Airflow of the settings."""
    retries: Any = {"mode": "standard", "total_max_attempts": 2}
    config = Config(connect_timeout=5, read_timeout=REQUEST_SECONDS, retries=retries)
    url, arn = settings.url, settings.secret_arn
    if url is None or arn is None:
        return MwaaChannel(boto3.client("mwaa", config=config), settings.mwaa or "")
    secrets = boto3.client("secretsmanager", config=config)
    return LoginChannel(
        url,
        login=lambda: login_of_secret(secrets, arn),
        timeout_seconds=REQUEST_SECONDS,
        use_proxies=urlsplit(url).hostname not in _LOOPBACK,
    )


# Once per container: Lambda gives this phase more time than a call, and reports what is wrong as an init error.
SETTINGS = Settings.from_environment(os.environ)
CHANNEL = channel_of(SETTINGS)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one call.

    :param event: messages of an SQS queue, or any one message that ``messages.read`` knows.
    :param context: of Lambda; its remaining time is the deadline.
    :return: for SQS ``batchItemFailures``: the messages that are to be tried again; else what has come of each city.
    :raises RetrainFailed: without a queue, something has to be tried again.
    """
    now = clock.utc_now()
    queued = _queued(event)
    read = (
        [_Message.of_record(record, now) for record in queued] if queued else [_Message.of_event(event, now)]
    )
    wanted = _wanted(arrival for message in read for arrival in message.arrivals)
    retrainer = Retrainer(
        AirflowRest(CHANNEL), SETTINGS.fleet, SETTINGS.environment, SETTINGS.burst_seconds, SETTINGS.at_once
    )
    found = retrainer.start_all(list(wanted.values()), now, _seconds(context))
    outcomes = {about: found[arrival] for about, arrival in wanted.items()}
    _log(outcomes, read)
    failed = [
        message
        for message in read
        if message.refused
        or any(one.came is Came.FAILED for each in message.arrivals for one in outcomes[_about(each)])
    ]
    if queued:
        return {"batchItemFailures": [{"itemIdentifier": message.id} for message in failed]}
    every = [one for each in outcomes.values() for one in each]
    if failed:
        raise RetrainFailed(_why(read[0], every))
    return _answer(every)


@dataclass(frozen=True)
class _Message:
    """A message as it was read.

    :param id: by which SQS knows it; empty of a call without a queue.
    :param refused: why it can't be read.
    """

    id: str
    arrivals: list[Arrival]
    refused: str | None = None

    @classmethod
    def of_event(cls, event: Any, now: datetime, name: str = "") -> _Message:
        try:
            found = messages.read(
                event, bucket=SETTINGS.bucket, fleet=SETTINGS.fleet, now=now, elsewhere=SETTINGS.elsewhere
            )
            return cls(name, found)
        except Refused as refused:
            return cls(name, [], str(refused))

    @classmethod
    def of_record(cls, record: dict[str, Any], now: datetime) -> _Message:
        return cls.of_event({"Records": [record]}, now, record["messageId"])


#: What an arrival is about: its city, and of one that asks for it, the moment whose data it wants.
_About = tuple[str, datetime | None]


def _about(arrival: Arrival) -> _About:
    return arrival.city, arrival.as_of


def _wanted(arrivals: Iterable[Arrival]) -> dict[_About, Arrival]:
    """Return the newest arrival of each city: its run covers the others."""
    by_moment: dict[datetime | None, list[Arrival]] = {}
    for arrival in arrivals:
        by_moment.setdefault(arrival.as_of, []).append(arrival)
    newest = [arrival for each in by_moment.values() for arrival in messages.distinct(each).values()]
    return {_about(arrival): arrival for arrival in newest}


def _queued(event: Any) -> list[dict[str, Any]]:
    """Return the messages of SQS that an event of Lambda brings."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return []
    return [
        record
        for record in records
        if isinstance(record, dict)
        and record.get("eventSource") == "aws:sqs"
        and isinstance(record.get("messageId"), str)
    ]


def _seconds(context: Any) -> float:
    """Return how long a call may take."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return UNBOUNDED_SECONDS
    left = float(remaining()) / 1000
    return max(0.0, left - RESERVE_SECONDS) if math.isfinite(left) else UNBOUNDED_SECONDS


def _log(outcomes: Mapping[_About, list[CityOutcome]], read: list[_Message]) -> None:
    """Say once of each message that starts nothing why, and of every city what has come of it."""
    for message in read:
        if message.refused:
            log.error("Message %s can't be read: %s", message.id or "(no queue)", message.refused)
    failures: Counter[str | None] = Counter()
    for outcome in (one for each in outcomes.values() for one in each):
        if outcome.came is Came.FAILED:
            failures[outcome.said] += 1
        elif outcome.came is Came.UNKNOWN:
            count = sum(arrival.city == outcome.city for message in read for arrival in message.arrivals)
            log.warning("%s; nothing to do for %d message(s)", outcome.said, count)
        else:
            log.info("%s: %s %s", outcome.city, outcome.came, outcome.run_id)
    for said, count in failures.items():
        log.error("%d cities have to be tried again: %s", count, said)


def _why(message: _Message, outcomes: list[CityOutcome]) -> str:
    if message.refused:
        return message.refused
    failed = [outcome for outcome in outcomes if outcome.came is Came.FAILED]
    return f"{len(failed)} of {len(outcomes)} cities have no run. {failed[0].city}: {failed[0].said}"


def _answer(outcomes: list[CityOutcome]) -> dict[str, Any]:
    """Return what has come of a call without a queue; of many cities the numbers alone."""
    counts = Counter(str(outcome.came) for outcome in outcomes)
    answer: dict[str, Any] = {str(came): counts[came] for came in Came if came is not Came.FAILED}
    if len(outcomes) <= SHOWN_CITIES:
        answer["cities"] = [
            {
                "city": outcome.city,
                "came": str(outcome.came),
                **({"run_id": outcome.run_id} if outcome.run_id else {}),
                **({"said": outcome.said} if outcome.said else {}),
            }
            for outcome in outcomes
        ]
    return answer
