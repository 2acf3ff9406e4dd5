"""Takes a model that was trained elsewhere: reads one file, and writes this project's artifact for a city.

Runs as a process of its own, with limits and without a secret in its environment: the file may be anybody's. What it
says goes to ``--message-file`` as job scripts' sentences do; exit code 1 where the model is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
from pathlib import Path

#: Memory (address space, of which libraries reserve much), processor time, and a file's size.
MOST_MEMORY_BYTES = 12 << 30
MOST_SECONDS = 300
MOST_WRITTEN_BYTES = 512 << 20


def limit() -> None:
    """Bound what a hostile file can take; a kind of limit that the system lacks is left out."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MOST_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_FSIZE, MOST_WRITTEN_BYTES),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


def main(arguments: list[str]) -> int:
    """Read the command line, and import what is needed only then: limits come first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=Path, required=True, help="the folder of the job scripts")
    parser.add_argument("--file", type=Path, required=True, help="the model")
    parser.add_argument("--name", required=True, help="what people call the file")
    parser.add_argument("--kind", default="", help="xgboost, onnx, skops or artifact; else what the file is")
    parser.add_argument("--city", required=True, metavar="SLUG")
    parser.add_argument("--tables", type=Path, required=True, help="holds train/, validation/ and test/")
    parser.add_argument(
        "--features", default="", help="a JSON list: what the model's inputs are, in its order"
    )
    parser.add_argument("--predicts", choices=["target", "label"], default="target")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--message-file", type=Path)
    parsed = parser.parse_args(arguments)
    limit()
    sys.path.insert(0, str(parsed.scripts))
    from conversion import Asked, convert  # noqa: PLC0415
    from job_failure import run  # noqa: PLC0415

    asked = Asked(
        file=parsed.file,
        name=parsed.name,
        kind=parsed.kind or None,
        city=parsed.city,
        tables=parsed.tables,
        features=json.loads(parsed.features) if parsed.features else None,
        keeps_transform=parsed.predicts == "label",
        output=parsed.output,
    )
    return run(lambda: convert(asked), parsed.message_file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
