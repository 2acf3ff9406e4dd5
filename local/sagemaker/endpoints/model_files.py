"""The extracted artifacts of a multi-model container: what AWS keeps on the instance's storage volume.

AWS documentation, "How multi-model endpoints work": a model that is unloaded from memory stays on the volume and
is loaded from there when it is asked for again; when the volume is full, models that are not in use are deleted
from it. The folder lies in the container's sandbox, whose code could put a link in its place: it is used by its
descriptor, which always means the folder that was made for it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class StoredModel:
    """A model on the volume.

    :param target: TargetModel of the requests for it.
    :param name: the opaque name the container knows it by.
    :param folder: the extracted artifact.
    :param size_bytes: of all its files.
    :param pins: how many need it: loads that go on, and the loaded model.
    """

    target: str
    name: str
    folder: Path
    size_bytes: int = 0
    pins: int = 0


class ModelFiles:
    """The models on a volume, the least recently used first.

    :param folder: stands for the volume.
    :param descriptor: of that folder.
    :param limit_bytes: how much it holds.
    """

    def __init__(self, folder: Path, descriptor: int, limit_bytes: int) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self.limit_bytes = limit_bytes
        self._stored: OrderedDict[str, StoredModel] = OrderedDict()

    def get(self, target: str) -> StoredModel | None:
        """The model if it is on the volume, else None; asking counts as a use.

        :param target: TargetModel of the requests for it.
        """
        stored = self._stored.get(target)
        if stored is not None:
            self._stored.move_to_end(target)
        return stored

    def place(self, target: str) -> StoredModel:
        """A folder for a model that is about to be fetched; :meth:`add` makes it one of the models on the volume.

        :param target: TargetModel of the requests for it.
        """
        name = uuid.uuid4().hex
        return StoredModel(target, name, self._folder / name / "model")

    def move_in(self, stored: StoredModel, folder: Path) -> None:
        """Put an extracted artifact into its place.

        :param stored: the model.
        :param folder: where it was extracted, on the same disk.
        """
        os.mkdir(stored.name, 0o755, dir_fd=self._descriptor)
        place = os.open(stored.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._descriptor)
        try:
            os.rename(folder, stored.folder.name, dst_dir_fd=place)
        finally:
            os.close(place)

    def add(self, stored: StoredModel) -> None:
        """Note that a model is on the volume.

        :param stored: where it is.
        """
        self._stored[stored.target] = stored

    def forget(self, stored: StoredModel) -> None:
        """Note that a model is on the volume no longer; :meth:`remove` deletes its files.

        :param stored: the model that goes.
        """
        if self._stored.get(stored.target) is stored:
            del self._stored[stored.target]

    def remove(self, stored: StoredModel) -> None:
        """Delete a model's files.

        :param stored: a model that is not on the volume any more.
        """
        shutil.rmtree(stored.name, ignore_errors=True, dir_fd=self._descriptor)

    @property
    def is_over(self) -> bool:
        """Whether the models take more than the volume may hold."""
        return sum(stored.size_bytes for stored in self._stored.values()) > self.limit_bytes

    def unused(self) -> StoredModel | None:
        """The least recently used model that is not needed at the moment."""
        return next((stored for stored in self._stored.values() if not stored.pins), None)


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder.

    :param folder: any folder, for example an extracted model.
    """
    return sum(
        os.lstat(os.path.join(path, name)).st_size for path, _, names in os.walk(folder) for name in names
    )
