"""What a command at the desk works on: a city's raw data and the models that serve, from where a run has them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from city_fleet.cli.aws import aws_errors, client
from city_fleet.config import Fleet
from city_fleet.errors import (
    BrokenPointer,
    CityFleetError,
    ConfigError,
    DataError,
    PlatformError,
    display_path,
)
from city_fleet.naming import parse_as_of
from city_fleet.plan import CityPlan

if TYPE_CHECKING:
    from city_fleet.desk.data_at_hand import DataAtHand
    from city_fleet.desk.made_model import MadeModel
    from city_fleet.desk.trial import Served


#: What a person calls the model that serves.
LIVE = "live"


class DeskInputs:
    """Gets what a city's steps work on, and keeps what could not be had.

    :param folder: gets files; an empty one.
    :param notes: sentences on what is lacking, for people.
    """

    def __init__(self, plan: CityPlan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self.notes: list[str] = []
        self._unreachable: PlatformError | None = None

    @property
    def _fleet(self) -> Fleet:
        return self._plan.fleet

    def data(self, file: Path | None) -> DataAtHand:
        """Return the raw data: those of a file, those of the bucket that a run would have, or ``dataset.source``.

        :param file: takes their place.
        :raises CityFleetError: there are none, or they can't be read.
        """
        from city_fleet.desk.data_at_hand import from_bucket, from_source  # noqa: PLC0415 - imports readers

        fleet, place = self._fleet, self._folder / "raw"
        wanted = self._plan.children or (self._plan.city.slug,)
        place.mkdir()
        if file is not None:
            found = from_source(fleet, place, wanted, file)
            return self._there(found, wanted)
        if self._unreachable is None:
            try:
                with aws_errors():
                    found = from_bucket(fleet, self._client("s3"), place, wanted)
                if found.files or fleet.dataset.source is None:
                    return self._there(found, wanted)
            except PlatformError as error:
                self._unreachable = error
                self.notes.append(f"the bucket can't be asked: {error}")
        if fleet.dataset.source is None and self._unreachable is not None:
            raise self._unreachable
        return self._there(from_source(fleet, place, wanted), wanted)

    def _there(self, found: DataAtHand, wanted: Collection[str]) -> DataAtHand:
        if found.files:
            return found
        city = self._plan.city
        raise DataError(
            file=found.name,
            got=f"no row of {city.shown_name}"
            if len(wanted) == 1
            else f"no row of the cities of {city.shown_name}",
            allowed=f"rows with the name {city.name!r}",
            hint=f"Write the city's name in {display_path(self._fleet.path)} as the data write it, or ingest its data.",
        )

    def served(self) -> tuple[Served | None, Served | None]:
        """Return the models that serve the city and its parent; None where there is none, or it can't be had."""
        own = self._of(self._plan.city.slug, "champion")
        parent = self._plan.city.parent
        return own, None if parent is None else self._of(parent, "parent")

    def version(self, number: int) -> MadeModel:
        """Return a version of the registry, with what its run has left.

        :raises CityFleetError: there is none of that number, its artifact can't be used, or AWS can't be asked.
        """
        from city_fleet.cli.moving import FleetClients  # noqa: PLC0415 - makes clients
        from city_fleet.desk.made_model import of_version  # noqa: PLC0415 - imports botocore

        with aws_errors():
            context = FleetClients(self._fleet).city(self._plan.city.slug)
            return of_version(
                context, number, Path(mkdtemp(prefix=f"v{number}-", dir=self._folder)) / "artifact"
            )

    def model(self, which: str) -> MadeModel:
        """Return a model by what a person calls it: ``v3``, ``live``, or a folder that ``./fleet try --keep`` has left.

        :raises CityFleetError: there is none of that name.
        """
        from city_fleet.desk.made_model import of_folder, version_number  # noqa: PLC0415 - imports botocore

        if (number := version_number(which)) is not None and not Path(which).is_dir():
            return self.version(number)
        if which == LIVE:
            served = self._of(self._plan.city.slug, "model")
            if served is None and self._unreachable is not None:
                raise self._unreachable
            if served is None:
                raise DataError(
                    file=self._fleet.keys.uri(self._fleet.keys.live(self._plan.city.slug)),
                    got=self.notes.pop() if self.notes else "nothing",
                    allowed="a city with a model that serves",
                )
            made = self.made_by(served)
            return replace(made, name=f"{made.name} (live)")
        return of_folder(Path(which), self._plan.city.slug)

    def made_by(self, served: Served) -> MadeModel:
        """Return a model that serves, with what its run has left as far as the registry can be asked."""
        from city_fleet.desk.made_model import MadeModel  # noqa: PLC0415 - imports botocore
        from city_fleet.state import live, registry  # noqa: PLC0415

        alone = MadeModel(served.target_model, served.as_of, served.archive)
        try:
            with aws_errors():
                found = live.read(self._client("s3"), self._fleet.keys, served.city)
            if found is None or found.pointer.target_model != served.target_model:
                return alone
            return self.version(registry.version_of(found.pointer.package_arn))
        except CityFleetError as error:
            self.notes.append(f"what its run has left can't be had: {error}")
            return alone

    def _of(self, city: str, name: str) -> Served | None:
        from city_fleet.desk.trial import Served  # noqa: PLC0415 - imports the jobs' code
        from city_fleet.state import live  # noqa: PLC0415 - imports botocore
        from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

        keys = self._fleet.keys
        try:
            with aws_errors():
                s3 = self._client("s3")
                found = live.read(s3, keys, city)
                if found is None:
                    self.notes.append(f"nothing serves {city}: there is no {name} to compare with")
                    return None
                pointer = found.pointer
                body = ObjectStore(s3, keys.bucket).get(keys.model(pointer.target_model))
        except PlatformError as error:
            if self._unreachable is None:
                self._unreachable = error
                self.notes.append(
                    f"the bucket can't be asked, so there is no {name} to compare with: {error}"
                )
            return None
        except BrokenPointer as error:
            self.notes.append(f"there is no {name} to compare with, as it can't be read: {error}")
            return None
        if body is None:
            self.notes.append(
                f"there is no {name} to compare with: {pointer.target_model} is gone from the bucket"
            )
            return None
        archive = self._folder / name / Path(pointer.target_model).name
        archive.parent.mkdir()
        archive.write_bytes(body.body)
        return Served(city, pointer.target_model, found.etag, pointer.as_of, archive)

    def _client(self, service: str) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - slow to import

        # A desk without a network is no reason to wait.
        quick = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 2})
        return client(self._fleet, service, quick)


def moment_of(plan: CityPlan, champion: Served | None) -> datetime:
    """Return the moment of a trial without one: now, or the end of a schedule that is over, as a run's.

    :param champion: has perhaps seen newer data; then its own moment, so that both see the same.
    """
    now = datetime.now(UTC)
    last = plan.last_moment(now)
    if last is None:
        return now
    return last if champion is None else max(last, parse_as_of(champion.as_of))


def refuse_image(plan: CityPlan) -> None:
    """Refuse what can't run at a desk.

    :raises ConfigError: the city's image has a train command of its own.
    """
    if plan.city.entry == "script":
        return
    raise ConfigError(
        file=display_path(plan.fleet.path),
        city=plan.city.slug,
        field="entry",
        got=repr(plan.city.entry),
        allowed="script, for a trial at the desk: what an image does by itself runs in that image alone",
        hint="`./fleet run` tries it as a job.",
    )
