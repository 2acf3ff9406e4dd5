"""What the predict function takes and answers, as an OpenAPI document. Pure, standard library only.

``make openapi`` keeps it as ``include/lambda/predict/openapi.json``; the function itself answers it at
``/openapi.json``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from city_fleet.prediction.openapi_schemas import ref, schemas

_FORECAST_EXAMPLE = {
    "status": 200,
    "city": "austin",
    "forecasts": [
        {
            "period": "2015-08-01",
            "step": 1,
            "prediction": 252310.4,
            "intervals": {"80": [247612.9, 257097.0], "95": None},
        }
    ],
    "unit": "US$",
    "intervals_withheld": "95 %: 12 held-out forecasts judge the furthest step, and 19 are needed",
    "known_until": "2015-07-01",
    "late_periods": 0,
    "served_by": "austin",
    "prediction": 252310.4,
    "target_model": "austin/20150801T000000Z-1a2b3c4d5e6f.tar.gz",
    "package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/texas-housing--production--austin/12",
    "package_version": 12,
    "as_of": "2015-08-01T00:00:00Z",
    "latency_ms": 14.2,
    "prediction_id": "austin.20150801T061500Z.5f0c2a9b41de",
}
_ERRORS = {
    "400": ("BadRequest", "The request can be put right; the message says how."),
    "404": ("UnknownCity", "No model of the city is live, or the path is none."),
    "405": ("MethodNotAllowed", "Another method."),
    "413": ("BodyTooLarge", "A body over 1,048,576 bytes."),
    "502": (
        "ServingError",
        "The model, the endpoint or the live pointer is at fault; asking again does not help.",
    ),
    "503": ("NotReady", "No answer in time; ask again after Retry-After."),
}


def document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "City Fleet predictions",
            "version": "1",
            "description": "Forecasts and predictions of one fleet's cities. Each answer has its status inside, too.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/outcome": {"post": _outcome()},
            "/cities": {
                "get": _get(
                    "cities",
                    "The cities that have a live model, a page of at most 1,000 at a time.",
                    "Cities",
                    [_parameter("after", "query", "`next` of the page before.", required=False)],
                )
            },
            "/cities/{city}": {
                "get": _get(
                    "city", "What a city can be asked.", "City", [_parameter("city", "path", "A city.")]
                )
            },
        },
        "components": {"schemas": schemas()},
    }


def _predict() -> dict[str, Any]:
    request = {
        "by_name": {"summary": "The next periods", "value": {"city": "austin"}},
        "by_name_with_newer_values": {
            "summary": "With actual values that are newer than the fleet's data",
            "value": {
                "city": "Austin",
                "horizon": 2,
                "history": [{"period": "2015-08-01", "median": 255000, "sales": 2500}],
            },
        },
        "by_name_with_what_is_planned": {
            "summary": "With values of the coming periods, of columns that are known ahead",
            "value": {
                "city": "austin",
                "horizon": 2,
                "ahead": [
                    {"period": "2015-08-01", "promotion": 1},
                    {"period": "2015-09-01", "promotion": 0},
                ],
            },
        },
        "by_features": {
            "summary": "One row of features",
            "value": {"city": "austin", "features": {"sales_lag_1": 2873, "inventory_lag_1": None}},
        },
        "many": {"summary": "Several cities", "value": {"cities": [{"city": "austin"}, {"city": "waco"}]}},
    }
    return {
        "operationId": "predict",
        "summary": "A forecast by the city's name, or a prediction of a row of features; for one city or up to 100.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("Request"), "examples": request}},
        },
        "responses": {
            "200": {
                "description": "The prediction; of several cities at least one.",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                ref("Forecast"),
                                ref("Number"),
                                ref("Classes"),
                                ref("Many"),
                            ]
                        },
                        "examples": {"by_name": {"value": _FORECAST_EXAMPLE}},
                    }
                },
            },
            **_errors("400", "404", "405", "413", "502", "503"),
        },
    }


def _outcome() -> dict[str, Any]:
    one = {"prediction_id": "austin.20150801T061500Z.5f0c2a9b41de", "outcome": 255000}
    examples = {
        "one": {"summary": "One", "value": one},
        "many": {"summary": "Several, all kept or none", "value": {"outcomes": [one]}},
    }
    return {
        "operationId": "outcome",
        "summary": "What really happened after a prediction of a table's model, or after up to 1,000.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("OutcomeRequest"), "examples": examples}},
        },
        "responses": {
            "200": {
                "description": "All of them are kept.",
                "content": {"application/json": {"schema": ref("Accepted")}},
            },
            **_errors("400", "405", "413", "502", "503"),
        },
    }


def _get(name: str, summary: str, schema: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": summary,
                "content": {"application/json": {"schema": ref(schema)}},
            },
            **_errors("400", "404", "405", "502", "503"),
        },
    }


def _errors(*statuses: str) -> dict[str, Any]:
    # Several cities that all failed have the highest status of them.
    schema = {"anyOf": [ref("Error"), ref("Many")]}
    return {
        status: {
            "description": f"{_ERRORS[status][0]}: {_ERRORS[status][1]}",
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }


def _parameter(name: str, where: str, said: str, *, required: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": required,
        "description": said,
        "schema": {"type": "string"},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2) + "\n")
