"""State of moto's objects as documents of the store, and back.

Only data and moto's own classes are written and read: nothing a data folder holds can name other code. What is
kept of an object is what differs from a new one, so a moto that has learned something new finds its own
defaults there.
"""

from __future__ import annotations

import importlib
from datetime import datetime
from enum import Enum
from typing import Any

PLAIN = (str, int, float, bool, bytes, datetime, type(None))


class UnknownState(ValueError):
    """Something that can't be written, or that this moto does not know."""


def pack(value: Any, seen: dict[int, int] | None = None) -> Any:
    """A value as JSON, datetimes and bytes; objects that occur twice stay one object.

    :param value: data, objects of moto, or both.
    :param seen: objects that are packed already: their numbers, by :func:`id`.
    :raises UnknownState: for anything else, such as a lock or an open file.
    """
    seen = {} if seen is None else seen
    packed: Any
    if isinstance(value, Enum):
        packed = {"@enum": _class_name(type(value)), "name": value.name}
    elif isinstance(value, PLAIN):
        packed = value
    elif isinstance(value, (list, tuple, set)):
        packed = [pack(item, seen) for item in value]
        if not isinstance(value, list):
            packed = {f"@{type(value).__name__}": packed}
    elif type(value) is dict:
        packed = {"@items": _pack_items(value, seen)}
    elif id(value) in seen:
        packed = {"@ref": seen[id(value)]}
    else:
        packed = {"@class": _class_name(type(value))}
        seen[id(value)] = packed["@id"] = len(seen)
        if isinstance(value, dict):
            packed["@items"] = _pack_items(value, seen)
        packed["@state"] = _pack_items(vars(value), seen)
    return packed


def _pack_items(mapping: dict[Any, Any], seen: dict[int, int]) -> list[Any]:
    return [[pack(key, seen), pack(item, seen)] for key, item in mapping.items()]


def unpack(packed: Any, known: dict[int, Any] | None = None) -> Any:
    """The value that :func:`pack` wrote.

    :param known: objects that are there already, by number.
    :raises UnknownState: if a class is gone, or is none of moto's.
    """
    known = {} if known is None else known
    value: Any = packed
    if isinstance(packed, list):
        value = [unpack(item, known) for item in packed]
    elif isinstance(packed, dict):
        if "@class" in packed:
            value = _unpack_object(packed, known)
        elif "@ref" in packed:
            value = known[packed["@ref"]]
        elif "@enum" in packed:
            value = getattr(_find_class(packed["@enum"]), packed["name"])
        elif "@tuple" in packed:
            value = tuple(unpack(packed["@tuple"], known))
        elif "@set" in packed:
            value = set(unpack(packed["@set"], known))
        else:
            value = {unpack(key, known): unpack(item, known) for key, item in packed["@items"]}
    return value


def _unpack_object(packed: dict[str, Any], known: dict[int, Any]) -> Any:
    found: Any = _find_class(packed["@class"])
    value = known[packed["@id"]] = found.__new__(found)
    for key, item in packed.get("@items", []):
        value[unpack(key, known)] = unpack(item, known)
    vars(value).update({name: unpack(item, known) for name, item in packed["@state"]})
    return value


class Changes:
    """What of an object is not as in a new one.

    :param new: a new object.
    :param skip: attributes that are never kept.
    """

    def __init__(self, new: Any, skip: set[str]) -> None:
        self._skip = skip
        self._new = {}
        for name, value in vars(new).items():
            if name not in skip:
                self._new[name] = pack(value)

    def of(self, changed: Any) -> dict[str, Any]:
        """The attributes that differ, packed."""
        packed = {name: pack(value) for name, value in vars(changed).items() if name not in self._skip}
        return {
            name: value for name, value in packed.items() if name not in self._new or value != self._new[name]
        }


def _class_name(found: type) -> str:
    name = f"{found.__module__}:{found.__qualname__}"
    if not name.startswith("moto.") or "<" in name:
        raise UnknownState(f"{name} can't be kept")
    return name


def _find_class(name: str) -> type:
    module, _, path = name.partition(":")
    if not module.startswith("moto."):
        raise UnknownState(f"{name} is not a class of moto")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UnknownState(f"{name}: {error}") from None
    if not isinstance(found, type):
        raise UnknownState(f"{name} is not a class")
    return found
