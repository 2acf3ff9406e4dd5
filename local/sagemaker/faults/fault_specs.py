"""Faults as JSON describes them: the kinds, the members of each, and what is wrong with a bad description.

Kinds that meet requests:
  throttling            ThrottlingException: Rate exceeded; S3: 503 SlowDown
  rate_limit            the same for what comes faster than rate_per_second, after burst requests, per operation
  slow_down             S3's 503 SlowDown
  conditional_conflict  S3's 409 ConditionalRequestConflict, for writes with If-Match or If-None-Match
  internal_error        status 500
  timeout               no answer for as long as the caller waits
  dropped_connection    the connection is closed without an answer
  latency               the answer is delayed
  access_denied         AccessDeniedException, as of a caller whose policy lacks the right
  expired_token         ExpiredTokenException, as of credentials that have run out
Kinds that meet jobs and endpoints:
  capacity_error        AWS has no instance for a job on demand
  spot_interruption     a spot training job loses its instance; AWS has a new one after capacity_after_seconds
  job_crash             SIGKILL for the job's process
  model_server_crash    SIGKILL for an endpoint's model server
  endpoint_failure      an endpoint's model server does not come up
  model_load_failure    a multi-model endpoint can't load a model
  model_load_latency    a model takes longer to load: on a multi-model endpoint, or before a container's first answer

Which faults AWS has, and their codes, follow its documentation ("Common Errors", "Error retries and exponential
backoff", S3's "Error responses" and "Conditional requests", "Managed Spot Training"); how they are described
is the stand-in's own choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from local.sagemaker.faults.fault_operations import what_is_wrong

SEED = 0
DISTRIBUTIONS = {
    "constant": ("seconds",),
    "exponential": ("mean_seconds",),
    "uniform": ("low_seconds", "high_seconds"),
    "lognormal": ("median_seconds", "sigma"),
}
EVERYWHERE = "operation", "name", "probability", "count", "skip", "window"
_TIMED = ("after_seconds",)
_LATENCY = ("distribution", *(member for members in DISTRIBUTIONS.values() for member in members))
LATENCIES = ("latency", "model_load_latency")


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    :param members: those of its own, besides those that every kind has.
    :param operations: of a kind that meets requests, which it meets where nothing is said; None = it meets no requests.
    """

    members: tuple[str, ...] = ()
    operations: str | None = None


KINDS: dict[str, Kind] = {
    # Of requests.
    "throttling": Kind(operations="*"),
    "rate_limit": Kind(("rate_per_second", "burst"), operations="*"),
    "slow_down": Kind(operations="s3:*"),
    "conditional_conflict": Kind(operations="s3:*"),
    "internal_error": Kind(("when",), operations="*"),
    "timeout": Kind(("when",), operations="*"),
    "dropped_connection": Kind(("when",), operations="*"),
    "latency": Kind(_LATENCY, operations="*"),
    "access_denied": Kind(operations="*"),
    "expired_token": Kind(operations="*"),
    # Of jobs and endpoints.
    "capacity_error": Kind((*_TIMED, "reason")),
    "spot_interruption": Kind((*_TIMED, "capacity_after_seconds")),
    "job_crash": Kind(_TIMED),
    "model_server_crash": Kind(_TIMED),
    "endpoint_failure": Kind(("reason",)),
    "model_load_failure": Kind(("reason",)),
    "model_load_latency": Kind(_LATENCY),
}
#: Members of each kind, besides those that every kind has.
MEMBERS = {name: kind.members for name, kind in KINDS.items()}
DEFAULTS: dict[str, Any] = {
    "operation": "*",  # and what the kind says
    "name": "*",
    "probability": 1.0,
    "count": None,
    "skip": 0,
    "window": {"start_seconds": 0.0, "end_seconds": None},
    "burst": 1,
    "when": "before",
    "distribution": "constant",
    "after_seconds": 0.0,
    "capacity_after_seconds": 0.0,
    "reason": None,
}


class FaultError(ValueError):
    """What is wrong with a description of faults, in a sentence."""


@dataclass(frozen=True)
class FaultSpec:
    """One fault.

    :param kind: one of :data:`KINDS`.
    :param members: everything else, defaults filled in.
    """

    kind: str
    members: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.members[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_json(self) -> dict[str, Any]:
        """The fault as JSON describes it."""
        return {"kind": self.kind, **self.members}

    def __str__(self) -> str:
        shown = {
            name: value
            for name, value in self.members.items()
            if value is not None and (name not in DEFAULTS or value != DEFAULTS[name])
        }
        return " ".join([self.kind, *(f"{name}={value}" for name, value in shown.items())])


def read_plan(document: Any) -> tuple[int | None, list[FaultSpec]]:
    """Seed, if there is one, and faults of a whole document: ``{"seed": 7, "faults": [...]}``.

    One fault alone, or a list of them, will do as well.

    :raises FaultError: naming the fault, the member, what was got and what is allowed.
    """
    if isinstance(document, dict) and "kind" in document:
        document = [document]
    if isinstance(document, list):
        document = {"faults": document}
    if not isinstance(document, dict):
        raise FaultError(f"expected a JSON object, got {_show(document)}")
    for name in document:
        if name not in ("seed", "faults"):
            raise FaultError(f"unknown member {name!r}; allowed: seed, faults (or a fault, which has a kind)")
    seed, faults = document.get("seed"), document.get("faults", [])
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise FaultError(f"seed: got {_show(seed)}; allowed: a whole number")
    if not isinstance(faults, list):
        raise FaultError(f"faults: got {_show(faults)}; allowed: a list")
    return seed, [read_fault(fault, f"fault {number}") for number, fault in enumerate(faults, 1)]


def read_fault(document: Any, where: str) -> FaultSpec:
    """One fault, its defaults filled in.

    :param where: how errors name it.
    :raises FaultError: if something is wrong with it.
    """
    if not isinstance(document, dict):
        raise FaultError(f"{where}: expected a JSON object, got {_show(document)}")
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = get_close_matches(str(kind), KINDS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise FaultError(f"{where}, kind: got {_show(kind)}; allowed: {', '.join(KINDS)}.{hint}")
    allowed = (*EVERYWHERE, *KINDS[kind].members)
    if KINDS[kind].operations is None:
        allowed = tuple(member for member in allowed if member != "operation")
    where = f"{where} ({kind})"
    for name, value in document.items():
        if name == "kind":
            continue
        if name not in allowed:
            near = get_close_matches(name, allowed, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise FaultError(f"{where}: unknown member {name!r}; allowed: {', '.join(allowed)}.{hint}")
        test, words = CHECKS[name]
        if not test(value):
            raise FaultError(f"{where}, {name}: got {_show(value)}; allowed: {words}")
        if name == "operation" and (wrong := what_is_wrong(value)):
            raise FaultError(f"{where}, operation: got {_show(value)}; {wrong}")
    members = {name: DEFAULTS[name] for name in allowed if name in DEFAULTS}
    if KINDS[kind].operations is not None:
        members["operation"] = KINDS[kind].operations
    members |= {name: value for name, value in document.items() if name != "kind"}
    members["window"] = {**DEFAULTS["window"], **members["window"]}
    _check_together(kind, members, where)
    return FaultSpec(kind, members)


def _check_together(kind: str, members: dict[str, Any], where: str) -> None:
    start, end = members["window"]["start_seconds"], members["window"]["end_seconds"]
    if end is not None and end <= start:
        raise FaultError(f"{where}, window: ends at {end} s, which is not after its start at {start} s")
    needed: tuple[str, ...] = ()
    if kind == "rate_limit":
        needed = ("rate_per_second",)
    if kind in LATENCIES:
        needed = DISTRIBUTIONS[members["distribution"]]
        for name in MEMBERS["latency"]:
            if name in members and name not in (*needed, "distribution"):
                shape = members["distribution"]
                raise FaultError(
                    f"{where}: a distribution that is {shape} has no {name}; it has {', '.join(needed)}"
                )
    for name in needed:
        if name not in members:
            raise FaultError(f"{where}: {name} is missing; allowed: {CHECKS[name][1]}")
    if kind in LATENCIES and "low_seconds" in members and members["high_seconds"] < members["low_seconds"]:
        raise FaultError(f"{where}: high_seconds is less than low_seconds")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 86_400


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1024


def _is_window(value: Any) -> bool:
    return isinstance(value, dict) and all(
        (name == "end_seconds" and each is None) or (name in DEFAULTS["window"] and _is_seconds(each))
        for name, each in value.items()
    )


_SECONDS = (_is_seconds, "seconds from 0 to 86400")
_GLOB = "a glob that is matched with case, for example"
#: What each member may be, and in words.
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "operation": (_is_text, f"{_GLOB} CreateTrainingJob, Describe* or s3:Put*"),
    "name": (_is_text, f"{_GLOB} austin-* (a job or an endpoint) or bucket/key*"),
    "probability": (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "count": (
        lambda value: value is None or _is_whole(value, 1),
        "a whole number from 1, or null for no limit",
    ),
    "skip": (lambda value: _is_whole(value, 0), "a whole number from 0"),
    "window": (
        _is_window,
        "an object with start_seconds and end_seconds, counted from when the fault is set",
    ),
    "rate_per_second": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "burst": (lambda value: _is_whole(value, 1), "a whole number from 1"),
    "when": (lambda value: value in ("before", "after"), "before (the work is not done) or after (it is)"),
    "distribution": (
        lambda value: isinstance(value, str) and value in DISTRIBUTIONS,
        ", ".join(DISTRIBUTIONS),
    ),
    "seconds": _SECONDS,
    "mean_seconds": _SECONDS,
    "low_seconds": _SECONDS,
    "high_seconds": _SECONDS,
    "median_seconds": _SECONDS,
    "sigma": (lambda value: _is_number(value) and 0 <= value <= 5, "a number from 0 to 5"),
    "after_seconds": _SECONDS,
    "capacity_after_seconds": (
        lambda value: value is None or _is_seconds(value),
        "seconds from 0 to 86400, or null for never",
    ),
    "reason": (lambda value: value is None or _is_text(value), "a text of at most 1024 characters"),
}


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
