"""A data folder that has lost some of its files: what is left is never deleted because of that."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from tests.support.local_sagemaker import LocalSageMaker


def _bodies(server: LocalSageMaker, folder: str = "objects") -> set[bytes]:
    return {path.read_bytes() for path in server.data_dir.glob(f"{folder}/??/*")}


def _stopped(start_server: Callable[..., Any]) -> LocalSageMaker:
    """A server that has kept two objects and a group of packages, and has ended."""
    server: LocalSageMaker = start_server()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for name in ("one", "two"):
        s3.put_object(Bucket="bucket", Key=name, Body=name.encode() * 10)
    server.client("sagemaker").create_model_package_group(ModelPackageGroupName="austin")
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    return server


def test_bodies_are_set_aside_when_the_database_that_names_them_is_gone(
    start_server: Callable[..., Any],
) -> None:
    server = _stopped(start_server)
    before = _bodies(server)
    assert len(before) == 2
    for path in server.data_dir.glob("services.sqlite3*"):
        path.unlink()
    again = start_server(folder=server.data_dir.parent)
    assert again.client("s3").list_buckets()["Buckets"] == []
    assert _bodies(again, "objects.unknown-*") == before
    assert "knows nothing of" in again.log.read_text()


def test_a_lost_note_of_the_format_loses_neither_s3_nor_the_registry(
    start_server: Callable[..., Any],
) -> None:
    server = _stopped(start_server)
    (server.data_dir / "format.json").unlink()
    again = start_server(folder=server.data_dir.parent)
    assert again.client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 2
    groups = again.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert [group["ModelPackageGroupName"] for group in groups] == ["austin"]


def test_a_registry_whose_s3_is_gone_is_set_aside(start_server: Callable[..., Any]) -> None:
    server = _stopped(start_server)
    for name in ("format.json", "services.sqlite3", "services.sqlite3-wal", "services.sqlite3-shm"):
        (server.data_dir / name).unlink(missing_ok=True)
    again = start_server(folder=server.data_dir.parent)
    assert again.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    assert list(again.data_dir.glob("store.sqlite3.without-s3-*"))
