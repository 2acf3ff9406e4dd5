"""What the predict function's requests and answers look like, as JSON Schema. Pure, standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from city_fleet import periods
from city_fleet.prediction import prediction_id

_PERIOD = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]+([.][0-9]+)?(Z|[+-][0-9:]+)?)?$",
    "description": "The first day of a period; of an hour its moment, in UTC.",
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
    "prediction_id": {
        "type": "string",
        "pattern": f"^{prediction_id.PATTERN}$",
        "description": "What to call this prediction by who says later what really happened.",
    },
}
_CITY = {
    "type": "string",
    "description": "A city's slug, or its name as people write it.",
    "examples": ["Fort Worth"],
}
_CALLER = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": 200,
    "description": "A text that stands for whoever asks. While a challenger is tried, one caller gets the answers "
    "of one model. It is kept nowhere.",
}
_ROLE = {
    "role": {
        "const": "challenger",
        "description": "That a challenger has answered, which is tried beside the model that serves.",
    }
}
_OK = {"type": "integer", "const": 200}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}


def schemas() -> dict[str, Any]:
    """Return the schemas by name."""
    number = {"type": ["number", "null"]}
    single = {
        "anyOf": [ref("ByName"), ref("ByFeatures")],
    }
    row = _object({"period": _PERIOD}, also=number, said="Values by column; any day of a period names it.")
    interval = {"type": ["array", "null"], "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
    intervals = {
        "type": "object",
        "description": "Per cent of actual values that lie within → from and to; null where too little is known.",
        "additionalProperties": interval,
    }
    step = _object(
        {
            "period": _PERIOD,
            "step": {"type": "integer", "minimum": 1},
            "prediction": {"type": "number"},
            "intervals": intervals,
        }
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
            "frequency": {"type": "string", "pattern": f"^{periods.PATTERN}$"},
            "columns": {"type": "array", "items": {"type": "string"}},
        }
    )
    return {
        "Request": {"anyOf": [ref("ByName"), ref("ByFeatures"), ref("CitiesRequest")]},
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
                "ahead": {
                    "type": ["array", "null"],
                    "maxItems": 1000,
                    "items": row,
                    "description": "Values of periods to come, of the columns that `known_ahead` of the city names: "
                    "needed where the fleet's own data do not hold them. null: nobody knows.",
                },
                "caller": _CALLER,
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
            {"top_k": {"type": ["integer", "null"], "minimum": 1, "maximum": 100000}, "caller": _CALLER},
            said="A prediction of one row.",
        ),
        "CitiesRequest": _object(
            {"cities": {"type": "array", "minItems": 1, "maxItems": 100, "items": single}}
        ),
        **_outcomes(),
        "Forecast": _object(
            {
                **answered,
                "forecasts": {"type": "array", "minItems": 1, "maxItems": 100, "items": step},
                "unit": {"type": ["string", "null"], "description": "What a prediction is in."},
                "intervals_withheld": {"type": ["string", "null"], "description": "Why one is null."},
                "known_until": {**_PERIOD, "type": ["string", "null"]},
                "late_periods": {
                    "type": ["integer", "null"],
                    "minimum": 0,
                    "description": "How many periods newer than known_until should be known by now.",
                },
                "prediction": {"type": "number", "description": "That of the first step."},
                "served_by": {
                    "type": "string",
                    "description": "The city whose model has answered: its own slug, its parent's, or `baseline`.",
                    "examples": ["austin", "texas", "baseline"],
                },
                **_MODEL,
            },
            {
                "warning": {"type": "string", "description": "That the data are old, or not the newest."},
                **_ROLE,
            },
        ),
        "Number": _object({**answered, "prediction": {"type": "number"}, **_MODEL}, _ROLE),
        "Classes": _object(
            {**answered, "label": {"type": "string"}, **_MODEL},
            {
                "probabilities": {"type": "object", "additionalProperties": _PROBABILITY},
                "top_k": {"type": "array", "items": class_of},
                **_ROLE,
            },
        ),
        "Many": _object(
            {
                "status": {"type": "integer"},
                "failed": {"type": "integer", "minimum": 0},
                "results": {
                    "type": "array",
                    "items": {"anyOf": [ref("Forecast"), ref("Number"), ref("Classes"), ref("Error")]},
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
                            },
                            {
                                "known_ahead": {
                                    "type": "array",
                                    "items": {"type": "string"},
                                    "description": "Columns whose values of its own periods a forecast needs.",
                                }
                            },
                        ),
                    ]
                },
                "features": {"type": "array", "items": feature},
                "target_model": _MODEL["target_model"],
                "package_arn": _MODEL["package_arn"],
                "as_of": _MODEL["as_of"],
                "data_until": {"type": ["string", "null"]},
                "known": {"anyOf": [{"type": "null"}, known]},
                "parent": {
                    "type": ["string", "null"],
                    "description": "The city whose model answers where its own does not.",
                },
                "served_by": {
                    "type": "string",
                    "description": "The city whose model is asked by its name: this one, or its parent.",
                },
            }
        ),
    }


def _outcomes() -> dict[str, Any]:
    """Return the schemas of what really happened."""
    count = {"type": "integer", "minimum": 0}
    return {
        "OutcomeRequest": {"anyOf": [ref("Outcome"), ref("Outcomes")]},
        "Outcome": _object(
            {
                "prediction_id": _MODEL["prediction_id"],
                "outcome": {
                    "type": ["number", "string"],
                    "minLength": 1,
                    "maxLength": 300,
                    "description": "A number in the target's unit, or a class as answers call it.",
                },
            }
        ),
        "Outcomes": _object(
            {"outcomes": {"type": "array", "minItems": 1, "maxItems": 1000, "items": ref("Outcome")}}
        ),
        "Accepted": _object(
            {
                "status": _OK,
                "accepted": count,
                "not_kept": {
                    **count,
                    "description": "Of how many of them the prediction is not captured, by `capture.share` of now.",
                },
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


def ref(name: str) -> dict[str, Any]:
    """Return what stands for one of :func:`schemas` in the document."""
    return {"$ref": f"#/components/schemas/{name}"}
