"""Command ``doctor``: is everything set up that the fleets need?"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import client
from city_fleet.cli.output import AsJson, count_cities, show
from city_fleet.cli.selection import FleetName, fleets_named, no_fleet_file
from city_fleet.config import Fleet, load_fleets
from city_fleet.config.places import PROJECT_ROOT, fleets_folder
from city_fleet.config.series import Series
from city_fleet.doctor import package_checks
from city_fleet.doctor.package_checks import Role
from city_fleet.errors import ConfigError, FleetFileError, display_path

if TYPE_CHECKING:
    from city_fleet.doctor.account_checks import Wanted
    from city_fleet.doctor.findings import Finding

_PROBE_SECONDS = 120
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]+")
_HEALTH_SECONDS = 5


def doctor(
    *,
    fleet: FleetName = None,
    cities: Annotated[
        int | None,
        typer.Option(
            "--cities",
            metavar="N",
            min=1,
            help="Check Airflow's settings for a fleet that grows to N cities.",
        ),
    ] = None,
    aws: Annotated[
        bool | None,
        typer.Option(
            "--aws/--no-aws",
            help="Ask the account too, as before going live: quotas against tonight's need, the right to pass the role,"
            " the bucket's settings, keys, images, the clock. --no-aws asks AWS nothing; by default only what a fleet"
            " uses is looked at.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        float,
        typer.Option(
            "--within",
            metavar="HOURS",
            min=0.1,
            help="With --aws: in which the night shall be over.",
        ),
    ] = 6.0,
    principal: Annotated[
        str | None,
        typer.Option(
            "--principal",
            metavar="ARN",
            help="With --aws: the role that Airflow runs under, whose right to pass the fleet's role is asked for;"
            " by default whoever runs the doctor.",
            show_default=False,
        ),
    ] = None,
    airflow: Annotated[bool, typer.Option("--airflow/--no-airflow", help="Check Airflow.")] = True,
    role: Annotated[
        Role | None,
        typer.Option(
            "--role",
            metavar="airflow|laptop",
            help="Check the packages of this place: airflow (any part of Airflow) or laptop (a checkout's .venv);"
            " by default it is found out.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check packages, settings, AWS and Airflow, and say what to fix.

    It changes nothing. Airflow is checked only where its own commands work: on its machine, or while a local stack is
    up.

    Exit codes: 0 no failures (there may be warnings), 1 failures, 2 wrong usage.

    \b
    Examples:
      ./fleet doctor
      ./fleet doctor --aws --fleet texas_housing --principal arn:aws:iam::123456789012:role/airflow
      ./fleet doctor --cities 3000
      ./fleet doctor --role airflow
      ./fleet doctor --fleet texas_housing --no-airflow --json
    """
    if principal is not None and not aws:
        raise typer.BadParameter("--principal is about what --aws asks: give both.")
    if principal is not None and not _PRINCIPAL.fullmatch(principal):
        raise typer.BadParameter(
            f"--principal: got {principal!r}; allowed: the ARN of a role or user, arn:aws:iam::<account>:role/<name>"
        )
    here = role or package_checks.role_here(sys.prefix, PROJECT_ROOT)
    fleets, of_files = _fleet_files(fleet)
    wanted = package_checks.needs(
        here,
        PROJECT_ROOT,
        holidays=any(map(_asks_for_holidays, fleets)),
        parquet=any(each.forecasts.schedule is not None for each in fleets),
    )
    found = [*package_checks.check(wanted, package_checks.installed_versions(), here), *of_files]
    slots: dict[str, int] = {}
    for item in fleets if aws is not False else ():
        if aws:
            from city_fleet.cli.doctor_account import wanted_of  # noqa: PLC0415

            asked = wanted_of(item, within, principal)
            slots[item.fleet] = asked.slots
            found += [*_aws(item, asked.wanted), *asked.wrong]
        else:
            found += _aws(item)
    if airflow:
        found += _airflow(fleets, cities, slots)
    show([each.to_dict() for each in found], _lines(found), as_json)
    raise typer.Exit(1 if any(each.level == "fail" for each in found) else 0)


def _asks_for_holidays(fleet: Fleet) -> bool:
    datasets = [fleet.dataset, *(city.dataset for city in fleet.cities.values())]
    return any(isinstance(each, Series) and each.holidays is not None for each in datasets)


def _fleet_files(name: str | None) -> tuple[list[Fleet], list[Finding]]:
    from city_fleet.config.lint import fleet_warnings  # noqa: PLC0415 - reads botocore's models
    from city_fleet.doctor.findings import Area  # noqa: PLC0415

    area, fleets, found = Area("fleet files"), [], []
    loaded = load_fleets(fleets_folder()) if name is None else fleets_named(name, as_they_are=True)
    if not loaded:
        found.append(area.fail(str(no_fleet_file()), "Write one: docs/fleet-file.md"))
    for item in loaded:
        if isinstance(item, FleetFileError):
            found.append(area.fail(f"{item.file} can't be read", f"./fleet lint {item.file}"))
            continue
        fleets.append(item)
        path, mistakes, warnings = display_path(item.path), len(item.errors), len(fleet_warnings(item))
        if mistakes:
            what = f"{path}: mistakes in {count_cities(len(item.broken))}"
            found.append(area.fail(what, f"./fleet lint {path}"))
        elif warnings:
            found.append(area.warn(f"{path}: {warnings} warnings", f"./fleet lint {path}"))
        else:
            found.append(area.ok(f"{path}: {count_cities(len(item.cities))}, no mistakes"))
    return fleets, found


def _aws(fleet: Fleet, wanted: Wanted | None = None) -> list[Finding]:
    from botocore.config import Config  # noqa: PLC0415 - slow to import

    from city_fleet.doctor import aws_checks  # noqa: PLC0415

    # An AWS that does not answer is reported after seconds.
    config = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2})
    return aws_checks.check(
        fleet, lambda service: client(fleet, service, config), _endpoint_configs(fleet), wanted
    )


def _endpoint_configs(fleet: Fleet) -> dict[str, str]:
    """Return the names of the endpoint configurations that a fleet file describes, without those lint complains of."""
    from city_fleet.serving.endpoint_state import wanted_config_name  # noqa: PLC0415 - reads the table of images

    found = {}
    for name in fleet.endpoint_names:
        with contextlib.suppress(ConfigError, ModuleNotFoundError):
            found[name] = wanted_config_name(fleet, name)
    return found


def _airflow(fleets: list[Fleet], cities: int | None, slots: dict[str, int]) -> list[Finding]:
    from city_fleet.doctor import airflow_checks, observe_checks  # noqa: PLC0415

    area = airflow_checks.AREA
    here = "Run this where Airflow runs, or while a local stack is up: make up"
    if importlib.util.find_spec("airflow") is None:
        return [area.warn("it is not installed in this Python environment, so it was not checked", here)]
    if not _is_configured():
        return [area.warn("AIRFLOW_HOME is not set in this shell, so it was not checked", here)]
    facts, problem = _probe()
    if facts is None:
        return [area.fail(f"it could not be asked: {problem}", here)]
    port = facts["settings"].get("api.port") or 8080
    url = str(facts["settings"].get("api.base_url") or f"http://localhost:{port}").rstrip("/")
    return [
        *airflow_checks.check(facts, fleets, cities, slots),
        *airflow_checks.look_at_health(_health(url), url),
        *observe_checks.check(facts["observed"]),
    ]


def _is_configured() -> bool:
    """Tell whether there is an Airflow to ask; importing Airflow without one would create its home folder."""
    names = any(name == "AIRFLOW_HOME" or name.startswith("AIRFLOW__") for name in os.environ)
    # Not Path.home: a user whom the system does not know has none, and that is no error here.
    return names or Path(os.path.expanduser("~/airflow/airflow.cfg")).is_file()


def _probe() -> tuple[dict[str, Any] | None, str]:
    """Ask Airflow in a process of its own.

    :return: its facts and an empty text, or None and what went wrong.
    """
    from city_fleet.doctor.airflow_probe import MARK  # noqa: PLC0415

    try:
        done = subprocess.run(
            [sys.executable, "-m", "city_fleet.doctor.airflow_probe"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_PROBE_SECONDS} seconds"
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return dict(json.loads(line.removeprefix(MARK))), ""
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return None, last[0]


def _health(url: str) -> dict[str, Any] | None:
    """Return the health of Airflow's components, which needs no login; None if it does not answer."""
    import httpx  # noqa: PLC0415 - slow to import

    try:
        answer = httpx.get(f"{url}/api/v2/monitor/health", timeout=_HEALTH_SECONDS)
        found = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _lines(found: list[Finding]) -> Iterator[str]:
    area = ""
    for each in found:
        if each.area != area:
            area = each.area
            yield area
        yield f"  {each.level:<4}  {each.what}"
        if each.advice:
            yield f"        {each.advice}"
    count = Counter(str(each.level) for each in found)
    unknown = f"{count['unknown']} unknown, " if count["unknown"] else ""
    yield from ("", f"{count['ok']} ok, {count['warn']} warnings, {unknown}{count['fail']} failures.")
