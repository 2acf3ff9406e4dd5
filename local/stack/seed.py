"""Give a fresh stack what an AWS account would hold already: the bucket with raw data, and the role."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from local import ROOT
from local.stack.errors import StackError
from local.stack.stack import Stack

ROLE = "city-fleet"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def seed(stack: Stack, files: list[Path]) -> None:
    """Create the role, then the buckets and the raw data of some fleets.

    :param files: the fleets' files
    :raises StackError: the data could not be uploaded, with what the command said
    """
    iam = stack.client("iam")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    for path in files:
        run_fleet(stack, "ingest", "--fleet", str(path), "--create-bucket")


def run_fleet(stack: Stack, *arguments: str) -> str:
    """Run the fleet's command line as a person would, in the stack's environment.

    :return: what it printed
    :raises StackError: the command failed; with what it said
    """
    done = subprocess.run(
        [sys.executable, "-m", "city_fleet.cli.app", *arguments],
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
