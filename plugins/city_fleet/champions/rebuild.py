"""Rebuild: a live pointer that is missing, broken or out of step with its history is restored. Clients are passed in.

What serves is left alone wherever it can: a pointer that can be read and whose artifact exists keeps its model and
only gets a sequence behind the history's. Otherwise the newest state of the history whose model may serve is
restored; the history holds every state that served, so that is what served last. A city without any history gets
the newest approved version of the registry that was published, which is one whose artifact is below ``models/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from city_fleet import clock, naming
from city_fleet.champions import artifact, containers, promotion, publish
from city_fleet.champions.moves import Move, load_usable, rehoused
from city_fleet.errors import CityFleetError, PointerMoved, PublishError
from city_fleet.state import live, objects, registry, retire_marks
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import Broken, LivePointer, ServedModel, Versioned
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def rebuild(city: CityContext, author: Author, *, undo_removal: bool = False, dry_run: bool = False) -> Move:
    """Restore a city's live pointer if it needs that. Repeating it is harmless.

    :param undo_removal: bring a city back that was removed.
    :param dry_run: say what would be done, and do nothing.
    :return: outcome ``unchanged`` when the pointer is sound, the city was removed, or no model of it ever went live.
    :raises PublishError: the pointer is broken or lost, and there is nothing to restore.
    """
    s3, keys, slug = city.aws.s3, city.keys, city.slug
    attempts = objects.rounds(keys.uri(keys.live(slug)))
    while True:
        next(attempts)
        found = live.read_or_broken(s3, keys, slug)
        before = found.pointer if isinstance(found, Versioned) else None
        known = _Evidence(city, found, live.kept_sequences(s3, keys, slug), claim=not dry_run)
        wrong = known.what_is_wrong()
        if wrong is None:
            return Move(slug, Outcome.UNCHANGED, before, before, ("the live pointer is sound",))
        end = known.removal()
        if end is not None and not undo_removal:
            note = f"it was removed by {end.moved_by} at {end.moved_at}; name the city to bring it back"
            return Move(slug, Outcome.UNCHANGED, None, None, (note,))
        state = known.state_to_restore(author.by)
        if state is None:
            if found is None and not known.sequences:
                return Move(
                    slug, Outcome.UNCHANGED, None, None, ("no model of it ever went live", *known.notes)
                )
            raise PublishError(
                f"city {slug!r}: {wrong}; nothing can be restored: {'; '.join(known.notes) or 'no model is known'}",
                city=slug,
            )
        last = before or known.last_kept()
        planned = replace(
            state,
            sequence=known.newest_sequence() + 1,
            predecessor=last.target_model if last else None,
            move=live.REBUILD,
            moved_at=clock.now_iso(),
            moved_by=author.by,
            reason=author.note or wrong,
        )
        notes = (wrong, *known.notes)
        if dry_run:
            return Move(slug, Outcome.PLANNED, before, planned, notes)
        if planned.container:
            containers.take_over(city, planned, containers.bring_up(city, planned))
        try:
            moved = live.move(s3, keys, planned, found, keep=known.in_its_place())
        except PointerMoved:
            continue
        return Move(slug, Outcome.MOVED, before, moved.pointer, notes)


def lost_cities(s3: S3Client, keys: naming.Keys) -> list[str]:
    """Return the cities that have a history but no live pointer: one List per 1,000 cities for each."""
    store, prefix = objects.ObjectStore(s3, keys.bucket), keys.live_prefix()
    serving = {item.key.removeprefix(prefix).removesuffix(".json") for item in store.items(prefix)}
    return sorted(set(store.folders(keys.history_prefix("").removesuffix("/"))) - serving)


@dataclass
class _Evidence:
    """What there is of a city, and what can be made of it.

    :param found: what stands in the live pointer's place.
    :param sequences: of the states that are kept, ascending.
    :param claim: keep what is restored from being retired.
    :param notes: sentences: what was passed over, and what is restored.
    """

    city: CityContext
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
        last = self.last_kept() if self.found is None else None
        return last if last is not None and last.move == live.REMOVE else None

    def last_kept(self) -> LivePointer | None:
        """Return the newest state of the history."""
        return self._kept(self.sequences[-1]) if self.sequences else None

    def in_its_place(self) -> bool:
        """Tell whether the place of the live pointer in the history is free, or holds its copy."""
        if not isinstance(self.found, Versioned):
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
        wrong = self._wrong_artifact(pointer)
        if wrong is not None:
            return f"the live pointer names an artifact that can't serve: {wrong}"
        if newest > pointer.sequence:
            wrong = f"the live pointer has sequence {pointer.sequence}, but the history goes up to {newest}"
        elif not self.in_its_place():
            wrong = f"the history holds another pointer with the live pointer's sequence, {newest}"
        return wrong

    def state_to_restore(self, by: str) -> LivePointer | None:
        """Return the state to restore, with ``restores`` set, or None when there is none."""
        if isinstance(self.found, Versioned):
            pointer = self.found.pointer
            if self._wrong_artifact(pointer) is None:
                origin = self._kept(pointer.origin)
                same = origin is not None and origin.target_model == pointer.target_model
                self.notes.append(f"{pointer.target_model} stays live")
                return replace(pointer, restores=pointer.origin if same else None)
        for sequence in reversed(self.sequences):
            try:
                state = live.read_kept(self.city.aws.s3, self.city.keys, self.city.slug, sequence)
                loaded = load_usable(self.city, state, claim=self.claim)
            except PublishError as error:
                self.notes.append(f"passed over sequence {sequence}: {error}")
                continue
            self.notes.append(f"from sequence {sequence} of the history, {state.move} by {state.moved_by}")
            return replace(rehoused(self.city, state, loaded), restores=state.origin)
        return self._newest_published_version(by)

    def _newest_published_version(self, by: str) -> LivePointer | None:
        """Return the newest model, by as_of, that the registry has approved and that lies below ``models/``."""
        city = self.city
        listed = [
            found
            for found in registry.versions(city.aws.sagemaker, city.group)
            if found.status == registry.APPROVED and found.as_of and found.artifact_sha256
        ]
        for version in sorted(listed, key=lambda found: (found.as_of, found.number), reverse=True):
            try:
                target = version.target_model(city.slug)
                if self.claim and target is not None:
                    retire_marks.claim(city.aws.s3, city.keys, city.slug, target)
                loaded = promotion.load(city, version.arn)
            except CityFleetError as error:
                self.notes.append(f"passed over version {version.number}: {error}")
                continue
            if not city.objects.exists(city.keys.model(loaded.model.target_model)):
                continue  # it was never published
            wrong = self._wrong_artifact(loaded.model)
            if wrong is not None:
                self.notes.append(f"passed over version {version.number}: {wrong}")
                continue
            self.notes.append(f"from version {version.number} of the registry; what else served is not known")
            decision = loaded.decision
            metrics = decision.metrics.get("challenger", {})
            model = replace(
                publish.housed(city, loaded.model, loaded.artifact.algorithm),
                metrics=metrics,
                reasons=decision.reasons,
                data_until=decision.data_until,
                refit=decision.refit,
                known_until=decision.known_until,
            )
            return LivePointer.serving(model, sequence=1, published_at=clock.now_iso(), published_by=by)
        return None

    def _kept(self, sequence: int) -> LivePointer | None:
        try:
            return live.read_kept(self.city.aws.s3, self.city.keys, self.city.slug, sequence)
        except PublishError:
            return None

    def _wrong_artifact(self, model: ServedModel) -> str | None:
        """Return what is wrong with the bytes that the endpoint would serve for a model; None where nothing is."""
        return artifact.wrong_bytes(
            self.city.objects, self.city.keys.model(model.target_model), model.artifact_sha256
        )
