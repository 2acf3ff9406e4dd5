"""`make package`: City Fleet and this project's fleet files as Amazon MWAA takes them, in dist/mwaa.

MWAA brings ``dags/`` to /usr/local/airflow/dags, unpacks plugins.zip into /usr/local/airflow/plugins, sources
startup.sh and installs requirements.txt before each of Airflow's processes starts (MWAA User Guide, "Adding or updating
DAGs", "Installing custom plugins", "Installing Python dependencies", "Using a startup script";
github.com/aws/amazon-mwaa-docker-images has the code of it). The same sources and variables give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from city_fleet.cli.install import SUBFOLDER
from city_fleet.config import Fleet, fleet_files, load_fleet, load_fleets
from city_fleet.config.places import PROJECT_ROOT, dag_files, fleets_folder, project_path
from city_fleet.config.series import Series
from city_fleet.config.variables import MORE_VARIABLE, named_in
from city_fleet.doctor import airflow_checks
from city_fleet.errors import CityFleetError, FleetFileError, list_names
from local import ROOT
from local.stack.errors import StackError, UsageError

#: Airflow of MWAA's images that City Fleet works with (ADR 0046), oldest first.
AIRFLOWS = ("3.3.1",)
HOME = "/usr/local/airflow"
#: Below dags/: fleet files and job scripts, no DAGs.
PROJECT = "city_fleet_project"
CONSTRAINTS = "city_fleet_constraints.txt"
FLEETS = "include/fleets"
#: MWAA sets them itself, and no startup script can.
_OF_MWAA = ("AWS_REGION", "AWS_DEFAULT_REGION")
#: The laptop's stack sets it to a second; a fleet file has a value for everywhere else.
_OF_THE_STACK = "CITY_FLEET_WAITER_DELAY_SECONDS"
_LEFT_OUT = ("README.md", "fleet.schema.json")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
# The same for every fleet file: nothing below is a DAG (Airflow reads it as glob or as regexp).
_IGNORE = "# Fleet files and job scripts: nothing here is a DAG.\n[!.]*\n"


def build(wheel: Path, output: Path, environ: Mapping[str, str], airflow: str) -> list[str]:
    """Write the package into a folder, in place of what is there.

    :param wheel: City Fleet's.
    :param environ: environment variables: what the fleet files read is taken along.
    :param airflow: version of the environment of MWAA.
    :return: what was written, as lines for people.
    :raises StackError: a variable or a fleet file is missing or wrong; nothing was changed.
    """
    if airflow not in AIRFLOWS:
        raise UsageError(
            f"Got Airflow {airflow!r}; allowed: {', '.join(AIRFLOWS)}. City Fleet needs Airflow 3.3 "
            "(docs/adr/0014-which-airflow.md); an environment with an older one has to be upgraded first"
        )
    if environ.get("AWS_ENDPOINT_URL"):
        raise StackError(
            f"AWS_ENDPOINT_URL is {environ['AWS_ENDPOINT_URL']}: this shell leads to a local stack, and so would the "
            "package. Open another one, or unset what `make env` has set"
        )
    fleets = _fleets()
    variables = _variables(environ)
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write_dags(draft / "dags", fleets, environ)
        holidays = any(map(_asks_for_holidays, fleets))
        (draft / "plugins.zip").write_bytes(
            _zip({wheel.name: wheel.read_bytes(), CONSTRAINTS: _constraints(airflow, holidays).encode()})
        )
        (draft / "requirements.txt").write_text(_requirements(wheel, holidays), encoding="utf-8")
        (draft / "startup.sh").write_text(_startup(variables), encoding="utf-8")
        options = airflow_checks.options(sum(len(fleet.cities) for fleet in fleets))
        text = json.dumps({name: str(value) for name, value in sorted(options.items())}, indent=1)
        (draft / "airflow-options.json").write_text(f"{text}\n", encoding="utf-8")
        shutil.rmtree(output, ignore_errors=True)
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return list(_summary(output, fleets))


def _fleets() -> list[Fleet]:
    found, wrong = [], []
    for each in load_fleets(fleets_folder()):
        if isinstance(each, FleetFileError) or each.errors:
            wrong.append(each.file if isinstance(each, FleetFileError) else str(each.path))
        else:
            found.append(each)
    if wrong:
        raise StackError(f"{list_names(wrong)}: mistakes, which `./fleet lint` shows. Nothing was packed")
    if not found:
        raise StackError(f"{fleets_folder()} has no fleet file; write one: docs/fleet-file.md")
    return found


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the fleet files read: what they say where one is not set is the laptop's."""
    texts = [path.read_text(encoding="utf-8") for path in fleet_files(fleets_folder())]
    named = sorted({name for text in texts for name in named_in(text)} - {*_OF_MWAA, _OF_THE_STACK})
    missing = [name for name in named if not environ.get(name)]
    if missing:
        raise StackError(
            f"Not set: {', '.join(missing)}. The fleet files read them, and what they say instead is for a laptop. "
            "Set them to what MWAA is to use: CITY_FLEET_ENVIRONMENT=production CITY_FLEET_BUCKET=… make package"
        )
    more = {MORE_VARIABLE: environ[MORE_VARIABLE]} if environ.get(MORE_VARIABLE) else {}
    return {name: environ[name] for name in named} | more


def _asks_for_holidays(fleet: Fleet) -> bool:
    datasets = [fleet.dataset, *(city.dataset for city in fleet.cities.values())]
    return any(isinstance(each, Series) and each.holidays is not None for each in datasets)


def _write_dags(folder: Path, fleets: list[Fleet], environ: Mapping[str, str]) -> None:
    """Write the DAG files, and the project that they read: fleet files, lists of cities, job scripts."""
    loaders, project = folder / SUBFOLDER, folder / PROJECT
    loaders.mkdir(parents=True)
    for path in dag_files():
        shutil.copyfile(path, loaders / path.name)
    for path in _files(fleets_folder()):
        if path.name not in _LEFT_OUT:
            _copy(path, project / FLEETS / path.relative_to(fleets_folder()))
    for given in sorted({name for fleet in fleets for name in _code_of(fleet)}):
        source = project_path(given)
        if Path(given).is_absolute():
            raise StackError(f"{given!r} is an absolute path, which MWAA has not; write it below the project")
        if not source.exists():
            raise StackError(f"{source}: there is no such file, and a fleet file names it")
        for path in _files(source) if source.is_dir() else [source]:
            _copy(path, project / path.relative_to(PROJECT_ROOT))
    (project / ".airflowignore").write_text(_IGNORE, encoding="utf-8")
    for fleet in fleets:
        _is_whole(fleet, project / FLEETS / fleet.path.name, environ)


def _is_whole(fleet: Fleet, packed: Path, environ: Mapping[str, str]) -> None:
    """Make sure that the fleet file means the same where it was packed: a list of cities may lie elsewhere."""
    try:
        again = load_fleet(packed, environ=environ)
    except CityFleetError as error:
        raise StackError(
            f"{fleet.path} can't be read out of the package: {error}. Keep its list of cities beside it"
        ) from None
    if again.cities.keys() != fleet.cities.keys():
        raise StackError(f"{fleet.path} has other cities in the package. Keep its list of cities beside it")


def _code_of(fleet: Fleet) -> Iterator[str]:
    """Yield the folders and files of job scripts that a fleet names."""
    yield fleet.endpoint.scripts
    for city in fleet.cities.values():
        yield city.scripts
        yield from (given for _, given in city.own_scripts if given is not None)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder: none that is hidden, no caches."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield path


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(members.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, whatever packs it
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def _constraints(airflow: str, holidays: bool) -> str:
    """Return what pip is held to: what MWAA's image has satisfies the wheel, so nothing may change."""
    lines = [f"apache-airflow=={airflow}"]
    if holidays:
        locked = (ROOT / "requirements" / "production.lock").read_text(encoding="utf-8")
        lines += re.findall(r"^(holidays==[^\s;\\]+)", locked, re.MULTILINE)
    return "".join(f"{line}\n" for line in lines)


def _requirements(wheel: Path, holidays: bool) -> str:
    version = wheel.name.split("-")[1]
    lines = [
        "# Written by `make package`; beside packages of your own keep these lines together.",
        f"--find-links {HOME}/plugins",
        f"--constraint {HOME}/plugins/{CONSTRAINTS}",
        f"city-fleet{'[holidays]' if holidays else ''}=={version}",
    ]
    return "\n".join(lines) + "\n"


def _startup(variables: Mapping[str, str]) -> str:
    exports = {"CITY_FLEET_PROJECT": f"{HOME}/dags/{PROJECT}"} | dict(variables)
    lines = [
        "#!/bin/sh",
        "# Written by `make package`. MWAA sources it before each of Airflow's processes; it holds no secret.",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(exports.items())),
    ]
    return "\n".join(lines) + "\n"


def _summary(output: Path, fleets: Iterable[Fleet]) -> Iterator[str]:
    for fleet in fleets:
        yield f"{fleet.fleet} ({fleet.environment}): {len(fleet.cities)} cities, bucket {fleet.bucket}"
    for name in ("plugins.zip", "requirements.txt", "startup.sh", "airflow-options.json"):
        content = (output / name).read_bytes()
        yield f"{name}  {len(content):,} bytes  sha256 {hashlib.sha256(content).hexdigest()}"
    files = [path for path in (output / "dags").rglob("*") if path.is_file()]
    yield f"dags/  {len(files)} files, {sum(path.stat().st_size for path in files):,} bytes"


def main(arguments: list[str]) -> int:
    """Build the package, and say what it holds.

    :return: exit code.
    """
    parser = argparse.ArgumentParser(prog="make package", description="City Fleet for Amazon MWAA.")
    parser.add_argument("--wheel", type=Path, required=True, help="as `make wheel` builds it")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "mwaa")
    parser.add_argument("--airflow", default="", help=f"of the environment: {', '.join(AIRFLOWS)}")
    parsed = parser.parse_args(arguments)
    try:
        lines = build(parsed.wheel, parsed.output, os.environ, parsed.airflow or AIRFLOWS[-1])
    except (StackError, CityFleetError) as error:
        print(f"package: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    shown = parsed.output.relative_to(ROOT) if parsed.output.is_relative_to(ROOT) else parsed.output
    print(
        f"{shown}:",
        *(f"  {line}" for line in lines),
        "docs/install/mwaa.md says how it gets there.",
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
