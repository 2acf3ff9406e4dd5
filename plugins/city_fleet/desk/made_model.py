"""A model and how it was made: a version of the registry with what its run has left, or a folder that a trial left.

What is gone of it, or was made by a job of many cities, is None: whoever shows it says so. Clients are passed in, and
nothing is changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from city_fleet.champions import promotion
from city_fleet.errors import ArtifactError, DataError
from city_fleet.jobs.code_bundle import MAX_BYTES, MAX_FILES, SOURCE_ARCHIVE
from city_fleet.jobs.job_files import SETTINGS_NAME
from city_fleet.naming import split_uri
from city_fleet.plan import TRAIN
from city_fleet.state import registry
from city_fleet.state.context import CityContext
from city_fleet.state.objects import ObjectStore, json_of, read_uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ARTIFACT = "model.tar.gz"
_MOST_JSON, _MOST_ARTIFACT = 8 << 20, 256 << 20
#: Of an entry of the settings file: what is not about how a model is made.
_NOT_SETTINGS = ("champion", "parent", "files", "raw_uri", "city")


@dataclass(frozen=True)
class MadeModel:
    """A model.

    :param name: for people: ``v3``, or the folder.
    :param archive: its ``tar.gz``.
    :param report: ``evaluation.json``, and ``training``, ``training.json``.
    :param settings: its entry of ``settings.json``: dataset, candidates, seed.
    :param raw: the raw files that it was made of: URI → SHA-256.
    :param code: the scripts that made it: path → SHA-256.
    """

    name: str
    as_of: str
    archive: Path
    report: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    raw: Mapping[str, str] | None = None
    code: Mapping[str, str] | None = None


def of_version(context: CityContext, number: int, folder: Path) -> MadeModel:
    """Download a version of the registry.

    :param number: of the version.
    :param folder: gets its artifact; is made.
    :raises UnknownName: there is none of that number.
    :raises ArtifactError: its artifact is gone, or has other bytes than were registered.
    """
    listed = registry.versions(context.aws.sagemaker, context.group)
    loaded = promotion.load(context, promotion.choose(listed, context.group, promotion.Choice(number)).arn)
    body = read_uri(context.aws.s3, loaded.artifact_uri, _MOST_ARTIFACT)
    if body is None:  # it was there a moment ago
        raise ArtifactError(f"{loaded.artifact_uri}: there is no such artifact")
    folder.mkdir(parents=True)
    archive = folder / ARTIFACT
    archive.write_bytes(body)
    made, s3, slug = loaded.package, context.aws.s3, context.slug
    run_key = made.metadata.get("run_key")
    store = ObjectStore(s3, context.keys.bucket)
    prefix = context.keys.run(slug, run_key) if run_key else None
    names = [] if prefix is None else sorted(item.key for item in store.items(prefix))
    train = "" if run_key is None else context.keys.step(slug, run_key, TRAIN)

    def newest(fits: Callable[[str], bool]) -> bytes | None:
        found = store.get(key, _MOST_ARTIFACT) if (key := next(filter(fits, reversed(names)), None)) else None
        return None if found is None else found.body

    code_uri = made.metadata.get("code_uri")
    return MadeModel(
        name=f"v{number}",
        as_of=made.as_of,
        archive=archive,
        report=_mapping(_json(s3, made.evaluation_uri)),
        training=_training(
            newest(lambda key: key.startswith(train) and key.endswith("/output.tar.gz")), slug
        ),
        settings=_settings(newest(lambda key: key.endswith(f"/{SETTINGS_NAME}")), slug),
        raw=_raw(newest(lambda key: key.endswith(f"report/city={slug}/manifest.json"))),
        code=_code(s3, code_uri) if code_uri else None,
    )


def version_number(text: str) -> int | None:
    """Read ``v3`` or ``3``; None for anything else."""
    found = re.fullmatch(r"v?([1-9][0-9]{0,8})", text.strip())
    return int(found[1]) if found else None


def of_folder(folder: Path, slug: str) -> MadeModel:
    """Read what ``./fleet try --keep`` has left.

    :raises DataError: it has left no model of the city there.
    """
    own = f"city={slug}"
    archive = folder / "evaluation" / own / ARTIFACT
    report = _mapping(_file(folder / "evaluation" / own / "evaluation.json"))
    if not archive.is_file() or report is None:
        raise DataError(
            file=str(folder),
            got=f"no evaluation/{own}/{ARTIFACT}",
            allowed=f"a folder that `./fleet try {slug} --keep FOLDER` has left, a version such as v3, or live",
        )
    settings = folder / "settings" / TRAIN / SETTINGS_NAME
    manifest, code = folder / "report" / own / "manifest.json", folder / "code"
    return MadeModel(
        name=str(folder),
        as_of=str(report.get("as_of") or ""),
        archive=archive.absolute(),
        report=report,
        training=_mapping(_file(folder / "training" / own / "training.json")),
        settings=_settings(settings.read_bytes() if settings.is_file() else None, slug),
        raw=_raw(manifest.read_bytes() if manifest.is_file() else None),
        code={
            path.relative_to(code).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(code.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        if code.is_dir()
        else None,
    )


def _settings(body: bytes | None, slug: str) -> Mapping[str, Any] | None:
    found = _parsed(body)
    cities = found.get("cities") if isinstance(found, Mapping) else None
    for each in cities if isinstance(cities, list) else []:
        if isinstance(each, Mapping) and each.get("city") == slug:
            return {name: value for name, value in each.items() if name not in _NOT_SETTINGS}
    return None


def _raw(body: bytes | None) -> Mapping[str, str] | None:
    found = _parsed(body)
    inputs = found.get("inputs") if isinstance(found, Mapping) else None
    if not isinstance(inputs, list):
        return None
    return {
        str(each["uri"]): str(each.get("sha256") or each.get("etag"))
        for each in inputs
        if isinstance(each, Mapping) and "uri" in each
    }


def _training(body: bytes | None, slug: str) -> Mapping[str, Any] | None:
    """Read training.json out of a training job's ``output.tar.gz``."""
    for name, content in _members(body):
        if name.removeprefix("./") == f"city={slug}/training.json":
            return _mapping(_parsed(content))
    return None


def _code(s3: S3Client, uri: str) -> Mapping[str, str] | None:
    """Return the files of a code bundle: path → SHA-256."""
    body = read_uri(s3, f"{uri.rstrip('/')}/{SOURCE_ARCHIVE}", MAX_BYTES)
    found = {name: hashlib.sha256(content).hexdigest() for name, content in _members(body)}
    return found or None


def _members(body: bytes | None) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a tar.gz with their content; what can't be read ends it."""
    if body is None:
        return
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(body), mode="r|gz") as archive:
            for count, member in enumerate(archive, start=1):
                total += member.size
                if count > MAX_FILES or total > MAX_BYTES:
                    return
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, content.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError):
        return


def _json(s3: S3Client, uri: str) -> Any:
    try:
        split_uri(uri)
    except ValueError:
        return None
    return _parsed(read_uri(s3, uri, _MOST_JSON))


def _file(path: Path) -> Any:
    return _parsed(path.read_bytes()) if path.is_file() else None


def _parsed(body: bytes | None) -> Any:
    try:
        return None if body is None or len(body) > _MOST_JSON else json_of(body)
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def write_training(made: MadeModel, path: Path) -> Path | None:
    """Write how a model was trained where a script can read it.

    :return: the file; None where nobody knows.
    """
    if made.training is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made.training), encoding="utf-8")
    return path
