"""What the predict function takes and answers, as an OpenAPI document. Pure, standard library only.

``make openapi`` keeps it as ``include/lambda/predict/openapi.json``; the function itself answers it at
``/openapi.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

_PERIOD = {
    "type": "string",
    "format": "date",
    "description": "The first day of a period.",
    "examples": ["2015-08-01"],
}
_MODEL: dict[str, Any] = {
    "target_model": {"type": "string", "description": "The artifact that answered."},
    "package_arn": {"type": "string", "description": "Its version in the model registry."},
    "package_version": {"type": ["integer", "null"]},
    "as_of": {
        "type": "string",
        "description": "The moment up to which the model may have seen data, in UTC.",
    },
    "latency_ms": {"type": "number", "description": "Measured in the function, attempts included."},
}
_CITY = {
    "type": "string",
    "description": "A city's slug, or its name as people write it.",
    "examples": ["Fort Worth"],
}
_OK = {"type": "integer", "const": 200}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_FORECAST_EXAMPLE = {
    "status": 200,
    "city": "austin",
    "forecasts": [
        {"period": "2015-08-01", "step": 1, "prediction": 252310.4},
        {"period": "2015-09-01", "step": 2, "prediction": 249874.9},
        {"period": "2015-10-01", "step": 3, "prediction": 248120.3},
    ],
    "unit": "US$",
    "known_until": "2015-07-01",
    "late_periods": 0,
    "prediction": 252310.4,
    "target_model": "austin/20150801T000000Z-1a2b3c4d5e6f.tar.gz",
    "package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/texas-housing--production--austin/12",
    "package_version": 12,
    "as_of": "2015-08-01T00:00:00Z",
    "latency_ms": 14.2,
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
        "components": {"schemas": _schemas()},
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
            "content": {"application/json": {"schema": _ref("Request"), "examples": request}},
        },
        "responses": {
            "200": {
                "description": "The prediction; of several cities at least one.",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [_ref("Forecast"), _ref("Number"), _ref("Classes"), _ref("Many")]
                        },
                        "examples": {"by_name": {"value": _FORECAST_EXAMPLE}},
                    }
                },
            },
            **_errors("400", "404", "405", "413", "502", "503"),
        },
    }


def _get(name: str, summary: str, schema: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": summary, "content": {"application/json": {"schema": _ref(schema)}}},
            **_errors("400", "404", "405", "502", "503"),
        },
    }


def _errors(*statuses: str) -> dict[str, Any]:
    # Several cities that all failed have the highest status of them.
    schema = {"anyOf": [_ref("Error"), _ref("Many")]}
    return {
        status: {
            "description": f"{_ERRORS[status][0]}: {_ERRORS[status][1]}",
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }


def _schemas() -> dict[str, Any]:
    number = {"type": ["number", "null"]}
    single = {
        "anyOf": [_ref("ByName"), _ref("ByFeatures")],
    }
    row = _object({"period": _PERIOD}, also=number, said="Values by column; any day of a period names it.")
    step = _object(
        {"period": _PERIOD, "step": {"type": "integer", "minimum": 1}, "prediction": {"type": "number"}}
    )
    class_of = _object({"label": {"type": "string"}, "probability": _PROBABILITY})
    answered = {"status": _OK, "city": {"type": "string"}}
    feature = _object(
        {"name": {"type": "string"}, "kind": {"enum": ["number", "boolean", "category", "date"]}}
    )
    known = _object(
        {
            "as_of": {"type": "string"},
            "known_until": {"type": ["string", "null"]},
            "frequency": {"enum": ["day", "week", "month", "quarter", "year"]},
            "columns": {"type": "array", "items": {"type": "string"}},
        }
    )
    return {
        "Request": {"anyOf": [_ref("ByName"), _ref("ByFeatures"), _ref("CitiesRequest")]},
        "ByName": _object(
            {"city": _CITY},
            {
                "horizon": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "maximum": 100,
                    "description": "Periods ahead.",
                },
                "history": {"type": ["array", "null"], "maxItems": 1000, "items": row},
            },
            said="A forecast of the next periods, of a city whose data are a series.",
        ),
        "ByFeatures": _object(
            {
                "city": _CITY,
                "features": {
                    "type": "object",
                    "description": "Every feature of the model by name; null where the value is missing.",
                    "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
                },
            },
            {"top_k": {"type": ["integer", "null"], "minimum": 1, "maximum": 100000}},
            said="A prediction of one row.",
        ),
        "CitiesRequest": _object(
            {"cities": {"type": "array", "minItems": 1, "maxItems": 100, "items": single}}
        ),
        "Forecast": _object(
            {
                **answered,
                "forecasts": {"type": "array", "minItems": 1, "maxItems": 100, "items": step},
                "unit": {"type": ["string", "null"], "description": "What a prediction is in."},
                "known_until": {**_PERIOD, "type": ["string", "null"]},
                "late_periods": {
                    "type": ["integer", "null"],
                    "minimum": 0,
                    "description": "How many periods newer than known_until should be known by now.",
                },
                "prediction": {"type": "number", "description": "That of the first step."},
                **_MODEL,
            },
            {"warning": {"type": "string", "description": "That the data are old, or not the newest."}},
        ),
        "Number": _object({**answered, "prediction": {"type": "number"}, **_MODEL}),
        "Classes": _object(
            {**answered, "label": {"type": "string"}, **_MODEL},
            {
                "probabilities": {"type": "object", "additionalProperties": _PROBABILITY},
                "top_k": {"type": "array", "items": class_of},
            },
        ),
        "Many": _object(
            {
                "status": {"type": "integer"},
                "failed": {"type": "integer", "minimum": 0},
                "results": {
                    "type": "array",
                    "items": {"anyOf": [_ref("Forecast"), _ref("Number"), _ref("Classes"), _ref("Error")]},
                },
            },
            {"retry_after_seconds": {"type": "number"}},
        ),
        "Error": _object(
            {
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "error": {"type": "string"},
                "message": {"type": "string", "description": "What was got, what is allowed, what to do."},
            },
            also=True,
        ),
        "Cities": _object(
            {
                "status": _OK,
                "fleet": {"type": "string"},
                "cities": {"type": "array", "items": {"type": "string"}},
                "next": {"type": ["string", "null"], "description": "`after` of the next page."},
            }
        ),
        "City": _object(
            {
                **answered,
                "kind": {"enum": ["series", "table"]},
                "task": {"enum": ["regression", "binary", "multiclass"]},
                "by_name": {"type": "boolean", "description": "Whether it can be asked by its name alone."},
                "forecast": {
                    "anyOf": [
                        {"type": "null"},
                        _object(
                            {
                                "horizon": {"type": "integer", "minimum": 1, "maximum": 100},
                                "unit": {"type": ["string", "null"]},
                                "frequency": known["properties"]["frequency"],
                                "columns": known["properties"]["columns"],
                            }
                        ),
                    ]
                },
                "features": {"type": "array", "items": feature},
                "target_model": _MODEL["target_model"],
                "package_arn": _MODEL["package_arn"],
                "as_of": _MODEL["as_of"],
                "data_until": {"type": ["string", "null"]},
                "known": {"anyOf": [{"type": "null"}, known]},
            }
        ),
    }


def _object(
    required: Mapping[str, Any],
    optional: Mapping[str, Any] | None = None,
    *,
    also: Mapping[str, Any] | bool = False,
    said: str = "",
) -> dict[str, Any]:
    """Return the schema of an object.

    :param also: the schema of members with other names; False allows none.
    """
    return {
        "type": "object",
        **({"description": said} if said else {}),
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": also,
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


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
