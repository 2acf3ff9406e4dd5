"""How a city's run ends: its model becomes the one that serves, or the one that serves stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from city_fleet import outgoing_text
from city_fleet.approval import run_release
from city_fleet.champions.approval_states import ModelState
from city_fleet.champions.release import target_model
from city_fleet.plan import DECIDE, REGISTER
from city_fleet.run_steps.step_input import CityRun
from city_fleet.state.outcomes import Decided, Outcome
from city_fleet.state.registry import ModelPackage

_log = outgoing_text.logger(__name__)


def publish(at: CityRun, package: ModelPackage) -> tuple[dict[str, Any], Decided]:
    """Make a registered model the one that serves the city, unless its night awaits approval.

    :return: the step's result, and what was decided.
    :raises PublishError: what the run left is gone, or the endpoint does not answer as it should.
    """
    ended = run_release.release(at.city, package, at.run, at.author)
    for reason in ended.reasons:
        _log.info("%s: %s", ended.outcome, reason)
    result = {
        "outcome": ended.outcome.value,
        "reasons": list(ended.reasons),
        "target_model": target_model(at.city.slug, package),
        "live": ended.live,
    }
    return result, ended


def keep_champion(at: CityRun, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Say why the model that serves stays. It changes nothing.

    :param asked: what a person has answered, where one was asked.
    """
    decision, registered = at.result(DECIDE), at.result(REGISTER)
    if asked:
        outcome, reasons = asked["outcome"], asked["reasons"]
    else:
        superseded, reasons = decision["superseded"], decision["reasons"]
        if decision["promote"]:  # the gate lets it go, but a person or a newer model does not
            superseded = registered["state"] == ModelState.SUPERSEDED.value
            reasons = [registered["reason"]]
        outcome = (Outcome.SUPERSEDED if superseded else Outcome.HELD).value
    for reason in reasons:
        _log.info("%s: %s", outcome, reason)
    return {"outcome": outcome, "reasons": reasons}
