"""Who may write below ``state/`` of the bucket replaces no fleet file that can be read, and gains no power here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import Fleet, usable_fleets
from city_fleet.config.compiled_form import Form
from city_fleet.config.form_mirror import Mirror
from city_fleet.config.usable_fleets import read_and_compile
from city_fleet.errors import FleetFileError
from tests.support.fleets import SMALL

GOOD = SMALL + "cities:\n  lake: {}\n  pier: {}\n"
BROKEN = GOOD.replace("  city", "\tcity", 1)
ROLE = "arn:aws:iam::999999999999:role/theirs"
ENVIRON = {"AIRFLOW__API_AUTH__JWT_SECRET": "s3cr3t", "CITY_FLEET_BUCKET": "small-data"}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    (tmp_path / "fleets").mkdir()
    path = tmp_path / "fleets" / "small.yaml"
    path.write_text(GOOD)
    return path


def made_of(path: Path) -> Form:
    _, form = read_and_compile(path, {})
    assert form is not None
    return form


def forged(form: Form, settings: dict[str, Any], specials: list[Any] | None = None) -> Form:
    """A form under the same name that says something else."""
    manifest = json.loads(form.manifest)
    manifest["settings"] |= settings
    manifest["specials"] += specials or []
    return replace(form, manifest=json.dumps(manifest).encode())


def look(path: Path, form: Form | None = None) -> Fleet | FleetFileError:
    """What a process makes of the file, in whose bucket a form lies."""

    def fetch(lines: Any) -> Any:
        return (form.manifest, dict(form.digested_shards()).__getitem__) if form else None

    (found,) = usable_fleets.usable_fleets(path.parent, environ=ENVIRON, fetch=fetch)
    return found


def test_a_form_that_stood_in_is_forgotten_when_the_file_can_be_read_again(path: Path) -> None:
    """Who knows the repository knows the name that the mended file's form will have."""
    honest = look(path)
    form = made_of(path)
    for file in sorted(Mirror.of(path).folder.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    path.write_text(BROKEN)
    stands_in = look(path, forged(form, {"role": ROLE}))
    assert isinstance(stands_in, Fleet)
    assert stands_in.last_good is not None, "every place that works with it says so"
    assert isinstance(look(path), Fleet), "this machine has kept it"
    path.write_text(GOOD)
    for _ in range(2):  # of the file, and of the form that was made of it
        found = look(path)
        assert isinstance(found, Fleet)
        assert isinstance(honest, Fleet)
        assert (found.role, found.last_good) == (honest.role, None)
        assert found.role != ROLE
    current = Mirror.of(path).current()
    assert current is not None
    assert not current.shared
    assert ROLE.encode() not in (Mirror.of(path).folder / current.digest / "manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("what", "settings", "specials"),
    [
        ("a variable that no file may read", {"owner": "x"}, [["owner", "AIRFLOW__API_AUTH__JWT_SECRET"]]),
        ("scripts of the host", {"defaults": {"scripts": "/etc"}}, []),
        ("scripts above the project", {"defaults": {"scripts": "../.."}}, []),
        ("a file of the host as data", {"dataset": {"source": "/etc/passwd"}}, []),
        ("a class of the host", {"digest": {"notifiers": [{"notifier": "os.system"}]}}, []),
        ("another bucket", {"bucket": "theirs"}, []),
        ("another environment", {"environment": "production"}, []),
        ("a template in the role", {"role": "{{ conn.door.password }}"}, []),
        ("a template in the region", {"region": "{{ var.value.key }}"}, []),
    ],
)
def test_a_form_may_do_no_more_than_a_file(
    path: Path, what: str, settings: dict[str, Any], specials: list[list[str]]
) -> None:
    form = made_of(path)
    whole = json.loads(form.manifest)["settings"]
    deep = {
        key: {**whole.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in settings.items()
    }
    bad = forged(form, deep, [[[field], "variable", f"${{{name}}}", False] for field, name in specials])
    path.write_text(BROKEN)
    found = look(path, bad)
    assert isinstance(found, FleetFileError), what
    assert "s3cr3t" not in str(found)
    assert isinstance(look(path, form), Fleet), "the honest one is taken"
