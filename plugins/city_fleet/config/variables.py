"""``${NAME}`` in a fleet file: which environment variables it may read, and texts that don't say what they held.

A fleet file is reviewed like code, but what stands in it is shown to everybody who may look at Airflow. So it reads the
few variables that City Fleet is installed with, and those that whoever installs it names outside of any fleet file. A
pattern would let too much through: the stack's own Airflow password stands in a variable that begins with CITY_FLEET.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from city_fleet.config.value_types import Problem
from city_fleet.errors import list_names, nearest_match

#: What every installation sets, or may set.
READABLE = (
    "CITY_FLEET_ENVIRONMENT",
    "CITY_FLEET_BUCKET",
    "CITY_FLEET_ROLE",
    "CITY_FLEET_WAITER_DELAY_SECONDS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
#: The environment variable that names further ones, parted by commas or spaces.
MORE_VARIABLE = "CITY_FLEET_FILE_VARIABLES"
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}")


def readable(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that a fleet file may read here, exactly as they are written."""
    return (*READABLE, *re.split(r"[\s,]+", environ.get(MORE_VARIABLE, "").strip(" ,")))


def named_in(text: str) -> set[str]:
    """Return the names of the variables that the text of a fleet file reads; a comment's count too."""
    return {match["name"] for match in _VARIABLE.finditer(text)}


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, Problem | None]:
    """Replace ``${NAME}`` and ``${NAME:-default}``.

    :return: the text; and the problem, if a variable may not be read, one without default is not set, or a ``${`` is
        malformed. No problem holds a variable's value.
    """
    problem: Problem | None = None
    allowed = readable(environ)

    def value(match: re.Match[str]) -> str:
        nonlocal problem
        name, default = match["name"], match["default"]
        if name not in allowed:
            problem = problem or _not_allowed(name, allowed)
            return ""
        found = environ.get(name)
        if found or (found is not None and default is None):
            return found
        if default is None:
            problem = problem or Problem(
                f"${{{name}}}, but the environment variable {name} is not set",
                hint=f"Set {name}, or write ${{{name}:-default}}.",
            )
            return ""
        return str(default)

    replaced = _VARIABLE.sub(value, text)
    if problem is None and "${" in _VARIABLE.sub("", text):
        problem = Problem(repr(text), "${NAME} or ${NAME:-default}, with a name of letters, digits and _")
    return replaced, problem


def as_written(problem: Problem, written: str | None, filled: Mapping[str, str] | None = None) -> Problem:
    """Return a problem that shows a value as it stands in the file, and not what the environment made of it.

    :param written: the value with its ``${NAME}``; None for a value without any.
    :param filled: what variables of the file came to, and how it writes that: the number of another field may stand in
        what is allowed.
    """
    for value, text in (filled or {}).items():
        if problem.allowed and value[:1].isdigit() and len(value) > 2:
            number = re.compile(rf"(?<![\w.]){re.escape(value)}(?!\w|\.\d)")
            problem = replace(problem, allowed=text.join(number.split(problem.allowed)))
    if written is None or problem.of_key:
        return problem
    got = f"{written!r}, as the environment fills it in"
    return replace(problem, got=got, nearest=None, hint=None)


def _not_allowed(name: str, allowed: tuple[str, ...]) -> Problem:
    return Problem(
        f"${{{name}}}, which a fleet file may not read",
        list_names(filter(None, allowed)),
        nearest_match(name, allowed),
        f"Whoever installs City Fleet allows another by its exact name in {MORE_VARIABLE}, for all of Airflow's "
        "processes; never one that holds a secret, since everybody who may look at Airflow sees these values.",
        # Who asks for a secret is not trusted with the rest of the file.
        of_file=True,
    )
