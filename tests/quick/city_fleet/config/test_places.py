"""A path in a fleet file leads below the project's root or the file's own folder, and to nothing else on the host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from city_fleet.cli.app import app
from city_fleet.config import load_fleet
from city_fleet.config.lint import link_mistakes
from city_fleet.data.source_check import source_mistakes
from city_fleet.data.source_split import find_source
from city_fleet.errors import ConfigError, FleetFileError
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import plan_city
from city_fleet.serving.endpoint_state import wanted_config_name
from tests.support.fleets import SMALL

SECRET = "T0P-SECRET"
CITIES = "cities: {a: {}}\n"


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, Path]:
    """The folder of the fleet files, and a folder that is nobody's business."""
    fleets, elsewhere = tmp_path / "in" / "fleets", tmp_path / "elsewhere"
    fleets.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "secret.csv").write_text(f"{SECRET},city\n1,2\n")
    (elsewhere / "fleet.yaml").write_text(f"{SECRET}: 1\n")
    for script in ("preprocess.py", "train.py", "evaluate.py", "inference.py"):
        (elsewhere / script).write_text(f"# {SECRET}\n")
    (fleets / "link.csv").symlink_to(elsewhere / "secret.csv")
    (fleets / "linked").symlink_to(elsewhere)
    (fleets / "circle.csv").symlink_to(fleets / "circle.csv")
    return fleets, elsewhere


def write(fleets: Path, text: str) -> Path:
    path = fleets / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def lint(path: Path) -> tuple[int, str]:
    """Check a file; answers exit code and output, as a person and as a program gets it."""
    results = [CliRunner().invoke(app, ["lint", str(path), *more]) for more in ([], ["--json"])]
    assert len({result.exit_code for result in results}) == 1
    json.loads(results[1].stdout)
    return results[0].exit_code, "".join(result.output for result in results)


def test_paths_out_of_the_project_are_refused_with_their_field(host: tuple[Path, Path]) -> None:
    fleets, elsewhere = host
    up = "../" * 12
    leading = {
        "file": [str(elsewhere / "secret.csv"), "../../elsewhere/secret.csv", "link.csv", "linked/secret.csv",
                 "/etc/passwd", f"{up}etc/passwd", "circle.csv", "/proc/self/environ"],
        "folder": [str(elsewhere), f"{fleets}/../../elsewhere", f"{fleets}/linked", "/etc", f"{up}etc", "/"],
    }  # fmt: skip
    for place in leading["file"]:
        for text, field in (
            (SMALL.replace("dataset:\n", f"dataset:\n  source: {place}\n") + CITIES, "dataset.source"),
            (SMALL + f"cities: {{from: {place}}}\n", "cities.from"),
        ):
            code, said = lint(write(fleets, text))
            assert code == 1, (place, field)
            assert f"field '{field}': got '" in said, (place, said)
            assert "leads out of the project" in said
            assert SECRET not in said
            assert "root:x" not in said
    for place in leading["folder"]:
        for text, field in (
            (SMALL + f"defaults: {{scripts: {place}}}\n" + CITIES, "defaults.scripts"),
            (SMALL + f"endpoint: {{scripts: {place}}}\n" + CITIES, "endpoint.scripts"),
            (SMALL + f"cities: {{a: {{scripts: {place}}}, b: }}\n", "scripts"),
            (SMALL + f"cities: {{a: {{dataset: {{source: {place}}}}}, b: }}\n", "dataset.source"),
        ):
            # That a program is told no more is seen above.
            result = CliRunner().invoke(app, ["lint", str(write(fleets, text))])
            code, said = result.exit_code, result.output
            assert code == 1, (place, field)
            assert f"field '{field}': got '" in said, (place, said)


def test_a_path_of_one_city_breaks_that_city_alone(host: tuple[Path, Path]) -> None:
    fleets, elsewhere = host
    fleet = load_fleet(write(fleets, SMALL + f"cities: {{a: {{scripts: {elsewhere}}}, b: }}\n"), {})
    assert (list(fleet.cities), list(fleet.broken)) == (["b"], ["a"])


def test_paths_within_the_project_go_on_working(host: tuple[Path, Path]) -> None:
    fleets, _ = host
    (fleets / "data.csv").write_text("city,date,y\na,2020-01-01,1\n")
    (fleets / "cities.csv").write_text("city\na\n")
    (fleets / "same.csv").symlink_to(fleets / "data.csv")
    (fleets / "scripts").mkdir()
    (fleets / "scripts" / "train.py").write_text("x = 1\n")
    for source in ("data.csv", "same.csv", str(fleets / "data.csv"), "../fleets/data.csv"):
        text = SMALL.replace("dataset:\n", f"dataset:\n  source: {source}\n") + CITIES
        assert source_mistakes(load_fleet(write(fleets, text), {})) == [], source
    text = SMALL + f"defaults: {{scripts: {fleets}/scripts}}\ncities: {{from: cities.csv}}\n"
    fleet = load_fleet(write(fleets, text), {})
    assert link_mistakes(fleet) == []
    assert len(CodeBundle.load(plan_city(fleet, "a").scripts).files) == 1


def test_what_becomes_a_link_after_lint_is_refused_where_it_is_used(host: tuple[Path, Path]) -> None:
    fleets, elsewhere = host
    (fleets / "data.csv").write_text("city,date,y\na,2020-01-01,1\n")
    scripts = fleets / "scripts"
    scripts.mkdir()
    text = SMALL.replace("dataset:\n", "dataset:\n  source: data.csv\n")
    fleet = load_fleet(
        write(
            fleets, text + f"defaults: {{scripts: {scripts}}}\nendpoint: {{scripts: {scripts}}}\n" + CITIES
        ),
        {},
    )
    scripts.rmdir()
    scripts.symlink_to(elsewhere)
    (fleets / "data.csv").unlink()
    (fleets / "data.csv").symlink_to(elsewhere / "secret.csv")
    for use in (
        lambda: plan_city(fleet, "a").scripts,
        lambda: wanted_config_name(fleet),
        lambda: find_source(fleet, None),
    ):
        with pytest.raises(ConfigError, match="leads out of the project"):
            use()
    assert find_source(fleet, elsewhere / "secret.csv"), "what a person names on the command line is theirs"


def test_a_script_that_is_a_link_is_neither_linted_nor_uploaded(host: tuple[Path, Path]) -> None:
    fleets, elsewhere = host
    scripts = fleets / "scripts"
    scripts.mkdir()
    (scripts / "shared.py").write_text("x = 1\n")
    for name in ("preprocess.py", "evaluate.py"):
        (scripts / name).symlink_to(scripts / "shared.py")
    path = write(fleets, SMALL + f"defaults: {{scripts: {scripts}}}\n" + CITIES)
    assert link_mistakes(load_fleet(path, {})) == []
    assert [name for name, _ in CodeBundle.load(scripts).files] == [
        "evaluate.py",
        "preprocess.py",
        "shared.py",
    ]
    (scripts / "train.py").symlink_to(elsewhere / "train.py")
    code, said = lint(path)
    assert code == 1
    assert "field 'defaults.scripts': got a folder in which train.py leads out of the project" in said
    assert SECRET not in said
    with pytest.raises(ConfigError, match=r"train\.py, a link out of the project"):
        CodeBundle.load(scripts)


def test_a_fleet_file_that_is_a_link_is_not_read(host: tuple[Path, Path]) -> None:
    fleets, elsewhere = host
    (fleets / "evil.yaml").symlink_to(elsewhere / "fleet.yaml")
    with pytest.raises(FleetFileError, match="a link that leads out of the project") as caught:
        load_fleet(fleets / "evil.yaml", {})
    assert SECRET not in str(caught.value)
    mount = fleets / "..2024"  # as Kubernetes mounts a ConfigMap
    mount.mkdir()
    (mount / "good.yaml").write_text(SMALL + CITIES, encoding="utf-8")
    (fleets / "good.yaml").symlink_to(mount / "good.yaml")
    assert list(load_fleet(fleets / "good.yaml", {}).cities) == ["a"]
