"""Translates pydantic's errors into problems for people: what was got, what is allowed, the nearest match."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from city_fleet.config.value_types import Problem, Range
from city_fleet.errors import list_names, nearest_match, show_value

FieldPath = tuple[str | int, ...]
#: The field by which sections of several kinds are told apart.
TAG = "kind"


def located_problems(error: ValidationError, schema: Mapping[str, Any]) -> list[tuple[FieldPath, Problem]]:
    """Return the problems that a validation error stands for.

    :param error: what pydantic raised.
    :param schema: JSON Schema of what was validated, which says what is allowed.
    :return: each problem with its path, relative to what was validated, in pydantic's order.
    """
    found: list[tuple[FieldPath, Problem]] = []
    for detail in error.errors(include_url=False):
        where = tuple(part for part in detail["loc"] if part != "[key]")
        path = _without_tags(where, schema)
        if detail["type"] == "city_fleet":
            problems: list[Problem] = detail["ctx"]["problems"]
            found += [(path + problem.path, problem) for problem in problems]
        elif detail["type"] == "union_tag_invalid":
            tag, tags = detail["ctx"]["tag"], list(_tagged(_descend(schema, where) or {}, schema))
            found.append(((*path, TAG), Problem(show_value(tag), _one_of(tags), nearest_match(tag, tags))))
        else:
            found.append((path, _problem(detail["type"], detail["input"], where, schema)))
    # pydantic also calls a list too short whose entries were refused.
    return [
        (path, problem)
        for path, problem in found
        if not any(other[: len(path)] == path and len(other) > len(path) for other, _ in found)
    ]


@functools.cache
def schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return a model's JSON Schema; made once per model."""
    return model.model_json_schema()


@functools.cache
def adapter(model: type[BaseModel], field: str) -> TypeAdapter[Any]:
    """Return a validator for one field of a model by itself."""
    info = model.model_fields[field]
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation)


def field_text(path: Sequence[str | int]) -> str:
    """Return ``("dataset", "features", 2, "lags")`` as ``dataset.features[2].lags``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def keys_of(schema: Mapping[str, Any], path: Sequence[str | int]) -> tuple[str, ...] | None:
    """Return the keys allowed in the mapping at ``path``; None when any key is allowed or it is not a mapping."""
    node = _descend(schema, path)
    return _keys(node or {}, schema) or None


def _keys(node: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[str, ...]:
    options = (_resolve(option, schema) for option in node.get("anyOf", ()))
    sections = [node, *_tagged(node, schema).values(), *options]
    return tuple(dict.fromkeys(key for section in sections for key in section.get("properties", ())))


def _problem(kind: str, value: object, path: FieldPath, schema: Mapping[str, Any]) -> Problem:
    if kind == "extra_forbidden":
        keys = keys_of(schema, path[:-1]) or ()
        near = nearest_match(path[-1], keys)
        return Problem("an unknown key", list_names(sorted(keys)), near, of_key=True)
    node = _descend(schema, path) or {}
    allowed = _describe(node, schema)
    if kind == "missing":
        return Problem("nothing", allowed, hint=node.get("description"))
    if kind == "literal_error":
        choices = _choices(node, schema) or _choices(_key_schema(schema, path), schema)
        return Problem(show_value(value), _one_of(choices), nearest=nearest_match(value, choices))
    return Problem(show_value(value), allowed)


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        target = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _descend(schema: Mapping[str, Any], path: Sequence[str | int]) -> Mapping[str, Any] | None:
    """Return the schema of the field at ``path``, references resolved; None when there is no such field."""
    node = _resolve(schema, schema)
    for part in path:
        below: Mapping[str, Any] | None = None
        tagged = _tagged(node, schema)
        if part in tagged:
            node = tagged[str(part)]
            continue
        for option in [
            node,
            *tagged.values(),
            *(_resolve(branch, schema) for branch in node.get("anyOf", ())),
        ]:
            if isinstance(part, int):
                below = option.get("items")
            else:
                below = option.get("properties", {}).get(part) or option.get("additionalProperties")
                # Of a mapping whose keys must be names.
                below = below or next(iter(option.get("patternProperties", {}).values()), None)
            if isinstance(below, Mapping):
                break
        if not isinstance(below, Mapping):
            return None
        node = _resolve(below, schema)
    return node


def _tagged(node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the kinds of a section that is of one of several, by their tag."""
    branches = [_resolve(branch, schema) for branch in node.get("oneOf", ())]
    return {str(branch["properties"][TAG]["const"]): branch for branch in branches}


def _without_tags(where: FieldPath, schema: Mapping[str, Any]) -> FieldPath:
    """Return a place as the file has it: pydantic names there also which kind a section is of."""
    return tuple(
        part
        for at, part in enumerate(where)
        if not (isinstance(part, str) and part in _tagged(_descend(schema, where[:at]) or {}, schema))
    )


def _key_schema(schema: Mapping[str, Any], path: FieldPath) -> Mapping[str, Any]:
    """Return the schema of the keys of the mapping that holds the field at ``path``."""
    return (_descend(schema, path[:-1]) or {}).get("propertyNames", {})


def _choices(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return the words that a schema allows; of one that also allows null as well."""
    node = _resolve(node, schema)
    here = node.get("enum", [node["const"]] if "const" in node else [])
    return [str(choice) for choice in here] or [
        choice for option in node.get("anyOf", ()) for choice in _choices(option, schema)
    ]


def _one_of(choices: Sequence[str]) -> str:
    return f"one of {list_names(choices)}" if len(choices) > 1 else list_names(choices)


def _describe(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return in words what a schema allows."""
    node = _resolve(node, schema)
    choices = [] if "anyOf" in node else _choices(node, schema)
    kind = str(node.get("type"))
    text = {"boolean": "true or false", "null": "null", "string": "text"}.get(kind, "a value")
    if choices:
        text = _one_of(choices)
    elif "patternErrorMessage" in node:
        text = str(node["patternErrorMessage"])
    elif "anyOf" in node:
        text = ", or ".join(_describe(option, schema) for option in node["anyOf"])
    elif kind in ("integer", "number"):
        text = Range(kind == "integer", node.get("minimum"), node.get("maximum")).allowed
    elif kind == "array":
        least, most = node.get("minItems"), node.get("maxItems")
        size = f" of {least} to {most} entries" if most else f" of at least {least}" if least else ""
        text = f"a list{size}, each {_describe(node.get('items', {}), schema)}"
    elif kind == "object" or "oneOf" in node:
        keys = _keys(node, schema)
        text = f"a mapping with the keys {list_names(sorted(keys))}" if keys else "a mapping"
    return text
