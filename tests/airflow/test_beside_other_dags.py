"""Airflow's own discovery of files, where City Fleet stands beside other people's DAGs and plugins."""

from __future__ import annotations

import shutil
from pathlib import Path

from airflow.dag_processing.bundles.base import BaseDagBundle  # noqa: F401 - Airflow is set up before its discovery
from airflow.utils.file import find_path_from_directory

from tests.airflow.conftest import ROOT

SYNTAXES = ("glob", "regexp")


def python_files(folder: Path, syntax: str) -> set[str]:
    found = map(Path, find_path_from_directory(folder, ".airflowignore", syntax))
    return {str(path.relative_to(folder)) for path in found if path.suffix == ".py"}


def test_of_a_checkout_below_dags_only_its_dags_are_read(tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns(".git", ".venv*", ".tools", ".local", "__pycache__", "dist", ".*_cache")
    shutil.copytree(ROOT, tmp_path / "repo", ignore=left_out)
    (tmp_path / "foreign.py").write_text("from airflow.sdk import DAG\n", encoding="utf-8")
    # What a checkout that has been worked in holds as well.
    for folder in (".venv/lib", ".venv-image/lib", ".tools/uv", ".local/up", "dist"):
        (tmp_path / "repo" / folder).mkdir(parents=True)
        (tmp_path / "repo" / folder / "some.py").write_text("", encoding="utf-8")
    ours = {f"repo/dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    for syntax in SYNTAXES:
        assert python_files(tmp_path, syntax) == {"foreign.py", *ours}, syntax


def test_a_copy_of_the_library_among_foreign_plugins_is_not_run(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "plugins" / "city_fleet", tmp_path / "city_fleet")
    shutil.copy(ROOT / "plugins" / "city_fleet_plugin.py", tmp_path)
    (tmp_path / "foreign_plugin.py").write_text("", encoding="utf-8")
    (tmp_path / ".airflowignore").write_text("theirs\n", encoding="utf-8")
    for syntax in SYNTAXES:
        assert python_files(tmp_path, syntax) == {"city_fleet_plugin.py", "foreign_plugin.py"}, syntax
