"""The JSON Schema of the fleet file, for editors that complete and check it during typing.

It is the settings' own schema, made short: each section and each kind of value is defined once, under ``$defs``, and
referred to. Every value may also be an environment variable, and a city may leave out what the fleet has to give.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_origin

from pydantic import TypeAdapter

from city_fleet.config import gate_section, name_types, series, table, value_types
from city_fleet.config.cities import OVERRIDES
from city_fleet.config.places import project_path
from city_fleet.config.settings import City, FleetSettings

SCHEMA_PATH = project_path("include/fleets/fleet.schema.json")
Schema = dict[str, Any]
_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_]", "description": "${NAME} or ${NAME:-default}"}
_DEFS = "#/$defs/"
#: What annotates a field; all else says what may stand there.
_ANNOTATIONS = ("description", "title", "default")


def fleet_schema() -> Schema:
    """Return the schema: the settings, and cities whose every field is optional."""
    settings = FleetSettings.model_json_schema()
    sections = {name: _section(section) for name, section in settings.pop("$defs").items()}
    root = _section(settings)
    definitions = {**sections, **_of_cities(root, sections), "Variable": _VARIABLE}
    root["properties"]["cities"] = _CITIES
    root["required"] = sorted([*root["required"], "cities"])
    kinds = {name: _or_variable(kind) for name, kind in _kinds().items()}
    used = set(_references([root, definitions, kinds]))
    definitions |= {name: kind for name, kind in kinds.items() if name in used}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$defs": dict(sorted(definitions.items())),
        **root,
        "title": "City Fleet fleet file",
    }


def schema_text() -> str:
    """Return the schema as it stands in ``include/fleets/fleet.schema.json``."""
    return json.dumps(fleet_schema(), indent=2, ensure_ascii=False) + "\n"


_CITIES = {
    "description": "The cities by slug, or a CSV list of them",
    "anyOf": [
        {
            "type": "object",
            "properties": {"from": {"type": "string", "pattern": r"\.csv$"}},
            "required": ["from"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9]+(_[a-z0-9]+)*$"},
            "additionalProperties": {"anyOf": [{"$ref": f"{_DEFS}CityOverrides"}, {"type": "null"}]},
            "minProperties": 1,
        },
    ],
}


def _of_cities(root: Schema, sections: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the definitions of what a city may write: the fleet's sections, but with nothing required.

    :param root: the fleet's own settings.
    :param sections: all sections by name.
    """
    found: dict[str, Schema] = {}

    def sections_of(node: Schema) -> list[str]:
        # A list of sections does not count: it replaces the fleet's list as a whole, so its entries are complete.
        names = [str(each.get("$ref", "")).removeprefix(_DEFS) for each in node.get("oneOf", [node])]
        return [name for name in names if name in sections]

    def requires(name: str) -> bool:
        inner = [each for node in sections[name]["properties"].values() for each in sections_of(node)]
        return "required" in sections[name] or any(map(requires, inner))

    def optional(section: Schema, places: Mapping[str, str]) -> Schema:
        properties = {}
        for field, node in section["properties"].items():
            inner = sections_of(node)
            if any(map(requires, inner)):
                references = [{"$ref": f"{_DEFS}{each}Override"} for each in inner]
                properties[field] = references[0] if len(inner) == 1 else {"anyOf": references}
                for name in inner:
                    own = {each: f"{_DEFS}{name}/properties/{each}" for each in sections[name]["properties"]}
                    found[f"{name}Override"] = optional(sections[name], own)
            else:
                properties[field] = {"$ref": places[field]} if field in places else node
        kept = {key: value for key, value in section.items() if key not in ("required", "$defs")}
        return {**kept, "properties": properties}

    city = _section(City.model_json_schema())
    city["properties"] = {name: city["properties"][name] for name in OVERRIDES}
    city["description"] = "Settings of this city that differ from the fleet's"
    places = {name: f"#/properties/{name}" for name in root["properties"]}
    places |= {name: f"{_DEFS}Defaults/properties/{name}" for name in sections["Defaults"]["properties"]}
    found["CityOverrides"] = optional(city, places)
    return found


def _section(section: Schema) -> Schema:
    properties = {name: _field(node) for name, node in section["properties"].items()}
    return {**section, "properties": properties}


def _field(node: Schema) -> Schema:
    """Return a field's schema, what is defined elsewhere as a reference."""
    # A title would only repeat the key, and the default of a section those of its fields.
    annotations = {
        key: node[key]
        for key in _ANNOTATIONS
        if key in node and key != "title" and not (key == "default" and "$ref" in node)
    }
    value = {key: part for key, part in node.items() if key not in _ANNOTATIONS}
    return {**annotations, **_value(value)}


def _value(node: Schema) -> Schema:
    """Return the schema of a value: a reference to its kind where it is of one, and with ``${NAME}`` allowed."""
    for name, kind in _kinds().items():
        if node == kind:
            return {"$ref": _DEFS + name}
    return _or_variable(node)


def _or_variable(node: Schema) -> Schema:
    """Return the schema of a value that may also be an environment variable."""
    variable = {"$ref": f"{_DEFS}Variable"}
    if "anyOf" in node:
        options = [_value(option) for option in node["anyOf"]]
        # A variable is allowed once, however many of the options are plain values.
        plain = [each for option in options for each in option.get("anyOf", [option]) if each != variable]
        with_variable = any(variable in option.get("anyOf", ()) for option in options)
        return {**node, "anyOf": [*plain, variable] if with_variable else plain}
    result = dict(node)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            result[key] = _value(node[key])
    kind = node.get("type")
    if kind in ("integer", "number", "boolean") or (kind == "string" and {"pattern", "enum"} & set(node)):
        return {"anyOf": [result, variable]}
    return result


@functools.cache
def _kinds() -> dict[str, Schema]:
    """Return the schemas of the named kinds of values in config/; of equal ones the first name counts."""
    found: dict[str, Schema] = {}
    for module in (name_types, value_types, gate_section, series, table):
        for name, kind in vars(module).items():
            if get_origin(kind) in (Annotated, Literal) and not name.startswith("_"):
                schema = TypeAdapter(kind).json_schema()
                if schema not in found.values():
                    found[name] = schema
    return found


def _references(node: object) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(_DEFS).split("/")[0]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
