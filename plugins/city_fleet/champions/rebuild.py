"""Rebuild: a live pointer that is missing, broken or out of step with its history is restored. Clients are passed in.

What serves is left alone wherever it can: a pointer that can be read and whose artifact exists keeps its model and
only gets a sequence behind the history's. Otherwise the newest state of the history whose model may serve is
restored; the history holds every state that served, so that is what served last. A city without any history gets
the newest approved version of the registry that was published, which is one whose artifact is below ``models/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import clock, naming
from city_fleet.champions.moves import (
    MOVED,
    MOVES_TRIED,
    PLANNED,
    UNCHANGED,
    Move,
    load_usable,
    moves_too_often,
)
from city_fleet.champions.promotion import load_model
from city_fleet.errors import CityFleetError, PointerMoved, PublishError
from city_fleet.state import live, registry, retire_marks
from city_fleet.state.live import Broken, LivePointer, Versioned

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})


def rebuild(
    s3: Any,
    sagemaker: Any,
    *,
    keys: naming.Keys,
    group: str,
    city: str,
    by: str,
    reason: str = "",
    undo_removal: bool = False,
    dry_run: bool = False,
) -> Move:
    """Restore a city's live pointer if it needs that. Repeating it is harmless.

    :param s3: a boto3 S3 client; ``sagemaker``: of SageMaker.
    :param group: the city's model package group.
    :param by: who does it; ``reason``: why.
    :param undo_removal: bring a city back that somebody has removed.
    :param dry_run: say what would be done, and do nothing.
    :return: outcome ``unchanged`` when the pointer is sound, the city was removed, or no model of it ever went live.
    :raises PublishError: the pointer is broken or lost, and there is nothing to restore.
    """
    for _ in range(MOVES_TRIED):
        found = live.read_or_broken(s3, keys, city)
        before = found.pointer if isinstance(found, Versioned) else None
        kept = live.kept_sequences(s3, keys, city)
        look = _Look(s3, sagemaker, keys, group, city, found, kept, claim=not dry_run)
        wrong = look.what_is_wrong()
        if wrong is None:
            return Move(city, UNCHANGED, before, before, ("the live pointer is sound",))
        end = look.removal()
        if end is not None and not undo_removal:
            note = f"it was removed by {end.moved_by} at {end.moved_at}; name the city to bring it back"
            return Move(city, UNCHANGED, None, None, (note,))
        state = look.state_to_restore(by)
        if state is None:
            if found is None and not look.sequences:
                return Move(city, UNCHANGED, None, None, ("no model of it ever went live", *look.notes))
            raise PublishError(
                f"city {city!r}: {wrong}; nothing can be restored: {'; '.join(look.notes) or 'no model is known'}",
                city=city,
            )
        planned = replace(
            state,
            sequence=look.newest_sequence() + 1,
            predecessor=before.target_model if before and before.city == city else look.last_target_model(),
            move=live.REBUILD,
            moved_at=clock.now_iso(),
            moved_by=by,
            reason=reason or wrong,
        )
        notes = (wrong, *look.notes)
        if dry_run:
            return Move(city, PLANNED, before, planned, notes)
        try:
            moved = live.move(s3, keys, planned, found, keep=look.in_its_place())
        except PointerMoved:
            continue
        return Move(city, MOVED, before, moved.pointer, notes)
    raise moves_too_often(city)


def lost_cities(s3: Any, keys: naming.Keys) -> list[str]:
    """Return the cities that have a history but no live pointer: one List per 1,000 cities for each."""
    prefix, pages = keys.history_prefix("").removesuffix("/"), s3.get_paginator("list_objects_v2")
    served = {
        item["Prefix"].removeprefix(prefix).rstrip("/")
        for page in pages.paginate(Bucket=keys.bucket, Prefix=prefix, Delimiter="/")
        for item in page.get("CommonPrefixes", [])
    }
    serving = {
        item["Key"].removeprefix(keys.live_prefix()).removesuffix(".json")
        for page in pages.paginate(Bucket=keys.bucket, Prefix=keys.live_prefix())
        for item in page.get("Contents", [])
    }
    return sorted(served - serving)


@dataclass
class _Look:
    """What there is of a city, and what can be made of it.

    :param found: what stands in the live pointer's place.
    :param sequences: of the states that are kept, ascending.
    :param claim: keep what is restored from being retired.
    :param notes: sentences: what was passed over, and what is restored.
    """

    s3: Any
    sagemaker: Any
    keys: naming.Keys
    group: str
    city: str
    found: Versioned | Broken | None
    sequences: list[int]
    claim: bool
    notes: list[str] = field(default_factory=list)

    def newest_sequence(self) -> int:
        """Return the highest sequence that was ever used."""
        own = self.found.pointer.sequence if isinstance(self.found, Versioned) else 0
        return max([own, *self.sequences])

    def removal(self) -> LivePointer | None:
        """Return how the city was removed, or None when it was not."""
        last = self._kept(self.sequences[-1]) if self.found is None and self.sequences else None
        return last if last is not None and last.move == live.REMOVE else None

    def last_target_model(self) -> str | None:
        """Return what the newest kept state serves."""
        last = self._kept(self.sequences[-1]) if self.sequences else None
        return last.target_model if last else None

    def in_its_place(self) -> bool:
        """Tell whether the place of the live pointer in the history is free, or holds its copy."""
        if not isinstance(self.found, Versioned) or self.found.pointer.city != self.city:
            return False
        pointer = self.found.pointer
        return pointer.sequence not in self.sequences or self._kept(pointer.sequence) == pointer

    def what_is_wrong(self) -> str | None:
        """Return a sentence, or None when the live pointer is sound."""
        if self.found is None:
            return "the live pointer is missing"
        if isinstance(self.found, Broken):
            return str(self.found.error)
        pointer, newest = self.found.pointer, max(self.sequences, default=0)
        wrong = None
        if pointer.city != self.city:
            wrong = f"the live pointer is of city {pointer.city!r}"
        elif not self._is_published(pointer.target_model):
            wrong = f"the artifact of {pointer.target_model}, which the live pointer names, does not exist"
        elif newest > pointer.sequence:
            wrong = f"the live pointer has sequence {pointer.sequence}, but the history goes up to {newest}"
        elif not self.in_its_place():
            wrong = f"the history holds another pointer with the live pointer's sequence, {newest}"
        return wrong

    def state_to_restore(self, by: str) -> LivePointer | None:
        """Return the state to restore, with ``restores`` set, or None when there is none."""
        if isinstance(self.found, Versioned) and self.found.pointer.city == self.city:
            pointer = self.found.pointer
            if self._is_published(pointer.target_model):
                origin = self._kept(pointer.origin)
                same = origin is not None and origin.target_model == pointer.target_model
                self.notes.append(f"{pointer.target_model} stays live")
                return replace(pointer, restores=pointer.origin if same else None)
        for sequence in reversed(self.sequences):
            try:
                state = live.read_kept(self.s3, self.keys, self.city, sequence)
                load_usable(self.s3, self.sagemaker, self.keys, state, claim=self.claim)
            except PublishError as error:
                self.notes.append(f"passed over sequence {sequence}: {error}")
                continue
            self.notes.append(f"from sequence {sequence} of the history, {state.move} by {state.moved_by}")
            return replace(state, restores=state.origin)
        return self._newest_published_version(by)

    def _newest_published_version(self, by: str) -> LivePointer | None:
        """Return the newest model, by as_of, that the registry has approved and that lies below ``models/``."""
        listed = [
            found
            for found in registry.versions(self.sagemaker, self.group)
            if found.status == registry.APPROVED and found.as_of and found.artifact_sha256
        ]
        for version in sorted(listed, key=lambda found: (found.as_of, found.number), reverse=True):
            try:
                target = version.target_model(self.city)
                if self.claim and target is not None:
                    retire_marks.claim(self.s3, self.keys, self.city, target)
                model = load_model(self.s3, self.sagemaker, self.keys, self.city, version)
            except CityFleetError as error:
                self.notes.append(f"passed over version {version.number}: {error}")
                continue
            candidate = model.candidate(self.city, move=live.REBUILD, by=by, reason="")
            if not self._is_published(candidate.target_model):
                continue
            self.notes.append(f"from version {version.number} of the registry; what else served is not known")
            return LivePointer(
                sequence=1,
                city=self.city,
                target_model=candidate.target_model,
                package_arn=version.arn,
                as_of=naming.as_of_stamp(candidate.as_of),
                metrics=model.decision.metrics.get("challenger", {}),
                features=model.loaded.features,
                artifact_sha256=candidate.artifact_sha256,
                published_at=clock.now_iso(),
                published_by=by,
                reasons=model.decision.reasons,
                settings_digest=candidate.settings_digest,
                code_digest=candidate.code_digest,
            )
        return None

    def _kept(self, sequence: int) -> LivePointer | None:
        try:
            return live.read_kept(self.s3, self.keys, self.city, sequence)
        except PublishError:
            return None

    def _is_published(self, target: str) -> bool:
        try:
            self.s3.head_object(Bucket=self.keys.bucket, Key=self.keys.model(target))
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return False
            raise
        return True
