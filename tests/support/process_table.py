"""The processes of this machine (Linux)."""

from __future__ import annotations

import os
from pathlib import Path


def processes(text: str) -> list[int]:
    """Processes of this machine with a text in their command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            content = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in content and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
