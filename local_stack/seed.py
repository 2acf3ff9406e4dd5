"""Give a fresh stack what an AWS account would hold already: the bucket with raw data, and the role."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from local_stack.environment import ROOT
from local_stack.errors import StackError
from local_stack.stack import Stack

ROLE = "city-fleet"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def fleet_file(fleet: str, fleets_dir: Path) -> Path:
    """Find a fleet file.

    :param fleet: a path, or a name of a file in `fleets_dir` without its ending
    :raises StackError: there is none; names those that are there
    """
    for path in (Path(fleet), fleets_dir / f"{fleet}.yaml", fleets_dir / f"{fleet}.yml", fleets_dir / fleet):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(path.stem for path in fleets_dir.glob("*.y*ml"))) or "none"
    raise StackError(f"FLEET={fleet}: no such file, and no such fleet in {fleets_dir} (there: {known}).")


def seed(stack: Stack, fleet: str = "") -> None:
    """Create the role, then the buckets and the raw data of one fleet, or of all in the stack's folder.

    :param fleet: name or path of a fleet file; empty for all
    :raises StackError: the data could not be uploaded, with what the command said
    """
    iam = stack.client("iam")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    folder = stack.layout.fleets_dir
    files = [fleet_file(fleet, folder)] if fleet else sorted(folder.glob("*.yaml"))
    for path in files:
        run_fleet(stack, "ingest", "--fleet", str(path), "--create-bucket")


def run_fleet(stack: Stack, *arguments: str) -> str:
    """Run the fleet's command line as a person would, in the stack's environment.

    :return: what it printed
    :raises StackError: it failed
    """
    done = subprocess.run(
        [sys.executable, "-m", "city_fleet.cli", *arguments],
        env=stack.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise StackError(f"`./fleet {' '.join(arguments)}` ended with {done.returncode}:\n{said}")
    return done.stdout
