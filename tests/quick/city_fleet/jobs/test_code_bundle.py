"""The bundle of a city's job scripts: sub-packages, single own scripts, and requirements that are pinned."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from city_fleet.errors import ConfigError, FleetFileError
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import CityPlan, plan_city
from tests.support.fleets import SMALL

HASH = "sha256:" + "0" * 64


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_py", ".py").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def planned(folder: Path, city: str) -> CityPlan:
    """A fleet in a folder whose scripts are in ``scripts``, with one city."""
    path = folder / "fleet.yaml"
    path.write_text(
        f"{SMALL}defaults: {{scripts: {folder}/scripts}}\ncities: {{a: {city}}}\n", encoding="utf-8"
    )
    return plan_city(load_fleet(path, {}), "a")


def names(bundle: CodeBundle) -> list[str]:
    return [name for name, _ in bundle.files]


def test_the_code_bundle_depends_on_the_scripts_alone(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    first = CodeBundle.load(tmp_path)
    (tmp_path / "requirements.txt").write_text("xgboost\n")
    (tmp_path / "train.py").touch()
    second = CodeBundle.load(tmp_path)
    assert (first.digest, first.archive()) == (second.digest, second.archive())
    (tmp_path / "train.py").write_text("print(2)\n")
    assert CodeBundle.load(tmp_path).digest != first.digest


def test_sub_packages_come_along_and_neither_caches_nor_hidden_files(tmp_path: Path) -> None:
    written(tmp_path, train_py="1", algorithms__knn_py="2", algorithms____init___py="")
    (tmp_path / "algorithms" / "__init__.py").write_text("")
    for name in ("__pycache__/train.py", ".venv/x.py", "algorithms/.hidden.py", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no")
    (tmp_path / "algorithms" / "again").symlink_to(tmp_path)
    bundle = CodeBundle.load(tmp_path)
    assert names(bundle) == ["algorithms/__init__.py", "algorithms/knn.py", "train.py"]
    with tarfile.open(fileobj=io.BytesIO(bundle.archive())) as archive:
        assert archive.getnames() == names(bundle)


def test_a_script_in_a_sub_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    written(tmp_path, scripts__train_py="1")
    (tmp_path / "scripts" / "algorithms").symlink_to("/usr/lib/python3", target_is_directory=True)
    (tmp_path / "scripts" / "more").mkdir()
    (tmp_path / "scripts" / "more" / "x.py").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match=r"algorithms, more/x\.py, a link out of the project"):
        CodeBundle.load(tmp_path / "scripts")


def test_single_own_scripts_take_the_place_of_the_fleets_and_nothing_else_changes(tmp_path: Path) -> None:
    written(
        tmp_path, scripts__train_py="fleet", scripts__preprocess_py="fleet", own_py="own", mine_py="features"
    )
    plain = CodeBundle.of(planned(tmp_path, ""))
    own = CodeBundle.of(
        planned(tmp_path, f"{{own_scripts: {{train: {tmp_path}/own.py, features: {tmp_path}/mine.py}}}}")
    )
    assert dict(own.files) == {"features.py": b"features", "preprocess.py": b"fleet", "train.py": b"own"}
    assert dict(plain.files) == {"preprocess.py": b"fleet", "train.py": b"fleet"}
    assert own.digest != plain.digest


def test_an_own_script_elsewhere_on_the_host_or_missing_is_refused(tmp_path: Path) -> None:
    written(tmp_path, scripts__train_py="fleet")
    with pytest.raises(KeyError):
        planned(tmp_path, "{own_scripts: {train: /etc/hostname}}")
    missing = planned(tmp_path, f"{{own_scripts: {{train: {tmp_path}/no.py}}}}")
    with pytest.raises(ConfigError, match=r"no\.py.*can't be read"):
        CodeBundle.of(missing)
    path = tmp_path / "fleet.yaml"
    path.write_text(f"{SMALL}defaults: {{own_scripts: {{train: /etc/hostname}}}}\ncities: {{a: }}\n")
    with pytest.raises(FleetFileError, match=r"defaults\.own_scripts\.train.*leads out of the project"):
        load_fleet(path, {})


def test_requirements_count_where_they_are_asked_for_and_only_pinned(tmp_path: Path) -> None:
    two_hashes = f"statsmodels==0.14.4 \\\n    --hash={HASH} \\\n    --hash={HASH}\n"
    pinned = f"# why\n{two_hashes}x[y]==1 ; python_version > '3' --hash={HASH}\n"
    written(tmp_path, scripts__train_py="1", own__train_py="2", own__requirements_txt=pinned, r_txt=pinned)
    (tmp_path / "scripts" / "requirements.txt").write_text("anything\n")
    assert not CodeBundle.of(planned(tmp_path, "")).installs
    assert CodeBundle.of(planned(tmp_path, f"{{scripts: {tmp_path}/own}}")).installs
    asked = planned(tmp_path, f"{{own_scripts: {{requirements: {tmp_path}/r.txt}}}}")
    assert CodeBundle.of(asked).installs
    for line in ("statsmodels", "statsmodels==0.14.4", f"statsmodels>=0.14 --hash={HASH}", "-r other.txt",
                 "--index-url https://example.org", f"git+https://example.org/x --hash={HASH}"):  # fmt: skip
        (tmp_path / "r.txt").write_text(f"{pinned}{line}\n")
        with pytest.raises(ConfigError, match=r"r\.txt:6: got .*--hash=sha256") as caught:
            CodeBundle.of(replace(asked))
        assert line[:20] in str(caught.value)
