"""Side files of artifacts: real ones are read, and nothing in a bucket is trusted."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions import artifact
from city_fleet.errors import ArtifactError
from tests.support.archives import archive
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.serving import FEATURES, TRAIN

CARD = json.dumps({"city": "austin", "as_of": "20140101T000000Z", "features": ["x", "y"]}).encode()
SAMPLES = json.dumps({"rows": [[1, None], [2.5, 3]], "predictions": [10, 20.5]}).encode()
GOOD = {artifact.MODEL_FILE: CARD, artifact.SAMPLES_FILE: SAMPLES}


def samples(**members: object) -> dict[str, bytes]:
    return {**GOOD, artifact.SAMPLES_FILE: json.dumps({**json.loads(SAMPLES), **members}).encode()}


def test_what_training_leaves_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    command = [str(IMAGE_PYTHON), "-c", TRAIN, str(SCRIPTS), str(folder), ",".join(FEATURES), "1"]
    subprocess.run(command, check=True, timeout=120)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder / "0", arcname=".")
    for body in (buffer.getvalue(), _without_dots(buffer.getvalue())):
        found = artifact.parse(body, "x")
        assert (found.city, found.as_of, found.features) == ("austin", "20140101T000000Z", FEATURES)
        assert len(found.rows) == len(found.predictions) == 3
        assert all(value > 0 for value in found.predictions)


def _without_dots(body: bytes) -> bytes:
    """The same archive with members as SageMaker names them: without a leading ``./``."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                files[member.name.removeprefix("./")] = content.read()
    return archive(files)


def test_missing_values_stay_missing() -> None:
    found = artifact.parse(archive(GOOD), "x")
    assert found.rows == ((1, None), (2.5, 3))
    assert found.predictions == (10.0, 20.5)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({artifact.MODEL_FILE: CARD}, "holds no 'city_fleet/samples.json'; it can't be checked"),
        ({artifact.SAMPLES_FILE: SAMPLES}, "holds no 'city_fleet/model.json'"),
        ({**GOOD, artifact.MODEL_FILE: b"{"}, "is not JSON"),
        ({**GOOD, artifact.MODEL_FILE: b"[" * 100_000}, "is not JSON"),
        ({**GOOD, artifact.MODEL_FILE: b"[]"}, "not as train.py writes them"),
        (samples(rows=[]), "0 rows, 2 predictions"),
        (samples(predictions=[1]), "2 rows, 1 predictions, 2 features"),
        (samples(rows=[[1], [2]]), "2 features"),
        (samples(rows=[["1", 2], [3, 4]]), "'1' is not a number"),
        (samples(predictions=[1, float("nan")]), "a prediction is not a number"),
        (samples(predictions="ab"), "not as train.py writes them"),
        (samples(predictions=[1, 10**400]), "not as train.py writes them"),
        (samples(rows=[[1, 10**400], [2, 3]]), "not as train.py writes them"),
        ({f"{n}": b"" for n in range(101)}, "larger than any model"),
        ({**GOOD, artifact.MODEL_FILE: b" " * (11 << 20)}, "larger than any side file"),
    ],
)
def test_what_cannot_be_used_is_said(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence) as caught:
        artifact.parse(archive(files), "s3://bucket/key")
    assert str(caught.value).startswith("s3://bucket/key: ")


def test_what_tarfile_reads_by_itself_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attributes of a member stand before it, and may be as long as they like."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(artifact.MODEL_FILE)
        member.pax_headers = {"comment": "x" * (4 << 20)}
        tar.addfile(member)
    monkeypatch.setattr(artifact, "_MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(ArtifactError, match="larger than any model"):
        artifact.parse(buffer.getvalue(), "x")


def test_a_link_is_not_followed() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo(artifact.MODEL_FILE)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ArtifactError, match="holds no"):
        artifact.parse(buffer.getvalue(), "x")


@given(body=st.binary(max_size=200), cut=st.integers(0, 300), flip=st.integers(0, 300))
def test_damaged_bytes_never_end_in_another_error(body: bytes, cut: int, flip: int) -> None:
    good = archive(GOOD)
    changed = bytearray(good)
    changed[flip % len(good)] ^= 0xFF
    for broken in (body, good[: cut % len(good)], bytes(changed)):
        try:
            artifact.parse(broken, "x")
        except ArtifactError as error:
            assert str(error).startswith("x: ")  # noqa: PT017 - some changes harm nothing


def test_fetching_checks_that_it_is_there_and_what_was_registered(aws: LocalSageMaker) -> None:
    s3, key = aws.client("s3"), f"artifacts/{uuid.uuid4().hex}.tar.gz"
    body = archive(GOOD)
    sha256 = hashlib.sha256(body).hexdigest()
    with pytest.raises(ArtifactError, match=f"s3://city-fleet/{key}: there is no such artifact"):
        artifact.fetch(s3, "city-fleet", key, sha256)
    with pytest.raises(ArtifactError, match="there is no such artifact"):
        artifact.fetch(s3, "no-such-bucket", key, sha256)
    s3.put_object(Bucket="city-fleet", Key=key, Body=body)
    assert artifact.fetch(s3, "city-fleet", key, sha256) == artifact.parse(body, "x")
    with pytest.raises(ArtifactError, match=f"has SHA-256 {sha256}; it was registered with 00"):
        artifact.fetch(s3, "city-fleet", key, "0" * 64)
