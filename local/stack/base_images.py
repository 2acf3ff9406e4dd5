"""Writes the digests of images into Dockerfiles and compose files: ``make base-images``. Asks the registries by docker.

A tag may mean another image tomorrow; what is built from a digest is what was looked at.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from local import ROOT

FILES = (
    "local/Dockerfile",
    "include/model_server/Dockerfile",
    "docs/install/Dockerfile",
    "docker-compose.production.yaml",
)
# Of a compose file only images with a tag: those without one are built here.
_IMAGE = re.compile(
    r"^(?P<word>FROM | +image: )(?P<image>[^\s@:$]+:[^\s@]+)(@sha256:[0-9a-f]{64})?(?P<rest>( AS \S+)?)$",
    re.MULTILINE,
)
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
    """Pin the images that a file names; nothing is written unless all are known.

    :param path: a Dockerfile or a compose file.
    :return: whether it has changed.
    :raises LookupError: as :func:`digest` does
    """
    text = path.read_text(encoding="utf-8")
    pinned = _IMAGE.sub(
        lambda found: f"{found['word']}{found['image']}@{digest(found['image'])}{found['rest']}", text
    )
    if pinned != text:
        path.write_text(pinned, encoding="utf-8")
    return pinned != text


def main() -> int:
    """Pin all files, and say which have changed.

    :return: exit code
    """
    try:
        for name in FILES:
            print(f"{name}: {'changed' if pin(ROOT / name) else 'as it was'}")
    except LookupError as error:
        print(f"{error}\nThis needs docker with buildx, and a way to the registries.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
