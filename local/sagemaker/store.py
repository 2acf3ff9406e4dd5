"""What the stand-in remembers: JSON documents by kind and name, in one SQLite file.

A document holds what Describe answers; keys that begin with "_" are private and never leave the server. The
kind is the resource type of its ARN and the name is what follows it there (``training-job``,
``austin-train-1``), so an ARN finds its document. ``_tags`` holds the tags as the request had them.
"""

from __future__ import annotations

import base64
import errno
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class AlreadyExists(KeyError):
    """The name is taken."""


class NotFound(KeyError):
    """There is no such document."""


class Damaged(Exception):
    """The file is not a SQLite database, or has pages that can't be read."""


#: What SQLite says of a file that is broken. Anything else (a full disk, no permission) says nothing about the file.
_BROKEN = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class Store:
    """Documents in SQLite. Safe to use from many threads; each call is atomic.

    :param path: the database file; it is made if it is not there.
    :param check: read the whole file first.
    :param synced: whether each change waits for the disk, so that it outlives the machine too.
    :raises Damaged: if what it holds can't be read.
    :raises OSError: if it can't be opened, or there is no room for it.

    Calls that change something raise OSError when that can't be written; nothing is changed then.
    """

    def __init__(self, path: Path, check: bool = False, synced: bool = False) -> None:
        self.path = path
        self._undone: list[Callable[[], object]] = []
        self._synced = synced
        # One connection behind one lock: the documents are small, and SQLite has a single writer anyway. The
        # lock is re-entrant, so a change may use the store itself.
        self._lock = threading.RLock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise self._unwritten(error) from error
        try:
            self._prepare(check)
        except sqlite3.DatabaseError as error:
            self._database.close()
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            if code & 0xFF in _BROKEN:
                raise Damaged(str(error)) from None
            raise self._unwritten(error) from error

    def _prepare(self, check: bool) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        # With a write-ahead log: never damaged, and with NORMAL it waits for the disk at checkpoints only.
        self._sync(self._synced)
        if check:
            found = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS documents (sequence INTEGER PRIMARY KEY AUTOINCREMENT,"
            " kind TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, UNIQUE (kind, name))"
        )

    def _sync(self, wanted: bool) -> None:
        self._database.execute(f"PRAGMA synchronous={'FULL' if wanted else 'NORMAL'}")

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """Make several calls one as :meth:`transaction` does, without waiting for the disk: for what may be lost."""
        with self._lock:
            self._sync(False)
            try:
                with self.transaction():
                    yield
            finally:
                self._sync(self._synced)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several calls one: all of them happen, or, if the block raises, none. Blocks may be nested."""
        with self._lock:
            if self._database.in_transaction:
                yield
                return
            self._write("BEGIN IMMEDIATE")
            self._undone.clear()
            try:
                yield
                self._write("COMMIT")
            except BaseException:
                if (
                    self._database.in_transaction
                ):  # SQLite has ended some by itself, of those it could not write
                    self._database.execute("ROLLBACK")
                for undo in self._undone:
                    undo()
                raise

    def when_undone(self, undo: Callable[[], object]) -> None:
        """Have something called if the transaction that is going on comes to nothing, also when it can't be written.

        :param undo: takes back what was changed besides the store.
        """
        self._undone.append(undo)

    def _write(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, parameters)
        except sqlite3.OperationalError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: sqlite3.DatabaseError) -> OSError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
        number = errno.ENOSPC if code & 0xFF == sqlite3.SQLITE_FULL else errno.EIO
        return OSError(number, str(error), str(self.path))

    def insert(self, kind: str, name: str, document: Document) -> None:
        """Add a document.

        :raises AlreadyExists: if the kind has that name.
        """
        with self._lock:
            try:
                self._write(
                    "INSERT INTO documents (kind, name, document) VALUES (?, ?, ?)",
                    (kind, name, dump(document)),
                )
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"{kind} {name}") from None

    def put(self, kind: str, name: str, document: Document) -> None:
        """Add a document, or replace the one of that name."""
        with self._lock:
            self._write(
                "INSERT INTO documents (kind, name, document) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, name) DO UPDATE SET document = excluded.document",
                (kind, name, dump(document)),
            )

    def get(self, kind: str, name: str) -> Document | None:
        """A copy of the document, or None."""
        with self._lock:
            row = self._database.execute(
                "SELECT document FROM documents WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return None if row is None else load(row[0])

    def update(self, kind: str, name: str, change: Callable[[Document], Document | None]) -> Document:
        """Change a document in one step: no other call reads or changes it in between.

        :param change: gets the document, and returns the new one or changes it in place and returns None.
            If it raises, nothing is changed.
        :returns: the document as it is stored now.
        :raises NotFound: if there is no such document.
        """
        with self.transaction():
            document = self.get(kind, name)
            if document is None:
                raise NotFound(f"{kind} {name}")
            changed = change(document)
            if changed is None:
                changed = document
            self._write(
                "UPDATE documents SET document = ? WHERE kind = ? AND name = ?", (dump(changed), kind, name)
            )
            return changed

    def delete(self, kind: str, name: str) -> bool:
        """Forget a document.

        :returns: whether it was there.
        """
        with self._lock:
            cursor = self._write("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name))
            return cursor.rowcount > 0

    def list(self, kind: str, prefix: str = "") -> list[Document]:
        """Copies of the documents of a kind, oldest first.

        :param prefix: what their names begin with.
        """
        with self._lock:
            rows = self._database.execute(
                "SELECT document FROM documents WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY sequence",
                (kind, len(prefix), prefix),
            ).fetchall()
        return [load(row[0]) for row in rows]

    def items(self, kind: str) -> Iterator[tuple[str, Document]]:
        """Names and copies of the documents of a kind, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT name, document FROM documents WHERE kind = ? ORDER BY sequence", (kind,)
            ).fetchall()
        return ((name, load(document)) for name, document in rows)

    def names(self, kind: str, prefix: str = "") -> Sequence[str]:
        """The names of the documents of a kind, oldest first.

        :param prefix: what they begin with.
        """
        with self._lock:
            rows = self._database.execute(
                "SELECT name FROM documents WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY sequence",
                (kind, len(prefix), prefix),
            ).fetchall()
        return [row[0] for row in rows]

    def close(self) -> None:
        """Close the file; the store can't be used afterwards."""
        with self._lock:
            self._database.close()


def dump(document: Document) -> str:
    """A document as JSON text; datetimes and bytes survive."""
    return json.dumps(_pack(document), separators=(",", ":"))


def load(text: str) -> Document:
    """The document that :func:`dump` wrote."""
    unpacked: Document = _unpack(json.loads(text))
    return unpacked


def _pack(value: Any) -> Any:
    if isinstance(value, dict):
        packed = {key: _pack(item) for key, item in value.items()}
        # A user's own key may look like one of our marks, so such a mapping is wrapped.
        return {"$mapping": packed} if any(key.startswith("$") for key in packed) else packed
    if isinstance(value, (list, tuple)):
        return [_pack(item) for item in value]
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if "$mapping" in value:
            return {key: _unpack(item) for key, item in value["$mapping"].items()}
        if "$datetime" in value:
            return datetime.fromisoformat(value["$datetime"])
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value
