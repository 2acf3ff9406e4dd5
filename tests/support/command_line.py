"""./fleet as tests run it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from typer.testing import CliRunner

from city_fleet.cli.app import app
from tests.support.paths import ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def _compiled() -> dict[str, str]:
    """Where tests keep compiled fleets."""
    return {"CITY_FLEET_COMPILED": os.environ["CITY_FLEET_COMPILED"]}


def fleet(*arguments: str, stdin: str | None = None, **environ: str) -> Done:
    """Run a command in this process, which saves a second each.

    :param stdin: what it reads on standard input.
    """
    clean = {name: None for name in os.environ if name.startswith(("AWS_", "CITY_FLEET"))}
    kept: dict[str, str | None] = {**clean, **_compiled(), **environ}
    result = CliRunner().invoke(app, arguments, input=stdin, env=kept, prog_name="./fleet")
    assert isinstance(result.exception, SystemExit | None), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def fleet_script(*arguments: str, **environ: str) -> Done:
    """Run ./fleet itself, in a clean environment and without a stack unless one is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CITY_FLEET"))}
    clean |= {"CITY_FLEET_STATE_DIR": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [str(ROOT / "fleet"), *arguments],
        env={**clean, **_compiled(), **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
