"""The local SageMaker with a clock that is ahead or behind: ``python -m tests.support.skewed_sagemaker
--clock-offset-seconds=-300 …``.

Its whole process reads another time, S3 and the Date of every answer included; what it measures goes on as it is, since
that is done by the monotonic clock. The jobs are processes of their own and keep the true time.
"""

from __future__ import annotations

import datetime
import sys
import time

OPTION = "--clock-offset-seconds="
_true_datetime, _true_time = datetime.datetime, time.time


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _true_datetime)


def skew(seconds: float) -> None:
    """Put the clock of this process forward or back. It must be done before other modules import ``datetime``."""
    offset = datetime.timedelta(seconds=seconds)

    class Skewed(_true_datetime, metaclass=_Kind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Skewed:  # type: ignore[override]
            return super().now(tz) + offset

        @classmethod
        def utcnow(cls) -> Skewed:  # type: ignore[override]
            return super().now(datetime.UTC).replace(tzinfo=None) + offset

    datetime.datetime = Skewed  # type: ignore[misc]
    time.time = lambda: _true_time() + seconds


def main() -> int:
    options = [argument for argument in sys.argv[1:] if argument.startswith(OPTION)]
    rest = [argument for argument in sys.argv[1:] if argument not in options]
    if options:
        skew(float(options[-1].removeprefix(OPTION)))
    from local.sagemaker.__main__ import main as serve

    return serve(rest)


if __name__ == "__main__":
    sys.exit(main())
