"""CloudWatch alarms, as moto holds them in this process: neither permissions nor faults get in the way.

Nothing here computes an alarm from metrics: an alarm's state is what SetAlarmState says.
"""

from __future__ import annotations

from collections.abc import Iterable

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

ALARM = "ALARM"


def alarm_states(region: str, names: Iterable[str]) -> dict[str, str]:
    """States of alarms: OK, ALARM or INSUFFICIENT_DATA. One that does not exist is left out.

    :param region: where they are.
    :param names: names of metric alarms or composite alarms.
    """
    alarms = get_backend("cloudwatch")[DEFAULT_ACCOUNT_ID][region].alarms
    found = ((name, alarms.get(name)) for name in names)
    return {name: alarm.state_value for name, alarm in found if alarm is not None}
