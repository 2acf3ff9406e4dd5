"""A command as a terminal of some width shows it: it sees a terminal, and what it prints is read from there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

from tests.support.paths import ROOT

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(command: Sequence[str], columns: int, **environ: str) -> str:
    """Run a command in a terminal, and return what it has printed, colours included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    foreign = ("AWS_", "CITY_FLEET", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept: Mapping[str, str] = {
        **clean,
        "CITY_FLEET_COMPILED": os.environ["CITY_FLEET_COMPILED"],
        "CITY_FLEET_STATE_DIR": "/nonexistent",
        "TERM": "xterm-256color",
        **environ,
    }
    process = subprocess.Popen(command, cwd=ROOT, env=kept, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts = []
    with os.fdopen(ours, "rb", buffering=0) as screen:
        while True:
            try:
                part = screen.read(65536)
            except OSError:  # Linux: the last one on the other side has gone
                break
            if not part:
                break
            parts.append(part)
    process.wait(timeout=60)
    return b"".join(parts).decode().replace("\r\n", "\n")


def without_colours(text: str) -> str:
    """Leave out what moves or paints."""
    return _CONTROL.sub("", text)
