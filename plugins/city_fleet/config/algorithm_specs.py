"""What ``fleet lint`` finds by comparing algorithms and hyperparameters with the ``SPEC`` of the algorithms' modules.

The modules are read and never imported: their SPEC is a literal (docs/steps.md). A scripts folder without algorithms/,
a train.py of a city's own and an image's own train command are taken at their word.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from city_fleet.config.image_table import LACKS
from city_fleet.config.mistakes import FieldPath
from city_fleet.config.places import links_out, project_path
from city_fleet.config.settings import City
from city_fleet.config.value_types import Problem
from city_fleet.errors import list_names, nearest_match, show_value

ALGORITHMS = "algorithms"
MOST_BYTES = 1024 * 1024
KINDS = ("series", "table")
Spec = Mapping[str, Any]


def specs_of(scripts: str) -> dict[str, Spec | None] | None:
    """Return the algorithms of a scripts folder by name, with their SPEC, or None for one that has no readable SPEC.

    :param scripts: as the fleet file names it.
    :return: None where the folder has no algorithms, or can't be read safely.
    """
    folder = project_path(scripts)
    if not (folder / ALGORITHMS).is_dir() or links_out(folder):
        return None
    paths = sorted(
        path for path in (folder / ALGORITHMS).glob("*.py") if not path.name.startswith(("_", "."))
    )
    return {path.stem: _spec(path) for path in paths}


def algorithm_problems(city: City, specs: Mapping[str, Spec | None] | None) -> list[Problem]:
    """Return what a city asks of algorithms that they do not have, with paths relative to the city."""
    if specs is None or city.entry == "none" or city.own_scripts.train is not None:
        return []
    found = []
    for path, name, hyperparameters in city.algorithm.trained():
        candidate = ("algorithm", *path[:-1], "algorithm" if path[0] == "candidates" else "name")
        found += list(_of_one(city, specs, name, candidate))
        spec = specs.get(name)
        if spec is not None:
            found += list(_packages(spec, city, name))
            where = ("algorithm", *path)
            found += list(_of_hyperparameters(spec, city.dataset.task, hyperparameters, where, name))
    return found


def _of_one(city: City, specs: Mapping[str, Spec | None], name: str, path: FieldPath) -> Iterator[Problem]:
    folder = f"{city.scripts}/{ALGORITHMS}"
    if name not in specs:
        allowed = f"an algorithm of {folder}: {list_names(specs)}"
        yield Problem(show_value(name), allowed, nearest_match(name, specs), path=path)
        return
    spec = specs[name]
    if spec is None:
        got = f"{name!r}, whose module has no SPEC that can be read"
        yield Problem(
            got, f"a SPEC in {folder}/{name}.py that is a literal: tasks, hyperparameters", path=path
        )
    elif city.dataset.task not in spec["tasks"]:
        able = [other for other, of in specs.items() if of is not None and city.dataset.task in of["tasks"]]
        got = f"{name!r}, which does {list_names(spec['tasks'])}"
        yield Problem(got, f"for the task {city.dataset.task}: {list_names(able) or 'none'}", path=path)
    elif city.dataset.kind not in spec.get("kinds", KINDS):
        able = [other for other, of in specs.items() if of and city.dataset.kind in of.get("kinds", KINDS)]
        got = f"{name!r}, which is for a {list_names(spec['kinds'])}"
        yield Problem(got, f"for a {city.dataset.kind}: {list_names(able) or 'none'}", path=path)


def _packages(spec: Spec, city: City, name: str) -> Iterator[Problem]:
    """Packages that an algorithm imports and the managed image lacks, unless the city's requirements bring them."""
    image, version = city.algorithm.image, city.algorithm.version
    lacking = [package for package in spec.get("needs", ()) if package in LACKS.get(image, ())]
    if lacking and city.own_scripts.requirements is None:
        got = f"{show_value(image)}, whose version {version} lacks {list_names(lacking)}, which {name} needs"
        able = [each for each in LACKS if not set(lacking) & set(LACKS[each])]
        allowed = f"{list_names(able)}, another algorithm, or own_scripts.requirements with what is lacking"
        yield Problem(got, allowed, path=("algorithm", "image"))


def _of_hyperparameters(
    spec: Spec, task: str, given: Mapping[str, Any], path: FieldPath, algorithm: str
) -> Iterator[Problem]:
    known = spec["hyperparameters"]
    for name, value in given.items():
        if name not in known:
            allowed = f"of {algorithm}: {list_names(['seed', *known])}"
            near = nearest_match(name, known)
            yield Problem("an unknown hyperparameter", allowed, near, path=(*path, name), of_key=True)
        elif (may_be := _allowed(known[name], task, value)) is not None:
            near = nearest_match(value, _choices(known[name], task))
            yield Problem(show_value(value), may_be, near, path=(*path, name))
    for names in spec.get("same", ()):
        if all(name in given for name in names):
            got = f"{names[1]!r} beside {names[0]!r}"
            yield Problem(got, "one of them: they are the same", path=(*path, names[1]), of_key=True)


def _choices(member: Mapping[str, Any], task: str) -> list[str]:
    """Return the choices that a task has: those that are only for another one are not among them."""
    only = member.get("only", {})
    of_tasks = {choice for choices in only.values() for choice in choices}
    found = only.get(task) or [choice for choice in member.get("choices", ()) if choice not in of_tasks]
    return [str(choice) for choice in found]


def _allowed(member: Mapping[str, Any], task: str, value: Any) -> str | None:
    """Return what a hyperparameter may be, or None where its value is that."""
    if "choices" in member:
        choices = _choices(member, task)
        return None if str(value) in choices else f"one of {list_names(choices)}"
    if member.get("text"):
        return None
    low, high = member.get("low"), member.get("high")
    above = bool(member.get("above"))
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except ValueError:
        number = math.nan
    good = math.isfinite(number) and (not member.get("whole") or number.is_integer())
    good = good and (low is None or number > low or (number == low and not above))
    if good and (high is None or number <= high):
        return None
    words = ["a whole number" if member.get("whole") else "a number"]
    words += [f"{'above' if above else 'from'} {low}"] if low is not None else []
    words += [f"to {high}"] if high is not None else []
    return " ".join(words)


def _spec(path: Path) -> Spec | None:
    """Return the SPEC of a module, or None where it is no literal of the form that docs/steps.md gives."""
    try:
        with path.open("rb") as file:
            tree = ast.parse(file.read(MOST_BYTES + 1)[:MOST_BYTES])
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == "SPEC" for target in targets):
                value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
                return value if _is_spec(value) else None
    except (OSError, SyntaxError, ValueError, TypeError, AttributeError, MemoryError, RecursionError):
        pass
    return None


def _is_spec(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("tasks"), list | tuple)
        and isinstance(value.get("hyperparameters"), dict)
        and isinstance(value.get("needs", []), list | tuple)
        and isinstance(value.get("kinds", []), list | tuple)
        and all(
            isinstance(member, dict)
            and all(isinstance(member.get(end, 0), int | float) for end in ("low", "high"))
            and isinstance(member.get("choices", []), list | tuple)
            and isinstance(member.get("only", {}), dict)
            for member in value["hyperparameters"].values()
        )
    )
