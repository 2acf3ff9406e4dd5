"""Compiled forms on this machine's disk: the forms of each fleet file, and which of them is its last good one.

A form's folder appears as a whole under its name, and digests tell what is damaged. So several processes may write at
once, a process may die while it writes, and a disk may be read only: then nothing is kept, and files are read instead.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from city_fleet import outgoing_text
from city_fleet.config.compiled_form import Form, sha256
from city_fleet.config.current_form import Current, folder_of, read_current
from city_fleet.config.open_form import OpenForm, UnusableForm, open_form

#: Older forms of a file that stay: a process may still read one.
_KEPT = 2
_LONGEST_WRITE_SECONDS = 3600
_log = outgoing_text.logger(__name__)


@dataclass(frozen=True)
class Mirror:
    """The forms of one fleet file.

    :param folder: the file's own folder; it need not exist.
    """

    folder: Path

    @classmethod
    def of(cls, path: Path) -> Mirror:
        """Return the mirror of a fleet file."""
        return cls(folder_of(path))

    def current(self) -> Current | None:
        """Return the last good form's name, or None where there is none that can be read."""
        return read_current(self.folder)

    def form(self, digest: str) -> OpenForm:
        """Return a form to read from.

        :raises UnusableForm: it is not there, or is damaged.
        """
        folder = self.folder / digest

        def read(name: str) -> bytes:
            try:
                return (folder / name).read_bytes()
            except OSError as error:
                raise UnusableForm(f"{folder / name}: {error.strerror}") from error

        found = open_form(read("manifest.json"), lambda number: read(_shard_name(number)))
        if found.digest != digest:
            raise UnusableForm(f"{folder}: another form")
        return found

    def is_writable(self) -> bool:
        """Tell whether it is worth while to make a form: a disk may be read only."""
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        return there.is_dir() and os.access(there, os.W_OK)

    def keep(self, form: Form, *, shared: bool = False) -> bool:
        """Write a form, and then that it is the last good one.

        :param shared: it comes from the bucket: it stands in for a broken file, and never for one that can be read.
        :return: False where nothing can be written here.
        """
        try:
            self._write(form)
            self._point(form, shared)
            self._clean(form.digest)
        except OSError as error:
            _log.debug("no form is kept in %s: %s", self.folder, error)
            return False
        return True

    def _write(self, form: Form) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / form.digest
        if target.is_dir():
            if self.is_whole(form):
                return
            shutil.rmtree(target, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        try:
            made.chmod(0o755)
            for number, shard in enumerate(form.shards):
                (made / _shard_name(number)).write_bytes(shard)
            (made / "manifest.json").write_bytes(form.manifest)
            # Where another process was first, its folder holds the same.
            with suppress(FileExistsError):
                made.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def is_whole(self, form: Form) -> bool:
        """Tell whether a form is here, with every byte."""
        folder = self.folder / form.digest
        try:
            kept, made = open_form((folder / "manifest.json").read_bytes()), open_form(form.manifest)
            digests = [
                sha256((folder / _shard_name(number)).read_bytes()) for number in range(len(kept.shards))
            ]
        except (OSError, UnusableForm):
            return False
        # Two forms of one file differ in when they were made; one that says something else is of somebody else.
        return {**kept.manifest, "made_at": made.made_at} == made.manifest and kept.shards == digests

    def _point(self, form: Form, shared: bool) -> None:
        manifest = json.loads(form.manifest)
        facts = {name: manifest[name] for name in ("listed", "cities")}
        text = json.dumps({"form": form.digest, **facts, "shared": shared})
        descriptor, name = tempfile.mkstemp(prefix=".current-", dir=self.folder)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(self.folder / "current.json")

    def _clean(self, digest: str) -> None:
        """Delete what nobody reads any more: forms of long ago, and what a process left that died."""
        found = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        forms = [
            path for path in found if not path.name.startswith(".") and path.is_dir() and path.name != digest
        ]
        dead = time.time() - _LONGEST_WRITE_SECONDS
        left = [path for path in found if path.name.startswith(".") and path.stat().st_mtime < dead]
        for old in (*forms[_KEPT:], *left):
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)


def _shard_name(number: int) -> str:
    return f"shard-{number:04d}.json"
