"""The schema for editors says everything once and refers to it: what is said twice drifts apart unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from city_fleet.config.json_schema import fleet_schema

SCHEMA = fleet_schema()


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from nodes(item)


REFERENCES = {node["$ref"] for node in nodes(SCHEMA) if isinstance(node.get("$ref"), str)}


@pytest.mark.parametrize("reference", sorted(REFERENCES))
def test_a_reference_leads_to_a_schema(reference: str) -> None:
    node = SCHEMA
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    Draft7Validator.check_schema(node)


@pytest.mark.parametrize("name", SCHEMA["$defs"])
def test_every_definition_is_used(name: str) -> None:
    assert any(reference.split("/")[:3] == ["#", "$defs", name] for reference in REFERENCES)


def test_what_a_text_must_be_like_is_said_once() -> None:
    said = Counter(node["patternErrorMessage"] for node in nodes(SCHEMA) if "patternErrorMessage" in node)
    assert [text for text, count in said.items() if count > 1] == []


def test_no_section_is_written_out_twice() -> None:
    fields = Counter(
        tuple(section["properties"])
        for section in SCHEMA["$defs"].values()
        if any("$ref" not in node for node in section.get("properties", {}).values())
    )
    assert [names for names, count in fields.items() if count > 1] == []
