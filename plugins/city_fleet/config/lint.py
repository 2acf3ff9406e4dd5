"""What ``fleet lint`` warns about: settings that are allowed but probably not meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from city_fleet.config.algorithm_specs import algorithm_problems, specs_of
from city_fleet.config.challenger_lint import city_trials, fleet_trials
from city_fleet.config.endpoint_lint import crowded, endpoint_warnings, sections
from city_fleet.config.image_table import image_accounts
from city_fleet.config.mistakes import FieldPath, field_text
from city_fleet.config.name_types import (
    ENDPOINT_INSTANCE,
    PROCESSING_INSTANCE,
    TRAINING_INSTANCE,
    known_instance_types,
)
from city_fleet.config.places import ALLOWED_PATH, links_out, project_path
from city_fleet.config.series import Series, Target
from city_fleet.config.settings import City, Fleet
from city_fleet.config.table import TableTarget
from city_fleet.config.traffic_lint import traffic_warnings
from city_fleet.config.value_types import Duration, Problem
from city_fleet.config.variables import as_written
from city_fleet.config.yaml_reader import Document, read_as_written
from city_fleet.errors import ConfigError, display_path, list_names, nearest_match
from city_fleet.metrics import default_metric
from city_fleet.naming import slug
from city_fleet.ticks import PRESETS

JOB_SCRIPTS = ("preprocess.py", "train.py", "evaluate.py")
_OWN_DISKS = frozenset({
    "dl1", "g4dn", "g5", "g6", "g6e", "g7", "g7e", "gr6", "i3", "i3en", "i4i", "p3dn", "p4d", "p4de", "p5", "p5e",
    "p5en", "p6-b200", "p6-b300", "p6e-gb200", "trn1", "trn1n", "trn2",
})  # fmt: skip
_FREQUENCY_DAYS = {
    "hour": 1 / 24,
    "day": 1,
    "business_day": 1,
    "week": 7,
    "month": 28,
    "quarter": 90,
    "year": 365,
}
# From "@hourly" to "@yearly".
_SCHEDULE_DAYS = dict(zip(PRESETS, (1 / 24, 1, 7, 28, 90, 365), strict=True))
Found = tuple[FieldPath, str]
Check = Callable[[City], Iterator[Found]]


def fleet_warnings(fleet: Fleet) -> list[str]:
    """Return the warnings about a fleet file that loads.

    :return: one sentence per warning, with file, line, city and field. What all cities share is said once.
    """
    document = read_as_written(fleet.path, display_path(fleet.path))
    found = [*_of_fleet(fleet), *_installations(fleet, document)]
    warnings = [_line(document, None, path, text, _value(fleet, path)) for path, text in found]
    said: set[Found] = set()
    missing = {scripts: _missing(scripts) for scripts in {city.scripts for city in fleet.cities.values()}}
    checks: tuple[Check, ...] = (*_CHECKS, partial(_files, missing))
    for city in fleet.cities.values():
        for check in checks:
            for path, text in check(city):
                shared = _shared(fleet, city, path)
                if not shared:
                    warnings.append(_line(document, city, path, text, _value(city, path)))
                elif (path, text) not in said:
                    said.add((path, text))
                    warnings.append(_line(document, None, shared, text, _value(city, path)))
    return warnings


def link_mistakes(fleet: Fleet) -> list[ConfigError]:
    """Return one mistake for each folder of scripts that holds a link to a file elsewhere on the host."""
    document = read_as_written(fleet.path, display_path(fleet.path))
    folders: dict[str, FieldPath] = {
        settings.scripts: (*where, "scripts") for where, settings in reversed(sections(fleet))
    }
    for city in fleet.cities.values():
        folders.setdefault(
            city.scripts, _shared(fleet, city, ("scripts",)) or ("cities", city.slug, "scripts")
        )
    return [
        ConfigError(
            file=document.name, line=document.line(path), field=field_text(path),
            got=f"a folder in which {list_names(links)} leads out of the project", allowed=ALLOWED_PATH,
        )
        for folder, path in folders.items()
        if (links := links_out(project_path(folder)))
    ]  # fmt: skip


def algorithm_mistakes(fleet: Fleet) -> list[ConfigError]:
    """Return one mistake for each algorithm and hyperparameter that the scripts do not have; what is shared, once."""
    document = read_as_written(fleet.path, display_path(fleet.path))
    specs = {scripts: specs_of(scripts) for scripts in {city.scripts for city in fleet.cities.values()}}
    found: dict[tuple[FieldPath, Problem], ConfigError] = {}
    for city in fleet.cities.values():
        for problem in algorithm_problems(city, specs[city.scripts]):
            shared = _shared(fleet, city, problem.path)
            where = shared or ("cities", city.slug, *problem.path)
            shown = as_written(problem, document.written(where))
            error = shown.error(
                file=document.name,
                line=document.line(where),
                field=field_text(shared or problem.path),
                city=None if shared else city.slug,
            )
            found.setdefault((where, problem), error)
    return list(found.values())


def endpoint_mistakes(fleet: Fleet) -> list[ConfigError]:
    """Return one mistake for each endpoint that can't hold the models of the cities that it serves."""
    document = read_as_written(fleet.path, display_path(fleet.path))
    return [
        problem.error(file=document.name, line=document.line(problem.path), field=field_text(problem.path))
        for problem in crowded(fleet)
    ]


def _shared(fleet: Fleet, city: City, path: FieldPath) -> FieldPath:
    """Return the path of the fleet's own setting that a city's value comes from; empty when it is the city's own."""
    if path[0] == "name":
        return ()
    inherited = hasattr(fleet.defaults, str(path[0]))
    if _value(fleet.defaults if inherited else fleet, path) != _value(city, path):
        return ()
    return ("defaults", *path) if inherited else path


def _value(node: Any, path: FieldPath) -> Any:
    for part in path:
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            node = getattr(node, str(part), None)
    return node


def _line(document: Document, city: City | None, path: FieldPath, text: str, value: object) -> str:
    """Return a warning with its place, and with a value that came out of the environment as the file writes it."""
    where, subject = (path, "") if city is None else (("cities", city.slug, *path), f"city {city.slug!r}, ")
    written = document.written(where)
    if written is not None:
        text = text.replace(str(value), written)
    return f"{document.name}:{document.line(where)}: {subject}field {field_text(path)!r}: {text}"


def _of_fleet(fleet: Fleet) -> Iterator[Found]:
    template = fleet.dataset.raw
    shared = [slug for slug, city in fleet.cities.items() if city.dataset.raw == template]
    if template is not None and "{" not in template and len(shared) > 1:
        who = f"{len(shared)} cities read the same files, {list_names(shared)}"
        yield ("dataset", "raw"), f"{who}: put {{name}} or {{slug}} where they differ"
    for where, settings in sections(fleet):
        yield from _instance((*where, "instance_type"), settings.instance_type, ENDPOINT_INSTANCE)
        if not (project_path(settings.scripts) / "inference.py").is_file():
            text = f"{settings.scripts} has no inference.py; paths are below the project's root"
            yield (*where, "scripts"), text
    yield from _images(fleet)
    if fleet.events.queue is not None and not fleet.events.assets:
        text = "raw data that arrive update the cities' assets, and no city runs on its own: events.assets is false"
        yield ("events", "queue"), text
    series = fleet.dataset.kind == "series"
    if series and fleet.monitor.schedule is not None and fleet.forecasts.schedule is None:
        text = (
            "what is looked at are the tables of forecasts, and nobody writes any: forecasts.schedule is null"
        )
        yield ("monitor", "schedule"), text
    yield from fleet_trials(fleet)
    yield from _owners(fleet)
    yield from _key(fleet)
    yield from _parents(fleet)
    yield from endpoint_warnings(fleet)
    yield from traffic_warnings(fleet)


def _owners(fleet: Fleet) -> Iterator[Found]:
    """Warn of notifiers for an owner who has no city, and of owners of cities whom nobody tells."""
    told = fleet.digest.owners
    for name, notifiers in told.items():
        if not fleet.cities_of_owner(name):
            near = nearest_match(name, fleet.owners)
            meant = f"; did you mean {near!r}?" if near else ""
            yield (
                ("digest", "owners", name),
                f"no city has the owner or tag {name!r}, so nothing is sent{meant}",
            )
        elif not notifiers:
            yield ("digest", "owners", name), f"{name!r} has no notifier, so nothing is sent"
    if not told:
        return
    others = {city.owner for city in fleet.cities.values()} - {fleet.owner, *told}
    for owner in sorted(others):
        cities = [slug for slug, city in fleet.cities.items() if city.owner == owner]
        if all(told.keys() & fleet.cities[slug].tags for slug in cities):
            continue
        near = nearest_match(owner, told)
        meant = f"; did you mean {near!r}?" if near else ""
        who = f"{list_names(cities)} have" if len(cities) > 1 else f"{cities[0]} has"
        yield (
            ("cities", cities[0], "owner"),
            f"{who} the owner {owner!r}, for whom digest.owners has no notifier{meant}",
        )


def _installations(fleet: Fleet, document: Document) -> Iterator[Found]:
    """Warn of another installation that is this one.

    A file whose environment comes from a variable is that of several installations, each of which may be named in it.
    """
    if document.written(("environment",)) is not None:
        return
    for name, other in fleet.installations.items():
        same = (other.bucket or fleet.bucket, other.environment) == (fleet.bucket, fleet.environment)
        if same and other.profile is None and other.role_arn is None:
            text = f"{name} is this installation itself, environment {fleet.environment} in {fleet.bucket}"
            yield ("installations", name), f"{text}: nothing can be carried from there"


def _parents(fleet: Fleet) -> Iterator[Found]:
    """Warn of parents whose cities' rows can't be compared, and of cities that keep fewer values than they need."""
    for name, children in fleet.children.items():
        parent = fleet.cities.get(name)
        if parent is None or not isinstance(parent.dataset, Series):
            continue
        own = ("cities", name)
        if parent.dataset.target.transform == "none":
            text = (
                f"{name} is a parent, and its target has the scale of each city: the largest decide what is learned; "
                "take log_ratio_to_mean, or log"
            )
            yield (*own, "dataset", "target", "transform"), text
        metric = parent.gate.metric or default_metric(parent.dataset.task)
        if metric in ("mae", "rmse"):
            text = f"{name} is a parent, and {metric} is in the target's own unit: its largest cities decide alone"
            yield (*own, "gate", "metric"), text
        needed = _longest_look(parent.dataset)
        for child in children:
            city = fleet.cities.get(child)
            if city is None or city.dataset is parent.dataset or not isinstance(city.dataset, Series):
                continue
            kept = _longest_look(city.dataset)
            if kept < needed:
                text = (
                    f"the model of its parent {name} looks {needed} periods back, and the city keeps {kept}"
                )
                yield ("cities", child, "parent"), f"{text}: what is missing counts as missing"


def _longest_look(dataset: Series) -> int:
    lags = [lag for feature in dataset.features for lag in feature.lags]
    return max(12, dataset.target.window or 1, *dataset.target.lags, *lags)


def _key(fleet: Fleet) -> Iterator[Found]:
    """Warn of a key that AWS refuses: of another region, or for a volume that an instance type brings itself."""
    if fleet.kms_key is None:
        return
    region = fleet.kms_key.split(":")[3]
    if region != fleet.region:
        yield (
            ("kms_key",),
            f"the key is in {region}, the fleet in {fleet.region}; a key encrypts in its own region alone",
        )
    asked: dict[FieldPath, str] = {
        (*where, "instance_type"): settings.instance_type for where, settings in sections(fleet)
    }
    for name in ("processing", "training"):
        asked[("defaults", name, "instance_type")] = getattr(fleet.defaults, name).instance_type
        for city in fleet.cities.values():
            asked.setdefault(("cities", city.slug, name, "instance_type"), getattr(city, name).instance_type)
    said = set()
    for path, instance_type in asked.items():
        if has_own_disk(instance_type) and (path[-2], instance_type) not in said:
            said.add((path[-2], instance_type))
            text = f"{instance_type} has disks of its own, which take no kms_key: AWS refuses it with a key for volumes"
            yield path, f"{text}; its disks are encrypted by the instance"


def has_own_disk(instance_type: str) -> bool:
    """Tell whether an instance type keeps data on NVMe disks of its own, which take no key.

    Source: Amazon EC2 User Guide, "Instance store volumes"; a family with a ``d`` behind its generation has them
    (``m5d``, ``c6gd``), and those below have them without.
    """
    family = instance_type.split(".")[1]
    return re.fullmatch(r"[a-z]+[0-9]+[a-z]*d[a-z]*", family) is not None or family in _OWN_DISKS


def _images(fleet: Fleet) -> Iterator[Found]:
    """Warn of images that others can change: they answer every prediction and run every job, with the role's rights."""
    for where, settings in sections(fleet):
        yield from _image(fleet, (*where, "image"), settings.image, "serves")
    trains = fleet.defaults.algorithm.image
    yield from _image(fleet, ("defaults", "algorithm", "image"), trains, "runs in the jobs")
    for city in fleet.cities.values():
        if city.algorithm.image != trains:
            path = ("cities", city.slug, "algorithm", "image")
            yield from _image(fleet, path, city.algorithm.image, "runs in the jobs")


def _image(fleet: Fleet, path: FieldPath, image: str, does: str) -> Iterator[Found]:
    if "/" not in image:
        return
    account, own = image.split(".", maxsplit=1)[0], fleet.role.split(":")[4]
    if account not in (own, *image_accounts()):
        text = f"{image} lies in account {account}, which is neither the role's nor one of AWS's for images"
        yield path, f"{text}; whoever owns it decides what {does}"
    if "@sha256:" not in image:
        text = f"{image} names a tag, which can be moved to another image; write the digest that you have looked at"
        yield path, f"{text}: …@sha256:<64 hex digits>"


def _instance(path: FieldPath, value: str, field: tuple[str, ...]) -> Iterator[Found]:
    known = known_instance_types(*field)
    if value not in known:
        yield path, f"{value} is not an instance type that botocore knows for it.{_nearest(value, known)}"


def _nearest(got: str, known: Iterable[str]) -> str:
    near = nearest_match(got, known)
    return f" Did you mean {near!r}?" if near else ""


def _instances(city: City) -> Iterator[Found]:
    yield from _instance(("processing", "instance_type"), city.processing.instance_type, PROCESSING_INSTANCE)
    yield from _instance(("training", "instance_type"), city.training.instance_type, TRAINING_INSTANCE)


def _schedule(city: City) -> Iterator[Found]:
    days = _SCHEDULE_DAYS.get(city.schedule or "")
    if days is None or not isinstance(city.dataset, Series):
        return
    if days < _FREQUENCY_DAYS[city.dataset.frequency] * city.dataset.every:
        per = f"one row per {city.dataset.grid.noun}"
        yield ("schedule",), f"{city.schedule} retrains more often than there are new data ({per})"


def _dataset(city: City) -> Iterator[Found]:
    dataset = city.dataset
    target = dataset.target
    if target.transform != "none" and target.min is None:
        text = f"without a min above 0 a zero in the data makes {target.transform} fail in the job"
        yield ("dataset", "target"), text
    metric = city.gate.metric or default_metric(dataset.task)
    if "mape" in (metric, *city.gate.limits) and _may_be_zero(target):
        text = (
            "mape is not defined where the target is 0, and leaves such rows out; set mae or rmse if zeros are "
            "ordinary, or a dataset.target.min above 0 if they can't be"
        )
        yield ("gate", "metric"), text
    if not isinstance(dataset, Series):
        return
    if dataset.available_after == Duration():
        yield ("dataset", "available_after"), f"a {dataset.grid.noun} counts as known the moment it begins"
    if dataset.holidays is not None and dataset.frequency == "year":
        yield ("dataset", "holidays"), "every year has about as many, which tells a model nothing"
    constant = {"hour_of_day": ("day", "business_day", "week", "month", "quarter", "year"),
                "day_of_week": ("week", "month", "quarter", "year"), "week_of_year": ("quarter", "year"),
                "month_of_year": ("year",), "quarter_of_year": ("year",)}  # fmt: skip
    for index, name in enumerate(dataset.calendar):
        if dataset.frequency in constant.get(name, ()):
            text = f"{name} tells a model nothing when there is one row per {dataset.grid.noun}"
            yield ("dataset", "calendar", index), text


def _may_be_zero(target: Target | TableTarget) -> bool:
    low_enough = target.min is None or target.min <= 0
    high_enough = target.max is None or target.max >= 0
    return target.transform == "none" and low_enough and high_enough


def _waiting(city: City) -> Iterator[Found]:
    shortest = min(city.processing.max_runtime_seconds, city.training.max_runtime_seconds)
    if city.waiter_delay_seconds > shortest:
        text = f"longer than a job may run at all ({shortest} s), so every job is noticed late"
        yield ("waiter_delay_seconds",), text
    training = city.training
    if training.spot and training.max_wait_seconds == training.max_runtime_seconds:
        text = "equal to max_runtime_seconds, which leaves no time to wait for spare capacity"
        yield ("training", "max_wait_seconds"), text
    if city.gate.tolerance > 0.25:
        text = f"a model may be {city.gate.tolerance:.0%} worse than the champion and still replace it"
        yield ("gate", "tolerance"), text


def _missing(scripts: str) -> list[str]:
    """Return which job scripts a folder lacks."""
    folder = project_path(scripts)
    return [name for name in JOB_SCRIPTS if not (folder / name).is_file()]


def _files(missing: Mapping[str, Sequence[str]], city: City) -> Iterator[Found]:
    if missing[city.scripts]:
        names = ", ".join(missing[city.scripts])
        yield ("scripts",), f"{city.scripts} has no {names}; paths are below the project's root"


def _name(city: City) -> Iterator[Found]:
    try:
        expected = slug(city.name)
    except ValueError:
        return
    begins_like = city.slug.startswith(expected) or expected.startswith(city.slug)
    if not begins_like and not nearest_match(city.slug, [expected]):
        yield ("name",), f"{city.name!r} is quite unlike the slug; is it the right city?"


_CHECKS: Sequence[Check]
_CHECKS = (_instances, _schedule, _dataset, _waiting, _name, city_trials)
