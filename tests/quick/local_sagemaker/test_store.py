"""The store: documents that survive, and changes that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from local.sagemaker.store import AlreadyExists, Damaged, Document, NotFound, Store, dump, load

MOMENTS = some.datetimes(timezones=some.just(UTC)) | some.datetimes(
    timezones=some.just(timezone(timedelta(hours=5)))
)
KEYS = some.text() | some.sampled_from(["$datetime", "$bytes", "$mapping", "_private"])
VALUES = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False)
    | some.text()
    | some.binary()
    | MOMENTS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite3")
    yield opened
    opened.close()


@given(some.dictionaries(KEYS, VALUES, max_size=4))
def test_any_document_comes_back_as_it_was(document: Document) -> None:
    assert load(dump(document)) == document


def test_documents_are_kept_by_kind_and_name(store: Store) -> None:
    for name in ("waco", "austin"):
        store.insert("model", name, {"ModelName": name})
    store.insert("endpoint", "austin", {"EndpointName": "austin"})
    assert store.get("model", "austin") == {"ModelName": "austin"}
    assert store.get("model", "dallas") is None
    assert [document["ModelName"] for document in store.list("model")] == ["waco", "austin"]
    assert [document["ModelName"] for document in store.list("model", prefix="wa")] == ["waco"]
    with pytest.raises(AlreadyExists, match="model austin"):
        store.insert("model", "austin", {})
    assert store.delete("model", "austin")
    assert not store.delete("model", "austin")
    assert store.get("endpoint", "austin") is not None


def test_a_change_is_returned_or_made_in_place(store: Store) -> None:
    store.insert("model", "austin", {"count": 1})
    assert store.update("model", "austin", lambda document: {**document, "count": 2}) == {"count": 2}
    assert store.update("model", "austin", lambda document: document.update(count=3)) == {"count": 3}
    assert store.get("model", "austin") == {"count": 3}
    with pytest.raises(NotFound, match="model waco"):
        store.update("model", "waco", lambda document: document)


def test_a_change_that_raises_changes_nothing(store: Store) -> None:
    store.insert("model", "austin", {"count": 1})

    def change(document: dict[str, Any]) -> None:
        document["count"] = 2
        store.insert("model", "waco", {})
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.update("model", "austin", change)
    assert store.get("model", "austin") == {"count": 1}
    assert store.get("model", "waco") is None


def test_no_change_is_lost_between_threads(store: Store) -> None:
    store.insert("model", "austin", {"count": 0})

    def increment(_: int) -> None:
        store.update("model", "austin", lambda document: document.update(count=document["count"] + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(200)))
    assert store.get("model", "austin") == {"count": 200}


def test_documents_are_there_after_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    first = Store(path)
    first.insert("model", "austin", {"CreationTime": datetime(2014, 1, 1, tzinfo=UTC)})
    first.close()
    second = Store(path)
    assert second.get("model", "austin") == {"CreationTime": datetime(2014, 1, 1, tzinfo=UTC)}
    second.close()


def test_what_was_changed_beside_the_store_is_taken_back_with_it(store: Store) -> None:
    taken: list[str] = []
    for fails in (True, False):
        taken.append("instance")
        try:
            with store.transaction():
                store.when_undone(taken.pop)
                store.put("job", "austin", {})
                if fails:
                    raise ValueError("no")
        except ValueError:
            assert taken == []
    assert taken == ["instance"]
    with pytest.raises(KeyError), store.transaction():
        raise KeyError("another transaction, with nothing to take back")
    assert taken == ["instance"]


def test_changes_that_do_not_wait_for_the_disk_are_changes_all_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3", synced=True)
    with store.unsynced():
        store.put("log", "austin", {"lines": 1})

    def change(document: Document) -> None:
        document["lines"] = 2
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), store.unsynced():
        store.update("log", "austin", change)
    store.close()
    again = Store(tmp_path / "store.sqlite3", synced=True)
    assert again.get("log", "austin") == {"lines": 1}
    again.close()


def test_only_a_file_that_is_broken_counts_as_damaged(tmp_path: Path) -> None:
    broken, folder = tmp_path / "broken.sqlite3", tmp_path / "folder.sqlite3"
    broken.write_bytes(b"no database" * 1000)
    folder.mkdir()
    with pytest.raises(Damaged):
        Store(broken, check=True)
    with pytest.raises(OSError, match=r"folder\.sqlite3"):
        Store(folder, check=True)
