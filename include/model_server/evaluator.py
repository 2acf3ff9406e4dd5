"""Finds the compiled evaluator of trees, or compiles it: trees.c as a shared library, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from model_server.json_log import log

SOURCE = Path(__file__).with_name("trees.c")
BUILD = Path(__file__).with_name("_build")
COMPILERS = ("cc", "gcc", "clang")
#: No contraction to fused multiply-add and no fast-math: sums must be XGBoost's to the last bit.
FLAGS = ("-O2", "-shared", "-fPIC", "-std=c11", "-ffp-contract=off")
COMPILE_SECONDS = 60

#: packed trees, rows as doubles, how many rows, where the predictions go.
Evaluate = Callable[[bytes, bytes, int, int], None]


def load_evaluator() -> Evaluate | None:
    """The evaluator. Compiled once for a version of its source, and kept beside it where that folder can be written.

    :return: None where there is no compiled one and no compiler; models are then served by the user's functions.
    """
    try:
        library = ctypes.CDLL(str(_library()))
    except (OSError, subprocess.SubprocessError) as error:
        log("no_evaluator", level="warning", reason=str(error))
        return None
    function = library.predict_packed
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
    function.restype = None
    return function


def _library() -> Path:
    digest = hashlib.sha256(
        SOURCE.read_bytes() + " ".join((*FLAGS, os.uname().machine)).encode()
    ).hexdigest()[:16]
    path = BUILD / f"trees-{digest}.so"
    if path.exists():
        return path
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError(f"{path} is not there, and none of {', '.join(COMPILERS)} is on PATH")
    folder = BUILD
    try:
        folder.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".trees-", dir=folder)
    except OSError:  # not ours to write
        folder = Path(tempfile.mkdtemp(prefix="model-server-"))
        handle, name = tempfile.mkstemp(prefix=".trees-", dir=folder)
    os.close(handle)
    try:
        subprocess.run(
            [compiler, *FLAGS, "-o", name, str(SOURCE), "-lm"],
            check=True,
            timeout=COMPILE_SECONDS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        path = folder / path.name
        os.chmod(name, 0o755)  # noqa: S103 - built by one user, loaded by another
        os.replace(name, path)  # whole, also when another server compiles it at the same time
    finally:
        Path(name).unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    print(_library())
