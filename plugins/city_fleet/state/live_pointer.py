"""The live pointer's form: which model serves a city, since when and by whom, as JSON in S3. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from city_fleet.errors import BrokenPointer, PublishError, show_value
from city_fleet.state import pointer_checks


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model as the live pointer describes it, whatever moves the pointer.

    :param target_model: key below the endpoint's prefix, as sent in TargetModel.
    :param package_arn: ARN of the model package in the registry.
    :param as_of: stamp of the moment up to which the model may have seen data.
    :param metrics: the challenger's metrics on its held-out rows.
    :param features: feature names in the order of a request row.
    :param reasons: the gate's sentences about the model.
    :param settings_digest: of the settings that made the model, ``code_digest`` of the job scripts; None if unknown.
    :param data_until: first day of the newest period that its data held, an ISO date; None if unknown.
    :param refit: of a series: whether it has learned the periods that have judged it; None if unknown.
    :param known_until: first day of the newest period that it has learned, an ISO date; None if unknown.
    :param endpoint: name of the shared endpoint that answers; empty: the fleet's own. ``state/shared_endpoints.py``
        says which SageMaker endpoint that is.
    :param route: what leads to the model on that endpoint: ``{"target_model": …}``, and with a container of its own
        ``"target_container"``, its hostname.
    :param task: what it predicts: a number (``regression``) or a class (``binary``, ``multiclass``).
    :param kind: ``series``, whose features are numbers, or ``table``.
    :param inputs: of a table: ``{"name", "kind"}`` of each feature, in the order of ``features``.
    :param forecast: of a model that answers by the city's name: ``frequency`` of its periods, ``horizon``, ``unit`` of
        the target, and ``columns`` whose newest values it needs, the target first. Empty for others.
    """

    city: str
    target_model: str
    package_arn: str
    as_of: str
    metrics: dict[str, float | None]
    features: tuple[str, ...]
    artifact_sha256: str
    reasons: tuple[str, ...] = ()
    settings_digest: str | None = None
    code_digest: str | None = None
    data_until: str | None = None
    endpoint: str = ""
    route: dict[str, str] = field(default_factory=dict)
    task: str = pointer_checks.REGRESSION
    kind: str = pointer_checks.SERIES
    inputs: tuple[dict[str, str], ...] = ()
    forecast: dict[str, Any] = field(default_factory=dict)
    refit: bool | None = None
    known_until: str | None = None

    def __post_init__(self) -> None:
        # A pointer of an earlier version says the same by its target model alone.
        object.__setattr__(self, "route", {**self.route, pointer_checks.TARGET_MODEL: self.target_model})

    @property
    def container(self) -> str:
        """Return the hostname of the model's own container; empty where the endpoint loads it."""
        return self.route.get(pointer_checks.TARGET_CONTAINER, "")

    @property
    def is_table(self) -> bool:
        """Tell whether a row of a request holds raw values, which not only numbers are."""
        return self.kind == pointer_checks.TABLE

    @classmethod
    def of_city(cls, value: Mapping[str, Any], where: str) -> ServedModel:
        """Read a model that something else than a live pointer holds, as strictly as a pointer's.

        :param value: its members.
        :param where: URI of the live pointer of the city whose model it must be.
        :raises ValueError: naming the member that can't be.
        :raises KeyError: one is missing.
        """
        members = {each.name: value[each.name] for each in fields(ServedModel) if each.name in value}
        state = {"sequence": 1, "published_at": "", "published_by": ""}  # a pointer's own
        pointer_checks.check_members({**members, **state})
        pointer_checks.check_fit(members, where)
        return ServedModel(**_with_tuples(members))


@dataclass(frozen=True, kw_only=True)
class LivePointer(ServedModel):
    """One state of a city's live pointer: a model, and the move that made it serve.

    :param sequence: 1 for the first model that went live, then one more with every move.
    :param published_at: when this model was published; a move that brings it back leaves that. ISO 8601, UTC.
    :param published_by: ``<dag id>/<run id>`` or the name of a person.
    :param predecessor: target model that served before, None for the first.
    :param pinned: a person wants it to stay: nightly runs leave it alone until it is unpinned.
    :param move: kind of the move that made this state: ``publish``, ``promote``, ``rollback``, ``unpin``, ``rebuild``.
    :param moved_at: when it was made; ISO 8601, UTC. A pointer without (written by an earlier version) was published.
    :param moved_by: who made it: ``<dag id>/<run id>`` or the name of a person.
    :param reason: why, in the words of who made it; may be empty.
    :param restores: for a move that brings back or keeps a model: the sequence with which that model went live.
    :param fleet: whose pointer it is, with ``environment``; whoever moves it writes both. Empty in those of earlier
        versions.
    """

    sequence: int
    published_at: str
    published_by: str
    predecessor: str | None = None
    pinned: bool = False
    move: str = "publish"
    moved_at: str = ""
    moved_by: str = ""
    reason: str = ""
    restores: int | None = None
    fleet: str = ""
    environment: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "moved_at", self.moved_at or self.published_at)
        object.__setattr__(self, "moved_by", self.moved_by or self.published_by)

    @classmethod
    def serving(cls, model: ServedModel, **state: Any) -> LivePointer:
        """Return the state of the pointer that serves a model.

        :param state: the pointer's own fields, beside those of the model.
        """
        return cls(**{each.name: getattr(model, each.name) for each in fields(ServedModel)}, **state)

    @property
    def origin(self) -> int:
        """Return the sequence with which the model of this state went live."""
        return self.sequence if self.restores is None else self.restores

    def to_json(self) -> bytes:
        return (json.dumps({"format_version": 1, **asdict(self)}, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes, where: str) -> LivePointer:
        """Read a pointer's bytes.

        :param where: URI of the object: whose pointer it must be.
        :raises BrokenPointer: the bytes are not a pointer, or not one of the city whose key they were read from.
        :raises PublishError: they are one of a newer format.
        """
        try:
            value = pointer_checks.parse(body)
            version = value.pop("format_version")
            if version != 1:
                raise PublishError(
                    f"{where}: format_version is {show_value(version)}, this version of City Fleet reads 1; upgrade it"
                )
            known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
            pointer_checks.check_members(value)
            pointer_checks.check_fit(value, where)
            return cls(**_with_tuples(known))
        except (ValueError, KeyError) as error:
            wrong = f"it has no {error}" if isinstance(error, KeyError) else error
            raise BrokenPointer(
                f"{where}: is not a live pointer of this city ({wrong}); `./fleet rebuild` restores a live pointer "
                "from the history"
            ) from error


def _with_tuples(members: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: tuple(members.get(name, ())) for name in ("features", "reasons", "inputs")}
    return {**members, **lists}


@dataclass(frozen=True)
class Versioned:
    """A pointer with the ETag that guards its next move."""

    pointer: LivePointer
    etag: str


@dataclass(frozen=True)
class Broken:
    """An object in a live pointer's place that is not one, with the ETag that guards its replacement."""

    error: BrokenPointer
    etag: str
