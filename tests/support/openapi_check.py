"""Holds requests and answers of the predict function against what its OpenAPI document says of them."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from city_fleet.prediction import openapi

DOCUMENT = openapi.document()


def check_answer(method: str, path: str, status: int, answer: Any) -> None:
    """Refuse an answer that the document does not know."""
    operation = DOCUMENT["paths"][path][method.lower()]
    content = operation["responses"][str(status)]["content"]["application/json"]
    _check(content["schema"], answer)


def check_request(request: Any) -> None:
    """Refuse a request that the document does not allow."""
    _check({"$ref": "#/components/schemas/Request"}, request)


def _check(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    problems = [error.message for error in Draft202012Validator(whole).iter_errors(value)]
    assert not problems, problems
