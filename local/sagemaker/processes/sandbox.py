"""A folder of its own for each container, whose ``opt/ml`` is mounted as ``/opt/ml`` there or stands for it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from local.sagemaker.processes.archives import remove_tree
from local.sagemaker.processes.outputs import MAX_FILES, Outputs

OPT_ML = "/opt/ml"
#: ``/opt/ml`` where a path starts: not inside a longer path or an S3 key, not the start of a longer name.
_OPT_ML_PATH = re.compile(r"(?<![\w/.-])/opt/ml(?![\w.-])")
_OPT_ML_NAMED = re.compile(_OPT_ML_PATH.pattern + r"""[^\s'":,;)\]]*""")
NOT_OWN = (
    "the local SageMaker can give no job an /opt/ml of its own on this machine: take paths from arguments and from "
    "variables like SM_MODEL_DIR"
)
_REWRITTEN = (".sh", ".py", ".json")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


class Sandbox:
    """The file system of one container.

    :param parent: where its folder is made.
    :param name: part of the folder's name, so that people can tell the folders apart.
    :param own_opt_ml: whether the container has an ``/opt/ml`` of its own; if not, paths are rewritten for it.
    """

    def __init__(self, parent: Path, name: str, *, own_opt_ml: bool = False) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        # Short on purpose and free of characters that need quoting: it shows up in command lines.
        self.root = Path(tempfile.mkdtemp(prefix=f"{name[:40]}-", dir=parent)).resolve()
        self.opt_ml = self.root / "opt" / "ml"
        self.tmp = self.root / "tmp"
        self.home = self.root / "root"
        self.outputs = Outputs(self.root, OPT_ML if own_opt_ml else None)
        self._own_opt_ml = own_opt_ml
        self._named: str | None = None
        self._began = time.time()
        self._make()

    def path(self, container_path: str) -> Path:
        """Where a path of the container lies on this machine.

        :param container_path: absolute path below ``/opt/ml``.
        :raises ValueError: when it lies elsewhere.
        """
        relative = os.path.relpath(os.path.normpath(container_path), OPT_ML)
        if not container_path.startswith("/") or relative.startswith(".."):
            raise ValueError(f"{container_path!r} is not below {OPT_ML}")
        return self.opt_ml / relative

    def to_local(self, text: str) -> str:
        """Rewrite the container's paths in a text to those of this machine, where it has no ``/opt/ml`` of its own.

        :param text: an argument or the value of a variable.
        """
        return text if self._own_opt_ml else _OPT_ML_PATH.sub(lambda _: str(self.opt_ml), text)

    def rewrite(self, folder: Path) -> None:
        """Rewrite the container's paths in the text of files to those of this machine, where that is needed.

        :param folder: a folder of the sandbox; no container has run yet, so nothing in it leads elsewhere.
        """
        for path in () if self._own_opt_ml else folder.rglob("*"):
            if path.is_file() and path.suffix in _REWRITTEN:
                text = path.read_text(encoding="utf-8", errors="surrogateescape")
                path.write_text(self.to_local(text), encoding="utf-8", errors="surrogateescape")

    def to_container(self, text: str) -> str:
        """Rewrite this machine's paths in a text to those of the container: logs read as they do on AWS.

        :param text: a line of the log.
        """
        if self._named is None and not self._own_opt_ml and (found := _OPT_ML_NAMED.search(text)):
            self._named = found[0]
        return text.replace(str(self.opt_ml), OPT_ML).replace(str(self.root), "")

    def strayed(self) -> str | None:
        """A file that was written into ``/opt/ml`` of this machine since the container began, where that is not its
        own; None when there is none."""
        if self._own_opt_ml:
            return None
        found = (Path(folder, name) for folder, _, names in os.walk(OPT_ML) for name in names)
        for path in itertools.islice(found, MAX_FILES):
            with contextlib.suppress(OSError):
                if path.lstat().st_ctime >= self._began:
                    return str(path)
        return None

    def hint(self) -> str:
        """What may lie behind a failure where ``/opt/ml`` is not the container's own: that its log names it. Else
        empty."""
        return f" ({self._named} is named in the log, and {NOT_OWN})" if self._named else ""

    def command(self, interpreter: Path, words: list[str]) -> list[str]:
        """A container's command as it is run here.

        :param interpreter: stands for the image; takes the place of ``python`` and ``python3``.
        :param words: entrypoint and arguments.
        """
        local = [self.to_local(word) for word in words]
        if self.is_python(words[0]):
            local[0] = str(interpreter)
        return local

    def is_python(self, word: str) -> bool:
        """Whether the first word of a command is the image's Python.

        :param word: a name, or a path of the container.
        """
        return _PYTHON.fullmatch(Path(word).name) is not None

    def environment(self, interpreter: Path, *layers: Mapping[str, str]) -> dict[str, str]:
        """A clean environment: nothing of the server's own, above all none of its credentials.

        :param interpreter: stands for the image; its folder leads PATH.
        :param layers: variables on top; later ones win, paths in them are rewritten.
        """
        environment = base_environment(interpreter) | {"HOME": str(self.home), "TMPDIR": str(self.tmp)}
        for layer in layers:
            environment.update({name: self.to_local(value) for name, value in layer.items()})
        return environment

    def reset(self) -> None:
        """Empty the folder: the next container starts with nothing, as on a new instance."""
        for path in self.root.iterdir():
            remove_tree(path)
        self._make()

    def _make(self) -> None:
        for folder in (self.opt_ml, self.tmp, self.home):
            folder.mkdir(parents=True)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        remove_tree(self.root)


def base_environment(interpreter: Path) -> dict[str, str]:
    """What every container's environment holds.

    :param interpreter: stands for the image; its folder leads PATH.
    """
    return {
        "PATH": f"{interpreter.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        # Many small jobs side by side: one thread each, which also keeps their results reproducible.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
