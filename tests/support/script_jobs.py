"""Runs the job scripts as SageMaker does: in the image's Python, in folders that stand for /opt/ml."""

from __future__ import annotations

import atexit
import csv
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import IMAGE_PYTHON, ROOT, SCRIPTS

DATA = ROOT / "include" / "data" / "txhousing.csv"
AS_OF = "20150801T000000Z"
RAW_URI = "s3://bucket/texas_housing/raw/"
JOB_TIMEOUT_SECONDS = 120
#: What a container's environment has beside SageMaker's own variables.
CLEAN = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}

TEXAS_ARGUMENTS = (
    *("--time-column", "year", "--time-column", "month", "--frequency", "month", "--available-after", "P1M"),
    *("--target", "median", "--target-min", "1000", "--target-max", "10000000"),
    *("--target-transform", "log_ratio_to_mean:12"),
    *(part for lag in (1, 2, 3, 6, 12) for part in ("--target-lag", str(lag))),
    *("--feature", '{"column":"sales","lags":[1,2,12],"min":0}'),
    *("--feature", '{"column":"listings","lags":[1,12],"min":0}'),
    *("--feature", '{"column":"inventory","lags":[1,12],"min":0}'),
    *("--calendar", "month_of_year", "--calendar", "trend"),
)
TEXAS_HYPERPARAMETERS = {
    "target": "median",
    "target_transform": "log_ratio_to_mean:12",
    "eta": "0.05",
    "max_depth": "4",
    "subsample": "0.8",
    "colsample_bytree": "0.5",
    "min_child_weight": "3",
}


@dataclass(frozen=True)
class Finished:
    """What is left of a job: exit code, output, and the sentence SageMaker would show (None without one)."""

    code: int
    stdout: str
    stderr: str
    message: str | None


class ScriptServer:
    """Runs scripts in forks of one process that has imported what takes long (script_server.py)."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="city-fleet-scripts-"))
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [IMAGE_PYTHON, str(ROOT / "tests" / "support" / "script_server.py"), str(SCRIPTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Arrow's allocator has a thread of its own else, and a process with threads must not fork.
            env={**CLEAN, "JE_ARROW_MALLOC_CONF": "background_thread:false"},
            text=True,
        )
        atexit.register(self.close)

    def run(self, script: str, arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        """Run a script to its end; return its exit code, and what it wrote to stdout and stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            out, err = self._folder / "out", self._folder / "err"
            question: dict[str, Any] = {"script": script, "arguments": [*arguments]}
            question |= {
                "environment": environment,
                "stdout": str(out),
                "stderr": str(err),
                "timeout": JOB_TIMEOUT_SECONDS,
            }
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            said = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        return code, said[0], said[1]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def _server() -> ScriptServer:
    return ScriptServer()


def start_job(
    script: str, arguments: Sequence[str], message_file: Path, fresh: bool = False, /, **environment: str
) -> Finished:
    """Run a script to its end in an environment as clean as a container's.

    :param script: file name below include/scripts, or the path of a copy.
    :param arguments: its arguments.
    :param message_file: where its sentence would be.
    :param fresh: in an interpreter of its own, with a hash seed of its own.
    :param environment: SM_* variables.
    """
    if fresh:
        done = subprocess.run(
            [IMAGE_PYTHON, str(SCRIPTS / script), *arguments],
            env={**CLEAN, **environment},
            capture_output=True,
            text=True,
            timeout=JOB_TIMEOUT_SECONDS,
            check=False,
        )
        code, stdout, stderr = done.returncode, done.stdout, done.stderr
    else:
        code, stdout, stderr = _server().run(script, arguments, environment)
    message = message_file.read_text(encoding="utf-8") if message_file.exists() else None
    return Finished(code, stdout, stderr, message)


def pack(folder: Path, archive: Path) -> Path:
    """Pack a model folder as SageMaker does: gzipped tar, names relative to SM_MODEL_DIR.

    :param folder: SM_MODEL_DIR.
    :param archive: the model.tar.gz to write.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    return archive


@dataclass(frozen=True)
class Jobs:
    """The three jobs of one city, below one folder that stands for /opt/ml and S3."""

    root: Path
    #: Whether each job has an interpreter of its own, and so a hash seed of its own.
    fresh: bool = False

    @property
    def raw(self) -> Path:
        """Holds the raw city folders."""
        return self.root / "raw"

    def out(self, *parts: str) -> Path:
        """Name a file below preprocess.py's outputs."""
        return self.root.joinpath("preprocess", *parts)

    def write_raw(self, city: str, rows: Sequence[Sequence[Any]], name: str = "data.csv") -> Path:
        """Write one raw file of a city; the first row is the header."""
        path = self.raw / f"city={city}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    def preprocess(
        self,
        *cities: str,
        as_of: str = AS_OF,
        arguments: Sequence[str] = TEXAS_ARGUMENTS,
        more: Sequence[str] = (),
    ) -> Finished:
        """Run preprocess.py."""
        message = self.root / "message-preprocess"
        message.unlink(missing_ok=True)
        return start_job(
            "preprocess.py",
            [
                *(part for city in cities for part in ("--city", city)),
                *("--as-of", as_of, "--raw-dir", str(self.raw), "--raw-uri", RAW_URI),
                *("--output-dir", str(self.out()), "--message-file", str(message)),
                *arguments,
                *more,
            ],
            message,
            self.fresh,
        )

    def train(self, city: str, as_of: str = AS_OF, name: str = "model", **hyperparameters: str) -> Finished:
        """Run train.py in script mode."""
        given = {"city": city, "as_of": as_of, **TEXAS_HYPERPARAMETERS, **hyperparameters}
        output = self.root / name / "output"
        (output / "data").mkdir(parents=True, exist_ok=True)
        (self.root / name / "model").mkdir(exist_ok=True)
        return start_job(
            "train.py",
            [part for key in sorted(given) for part in (f"--{key}", given[key])],
            output / "failure",
            self.fresh,
            SM_CHANNEL_TRAIN=str(self.out("train")),
            SM_CHANNEL_VALIDATION=str(self.out("validation")),
            SM_MODEL_DIR=str(self.root / name / "model"),
            SM_OUTPUT_DIR=str(output),
            SM_OUTPUT_DATA_DIR=str(output / "data"),
            SM_NUM_CPUS="1",
        )

    def pack(self, name: str = "model") -> Path:
        """Make the model.tar.gz of a trained model."""
        return pack(self.root / name / "model", self.root / name / "packed" / "model.tar.gz")

    def evaluate(
        self, city: str, as_of: str = AS_OF, name: str = "model", more: Sequence[str] = ()
    ) -> Finished:
        """Run evaluate.py."""
        message = self.root / "message-evaluate"
        message.unlink(missing_ok=True)
        return start_job(
            "evaluate.py",
            [
                *("--city", city, "--as-of", as_of, "--test-dir", str(self.out("test"))),
                *("--model-dir", str(self.root / name / "packed")),
                *("--output-dir", str(self.root / "evaluate"), "--message-file", str(message)),
                *more,
            ],
            message,
            self.fresh,
        )

    def read_json(self, *parts: str) -> Any:
        """Read a JSON file below the root."""
        return json.loads(self.root.joinpath(*parts).read_text(encoding="utf-8"))


def digests(folder: Path) -> dict[str, str]:
    """Fingerprint every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def settings_of(jobs: Jobs, name: str, *cities: dict[str, Any]) -> dict[str, str]:
    """Write the settings of a training job, and say where they are."""
    path = jobs.root / name / "settings" / "settings.json"
    path.parent.mkdir(parents=True)
    content = {"format_version": 1, "as_of": AS_OF, "raw_uri": RAW_URI, "cities": list(cities)}
    path.write_text(json.dumps(content), encoding="utf-8")
    return {"SM_CHANNEL_SETTINGS": str(path.parent)}


def settings_city(city: str, *candidates: str | dict[str, Any]) -> dict[str, Any]:
    """A city of the settings."""
    given = [
        {"algorithm": each, "hyperparameters": {}} if isinstance(each, str) else each for each in candidates
    ]
    return {"city": city, "dataset": {"kind": "series"}, "candidates": given, "seed": 0, "champion": None}


def train_with(jobs: Jobs, name: str, *cities: dict[str, Any]) -> Finished:
    """Run train.py with a settings channel."""
    output = jobs.root / name / "output"
    (output / "data").mkdir(parents=True)
    (jobs.root / name / "model").mkdir()
    return start_job(
        "train.py",
        [],
        output / "failure",
        **settings_of(jobs, name, *cities),
        SM_CHANNEL_TRAIN=str(jobs.out("train")),
        SM_CHANNEL_VALIDATION=str(jobs.out("validation")),
        SM_MODEL_DIR=str(jobs.root / name / "model"),
        SM_OUTPUT_DIR=str(output),
        SM_OUTPUT_DATA_DIR=str(output / "data"),
        SM_NUM_CPUS="1",
    )
