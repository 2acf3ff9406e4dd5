"""Which Python on this machine stands for the image that jobs run in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from city_fleet.config.places import PROJECT_ROOT
from city_fleet.errors import ConfigError

#: Names the interpreter, where it is not found by itself.
VARIABLE = "CITY_FLEET_IMAGE_PYTHON"
#: What the fleet's own scripts import; what a managed image holds beside it, scripts of one's own may need.
PACKAGES = ("numpy", "pandas", "pyarrow", "xgboost")
_OF_CHECKOUT = ".venv-image/bin/python"
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class ImagePython:
    """An interpreter that has what the job scripts need.

    :param note: how it differs from the image, for people; None where it was made for it.
    """

    path: Path
    note: str | None = None


def image_python(environ: Mapping[str, str] | None = None) -> ImagePython:
    """Find the interpreter: the one that ``CITY_FLEET_IMAGE_PYTHON`` names, a checkout's own, or this one.

    :param environ: environment variables; the process's own by default.
    :raises ConfigError: none has the packages of the image.
    """
    given = (os.environ if environ is None else environ).get(VARIABLE)
    if given:
        path = Path(given).absolute()  # not resolved: a link is what makes it an environment's
        if missing := _missing_elsewhere(path):
            raise ConfigError(field=VARIABLE, got=f"{given!r}, {missing}", allowed=_ALLOWED, hint=_HINT)
        return ImagePython(path)
    own = PROJECT_ROOT / _OF_CHECKOUT
    if own.is_file():
        return ImagePython(own)
    if lacking := list(_missing_here()):
        got = f"this command's own Python, which lacks {', '.join(lacking)}"
        raise ConfigError(field=VARIABLE, got=got, allowed=_ALLOWED, hint=_HINT)
    return ImagePython(
        Path(sys.executable),
        f"job scripts run in this command's own Python ({sys.executable}), whose versions may differ from the image's: "
        f"set {VARIABLE} to one that has what include/scripts/requirements.txt lists",
    )


_ALLOWED = "a Python 3.11 that has what the jobs' image holds: " + ", ".join(PACKAGES)
_HINT = (
    "Make one: `uv venv --python 3.11 image && uv pip install --python image -r include/scripts/requirements.txt`, "
    f"then set {VARIABLE}=image/bin/python."
)


def _missing_here() -> Iterator[str]:
    return (name for name in PACKAGES if find_spec(name) is None)


def _missing_elsewhere(python: Path) -> str | None:
    """Return what is wrong with an interpreter; None where it has the packages."""
    code = (
        "from importlib.util import find_spec\n"
        f"print(','.join(name for name in {PACKAGES!r} if find_spec(name) is None))"
    )
    command = [str(python), "-I", "-c", code]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"which could not be started ({type(error).__name__})"
    missing = done.stdout.strip()
    return f"which lacks {missing.replace(',', ', ')}" if missing else None
