"""Writes the digests of base images into the Dockerfiles: ``make base-images``. Asks the registries by docker.

A tag may mean another image tomorrow; what is built from a digest is what was looked at.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from local import ROOT

DOCKERFILES = ("local/Dockerfile", "include/model_server/Dockerfile", "docs/install/Dockerfile")
_FROM = re.compile(r"^FROM (?P<image>[^\s@]+)(@sha256:[0-9a-f]{64})?(?P<rest>( AS \S+)?)$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest(image: str) -> str:
    """Ask the registry for the digest that a tag has now: the one that is for all platforms.

    :param image: repository and tag.
    :raises LookupError: it can't be had; with what docker said
    """
    command = ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{.Manifest.Digest}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LookupError(f"docker can't be asked for the digest of {image}: {error}") from error
    found = done.stdout.strip()
    if done.returncode != 0 or not _DIGEST.fullmatch(found):
        raise LookupError(f"docker knows no digest of {image}: {(done.stderr or done.stdout).strip()}")
    return found


def pin(path: Path) -> bool:
    """Pin the base images of a Dockerfile; nothing is written unless all are known.

    :param path: the Dockerfile.
    :return: whether it has changed.
    :raises LookupError: as :func:`digest` does
    """
    text = path.read_text(encoding="utf-8")
    pinned = _FROM.sub(lambda found: f"FROM {found['image']}@{digest(found['image'])}{found['rest']}", text)
    if pinned != text:
        path.write_text(pinned, encoding="utf-8")
    return pinned != text


def main() -> int:
    """Pin all Dockerfiles, and say which have changed.

    :return: exit code
    """
    try:
        for name in DOCKERFILES:
            print(f"{name}: {'changed' if pin(ROOT / name) else 'as it was'}")
    except LookupError as error:
        print(f"{error}\nThis needs docker with buildx, and a way to the registries.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
