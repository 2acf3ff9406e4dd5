"""Reads what says that raw data have arrived: S3's notifications, EventBridge, SQS, SNS, and requests for a run.

Nothing else knows the forms of messages. Whoever may write to the queue writes these texts: they are bounded, and what
is none of the known forms is refused with a sentence. Standard library only: Airflow reads them, and AWS Lambda.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, unquote_plus

from city_fleet import clock, naming, raw_places
from city_fleet.errors import CityFleetError, list_names, nearest_match, show_value

#: Templates of raw data that are read in place → names of cities whose slug is not made of them → that slug.
Elsewhere = Mapping[str, Mapping[str, str]]
#: City of an arrival that means every city of the fleet; no slug looks like it.
EVERY_CITY = "*"
MAX_BYTES = 1_048_576  # the most that SQS and a call of Lambda that nobody waits for take
MAX_RECORDS = 1_000
MAX_CITIES = 10_000
# EventBridge or S3 within SNS within SQS, and one to spare.
_MAX_ENVELOPES = 4
_S3_TEST = "s3:TestEvent"
_REQUEST = ("city", "cities", "as_of", "at")
_EXAMPLE = '{"city": "austin"}, {"cities": ["austin", "waco"]} or {"cities": "all"}'


@dataclass(frozen=True)
class Arrival:
    """One reason for a run.

    :param city: its slug, or :data:`EVERY_CITY`.
    :param key: of the object that has arrived; None of a request.
    :param at: when it was there, or when the request was made; UTC.
    :param as_of: the moment up to which the run may see data; None for the moment of the run.
    """

    city: str
    key: str | None
    at: datetime
    as_of: datetime | None = None


class Refused(CityFleetError):
    """A message of none of the known forms; the sentence says what it is instead."""


def read(
    message: object,
    *,
    bucket: str,
    fleet: str,
    now: datetime,
    sent: datetime | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[Arrival]:
    """Read one message: a text or what its JSON says, of any known form, in any envelope.

    :param message: also a whole event of Lambda with its ``Records``.
    :param bucket: of the fleet, :param fleet: its name: what lies elsewhere is no arrival.
    :param now: UTC; no arrival is later, whatever a message says.
    :param sent: when a queue has taken it, where that is known: the time of a request.
    :param elsewhere: templates of raw data that are read in place, each with the slugs of names that don't make theirs.
    :return: none for what is no mistake and no arrival: S3's test event, deleted objects, other folders.
    :raises Refused: it can't be read.
    """
    raw = naming.Keys(bucket, fleet, "").raw_prefix()
    return _Reader(bucket, raw, now, elsewhere or {}).read(message, sent or now, 0)


def sent_at(record: Mapping[str, Any]) -> datetime | None:
    """Return when SQS has taken a message, of Lambda's record or of ReceiveMessage's; None where it does not say."""
    attributes = record.get("attributes") or record.get("Attributes")
    stamp = attributes.get("SentTimestamp") if isinstance(attributes, Mapping) else None
    if not isinstance(stamp, str) or not stamp.isdecimal() or len(stamp) > 14:
        return None
    return datetime.fromtimestamp(int(stamp) / 1000, UTC)


def distinct(arrivals: Iterable[Arrival]) -> dict[str, Arrival]:
    """Return the newest arrival of each city, in the order in which the cities came.

    What asks for an ``as_of`` of its own is another matter: leave it out before.
    """
    newest: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.city not in newest or newest[arrival.city].at < arrival.at:
            newest[arrival.city] = arrival
    return newest


class _Reader:
    """Reads messages of one fleet.

    :param raw: prefix of the fleet's raw data.
    :param elsewhere: as :func:`read` takes it.
    """

    def __init__(self, bucket: str, raw: str, now: datetime, elsewhere: Elsewhere) -> None:
        self.bucket, self.raw, self.now, self.elsewhere = bucket, raw, now, elsewhere

    def read(self, message: object, at: datetime, envelopes: int) -> list[Arrival]:
        if isinstance(message, str | bytes):
            message = _parsed(message)
        if not isinstance(message, dict):
            raise Refused(
                f"The message: got {show_value(message)}; allowed: a JSON object, such as {_EXAMPLE}."
            )
        if envelopes > _MAX_ENVELOPES:
            raise Refused(f"The message lies in more than {_MAX_ENVELOPES} envelopes.")
        if "Records" in message:
            return self._records(message["Records"], at, envelopes)
        if message.get("Event") == _S3_TEST:
            return []
        if message.get("Type") == "Notification" and "Message" in message:  # of SNS
            return self.read(_text(message, "Message"), at, envelopes + 1)
        if "detail-type" in message:
            return self._of_eventbridge(message)
        if "Body" in message and "MessageId" in message:  # ReceiveMessage of SQS
            return self.read(_text(message, "Body"), sent_at(message) or at, envelopes + 1)
        return self._requested(message, at)

    def _records(self, records: object, at: datetime, envelopes: int) -> list[Arrival]:
        if not isinstance(records, list) or len(records) > MAX_RECORDS:
            raise Refused(f"Records: got {show_value(records)}; allowed: a list of up to {MAX_RECORDS}.")
        found: list[Arrival] = []
        for record in records:
            source = _member(record, "eventSource") or _member(record, "EventSource")
            if source == "aws:s3":
                found += self._of_s3(record)
            elif source == "aws:sqs":
                found += self.read(_text(record, "body"), sent_at(record) or at, envelopes + 1)
            elif source == "aws:sns":
                found += self.read(_text(record, "Sns", "Message"), at, envelopes + 1)
            else:
                raise Refused(
                    f"A record's eventSource: got {show_value(source)}; allowed: aws:s3, aws:sqs, aws:sns."
                )
        return found

    def _of_s3(self, record: dict[str, Any]) -> list[Arrival]:
        if not _text(record, "eventName").startswith("ObjectCreated:"):
            return []
        bucket, key = _text(record, "s3", "bucket", "name"), _text(record, "s3", "object", "key")
        # S3 writes keys into its notifications as into an HTML form: "+" is a blank.
        return self._arrived(bucket, unquote_plus(key), _text(record, "eventTime"))

    def _of_eventbridge(self, event: dict[str, Any]) -> list[Arrival]:
        if event.get("source") != "aws.s3":
            raise Refused(
                f"The event's source: got {show_value(event.get('source'))}; allowed: aws.s3. A schedule of "
                f"EventBridge needs an input of its own: {_EXAMPLE}."
            )
        if event["detail-type"] != "Object Created":
            return []
        bucket, key = _text(event, "detail", "bucket", "name"), _text(event, "detail", "object", "key")
        return self._arrived(bucket, key, _text(event, "time"))

    def _arrived(self, bucket: str, key: str, time: str) -> list[Arrival]:
        folder, slash, name = key.removeprefix(self.raw).partition("/")
        city = folder.removeprefix("city=")
        if bucket != self.bucket or not key.startswith(self.raw) or not folder.startswith("city="):
            return self._arrived_elsewhere(bucket, key, time)
        if not slash or not naming.is_slug(city) or not naming.is_data_file(name):
            return []
        return [Arrival(city, key, min(_instant("The event's time", time), self.now))]

    def _arrived_elsewhere(self, bucket: str, key: str, time: str) -> list[Arrival]:
        cities = dict.fromkeys(_city_elsewhere(self.elsewhere, bucket, key))
        if not naming.is_data_file(key.rpartition("/")[2]):
            return []
        return [Arrival(city, key, min(_instant("The event's time", time), self.now)) for city in cities]

    def _requested(self, request: dict[str, Any], at: datetime) -> list[Arrival]:
        for name in request:
            if name not in _REQUEST:
                near = nearest_match(name, _REQUEST)
                hint = f" Did you mean {near!r}?" if near else ""
                raise Refused(
                    f"The message has {show_value(name)}; allowed: a notification of S3, an event of EventBridge, or a "
                    f"request with {list_names(_REQUEST)}: {_EXAMPLE}.{hint}"
                )
        if ("city" in request) == ("cities" in request):
            raise Refused(f"The request has {show_value(request)}; allowed: 'city' or 'cities': {_EXAMPLE}.")
        cities = [request["city"]] if "city" in request else request["cities"]
        if cities == "all":
            cities = [EVERY_CITY]
        elif not isinstance(cities, list) or not 1 <= len(cities) <= MAX_CITIES:
            raise Refused(
                f'cities: got {show_value(cities)}; allowed: "all", or a list of 1 to {MAX_CITIES} slugs.'
            )
        else:
            for city in cities:
                if not isinstance(city, str) or not naming.is_slug(city):
                    raise Refused(
                        f"A city: got {show_value(city)}; allowed: a slug, lower-case letters and digits, words joined "
                        "by one underscore."
                    )
        asked, moment = (_instant_of(request, name) for name in ("at", "as_of"))
        return [Arrival(city, None, min(asked or at, self.now), moment) for city in cities]


def _city_elsewhere(elsewhere: Elsewhere, bucket: str, key: str) -> Iterator[str]:
    """Yield the slugs of the cities that an object is of by a template."""
    for template, names in elsewhere.items():
        found = raw_places.city_value(template, bucket, key)
        if found is None:
            continue
        placeholder, text = found
        if placeholder != "name":
            slug = names.get("") if not placeholder else text
        else:
            name = unicodedata.normalize("NFC", unquote(text))
            known = {unicodedata.normalize("NFC", each): slug for each, slug in names.items()}
            slug = known.get(name) or _slug_of(name)
        if slug is not None and naming.is_slug(slug):
            yield slug


def _slug_of(name: str) -> str | None:
    try:
        return naming.slug(name)
    except ValueError:
        return None


def _parsed(text: str | bytes) -> object:
    """Return what a JSON text says."""
    size = len(text) if isinstance(text, bytes) else len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise Refused(f"The message has {size} bytes; allowed: up to {MAX_BYTES}.")
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused("The message is nested too deeply to be read as JSON.") from None
    except ValueError as error:  # not UTF-8, a number of thousands of digits
        raise Refused(
            f"The message is no JSON: {str(error)[:200]}. It begins: {show_value(text[:60])}"
        ) from None


def _member(value: object, *names: str) -> object:
    """Return a member of a member of …; None where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: object, *names: str) -> str:
    found = _member(value, *names)
    if not isinstance(found, str):
        raise Refused(f"{'.'.join(names)}: got {show_value(found)}; allowed: text.")
    return found


def _instant_of(request: dict[str, Any], name: str) -> datetime | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(f"{name}: got {show_value(value)}; allowed: an instant such as {clock.EXAMPLES}.")
    return None if value is None else _instant(name, value)


def _instant(what: str, text: str) -> datetime:
    try:
        return clock.parse(text)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{what}: {str(error)[:200]}") from None
