"""The digests of base images are written into a Dockerfile, all or none. The registry is a program on PATH here."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.stack import base_images

DIGESTS = {"python:3.12-slim": "sha256:" + "a" * 64, "apache/airflow:3.3.2": "sha256:" + "b" * 64}
TEXT = "# About\nFROM python:3.12-slim AS build\nRUN x\n\nFROM apache/airflow:3.3.2\nRUN y\n"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that knows two images."""
    known = "".join(f"  {image}) echo {digest};;\n" for image, digest in DIGESTS.items())
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncase "$4" in\n{known}  *) echo "$4: not found" >&2; exit 1;;\nesac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def test_each_image_gets_its_digest_and_a_second_time_nothing_changes(docker: Path, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(TEXT)
    assert base_images.pin(path)
    assert path.read_text().splitlines()[1] == f"FROM python:3.12-slim@{DIGESTS['python:3.12-slim']} AS build"
    assert f"FROM apache/airflow:3.3.2@{DIGESTS['apache/airflow:3.3.2']}\n" in path.read_text()
    assert not base_images.pin(path)
    docker.write_text(docker.read_text().replace("a" * 64, "c" * 64))
    assert base_images.pin(path)
    assert "a" * 64 not in path.read_text()


def test_of_a_compose_file_the_images_of_others_get_theirs(docker: Path, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    own = "  image: city-fleet\n  b:\n    image: ${AIRFLOW_IMAGE:-airflow-city-fleet}\n"
    path.write_text(f"services:\n  a:\n    image: python:3.12-slim\n{own}")
    assert base_images.pin(path)
    pinned = f"python:3.12-slim@{DIGESTS['python:3.12-slim']}"
    assert path.read_text() == f"services:\n  a:\n    image: {pinned}\n{own}"
    assert not base_images.pin(path)
    assert all((base_images.ROOT / name).exists() for name in base_images.FILES)


def test_an_image_that_is_not_known_changes_nothing(docker: Path, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(f"{TEXT}FROM nowhere:1\n")
    with pytest.raises(LookupError, match="docker knows no digest of nowhere:1: nowhere:1: not found"):
        base_images.pin(path)
    assert path.read_text() == f"{TEXT}FROM nowhere:1\n"


def test_without_docker_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LookupError, match="docker can't be asked for the digest of python:3"):
        base_images.digest("python:3")
