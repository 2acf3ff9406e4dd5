"""The server's own log: one JSON object a line on standard output. The user's code prints what it likes beside it."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def log(event: str, level: str = "info", **members: Any) -> None:
    """Write one line.

    :param event: what happened, in snake case.
    :param level: info, warning or error.
    :param members: numbers and texts that say more.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    line = json.dumps({"time": f"{stamp}Z", "level": level, "event": event, **members}, default=str)
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):  # the log has no reader any more
        return
