"""What a fleet's cities can be asked, for applications: which are live, and what the model of one takes and answers.

A boto3 S3 client is passed in; the Lambda function carries this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming
from city_fleet.errors import ServingError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.model_question import iso, slug_of
from city_fleet.prediction.seat import seat_of
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.objects import ObjectStore

#: S3 lists so many keys per request.
CITIES_PER_PAGE = 1000


@dataclass(frozen=True)
class CityCatalog:
    """The cities of one fleet that have a live model.

    :param store: the fleet's bucket.
    """

    store: ObjectStore
    keys: naming.Keys
    pointers: LivePointers
    known: KnownCopies

    def names(self, after: str, deadline: Deadline) -> dict[str, Any]:
        """Return the cities with a live model, in alphabetical order, at most :data:`CITIES_PER_PAGE`.

        :param after: begin with the first city after this one; empty for the first page.
        :return: ``cities`` and ``next``, what ``after`` is for the next page: None where there is none.
        :raises PredictError: S3 does not answer, or refuses.
        """
        prefix = self.keys.live_prefix()
        where = self.keys.uri(prefix)
        start = self.keys.live(after) if after else ""

        def listed() -> list[str]:
            found = self.store.items(prefix, after=start, limit=CITIES_PER_PAGE)
            return [item.key.removeprefix(prefix) for item in found]

        try:
            keys = deadline.call(f"S3 ({where})", listed)
        except ClientError as error:
            raise ServingError(f"{where}: S3 refuses: {aws_errors.message_of(error)}", city="") from error
        except BotoCoreError as error:
            raise ServingError(f"{where}: S3 cannot be asked: {error}", city="") from error
        names = [key.removesuffix(".json") for key in keys if key.endswith(".json")]
        cities = [name for name in names if naming.is_slug(name)]
        whole = len(keys) == CITIES_PER_PAGE
        return {"cities": cities, "next": names[-1] if whole and names else None}

    def about(self, city: str, deadline: Deadline) -> dict[str, Any]:
        """Return what can be asked of a city.

        :param city: its slug, or its name as people write it.
        :raises PredictError: no model is live that may answer for it, or S3 does not answer.
        """
        slug = slug_of(city)
        seat = seat_of(slug, self.pointers, self.known, deadline)
        pointer = seat.pointer
        said: dict[str, Any] = {
            "city": slug,
            "kind": pointer.kind,
            "task": pointer.task,
            "by_name": bool(pointer.forecast),
            "forecast": pointer.forecast or None,
            "features": _features(pointer),
            "target_model": pointer.target_model,
            "package_arn": pointer.package_arn,
            "as_of": iso(pointer.as_of),
            "data_until": pointer.data_until,
            "known": None,
            "parent": None,
            "served_by": pointer.city,
        }
        values = None if pointer.is_table else self.known.newest(slug, deadline).values
        if values is not None:
            said["parent"] = values.parent
            said["known"] = {
                "as_of": iso(values.as_of),
                "known_until": values.known_until,
                "frequency": values.frequency,
                "columns": list(values.columns),
            }
        return said


def _features(pointer: LivePointer) -> list[dict[str, str]]:
    """Return names and kinds of the features, in the order of the model."""
    return [dict(each) for each in pointer.inputs] or [
        {"name": name, "kind": "number"} for name in pointer.features
    ]
