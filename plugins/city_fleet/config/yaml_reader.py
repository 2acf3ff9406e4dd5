"""Reads YAML as plain data, with the line of each value and what is wrong with the text itself.

Values follow YAML 1.2's core schema (``no`` and ``12:30`` are text, ``1e-3`` is a number) plus ISO dates.
``${NAME}`` and ``${NAME:-default}`` in a value are replaced by environment variables (variables.py).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from city_fleet.config.value_types import Problem
from city_fleet.config.variables import interpolate as interpolate  # noqa: PLC0414 - read from here too
from city_fleet.errors import ConfigError, nearest_match

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 32
# libyaml takes some of the process's stack for every level and has no limit of its own: 100,000 end the process.
_SAFE_LEVELS = 1000
MAX_VALUES = 2_000_000  # after anchors are followed; a few lines of nested anchors can stand for billions
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONSTANTS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan,
}  # fmt: skip
Path_ = tuple[str | int, ...]
# What no database or file name can hold: a NUL, and half of a character (of a variable that is not UTF-8).
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
# libyaml's parser where PyYAML was built with it. It only composes nodes, and never constructs objects.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Flaw:
    """A value that could not be read; it takes the value's place in the data."""

    problem: Problem
    line: int


class Document:
    """One parsed file.

    :param name: the file as messages name it.
    :param root: the file's root node, a mapping.
    :param environ: environment variables for ``${NAME}``.
    """

    def __init__(self, name: str, root: yaml.MappingNode, environ: Mapping[str, str]) -> None:
        self.name = name
        self._root = root
        self._environ = environ
        self._built: dict[int, tuple[Any, int]] = {}
        self._building: set[int] = set()
        #: What variables came to, and how the file writes it.
        self.filled: dict[str, str] = {}
        self._indexes: dict[int, dict[str | int, tuple[yaml.Node, yaml.Node]]] = {}
        self._has_variables = False
        self.data: dict[str, Any] = self._value(root, 0)[0]

    @property
    def root(self) -> yaml.MappingNode:
        """Return the file's root node."""
        return self._root

    def line(self, path: Sequence[str | int]) -> int:
        """Return the 1-based line of the key at ``path``, or of the nearest part that exists."""
        key, _, _ = self._find(path)
        return int(key.start_mark.line) + 1

    def written(self, path: Sequence[str | int]) -> str | None:
        """Return the text at ``path`` as it stands in the file, if it holds a ``${NAME}``; else None."""
        if not self._has_variables:
            return None  # asked for each of thousands of cities
        _, node, there = self._find(path)
        return str(node.value) if there and isinstance(node, yaml.ScalarNode) and "${" in node.value else None

    def _find(self, path: Sequence[str | int]) -> tuple[yaml.Node, yaml.Node, bool]:
        """Return the key and the value at ``path``, or of the nearest part that exists, and whether all exists."""
        key: yaml.Node = self._root
        node = key
        for part in path:
            index = self._indexes.get(id(node))
            if index is None:
                # Of two entries of one name the first counts: what is written out wins over merges.
                index = {name: (key, child) for name, key, child in reversed(list(_entries(node)))}
                self._indexes[id(node)] = index
            found = index.get(part)
            if found is None:
                return key, node, False
            key, node = found
        return key, node, True

    def _value(self, node: yaml.Node, depth: int) -> tuple[Any, int]:
        """Return a node as data, and the number of values it stands for with anchors followed."""
        known = self._built.get(id(node))
        if known is not None:
            return known
        if depth > MAX_DEPTH or id(node) in self._building:
            raise _TooDeep(node)
        self._building.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            self._has_variables |= "${" in node.value
            built: tuple[Any, int] = self._scalar(node), 1
        elif isinstance(node, yaml.SequenceNode):
            parts = [self._value(child, depth + 1) for child in node.value]
            built = [value for value, _ in parts], 1 + sum(size for _, size in parts)
        else:
            assert isinstance(node, yaml.MappingNode)  # noqa: S101 - YAML has no fourth kind of node
            built = self._mapping(node, depth)
        if built[1] > MAX_VALUES:
            raise _TooDeep(node)
        self._building.discard(id(node))
        self._built[id(node)] = built
        return built

    def _mapping(self, node: yaml.MappingNode, depth: int) -> tuple[dict[str, Any], int]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[dict[str, Any]] = []
        size = 1
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if _is_merge(key):
                for source in _sources(child):
                    value, child_size = self._value(source, depth + 1)
                    size += child_size
                    if isinstance(value, dict):
                        merged.append(value)
                    else:
                        data[name] = Flaw(Problem("no mapping to merge", "an anchor of a mapping"), line)
            elif name in data:
                got = f"the key a second time (first on line {lines[name]})"
                data[name] = Flaw(Problem(got, "each key once"), line)
            else:
                data[name], child_size = self._value(child, depth + 1)
                lines[name] = line
                size += child_size
        for source_data in merged:
            for name, value in source_data.items():
                data.setdefault(name, value)
        return data, size

    def _scalar(self, node: yaml.ScalarNode) -> object:
        text: str = node.value
        if not text.isprintable() and _UNWRITABLE.search(text):
            return Flaw(_unwritable(text), node.start_mark.line + 1)
        if "${" not in text:
            return text if node.style else _plain(text)
        replaced, problem = interpolate(text, self._environ)
        if problem is not None:
            return Flaw(problem, node.start_mark.line + 1)
        self.filled[replaced] = text
        if _UNWRITABLE.search(replaced):
            return Flaw(_unwritable(text), node.start_mark.line + 1)
        # Numbers stay text here: the field's own type decides what the text means.
        return None if not node.style and replaced in ("", "~", "null") else replaced


class _TooDeep(Exception):
    def __init__(self, node: yaml.Node | yaml.Event) -> None:
        super().__init__()
        self.line = node.start_mark.line + 1 if node.start_mark else 1


def read_yaml(path: Path, name: str, environ: Mapping[str, str]) -> Document:
    """Read a YAML file whose root is a mapping.

    :param name: the file as messages name it.
    :param environ: environment variables for ``${NAME}``.
    :raises ConfigError: the file is missing or too large, or does not hold a YAML mapping.
    """
    return _parsed(read_text(path, name, MAX_FILE_BYTES), name, environ)


def read_as_written(path: Path, name: str) -> Document:
    """Read a YAML file whose variables count for nothing, for what it says and where; once while its text is the same.

    :raises ConfigError: as :func:`read_yaml`.
    """
    return _parsed_once(read_text(path, name, MAX_FILE_BYTES), name)


@functools.lru_cache(maxsize=1)
def _parsed_once(text: str, name: str) -> Document:
    return _parsed(text, name, {})


def _parsed(text: str, name: str, environ: Mapping[str, str]) -> Document:
    try:
        root = _composed(text)
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                file=name, line=1, got="no settings" if root is None else "no mapping at the top",
                allowed="keys such as fleet, bucket, dataset and cities, each followed by a colon",
            )  # fmt: skip
        return Document(name, root, environ)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        detail = " ".join(part for part in (error.context, error.problem) if part)
        hint = "Check indentation, quotes and brackets there and on the line before."
        if mark and "${" in "".join(text.splitlines()[max(mark.line - 1, 0) : mark.line + 1]):
            hint = 'Within {…} or […] write "${NAME}" in quotes.'
        line, got = mark.line + 1 if mark else None, f"text that is not YAML ({detail})"
        raise ConfigError(file=name, line=line, got=got, hint=hint) from None
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigError(file=name, got=f"text that is not YAML ({detail})") from None
    except _TooDeep as error:
        got = "values nested too deeply, or anchors that stand for too many values"
        allowed = f"at most {MAX_DEPTH} levels and {MAX_VALUES:,} values"
        raise ConfigError(file=name, line=error.line, got=got, allowed=allowed) from None


def read_text(path: Path, name: str, max_bytes: int) -> str:
    """Read a UTF-8 text file of bounded size.

    :raises ConfigError: the file is missing, not readable, too large or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest_match(path.name, siblings)
        raise ConfigError(file=name, got="no such file", nearest=near) from None
    except OSError as error:
        raise ConfigError(file=name, got=f"a file that cannot be read ({error.strerror})") from None
    if len(content) > max_bytes:
        raise ConfigError(file=name, got="a larger file", allowed=f"at most {max_bytes // 1024**2} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        got = "bytes that are not UTF-8"
        raise ConfigError(file=name, line=line, got=got, allowed="UTF-8 text") from None


def flaws(value: object, path: Path_ = ()) -> Iterator[tuple[Path_, Flaw]]:
    """Yield every value that could not be read, with its path."""
    if isinstance(value, Flaw):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from flaws(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from flaws(child, (*path, index))


def flow_value(text: str) -> object:
    """Read a list or mapping in brackets, as it may stand in a cell of a CSV list.

    :raises ValueError: the text is not a list or mapping in brackets.
    """
    try:
        node = _compose(f"value: {text}")
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - "value:" makes it one
        return Document("", node, {}).data["value"]
    except (yaml.YAMLError, _TooDeep) as error:
        raise ValueError("a list or mapping in brackets, such as [1, 2, 12]") from error


def _unwritable(text: str) -> Problem:
    return Problem(ascii(text[:80]), "text in UTF-8, without NUL characters")


def _compose(text: str) -> yaml.Node | None:
    if len(text) > _SAFE_LEVELS:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _SAFE_LEVELS:
                    raise _TooDeep(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    found: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return found


@functools.lru_cache(maxsize=1)
def _composed(text: str) -> yaml.Node | None:
    """Return a file's root node; nobody changes nodes, and a file is often read twice in a row."""
    return _compose(text)


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style


def _sources(value: yaml.Node) -> list[yaml.Node]:
    """Return what a merge key merges: the mappings of a list, or the one it names."""
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]


def _entries(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    """Yield (name, key node, value node); entries of merge keys (``<<``) come last."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((index, child, child) for index, child in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), key, value) for key, value in node.value if not _is_merge(key))
        for key, value in node.value:
            if _is_merge(key):
                for source in _sources(value):
                    yield from _entries(source)


def _plain(text: str) -> object:
    """Return the value of a scalar without quotes: null, true or false, a number, a date or text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) <= 18 else text
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return text
    return float(text) if _FLOAT.fullmatch(text) else text
