"""Packages that a container installs: into its own sandbox, where on AWS it is the container's copy of the image.

An interpreter on a laptop stands for all containers of an image at once, so what one of them installs with pip goes
into a folder of its sandbox that comes first on its path. What pip has downloaded (it keeps what comes by HTTPS) is
kept by the digest of the requirements; pip holds it against their hashes each time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from local.sagemaker.processes.outputs import OutputRefused
from local.sagemaker.processes.sandbox import Sandbox

REQUIREMENTS = "requirements.txt"
CACHE = "pip-cache"
#: Says where pip is in an interpreter that brings it for ensurepip alone, as those of uv's environments do.
_BUNDLED = """
import importlib.util, pathlib
if importlib.util.find_spec("pip") is None:
    import ensurepip
    found = pathlib.Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    print(next(map(str, found), ""))
"""


class Packages:
    """What a container with requirements has beside its image.

    :param sandbox: the container's file system.
    :param interpreter: stands for the image.
    :param kept: the server's folder for what pip has downloaded.
    :param requirements: files that pip may be given.
    """

    def __init__(self, sandbox: Sandbox, interpreter: Path, kept: Path, requirements: Iterable[Path]) -> None:
        self._sandbox, self._interpreter = sandbox, interpreter
        digest = hashlib.sha256()
        for path in sorted(requirements):
            digest.update(path.read_bytes())
        self._kept = kept / digest.hexdigest()[:32]
        self._cache = sandbox.root / CACHE

    def variables(self) -> dict[str, str]:
        """The environment in which ``python3 -m pip install`` and what runs after it see the container's packages."""
        if self._kept.is_dir():
            shutil.copytree(self._kept, self._cache, symlinks=True, dirs_exist_ok=True)
        target = str(self._sandbox.root / "packages")
        return {
            "PIP_TARGET": target,
            # A dependency that the image has is not in the folder, where pip would look for it.
            "PIP_NO_DEPS": "1",
            "PIP_CACHE_DIR": str(self._cache),
            "PYTHONPATH": ":".join(filter(None, (target, bundled_pip(self._interpreter)))),
        }

    def keep(self) -> None:
        """Keep what pip has downloaded for the next container; what can't be kept is downloaded again."""
        if self._kept.is_dir():
            return
        with contextlib.suppress(OSError, OutputRefused):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._kept.parent) as folder:
                made = Path(folder, CACHE)
                made.mkdir()
                for each in self._sandbox.outputs.walk(self._cache):
                    if each.file is None:
                        (made / each.name).mkdir(parents=True, exist_ok=True)
                        continue
                    (made / each.name).parent.mkdir(parents=True, exist_ok=True)
                    with (made / each.name).open("wb") as file:
                        shutil.copyfileobj(each.file, file)
                made.rename(self._kept)


@functools.cache
def bundled_pip(interpreter: Path) -> str:
    """The wheel of pip that an interpreter brings, where pip itself is not installed; empty otherwise.

    :param interpreter: its file.
    """
    command = [str(interpreter), "-I", "-c", _BUNDLED]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
