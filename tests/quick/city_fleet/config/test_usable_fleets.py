"""Fleets from compiled forms: the same as from the file, and those of before while the file can't be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import Fleet, compiled_form, form_mirror, load_fleet, open_form, usable_fleets
from city_fleet.config.compiled_form import Form
from city_fleet.config.form_mirror import Mirror
from city_fleet.config.parts import EVERY_CITY, NO_CITY, Part
from city_fleet.config.usable_fleets import read_and_compile
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL, TEXAS

CITIES = "cities:\n  lake: {}\n  pier: {name: The Pier, retries: 3}\n"
MAY_READ = {"CITY_FLEET_FILE_VARIABLES": "NAME,TRIES,SECRET,MANY"}
ENVIRON = {**MAY_READ, "NAME": "staging", "TRIES": "4", "SECRET": "s3cr3t"}
RICH = (
    SMALL.replace("fleet: small", "fleet: small\nenvironment: ${NAME}\nend_date: 2040-12-31\ntags: [a, '12']")
    + """\
defaults:
  retries: "${TRIES:-2}"
  algorithm: &big {hyperparameters: {eta: 0.1, note: "x", deep: 12}}
digest:
  notifiers:
    - {notifier: airflow.providers.a.Mail, arguments: {text: "${SECRET}", day: 2020-01-01, "$": {}, n: null, f: .inf}}
cities:
  lake: {start_date: 2021-02-03, owner: "${NAME}"}
  pier: {name: "12", gate: {tolerance: 5e-2}, end_date: null}
  quay: {algorithm: {<<: *big, version: 3.0-5}}
"""
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    (tmp_path / "fleets").mkdir()
    return tmp_path / "fleets"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were read as YAML."""
    found: list[Path] = []
    real = usable_fleets.read_fleet

    def read(path: Path, environ: Any) -> Any:
        found.append(path)
        return real(path, environ)

    monkeypatch.setattr(usable_fleets, "read_fleet", read)
    return found


def write(folder: Path, text: str, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def usable(
    folder: Path, part: Part = EVERY_CITY, environ: dict[str, str] | None = None, **more: Any
) -> Fleet:
    (found,) = usable_fleets.usable_fleets(
        folder, part, environ=ENVIRON if environ is None else environ, **more
    )
    assert isinstance(found, Fleet), found
    return found


def same(one: Fleet, other: Fleet) -> None:
    for name in (*type(one).model_fields,):
        if name not in ("broken", "errors"):
            assert getattr(one, name) == getattr(other, name), name
    assert [str(error) for error in one.errors] == [str(error) for error in other.errors]
    assert {slug: str(error) for slug, error in one.broken.items()} == {
        slug: str(error) for slug, error in other.broken.items()
    }


@pytest.mark.parametrize("text", [SMALL + CITIES, RICH, TEXAS.read_text(encoding="utf-8")])
def test_a_form_is_the_same_fleet_as_its_file_in_every_environment(
    folder: Path, reads: list[Path], text: str
) -> None:
    path = write(folder, text)
    same(usable(folder), load_fleet(path, ENVIRON))
    assert reads == [path]
    for environ in (
        ENVIRON,
        {**ENVIRON, "NAME": "production", "TRIES": "7", "CITY_FLEET_BUCKET": "elsewhere"},
    ):
        same(usable(folder, environ=environ), load_fleet(path, environ))
    assert reads == [path]


def test_variables_stay_unresolved_in_what_is_kept(folder: Path, tmp_path: Path) -> None:
    write(folder, RICH)
    usable(folder)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "compiled").rglob("*.json"))
    assert b"${SECRET}" in kept
    assert b"s3cr3t" not in kept
    assert b"staging" not in kept


def test_cities_of_a_list(folder: Path, reads: list[Path]) -> None:
    path = write(folder, SMALL + "cities: {from: cities.csv}\n")
    listed = folder / "cities.csv"
    listed.write_text('name,retries,tags\nNew York,3,"[a, b]"\nLake ${NAME},,\n')
    same(usable(folder), load_fleet(path, ENVIRON))
    same(usable(folder), load_fleet(path, ENVIRON))
    assert set(usable(folder).cities) == {"new_york", "lake_name"}
    assert reads == [path]
    listed.write_text("name\nElsewhere\n")
    assert set(usable(folder).cities) == {"elsewhere"}
    listed.unlink()
    gone = usable(folder)
    assert set(gone.cities) == {"elsewhere"}
    assert "'cities.csv': no such file" in str(gone.last_good and gone.last_good.sentence)


def test_a_list_that_a_variable_names_is_read_each_time(folder: Path, reads: list[Path]) -> None:
    path = write(folder, SMALL + 'cities: {from: "${NAME}.csv"}\n')
    for name in ("staging", "production"):
        (folder / f"{name}.csv").write_text(f"city\n{name}\n")
    for name in ("staging", "production", "staging"):
        assert set(usable(folder, environ={**MAY_READ, "NAME": name}).cities) == {name}
    assert reads == [path] * 3


def test_a_city_with_a_mistake_is_the_broken_one_and_its_error_knows_its_line(
    folder: Path, reads: list[Path]
) -> None:
    text = (
        SMALL + "cities:\n  lake: {}\n  pier:\n    name: P\n    retries: many\n  Quay: {}\n  bad: {name: P}\n"
    )
    path = write(folder, text)
    same(usable(folder), load_fleet(path, ENVIRON))
    again = usable(folder)
    same(again, load_fleet(path, ENVIRON))
    assert set(again.broken) == {"pier", "quay", "bad"}
    assert again.broken["pier"].line == 15
    assert reads == [path]
    assert usable(folder, Part(slug="pier")).broken["pier"].field == "retries"


def test_a_city_that_an_environment_breaks_is_well_in_another_without_a_new_form(folder: Path) -> None:
    path = write(folder, SMALL + 'cities:\n  lake: {}\n  pier: {retries: "${MANY}"}\n')
    assert set(usable(folder, environ=MAY_READ).broken) == {"pier"}
    assert usable(folder, environ={**MAY_READ, "MANY": "5"}).cities["pier"].retries == 5
    for environ in (MAY_READ, {**MAY_READ, "MANY": "x"}):
        same(usable(folder, environ=environ), load_fleet(path, environ))


def test_a_broken_file_stays_as_it_was_and_says_so(folder: Path) -> None:
    path = write(folder, SMALL + CITIES)
    good = usable(folder)
    for broken in (
        "fleet: [",
        (SMALL + CITIES).replace("  city", "\tcity", 1),
        SMALL.replace("bucket", "buket"),
        "",
    ):
        path.write_text(broken)
        with pytest.raises(FleetFileError) as caught:
            load_fleet(path)
        found = usable(folder)
        assert found.cities == good.cities
        assert found.last_good is not None
        assert str(caught.value.errors[0]) in found.last_good.sentence
        assert found.last_good.sentence.startswith("Built from the last good form of 20")
    path.write_text(SMALL + CITIES.replace("3", "5"))
    mended = usable(folder)
    assert mended.last_good is None
    assert mended.cities["pier"].retries == 5
    path.unlink()
    assert usable_fleets.usable_fleets(folder) == []


def test_a_file_that_never_was_right_is_an_error_as_ever(folder: Path) -> None:
    write(folder, "fleet: [\n")
    (found,) = usable_fleets.usable_fleets(folder)
    assert isinstance(found, FleetFileError)


def test_a_second_file_of_a_fleet_does_not_replace_what_it_was_before(folder: Path) -> None:
    write(folder, SMALL + CITIES, "a.yaml")
    second = write(folder, SMALL.replace("fleet: small", "fleet: other") + CITIES, "b.yaml")
    usable_fleets.usable_fleets(folder)
    second.write_text(SMALL + CITIES)
    first, other = usable_fleets.usable_fleets(folder)
    assert isinstance(first, Fleet)
    assert first.last_good is None
    assert isinstance(other, Fleet)
    assert (other.fleet, other.last_good is not None) == ("other", True)


def damaged(mirror: Mirror) -> list[Path]:
    return list(mirror.folder.rglob("*.json"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"form": 1}', b"null", None])
def test_what_is_half_written_is_read_anew_and_mended(
    folder: Path, reads: list[Path], content: bytes | None
) -> None:
    path = write(folder, SMALL + CITIES)
    usable(folder)
    mirror = Mirror.of(path)
    names = damaged(mirror)
    assert {name.name for name in names} == {"current.json", "manifest.json", "shard-0000.json"}
    for name in names:
        reads.clear()
        if content is None:
            name.unlink()
        else:
            name.write_bytes(content)
        same(usable(folder), load_fleet(path))
        assert reads == [path]
        usable(folder)
        assert reads == [path], "it was not mended"


def test_a_form_of_an_older_version_or_of_older_rules_is_made_anew(
    folder: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder, SMALL + CITIES)
    usable(folder)
    for change in ("FORM_VERSION", "rules_digest"):
        new: Any = 2 if change == "FORM_VERSION" else lambda: "other"
        reads.clear()
        with monkeypatch.context() as patch:
            patch.setattr(compiled_form, change, new)
            patch.setattr(open_form, change, new, raising=False)
            usable(folder)
            usable(folder)
            assert reads == [path]
        usable(folder)
        assert reads == [path, path]


def test_a_disk_that_can_only_be_read_is_fine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "file" / "compiled"))
    path = write(folder, SMALL + CITIES)
    same(usable(folder), load_fleet(path))
    same(usable(folder, Part(slug="pier")), usable(folder, Part(slug="pier")))
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_file_that_changes_while_it_is_read_leaves_no_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder, SMALL + CITIES)
    real = usable_fleets.read_fleet

    def read(at: Path, environ: Any) -> Any:
        found = real(at, environ)
        path.write_text(SMALL + CITIES + "  new: {}\n")
        return found

    monkeypatch.setattr(usable_fleets, "read_fleet", read)
    assert set(usable(folder).cities) == {"lake", "pier"}
    assert Mirror.of(path).current() is None


def test_few_old_forms_stay(folder: Path) -> None:
    path = write(folder, SMALL + CITIES)
    for number in range(8):
        path.write_text(SMALL + CITIES + f"  c{number}: {{}}\n")
        usable(folder)
    mirror = Mirror.of(path)
    assert len([at for at in mirror.folder.iterdir() if at.is_dir()]) == 1 + form_mirror._KEPT


def test_of_ten_thousand_cities_a_task_reads_one_shard(
    folder: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cities = "".join(f"  c{number}: {{retries: {number % 3}}}\n" for number in range(10_000))
    path = write(folder, SMALL + "cities:\n" + cities)
    shards = len(usable(folder, NO_CITY).cities) + len(json.loads(_manifest(path))["shards"])
    assert shards == 64
    reads.clear()
    opened: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda at: (opened.append(at.name), real(at))[1])
    one = usable(folder, Part(slug="c77"))
    assert (list(one.cities), reads) == (["c77"], [])
    assert len([name for name in opened if name.startswith("shard")]) == 1
    opened.clear()
    assert usable(folder, NO_CITY).cities == {}
    assert not [name for name in opened if name.startswith("shard")]
    together: set[str] = set()
    for index in range(16):
        opened.clear()
        part = usable(folder, Part(index, 16)).cities
        assert len([name for name in opened if name.startswith("shard")]) == 4
        assert 400 < len(part) < 850
        assert together.isdisjoint(part)
        together |= set(part)
    assert len(together) == 10_000
    assert reads == []


def _manifest(path: Path) -> bytes:
    mirror = Mirror.of(path)
    current = mirror.current()
    assert current is not None
    return (mirror.folder / current.digest / "manifest.json").read_bytes()


def shared(form: Form | None) -> Any:
    """A form as all machines share it."""
    assert form is not None
    return form.manifest, dict(form.digested_shards()).__getitem__


def test_a_worker_without_a_mirror_fetches_what_all_machines_keep(folder: Path, tmp_path: Path) -> None:
    path = write(folder, SMALL + CITIES)
    _, form = read_and_compile(path, {})
    path.write_text((SMALL + CITIES).replace("  city", "\tcity", 1))
    asked = []

    def fetch(lines: Any) -> Any:
        asked.append((lines.fleet, lines.environment, lines.bucket, lines.region))
        return shared(form)

    assert set(usable(folder, Part(slug="pier"), fetch=fetch).cities) == {"pier"}
    assert asked == [("small", "laptop", "small-data", "us-east-1")]
    assert isinstance(usable_fleets.usable_fleets(folder)[0], FleetFileError), "a task keeps no whole form"
    assert set(usable(folder, fetch=fetch).cities) == {"lake", "pier"}
    # Now it has one.
    assert set(usable(folder).cities) == {"lake", "pier"}
    shutil.rmtree(tmp_path / "compiled")
    path.write_text(path.read_text().replace("small-data", "others-data"))
    (refused,) = usable_fleets.usable_fleets(folder, environ=ENVIRON, fetch=fetch)
    assert isinstance(refused, FleetFileError), "a form of another bucket"


def test_a_worker_whose_last_good_form_lacks_the_city_fetches_too(folder: Path) -> None:
    path = write(folder, SMALL + CITIES)
    usable(folder)
    path.write_text(SMALL + CITIES + "  new: {}\n")
    _, form = read_and_compile(path, {})
    path.write_text((SMALL + CITIES).replace("  city", "\tcity", 1))
    assert "new" not in usable(folder).cities
    assert set(usable(folder, Part(slug="new"), fetch=lambda lines: shared(form)).cities) == {"new"}
    assert usable(folder, Part(slug="nowhere"), fetch=lambda lines: shared(form)).cities == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "../../../elsewhere"),
        ("source", "a" * 41),
        ("shards", ["../x"]),
        ("shards", "x"),
        ("made_at", "\x1b[31m"),
        ("made_at", None),
        ("listed", ["x"]),
        ("format_version", 2),
        ("settings", {"fleet": "small"}),
        ("specials", [[["settings"], "variable", "${SECRET}", True]]),
        ("specials", [[["x", "y"], "date", "2020", False]]),
    ],
)
def test_a_form_of_a_bucket_says_nothing_that_leads_elsewhere(
    folder: Path, tmp_path: Path, name: str, value: Any
) -> None:
    path = write(folder, SMALL + CITIES)
    _, form = read_and_compile(path, {})
    assert form is not None
    manifest = json.dumps({**json.loads(form.manifest), name: value}).encode()
    path.write_text((SMALL + CITIES).replace("  city", "\tcity", 1))
    shards = dict(form.digested_shards())
    (found,) = usable_fleets.usable_fleets(
        folder, environ=ENVIRON, fetch=lambda lines: (manifest, shards.__getitem__)
    )
    assert isinstance(found, FleetFileError), found
    assert {at.name for at in tmp_path.iterdir()} <= {"fleets", "compiled"}
    assert not (tmp_path / "compiled").exists()


def test_a_list_that_is_no_file_is_not_read_for_ever(folder: Path) -> None:
    path = write(folder, SMALL + CITIES)
    with pytest.raises(FileNotFoundError):
        compiled_form.source_digest(path, "/dev/zero")
