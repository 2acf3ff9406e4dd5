"""Whether a night may be paid for, and what a person has said about it: one JSON object per installation.

The first run of a night that finds no verdict makes it; all others read it, with one Get each. A night that is beyond
the budget is a question until a person has allowed it or a day has passed, and until then it is everybody's answer: a
later night would be paid for on top of it. A boto3 S3 client stands behind the store that is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from city_fleet import clock
from city_fleet.naming import Keys
from city_fleet.state import installation
from city_fleet.state.author import Author
from city_fleet.state.objects import ObjectStore, json_of, rounds

WITHIN, OVER, UNKNOWN = VERDICTS = ("within", "over", "unknown")
#: A verdict that lets runs go on is made anew after so long: more may have been started than was foreseen.
FRESH = timedelta(hours=1)
#: So long a person is waited for.
ASKS = timedelta(days=1)
#: Whoever judges and has not said anything for so long has died.
_JUDGED_WITHIN = timedelta(minutes=10)
_MOST_BYTES = 1 << 16
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class BudgetNight:
    """What is known of a night's budget.

    :param night: stamp of the night's end.
    :param limits: ``night`` and ``month`` of the fleet file that it was judged by, in US dollars.
    :param verdict: one of :data:`VERDICTS`; empty while it is judged for the first time.
    :param sentence: the verdict for people.
    :param figures: in US dollars, and ``runs`` that are still to come.
    :param at: ISO 8601, UTC: when it was judged.
    :param allowed_by: who has allowed the night; empty while nobody has. ``note``: why, ``allowed_at``: when.
    :param judging_since: since when somebody judges it anew; empty where nobody does.
    """

    night: str
    limits: dict[str, float | None]
    verdict: str = ""
    sentence: str = ""
    figures: dict[str, float | None] = field(default_factory=dict)
    at: str = ""
    allowed_by: str = ""
    note: str = ""
    allowed_at: str = ""
    judging_since: str = ""

    @property
    def asks(self) -> bool:
        """Tell whether runs wait for a person because of it."""
        return self.verdict == OVER and not self.allowed_by

    @property
    def asks_until(self) -> datetime:
        """Return the moment at which runs wait no longer, and fail."""
        return clock.parse(self.at) + ASKS

    @property
    def told(self) -> str:
        """Return what people read about it, without a full stop."""
        if self.allowed_by:
            author = Author(self.allowed_by, self.note)
            return (
                f"{self.sentence}; {author.sentence('allowed')}"
                if self.sentence
                else author.sentence("allowed")
            )
        return self.sentence

    def answers(self, night: str, limits: Mapping[str, float | None], now: datetime) -> bool:
        """Tell whether it says what a run of a night that begins now is to do.

        :param night: stamp of that night's end.
        """
        if not self.verdict or self.limits != limits:
            return False
        if self.asks:
            return now < self.asks_until
        return self.night == night and (bool(self.allowed_by) or now < clock.parse(self.at) + FRESH)

    def is_judged(self, now: datetime) -> bool:
        """Tell whether somebody is judging it right now."""
        return bool(self.judging_since) and now < clock.parse(self.judging_since) + _JUDGED_WITHIN

    def to_json(self, keys: Keys) -> bytes:
        value = {"format_version": _FORMAT, **installation.stamp(keys), **asdict(self)}
        return json.dumps(value, indent=2).encode()

    @classmethod
    def from_json(cls, body: bytes, keys: Keys) -> BudgetNight | None:
        """Read what :meth:`to_json` wrote; None for what is nothing of the kind, which is then judged anew.

        :raises OtherInstallation: it is another installation's.
        """
        try:
            value = json_of(body)
            if len(body) > _MOST_BYTES or value["format_version"] != _FORMAT:
                return None
            found = cls(**{name: value[name] for name in cls.__dataclass_fields__})
            texts = (
                found.night, found.verdict, found.sentence, found.at, found.allowed_by, found.note,
                found.allowed_at, found.judging_since,
            )  # fmt: skip
            numbers = [*found.limits.values(), *found.figures.values()]
            if not all(isinstance(text, str) for text in texts) or found.verdict not in ("", *VERDICTS):
                return None
            if not all(each is None or isinstance(each, int | float) for each in numbers):
                return None
            for moment in (found.night, found.at, found.allowed_at, found.judging_since):
                if moment:
                    clock.parse(moment)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        where = keys.uri(keys.budget())
        installation.refuse_other(keys, value, where, f"`aws s3 rm {where}` takes the copy away")
        return found


def read(store: ObjectStore, keys: Keys) -> BudgetNight | None:
    """Return what is known of the night that was judged last; None where there is nothing.

    :raises OtherInstallation: it is another installation's.
    """
    found = store.get(keys.budget(), _MOST_BYTES)
    return None if found is None else BudgetNight.from_json(found.body, keys)


def claim(
    store: ObjectStore, keys: Keys, night: str, limits: Mapping[str, float | None], now: datetime
) -> tuple[BudgetNight, bool]:
    """Return what is known of a night, and whether it is the caller who has to judge it and to :func:`keep` that.

    While somebody else judges it, it is the verdict of before, or one without a verdict.

    :param night: stamp of its end.
    :raises Busy: others got in the way for a minute.
    :raises OtherInstallation: what is there is another installation's.
    """
    attempts = rounds(keys.uri(keys.budget()))
    while True:
        next(attempts)
        found = store.get(keys.budget(), _MOST_BYTES)
        known = None if found is None else BudgetNight.from_json(found.body, keys)
        if known is not None and known.answers(night, limits, now):
            return known, False
        if known is None or known.night != night or known.limits != limits:
            known = BudgetNight(night=night, limits=dict(limits))
        if known.is_judged(now):
            return known, False
        claimed = replace(known, judging_since=now.isoformat()).to_json(keys)
        if store.replace(keys.budget(), claimed, found.etag if found else None) is not None:
            return known, True


def keep(store: ObjectStore, keys: Keys, found: BudgetNight) -> BudgetNight:
    """Write a verdict, and return the one that holds: a person may have allowed the night meanwhile.

    :raises Busy: others got in the way for a minute.
    """

    def judged(before: BudgetNight | None) -> BudgetNight:
        if before is None or before.night != found.night or not before.allowed_by:
            return found
        return replace(found, allowed_by=before.allowed_by, note=before.note, allowed_at=before.allowed_at)

    return _change(store, keys, judged) or found


def allow(store: ObjectStore, keys: Keys, night: str, who: Author, now: datetime) -> BudgetNight | None:
    """Keep that a person allows a night; None where the object is about another one by now.

    Of two people who allow it the first counts.

    :raises Busy: others got in the way for a minute.
    """

    def allowed(before: BudgetNight | None) -> BudgetNight | None:
        if before is None or before.night != night or before.allowed_by:
            return before
        return replace(before, allowed_by=who.by, note=who.note, allowed_at=clock.iso(now))

    found = _change(store, keys, allowed)
    return found if found is not None and found.night == night else None


def _change(
    store: ObjectStore, keys: Keys, change: Callable[[BudgetNight | None], BudgetNight | None]
) -> BudgetNight | None:
    def changed(body: bytes | None) -> bytes | None:
        after = change(BudgetNight.from_json(body, keys) if body is not None else None)
        return None if after is None else after.to_json(keys)

    body = store.update(keys.budget(), changed)
    return None if body is None else BudgetNight.from_json(body, keys)
