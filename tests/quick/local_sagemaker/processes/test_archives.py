"""Archives that must not be extracted, and one that comes back as it was packed."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from local.sagemaker.processes.archives import BadArchive, extract, pack
from local.sagemaker.processes.outputs import Outputs
from local.sagemaker.processes.s3_transfer import relative_path


def test_what_is_packed_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "city_fleet").mkdir(parents=True)
    (folder / "xgboost-model.ubj").write_bytes(bytes(range(256)))
    (folder / "city_fleet" / "model.json").write_text("{}")
    with (tmp_path / "model.tar.gz").open("wb") as archive:
        pack(Outputs(tmp_path).walk(folder), archive)
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert tar.getnames() == ["city_fleet", "city_fleet/model.json", "xgboost-model.ubj"]
        assert {member.uid for member in tar} == {0}
    extract(tmp_path / "model.tar.gz", tmp_path / "out")
    assert (tmp_path / "out" / "xgboost-model.ubj").read_bytes() == bytes(range(256))
    assert (tmp_path / "out" / "city_fleet" / "model.json").read_text() == "{}"


def bomb() -> bytes:
    """A file of 50 MB in a few KB."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 50_000_000
        tar.addfile(member, io.BytesIO(bytes(50_000_000)))
    return buffer.getvalue()


def lying_header() -> bytes:
    """An extended header that claims to be 8 GB long."""
    member = tarfile.TarInfo("header")
    member.type, member.size = tarfile.XHDTYPE, 8 * 1024**3 - 1
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2_000_000))


@pytest.mark.parametrize("body", [bomb(), lying_header()], ids=["bomb", "lying header"])
def test_archives_that_are_too_large_leave_nothing(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(body)
    with pytest.raises(BadArchive, match="larger than 1000000 bytes when extracted"):
        extract(path, tmp_path / "out", max_bytes=1_000_000)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("prefix", "key", "expected"),
    [
        ("raw/", "raw/city=austin/a.csv", "city=austin/a.csv"),
        ("raw", "raw/city=austin/a.csv", "city=austin/a.csv"),
        ("raw/tr", "raw/train.csv", "train.csv"),
        ("raw/train.csv", "raw/train.csv", "train.csv"),
        ("", "raw/a.csv", "raw/a.csv"),
    ],
)
def test_where_an_object_goes_below_its_prefix(prefix: str, key: str, expected: str) -> None:
    assert relative_path(prefix, key) == expected
