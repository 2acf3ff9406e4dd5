"""The job scripts as one content-addressed bundle in S3, so that a run's code is fixed and can be found again."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from city_fleet.config.places import ALLOWED_PATH, links_out
from city_fleet.errors import ConfigError, list_names
from city_fleet.naming import Keys
from city_fleet.state.objects import BYTES, ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SOURCE_ARCHIVE = "sourcedir.tar.gz"


@dataclass(frozen=True)
class CodeBundle:
    """The Python files of a scripts folder.

    :param files: file name → content, sorted by name. Only ``*.py``: SageMaker's toolkits pip-install a
        ``requirements.txt`` they find in a code archive, which would replace the image's own packages.
    """

    files: tuple[tuple[str, bytes], ...]

    @classmethod
    def load(cls, folder: Path) -> CodeBundle:
        """Read a scripts folder.

        :raises ConfigError: the folder does not exist, holds no Python file, or one that is a link to a file elsewhere
            on the host.
        """
        paths = sorted(path for path in folder.glob("*.py") if not path.is_dir())
        if links := links_out(folder):
            raise ConfigError(
                file=str(folder),
                field="scripts",
                got=f"{list_names(links)}, a link out of the project",
                allowed=ALLOWED_PATH,
            )
        files = tuple((path.name, path.read_bytes()) for path in paths)
        if not files:
            raise ConfigError(
                file=str(folder),
                field="scripts",
                got="a folder without a Python file" if folder.is_dir() else "a folder that does not exist",
                allowed="a folder that holds the job scripts (*.py)",
            )
        return cls(files)

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
