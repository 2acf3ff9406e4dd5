"""The section of the fleet file about trials: whether a model that the gate lets go is tried before it goes live."""

from __future__ import annotations

from typing import Annotated, Literal

from city_fleet.config.section import Section
from city_fleet.config.value_types import Flag, Range


class TrialOfRuns(Section):
    """Whether a run's model that passes the gate is tried beside the champion before it goes live."""

    share: Annotated[float, Range(False, 0, 1)] = 0
    """Share of the city's requests that it answers meanwhile, or is asked in the shadow; 0: it goes live at once."""
    shadow: Flag = False
    """It answers nobody: the champion does, and both are noted."""
    days: Annotated[int, Range(True, 1, 400)] = 14
    """How long a trial lasts at most."""
    promote: Literal["not_worse", "better", "never"] = "not_worse"
    """What makes it live: its time is up and it was not worse; only that it was clearly better; or a person alone."""
