"""The user's code comes from an archive: nothing of it lands anywhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from model_server.code_fetch import BadCode, fetch_code, unpack
from model_server.settings import Settings


def archive(*members: tuple[str, bytes | None], link: str = "") -> io.BytesIO:
    """A tar.gz; a member without content is a link to ``link``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, link
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    buffer.seek(0)
    return buffer


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    unpack(archive(("inference.py", b"x = 1"), ("lib/more.py", b"y = 2")), tmp_path / "code")
    assert (tmp_path / "code/inference.py").read_bytes() == b"x = 1"
    assert (tmp_path / "code/lib/more.py").read_bytes() == b"y = 2"


@pytest.mark.parametrize(
    "hostile",
    [
        archive(("../evil.py", b"x")),
        archive(("/tmp/evil.py", b"x")),
        archive(("a/../../evil.py", b"x")),
        archive(("link", None), link="/etc"),
    ],
    ids=["up", "absolute", "up later", "link"],
)
def test_what_leads_out_is_refused(tmp_path: Path, hostile: io.BytesIO) -> None:
    with pytest.raises(BadCode, match=r"leads out|is a link"):
        unpack(hostile, tmp_path / "code")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_code_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/inference.py").write_text("here = True")
    fetch_code(Settings(base=tmp_path, submitted="s3://nowhere/at/all.tar.gz"))
    fetch_code(Settings(base=tmp_path, submitted="/a/folder"))
    assert (tmp_path / "code/inference.py").read_text() == "here = True"
