"""S3 that survives its server: what a request has changed is on disk before it is answered.

moto keeps S3 in memory. Here each object's document (metadata, tags, versions) is a row of a database and its
body a file that is written once, under a new name, before the row that names it: a row is there wholly or not
at all, and a file without a row is deleted at the next start. Bodies that are kept are read from their files, so
they take no memory. What was answered is on the disk, and survives the end of the process and of the machine.

What can't be written (a full disk) is undone in moto too before anybody has seen it: its bucket is held meanwhile. The
files that were written for it go, and the caller is told.

Not kept: uploads in parts that are not completed (their parts are to be sent again), and the part numbers of
an object that was uploaded in parts.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends

from local.sagemaker.data_dir import write_new
from local.sagemaker.services.called import UNKNOWN, Call
from local.sagemaker.services.moto_state import Changes, UnknownState, unpack
from local.sagemaker.store import Document, Store

BUCKET = "s3-bucket"
OBJECT = "s3-object"
#: Operations that change nothing that is kept.
READING = ("Get", "Head", "List", "Select", "UploadPart", "CreateMultipart", "AbortMultipart")

log = logging.getLogger(__name__)

_MANAGED_STATE = {"_transitions", "_status", "_tick", "_time_progressed", "model_name"}
_NOT_KEPT = _MANAGED_STATE | {"_value_buffer", "lock", "multipart", "disposed"}


class StoredBody:
    """The body of an object, in a file that never changes; stands in for the buffer in which moto has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def seek(self, offset: int) -> int:
        """Move to an offset from the start."""
        self._position = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """Read on; the file is open for this long only, so that many objects need few of them."""
        with self.path.open("rb") as file:
            file.seek(self._position)
            content = file.read(size)
        self._position += len(content)
        return content

    def close(self) -> None:
        """Do nothing: no file is open between reads. It is deleted when the database no longer names it."""


class DurableS3:
    """Keeps moto's S3 in a folder. Calls about one bucket must come one at a time, as its requests do.

    :param folder: for the bodies; it is made if it is not there.
    :param store: for everything else.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        new_key = self._new_key("", None)
        self._key_changes = Changes(new_key, _NOT_KEPT)
        new_key.dispose()
        self._bucket_changes = Changes(self._new_bucket(""), {"keys", "multiparts"})
        s3_backends.bucket_accounts.pop("", None)
        for number in range(256):
            (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    # Writing

    def save(self, call: Call, body: bytes) -> None:
        """Write what a request has changed; for a request that failed, nothing.

        :param call: the request; its buckets are held.
        :param body: body of the request.
        :raises OSError: when it can't be written; what the request has changed is undone then.
        """
        if call.access is None or call.operation.startswith(READING):
            return
        name = call.access.buckets[0]
        keys = self._changed_keys(call, body)
        files = _Files()
        try:
            with self._store.transaction():
                bucket = self._backend.buckets.get(name)
                if bucket is None:
                    self._forget_bucket(name)
                elif not call.access.key:
                    self._save_bucket(bucket)
                for key in keys if bucket is not None else ():
                    self._save_object(bucket, key, files)
        except BaseException:
            _remove(files.written)
            self._undo(name, keys)
            raise
        _remove(files.outdated)

    def _changed_keys(self, call: Call, body: bytes) -> list[str]:
        """The objects that a request may have changed."""
        assert call.access is not None  # noqa: S101
        bucket = self._backend.buckets.get(call.access.buckets[0])
        if call.access.key:
            return [call.access.key]
        if call.operation == "DeleteObjects":
            return _deleted_keys(body)
        return self._unsaved(bucket) if call.operation == UNKNOWN and bucket is not None else []

    def _undo(self, name: str, keys: Iterable[str]) -> None:
        """Give moto a bucket and some of its objects as they are kept."""
        row = self._store.get(BUCKET, name)
        changed = self._backend.buckets.pop(name, None)
        if row is None:
            s3_backends.bucket_accounts.pop(name, None)
            return
        bucket = self._load_bucket(name, row)
        if changed is not None:
            bucket.keys, bucket.multiparts = changed.keys, changed.multiparts
        for key in keys:
            kept = self._store.get(OBJECT, f"{name}/{key}")
            versions = self._load_versions(key, name, kept["versions"]) if kept else []
            if key in bucket.keys:
                bucket.keys.pop(key)
            if versions:
                bucket.keys.setlist(key, versions)

    def _save_bucket(self, bucket: FakeBucket) -> None:
        document = {
            "region": bucket.region_name,
            "state": self._bucket_changes.of(bucket),
            "tags": self._backend.tagger.get_tag_dict_for_resource(bucket.arn),
        }
        self._store.put(BUCKET, bucket.name, document)

    def _forget_bucket(self, name: str) -> None:
        if self._store.delete(BUCKET, name):
            for row in self._store.names(OBJECT, f"{name}/"):
                self._store.delete(OBJECT, row)

    def _save_object(self, bucket: FakeBucket, key: str, files: _Files) -> None:
        row = f"{bucket.name}/{key}"
        previous = _bodies(self._store.get(OBJECT, row))
        document = {"versions": [self._version(found, files) for found in bucket.keys.getlist(key, [])]}
        if document["versions"]:
            self._store.put(OBJECT, row, document)
        else:
            self._store.delete(OBJECT, row)
        files.outdated += [self._path(body) for body in previous - _bodies(document)]

    def _version(self, version: FakeKey | FakeDeleteMarker, files: _Files) -> Document:
        if isinstance(version, FakeDeleteMarker):
            return {"marker": version.version_id, "last_modified": version.last_modified}
        _ = version.etag  # computed when it is first asked for, and kept from then on
        if version.size and not isinstance(version._value_buffer, StoredBody):
            path = self._path(uuid.uuid4().hex)
            write_new(path, version.value)
            files.written.append(path)
            with version.lock:
                version._value_buffer.close()
                version._value_buffer = StoredBody(path)
        return {
            "state": self._key_changes.of(version),
            "body": version._value_buffer.path.name if version.size else None,
            "tags": self._backend.tagger.get_tag_dict_for_resource(version.arn),
        }

    def _unsaved(self, bucket: FakeBucket) -> list[str]:
        """Keys that may be in no file yet: an upload by form (POST) names its key in its body."""
        return [
            key
            for key, versions in bucket.keys.lists()
            if not versions[-1].size or not isinstance(versions[-1]._value_buffer, StoredBody)
        ]

    # Reading

    def load(self) -> None:
        """Load what was kept into moto, and delete files that belong to no object. Errors are logged, never raised."""
        for name, document in self._store.items(BUCKET):
            self._load_bucket(name, document)
        used: set[str] = set()
        for name, document in self._store.items(OBJECT):
            bucket_name, _, key = name.partition("/")
            versions = self._load_versions(key, bucket_name, document["versions"])
            if versions and bucket_name in self._backend.buckets:
                self._backend.buckets[bucket_name].keys.setlist(key, versions)
                used |= _bodies(document)
            else:
                self._store.delete(OBJECT, name)
        for path in self._folder.glob("??/*"):
            if path.name not in used:
                path.unlink(missing_ok=True)

    def _load_bucket(self, name: str, document: Document) -> FakeBucket:
        bucket = self._new_bucket(name, document["region"])
        _restore(bucket, document["state"], f"bucket {name}")
        self._backend.buckets[name] = bucket
        self._tag(bucket.arn, document["tags"])
        return bucket

    def _tag(self, arn: str, tags: dict[str, str]) -> None:
        self._backend.tagger.tags.pop(arn, None)
        if tags:
            self._backend.tagger.tags[arn] = tags

    def _load_versions(self, key: str, bucket: str, kept: Iterable[Document]) -> list[Any]:
        versions: list[Any] = []
        for document in kept:
            version = self._new_key(key, bucket)
            if "marker" in document:
                marker = FakeDeleteMarker(version)
                marker._version_id, marker.last_modified = document["marker"], document["last_modified"]
                versions.append(marker)
                continue
            _restore(version, document["state"], f"object {bucket}/{key}")
            if document["body"] is not None:
                path = self._path(document["body"])
                size = path.stat().st_size if path.exists() else None
                if size != version.size:
                    log.warning(
                        "s3://%s/%s is lost: %s has %s bytes, not %s", bucket, key, path, size, version.size
                    )
                    continue
                version._value_buffer.close()
                version._value_buffer = StoredBody(path)
            self._tag(version.arn, document["tags"])
            versions.append(version)
        return versions

    def _new_key(self, key: str, bucket: str | None) -> FakeKey:
        return FakeKey(key, b"", DEFAULT_ACCOUNT_ID, self._backend.region_name, bucket_name=bucket)

    def _new_bucket(self, name: str, region: str = "us-east-1") -> FakeBucket:
        return FakeBucket(name, DEFAULT_ACCOUNT_ID, region)

    def _path(self, body: str) -> Path:
        return self._folder / body[:2] / body


@dataclass
class _Files:
    """Files that go when a request has failed, and those that go when it is saved."""

    written: list[Path] = field(default_factory=list)
    outdated: list[Path] = field(default_factory=list)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _restore(target: Any, state: Document, what: str) -> None:
    for name, packed in state.items():
        try:
            setattr(target, name, unpack(packed))
        except (UnknownState, AttributeError, KeyError, TypeError) as error:
            log.warning("%s of %s can't be read from the data folder: %s", name, what, error)


def _bodies(document: Document | None) -> set[str]:
    versions = document["versions"] if document else []
    return {version["body"] for version in versions if version.get("body")}


def _deleted_keys(body: bytes) -> list[str]:
    """The keys a DeleteObjects request names; moto has parsed it already."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  # moto has read the same, and it comes from this machine
    except ElementTree.ParseError:
        return []
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "Key"]
