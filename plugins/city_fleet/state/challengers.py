"""Which models are tried beside the champions of an installation, and with how much traffic, as one JSON object in S3.

A challenger on trial answers a share of its city's requests (a canary), or is asked beside the champion without
answering (a shadow). The live pointer is never touched by that: a trial belongs to the champion that served when it
began, and is over by itself when another one serves, and when its time is up. So whatever becomes of this object, the
champions serve; one that can't be read ends all trials until it can.

One object for all cities: whoever predicts reads it once in a while, and a city without a trial costs no request. It is
changed by conditional writes only. The Lambda carries this module.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from city_fleet import clock
from city_fleet.errors import PlatformError, show_value
from city_fleet.naming import Keys
from city_fleet.state import installation, versioned_json
from city_fleet.state.live_pointer import LivePointer, ServedModel
from city_fleet.state.objects import ObjectStore
from city_fleet.state.versioned_json import Form

CANARY, SHADOW = WAYS = ("canary", "shadow")
#: What makes a challenger live: that it was not worse when its time is up; that it is better; nothing but a person.
NOT_WORSE, BETTER, NEVER = PROMOTES = ("not_worse", "better", "never")
#: Some 2 KB a trial: room for 5,000 of them.
MOST_BYTES = 16 << 20
_FORM = Form(1, MOST_BYTES, "which challengers are on trial")
_SHARES = 1 << 48


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A model that is tried beside its city's champion.

    :param model: as a live pointer would describe it.
    :param version: its number in the model registry.
    :param way: :data:`CANARY` or :data:`SHADOW`.
    :param share: of the city's requests that it answers, or is asked beside the champion; above 0, at most 1.
    :param champion: target model of the champion that it is tried against.
    :param sequence: with which that champion went live.
    :param since: when the trial began; ISO 8601, UTC.
    :param until: when it ends by itself.
    :param by: who has begun it: ``<dag id>/<run id>`` or the name of a person.
    :param reason: why, in their words; may be empty.
    :param promotes: what makes it live, one of :data:`PROMOTES`; where nothing does, that it has won is only said.
    :param of_run: whether it is its run's model that would have gone live: then the run ends as the trial does.
    """

    model: ServedModel
    version: int
    way: str
    share: float
    champion: str
    sequence: int
    since: str
    until: str
    by: str
    reason: str = ""
    promotes: str = BETTER
    of_run: bool = False

    @property
    def city(self) -> str:
        return self.model.city

    @property
    def sentence(self) -> str:
        """Say what it is tried with: ``a canary of 10 %``, ``in the shadow of all requests``."""
        share = f"{100 * self.share:.4g} %"
        if self.way == CANARY:
            return f"as a canary that answers {share} of the requests"
        return f"in the shadow of {'all' if self.share == 1 else share + ' of the'} requests"

    def over(self, champion: LivePointer | None, now: datetime) -> str | None:
        """Return why the trial is over, as a sentence without its full stop; None while it runs.

        :param champion: the city's live pointer; None where nothing serves.
        """
        return self.displaced(champion) or ("its time is up" if now >= clock.parse(self.until) else None)

    def displaced(self, champion: LivePointer | None) -> str | None:
        """Return why there is nothing to try any more, whatever the time; None while the champion is the same."""
        if champion is None:
            return "no model of the city is live any more"
        if champion.target_model == self.model.target_model:
            return "the challenger is live"
        if (champion.target_model, champion.origin) != (self.champion, self.sequence):
            return f"the champion that it was tried against serves no more: {champion.target_model} does"
        return None

    def takes(self, key: str) -> bool:
        """Tell whether a request is one of those that the challenger answers, or is asked beside the champion.

        :param key: of the request, or of whoever asks: one key gets one answer for the whole trial.
        """
        digest = hashlib.sha256(f"{self.model.target_model} {self.since} {key}".encode()).digest()
        return int.from_bytes(digest[:6], "big") < self.share * _SHARES


@dataclass(frozen=True)
class Ended:
    """How a city's last trial has ended.

    :param target_model: of the challenger, with its ``version``.
    :param verdict: ``better``, ``not_worse``, ``worse``, ``undecided``, or ``ended`` where nothing was compared.
    :param reason: a sentence without its full stop.
    :param at: ISO 8601, UTC.
    """

    target_model: str
    version: int
    way: str
    since: str
    at: str
    by: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Challengers:
    """The trials of an installation, by slug of the city.

    :param running: those that have not been ended; one whose time is up, or whose champion is gone, runs no more all
        the same.
    :param ended: of each city the last one.
    """

    running: Mapping[str, Challenger] = field(default_factory=dict)
    ended: Mapping[str, Ended] = field(default_factory=dict)

    def begun(self, trial: Challenger) -> Challengers:
        """Return them with a trial more, in the place of the city's own."""
        return Challengers({**self.running, trial.city: trial}, self.ended)

    def without(self, city: str, ended: Ended) -> Challengers:
        """Return them without a city's trial."""
        running = {name: trial for name, trial in self.running.items() if name != city}
        return Challengers(running, {**self.ended, city: ended})


def parse(body: bytes, keys: Keys) -> Challengers:
    """Read the object's bytes.

    :raises OtherInstallation: they are another installation's.
    :raises PlatformError: they are no such object, or one of a newer format.
    """
    where = keys.uri(keys.challengers())

    def found(value: Any) -> Challengers:
        advice = f"Somebody has copied it there: `aws s3 rm {where}` takes the copy away; the champions serve"
        installation.refuse_other(keys, value, where, advice)
        return Challengers(
            {city: _challenger(city, each, keys) for city, each in value["running"].items()},
            {city: _ended(each) for city, each in value["ended"].items()},
        )

    advice = (
        f"The champions serve. Bring an earlier version of it back, or end all trials by `aws s3 rm {where}`"
    )
    return versioned_json.parse(body, where, _FORM, found, advice)


def read(store: ObjectStore, keys: Keys) -> Challengers:
    """Return the trials of an installation; none where there never was one.

    :raises OtherInstallation: the object is another installation's.
    :raises PlatformError: it can't be read.
    """
    found = store.get(keys.challengers(), MOST_BYTES)
    return Challengers() if found is None else parse(found.body, keys)


def change(store: ObjectStore, keys: Keys, changed: Callable[[Challengers], Challengers]) -> Challengers:
    """Change the trials, whatever others do to them at the same time.

    :param changed: gets what is said now and returns what is to be said; may be called again.
    :return: what is said afterwards.
    :raises PlatformError: the object can't be read, or would be too large.
    :raises Busy: others got in the way for a minute.
    """
    result = [Challengers()]

    def edit(body: bytes | None) -> bytes | None:
        before = Challengers() if body is None else parse(body, keys)
        result[0] = changed(before)
        return None if result[0] == before else _bytes(result[0], keys)

    store.update(keys.challengers(), edit)
    return result[0]


def _bytes(found: Challengers, keys: Keys) -> bytes:
    value = {
        "format_version": _FORM.version,
        **installation.stamp(keys),
        "running": {city: asdict(each) for city, each in sorted(found.running.items())},
        "ended": {city: asdict(each) for city, each in sorted(found.ended.items())},
    }
    body = (json.dumps(value, indent=1) + "\n").encode()
    if len(body) > MOST_BYTES:
        raise PlatformError(
            f"{keys.uri(keys.challengers())}: {len(found.running)} trials take {len(body):,} bytes; allowed: "
            f"{MOST_BYTES:,}. Nothing was changed; end some first"
        )
    return body


def _challenger(city: str, value: Any, keys: Keys) -> Challenger:
    model = ServedModel.of_city(value["model"], keys.uri(keys.live(city)))
    members = {name: value[name] for name in ("way", "champion", "since", "until", "by", "reason")}
    _check_texts(members)
    for name in ("since", "until"):
        clock.parse(members[name])
    share, version, sequence = value["share"], value["version"], value["sequence"]
    numeric = isinstance(share, int | float) and not isinstance(share, bool)
    if not numeric or not math.isfinite(share) or not 0 < share <= 1:
        raise ValueError(f"share of city {city!r} is {show_value(share)}")
    if members["way"] not in WAYS:
        raise ValueError(f"way of city {city!r} is {show_value(members['way'])}")
    for name, number in (("version", version), ("sequence", sequence)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} of city {city!r} is {show_value(number)}")
    if value["promotes"] not in PROMOTES:
        raise ValueError(f"promotes of city {city!r} is {show_value(value['promotes'])}")
    return Challenger(
        model=model,
        share=float(share),
        version=version,
        sequence=sequence,
        promotes=value["promotes"],
        of_run=value["of_run"] is True,
        **members,
    )


def _ended(value: Any) -> Ended:
    version = value["version"]
    texts = {name: value[name] for name in Ended.__dataclass_fields__ if name != "version"}
    _check_texts(texts)
    if isinstance(version, bool) or not isinstance(version, int):
        raise ValueError(f"version is {show_value(version)}")
    return Ended(version=version, **texts)


def _check_texts(members: Mapping[str, Any]) -> None:
    for name, text in members.items():
        if not isinstance(text, str):
            raise ValueError(f"{name} is {show_value(text)}")
