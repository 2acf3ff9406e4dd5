"""The JSON Schema of the fleet file, for editors that complete and check it while one types."""

from __future__ import annotations

import copy
import json
from typing import Any

from city_fleet.config.cities import OVERRIDES
from city_fleet.config.places import project_path
from city_fleet.config.settings import City, FleetSettings

SCHEMA_PATH = project_path("include/fleets/fleet.schema.json")
_INTERPOLATED = {"type": "string", "pattern": r"\$\{[A-Za-z_]", "description": "${NAME} or ${NAME:-default}"}


def fleet_schema() -> dict[str, Any]:
    """:return: the schema: the settings, and cities whose every field is optional."""
    schema = copy.deepcopy(FleetSettings.model_json_schema())
    city = copy.deepcopy(City.model_json_schema())
    definitions: dict[str, Any] = {}
    for name, definition in {**city["$defs"], **schema["$defs"]}.items():
        definitions[name] = definition
        definitions[f"{name}Override"] = _optional(definition)
    overrides = _optional({**city, "properties": {name: city["properties"][name] for name in OVERRIDES}})
    overrides["description"] = "Settings of this city that differ from the fleet's"
    definitions["CityOverrides"] = {key: value for key, value in overrides.items() if key != "$defs"}
    schema["$defs"] = dict(sorted(definitions.items()))
    schema["properties"]["cities"] = {
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
                "additionalProperties": {"anyOf": [{"$ref": "#/$defs/CityOverrides"}, {"type": "null"}]},
                "minProperties": 1,
            },
        ],
    }
    schema["required"] = sorted([*schema["required"], "cities"])
    schema["title"] = "City Fleet fleet file"
    result: dict[str, Any] = _interpolated(schema)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **result}


def schema_text() -> str:
    """:return: the schema as it stands in ``include/fleets/fleet.schema.json``."""
    return json.dumps(fleet_schema(), indent=2, ensure_ascii=False) + "\n"


def _optional(node: Any) -> Any:
    """:return: a schema with nothing required and no defaults, also in what it refers to."""
    if isinstance(node, list):
        return [_optional(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: _optional(value) for key, value in node.items() if key not in ("required", "default")}
    if isinstance(result.get("$ref"), str):
        result["$ref"] += "Override"
    if "items" in node:
        # A list replaces the inherited one as a whole, so its entries are complete.
        result["items"] = node["items"]
    return result


def _interpolated(node: Any) -> Any:
    """:return: a schema that also takes an environment variable wherever a value stands."""
    if isinstance(node, list):
        return [_interpolated(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {
        key: value if key in ("propertyNames", "enum", "examples", "default") else _interpolated(value)
        for key, value in node.items()
    }
    kind = result.get("type")
    if kind in ("integer", "number", "boolean") or (kind == "string" and {"pattern", "enum"} & set(result)):
        if result.get("pattern") in (_INTERPOLATED["pattern"], r"\.csv$"):
            return result
        outer = {key: result.pop(key) for key in ("description", "title", "default") if key in result}
        return {**outer, "anyOf": [result, dict(_INTERPOLATED)]}
    return result
