"""What a training job's log says of its metrics: AWS documentation, "Define Training Metrics".

A definition is a name and a regular expression; the first group of what it finds in a line is the metric's value. Of
each metric the last value is kept, as DescribeTrainingJob's ``FinalMetricDataList``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import regex

from local.sagemaker.errors import ValidationException
from local.sagemaker.moments import now

#: An expression comes from whoever asks for the job: one that would take for ever on a line gives up.
SECONDS_PER_LINE = 0.1

log = logging.getLogger(__name__)


def check_definitions(definitions: Sequence[dict[str, Any]]) -> None:
    """Check that expressions can be read.

    :param definitions: ``AlgorithmSpecification.MetricDefinitions``.
    :raises ValidationException: for the first that can't.
    """
    for each in definitions:
        try:
            regex.compile(each["Regex"])
        except regex.error as error:
            raise ValidationException(
                f"MetricDefinitions '{each['Name']}': Regex: got '{each['Regex']}'; no regular expression: {error}."
            ) from None


class EmittedMetrics:
    """The metrics of one job; lines come one after the other.

    :param definitions: ``AlgorithmSpecification.MetricDefinitions``.
    """

    def __init__(self, definitions: Sequence[dict[str, Any]]) -> None:
        self._expressions = {each["Name"]: regex.compile(each["Regex"]) for each in definitions}
        self._last: dict[str, tuple[float, datetime]] = {}

    def read(self, line: str) -> None:
        """Note what a line of the log says."""
        for name, expression in list(self._expressions.items()):
            try:
                for found in expression.finditer(line, timeout=SECONDS_PER_LINE):
                    self._note(name, found.group(1) if found.re.groups else found.group())
            except TimeoutError:
                log.warning("the metric %s is not looked for any more: its Regex takes too long", name)
                del self._expressions[name]

    def _note(self, name: str, text: str | None) -> None:
        try:
            value = float(text or "")
        except ValueError:
            return
        if math.isfinite(value):
            self._last[name] = (value, now())

    def final(self) -> list[dict[str, Any]]:
        """Return each metric's last value, as ``FinalMetricDataList`` has it."""
        return [
            {"MetricName": name, "Value": value, "Timestamp": moment}
            for name, (value, moment) in self._last.items()
        ]
