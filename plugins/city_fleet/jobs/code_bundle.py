"""The job scripts as one content-addressed bundle in S3, so that a run's code is fixed and can be found again."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from city_fleet.config.places import ALLOWED_PATH, links_out, project_path, script_files
from city_fleet.errors import ConfigError, display_path, list_names, show_value
from city_fleet.naming import Keys
from city_fleet.plan import CityPlan
from city_fleet.state.objects import BYTES, ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SOURCE_ARCHIVE = "sourcedir.tar.gz"
REQUIREMENTS = "requirements.txt"
MAX_FILES, MAX_BYTES = 1000, 64 * 1024 * 1024
#: Says what the image holds, and is nothing to install in it.
_OF_THE_IMAGE = "include/scripts/requirements.txt"
_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(\[[\w.,\s-]+\])?\s*==\s*[\w.!+-]+(\s*;[^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+"
)


@dataclass(frozen=True)
class CodeBundle:
    """The Python files of a scripts folder and its sub-packages, and the single files that take their place.

    :param files: path below the folder → content, sorted by path. Only ``*.py``, and a ``requirements.txt`` that was
        asked for: SageMaker's toolkits install one that they find in a code archive, which could replace the image's
        own packages.
    """

    files: tuple[tuple[str, bytes], ...]

    @classmethod
    def load(cls, folder: Path, own: Mapping[str, Path] | None = None) -> CodeBundle:
        """Read a scripts folder.

        :param own: files that take the place of those in the folder, or stand beside them, by their name there.
        :raises ConfigError: the folder does not exist, holds no Python file, too many, or one that is a link to a file
            elsewhere on the host; an own file can't be read; requirements are not pinned by hashes.
        """
        if links := links_out(folder):
            got = f"{list_names(links)}, a link out of the project"
            raise ConfigError(file=str(folder), field="scripts", got=got, allowed=ALLOWED_PATH)
        paths = {path.relative_to(folder).as_posix(): path for path in script_files(folder)}
        if not paths:
            raise ConfigError(
                file=str(folder),
                field="scripts",
                got="a folder without a Python file" if folder.is_dir() else "a folder that does not exist",
                allowed="a folder that holds the job scripts (*.py)",
            )
        paths |= own or {}
        if len(paths) > MAX_FILES or sum(_size(path) for path in paths.values()) > MAX_BYTES:
            got = f"{len(paths)} files, or more than {MAX_BYTES >> 20} MiB"
            allowed = f"at most {MAX_FILES} files and {MAX_BYTES >> 20} MiB of scripts"
            raise ConfigError(file=str(folder), field="scripts", got=got, allowed=allowed)
        files = {name: _content(path) for name, path in sorted(paths.items())}
        if REQUIREMENTS in files:
            check_pinned(files[REQUIREMENTS], paths[REQUIREMENTS])
        return cls(tuple(files.items()))

    @classmethod
    def of(cls, plan: CityPlan) -> CodeBundle:
        """Read the scripts of a city: its folder, its single own scripts, and its requirements if it has any.

        :raises ConfigError: as :meth:`load`.
        """
        own = plan.own_scripts
        there = plan.scripts / REQUIREMENTS
        if REQUIREMENTS not in own and plan.has_own_folder and there.is_file():
            of_image = project_path(_OF_THE_IMAGE)
            # A copy of the fleet's own folder brings the file that says what the image holds.
            if not of_image.is_file() or of_image.read_bytes() != there.read_bytes():
                own = {**own, REQUIREMENTS: there}
        return cls.load(plan.scripts, own)

    @property
    def installs(self) -> bool:
        """Whether jobs install requirements before they start."""
        return any(name == REQUIREMENTS for name, _ in self.files)

    @property
    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 over names and contents."""
        sha = hashlib.sha256()
        for name, content in self.files:
            sha.update(f"{name}\0{len(content)}\0".encode())
            sha.update(content)
        return sha.hexdigest()[:16]

    def archive(self) -> bytes:
        """Return the files as a tar.gz whose bytes depend on the files alone (no times, no owner)."""
        tar_bytes = io.BytesIO()
        with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
            for name, content in self.files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                info.mode = 0o644
                tar.addfile(info, io.BytesIO(content))
        return gzip.compress(tar_bytes.getvalue(), mtime=0)

    def prefix_uri(self, keys: Keys) -> str:
        """Return the URI of the folder with the single files."""
        return keys.uri(keys.code(self.digest))

    def archive_uri(self, keys: Keys) -> str:
        """Return the URI of the source archive, as ``sagemaker_submit_directory`` takes it."""
        return keys.uri(keys.code(self.digest) + SOURCE_ARCHIVE)

    def ensure_uploaded(self, s3: S3Client, keys: Keys) -> bool:
        """Upload the bundle unless it is there. The archive goes last: where it is, the bundle is whole.

        :return: whether anything was uploaded.
        """
        prefix, store = keys.code(self.digest), ObjectStore(s3, keys.bucket)
        if any(True for _ in store.items(prefix + SOURCE_ARCHIVE, limit=1)):
            return False
        for name, content in (*self.files, (SOURCE_ARCHIVE, self.archive())):
            store.put(prefix + name, content, BYTES)
        return True


def check_pinned(content: bytes, path: Path) -> None:
    """Refuse requirements of which a line is not one package, pinned by ``==`` and ``--hash``.

    What a night installs is then what was looked at, whatever an index serves by then.

    :raises ConfigError: naming the first line that is not.
    """
    text = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\\\n", "\v")
    number = 1
    for whole in text.split("\n"):
        line = re.sub(r"(^|\s)#.*", "", whole.replace("\v", " ")).strip()
        if line and not _PINNED.fullmatch(line):
            raise ConfigError(
                file=display_path(path),
                line=number,
                got=show_value(line[:80]),
                allowed="one package per line, as name==version --hash=sha256:…",
                hint="`uv pip compile --generate-hashes` or `pip-compile --generate-hashes` writes such a file.",
            )
        number += 1 + whole.count("\v")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        got = f"a file that can't be read ({error.strerror})"
        raise ConfigError(
            file=display_path(path), got=got, allowed="a file below the project's root"
        ) from None
