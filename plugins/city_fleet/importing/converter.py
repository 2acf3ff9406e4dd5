"""Has a foreign model read by a process of its own, which knows nothing of this one and has no credentials."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from city_fleet.config.places import PROJECT_ROOT, project_path
from city_fleet.desk.image_python import image_python
from city_fleet.desk.script_run import bare_environment
from city_fleet.errors import ConfigError, DataError, ScriptFailed

#: Names the interpreter, where it is not found by itself.
VARIABLE = "CITY_FLEET_IMPORT_PYTHON"
FOLDER = "include/importer"
FORMATS = ("xgboost", "onnx", "skops", "artifact")
TARGET, LABEL = PREDICTS = ("target", "label")
_OF_CHECKOUT = ".venv-import/bin/python"
_TIMEOUT_SECONDS = 600
_MOST_SAID = 2000


@dataclass(frozen=True)
class ForeignModel:
    """A model's file, and what whoever imports it says of it.

    :param kind: one of :data:`FORMATS`; None for what the file is.
    :param features: what its inputs are, in its order; None where the file says so.
    :param predicts: ``target``, in its unit; ``label``, what ``dataset.target_transform`` makes of it.
    """

    path: Path
    kind: str | None = None
    features: Sequence[str] | None = None
    predicts: str = TARGET


@dataclass(frozen=True)
class Conversion:
    """What has become of it.

    :param archive: ``model.tar.gz``, in a folder of its own.
    :param report: ``training.json``, as train.py would have left one, with ``origin``.
    """

    archive: Path
    report: Mapping[str, Any]


def import_python(environ: Mapping[str, str] | None = None) -> Path:
    """Find the interpreter: the one that ``CITY_FLEET_IMPORT_PYTHON`` names, a checkout's own, or the image's.

    The image's knows XGBoost's files and artifacts, and neither ONNX nor skops; the converter says so itself.

    :raises ConfigError: there is none.
    """
    given = (os.environ if environ is None else environ).get(VARIABLE)
    if given:
        path = Path(given).absolute()  # not resolved: a link is what makes it an environment's
        if not path.is_file():
            raise ConfigError(
                field=VARIABLE,
                got=f"{given!r}, which is not there",
                allowed="a Python 3.11 with the packages of requirements/import.lock",
            )
        return path
    own = PROJECT_ROOT / _OF_CHECKOUT
    return own if own.is_file() else image_python().path


def convert(python: Path, scripts: Path, model: ForeignModel, city: str, folder: Path) -> Conversion:
    """Convert a model.

    :param scripts: holds the city's job scripts: those whose ``inference.py`` will answer with it.
    :param folder: holds ``train/``, ``validation/`` and ``test/`` of preprocess.py, and gets the rest.
    :raises ConfigError: the scripts are another team's, and have no artifacts of this kind.
    :raises DataError: there is no such file.
    :raises ScriptFailed: the model is refused, with the sentence why.
    """
    if not (scripts / "model_artifact.py").is_file():
        raise ConfigError(
            field="scripts",
            city=city,
            got="a folder of scripts of one's own, without model_artifact.py",
            allowed="the fleet's own scripts, whose artifacts an import makes",
        )
    try:
        with model.path.open("rb"):
            pass
    except OSError as error:
        raise DataError(
            file=str(model.path), got=f"a file that can't be read ({error.strerror})", allowed="a model"
        ) from None
    out, message, log = folder / "imported", folder / "messages" / "import", folder / "logs" / "import.log"
    out.mkdir()
    for path in (message, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(python), "-B", str(project_path(FOLDER) / "convert.py"), "--scripts", str(scripts)),
        *("--file", str(model.path.resolve()), "--name", model.path.name, "--kind", model.kind or ""),
        *("--city", city, "--tables", str(folder), "--predicts", model.predicts),
        *("--features", "" if model.features is None else json.dumps(list(model.features))),
        *("--output", str(out), "--message-file", str(message)),
    ]
    with log.open("wb") as said:
        code = _run(command, out, said.fileno())
    if code != 0:
        raise ScriptFailed(_sentence(code, message, log, model.path.name), step="import")
    report = json.loads((out / "training.json").read_text(encoding="utf-8"))
    archive = folder / "packed" / "model.tar.gz"
    archive.parent.mkdir()
    (out / archive.name).rename(archive)
    return Conversion(archive, report)


def _run(command: Sequence[str], work: Path, log: int) -> int | None:
    """Run the converter, and return its exit code; None where it was not done in time."""
    process = subprocess.Popen(
        command,
        cwd=work,
        # Threads reserve memory, of which the process may have only so much.
        env=bare_environment() | {"OPENBLAS_NUM_THREADS": "1", "HOME": str(work)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        return process.wait(_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # With whatever it has started; it may have ended itself.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            process.kill()
        process.wait()


def _sentence(code: int | None, message: Path, log: Path, name: str) -> str:
    if code is None:
        return f"{name}: it was not read after {_TIMEOUT_SECONDS} s; no model of a city takes that long."
    if message.is_file():
        return message.read_text(encoding="utf-8", errors="replace").strip()[:_MOST_SAID]
    if code < 0:
        ended = signal.Signals(-code).name if -code in {each.value for each in signal.Signals} else str(-code)
        return (
            f"{name}: the process that read it was ended by {ended}: a library does not survive it, or it takes more "
            "memory or time than an import may. Nothing was imported."
        )
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [f"exit code {code}"]
    return f"{name}: it could not be read here: {lines[-1][:_MOST_SAID]}"
