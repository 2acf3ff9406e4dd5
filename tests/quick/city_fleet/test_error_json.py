"""What `--json` and the Lambda function say of every kind of error: scripts read it, so it stays as it is."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from city_fleet import errors
from city_fleet.errors import (
    AirflowError,
    AlgorithmError,
    AmbiguousCity,
    ArtifactError,
    BadRequest,
    BrokenKnown,
    BrokenPointer,
    BrokenScores,
    Busy,
    CityFleetError,
    ConfigError,
    DataError,
    EndpointClosed,
    EndpointUnderWay,
    FleetFileError,
    JobError,
    NotReady,
    OldLayout,
    OtherInstallation,
    PlatformError,
    PointerMoved,
    PredictError,
    PublishError,
    RegistryError,
    ScriptFailed,
    ServingError,
    UnknownCity,
    UnknownName,
)

MISTAKE = {"got": "1", "allowed": "2", "nearest": "3", "hint": "Do."}
PLACE = {"file": "f.yaml", "line": 3, "city": "waco", "field": "gate"}
JOB = {"city": "waco", "step": "train", "job": "j", "status": "Failed", "ending": "algorithm"}
NOTHING_KNOWN = {"allowed": None, "nearest": None, "hint": None}

# Each error, and its JSON but for `error`, the name of its class.
EXAMPLES: list[tuple[CityFleetError, dict[str, Any]]] = [
    (CityFleetError("m"), {"message": "m"}),
    (
        ConfigError(
            file="f.yaml", line=3, city="waco", field="gate", got="1", allowed="2", nearest="3", hint="Do."
        ),
        {
            "message": "f.yaml:3: city 'waco', field 'gate': got 1; allowed: 2. Did you mean '3'? Do.",
            **PLACE,
            **MISTAKE,
        },
    ),
    (
        ConfigError(got="x"),
        {
            "message": "got x.",
            "file": None,
            "line": None,
            "city": None,
            "field": None,
            "got": "x",
            **NOTHING_KNOWN,
        },
    ),
    (
        FleetFileError([ConfigError(file="f.yaml", got="x")]),
        {
            "file": "f.yaml",
            "errors": [
                {
                    "error": "ConfigError",
                    "message": "f.yaml: got x.",
                    "file": "f.yaml",
                    "line": None,
                    "city": None,
                    "field": None,
                    "got": "x",
                    **NOTHING_KNOWN,
                }
            ],
        },
    ),
    (
        UnknownName("city", "wako", ["waco", "tyler"], "fleet 'f'"),
        {
            "message": "fleet 'f' has no city 'wako'; it has: tyler, waco. Did you mean 'waco'?",
            "kind": "city",
            "got": "wako",
            "allowed": ["tyler", "waco"],
            "where": "fleet 'f'",
            "nearest": "waco",
        },
    ),
    (
        UnknownName("city", "x", [], "fleet 'f'"),
        {
            "message": "fleet 'f' has no city 'x'; it has: nothing.",
            "kind": "city",
            "got": "x",
            "allowed": [],
            "where": "fleet 'f'",
            "nearest": None,
        },
    ),
    (
        AmbiguousCity("m", city="waco", fleets="a, b"),
        {"message": "m", "city": "waco", "fleets": "a, b"},
    ),
    (
        DataError(file="a.csv", row=2, column="c", got="1", allowed="2", nearest="3", hint="Do."),
        {
            "message": "a.csv:2: column 'c': got 1; allowed: 2. Did you mean '3'? Do.",
            "file": "a.csv",
            "row": 2,
            "column": "c",
            **MISTAKE,
        },
    ),
    (
        DataError(file="a.csv", got="x"),
        {
            "message": "a.csv: got x.",
            "file": "a.csv",
            "row": None,
            "column": None,
            "got": "x",
            **NOTHING_KNOWN,
        },
    ),
    (JobError("m", city="waco", step="train"), {"message": "m", "city": "waco", "step": "train"}),
    (AlgorithmError("m", **JOB), {"message": "m", **JOB}),
    (PlatformError("m", **JOB), {"message": "m", **JOB}),
    (PlatformError("m"), {"message": "m"}),
    (Busy("m"), {"message": "m"}),
    (EndpointUnderWay("m"), {"message": "m"}),
    (
        EndpointClosed("m", until="2026-11-27T07:00:00+01:00"),
        {"message": "m", "until": "2026-11-27T07:00:00+01:00"},
    ),
    (
        PlatformError("m", bucket="b", operation="PutObject", code="AccessDenied"),
        {"message": "m", "bucket": "b", "operation": "PutObject", "code": "AccessDenied"},
    ),
    (AirflowError("m", status=403), {"message": "m", "status": 403}),
    (AirflowError("m"), {"message": "m", "status": None}),
    (ScriptFailed("m", step="train"), {"message": "m", "step": "train"}),
    (
        ScriptFailed("m", step="train", where="features.py:5", log=["x"]),
        {"message": "m", "step": "train", "where": "features.py:5", "log": ["x"]},
    ),
    (PublishError("m"), {"message": "m"}),
    (
        PublishError("m", city="waco", notes=["sequence 3 is gone"]),
        {"message": "m", "city": "waco", "notes": ["sequence 3 is gone"]},
    ),
    (PointerMoved("m", city="waco"), {"message": "m", "city": "waco"}),
    (OtherInstallation("m"), {"message": "m"}),
    (
        OldLayout("m", fleet="f", command="./fleet migrate --fleet f"),
        {"message": "m", "fleet": "f", "command": "./fleet migrate --fleet f"},
    ),
    (BrokenPointer("m"), {"message": "m"}),
    (BrokenKnown("m"), {"message": "m"}),
    (BrokenScores("m"), {"message": "m"}),
    (ArtifactError("m"), {"message": "m"}),
    (RegistryError("m"), {"message": "m"}),
    (PredictError("m"), {"status": 500, "message": "m"}),
    (BadRequest("m", mistakes=[]), {"status": 400, "message": "m", "mistakes": []}),
    (
        BadRequest("m", mistakes=[{"feature": "a"}], features=["a"]),
        {"status": 400, "message": "m", "mistakes": [{"feature": "a"}], "features": ["a"]},
    ),
    (
        UnknownCity("m", city="x", nearest=None),
        {"status": 404, "message": "m", "city": "x", "nearest": None},
    ),
    (ServingError("m", city="waco"), {"status": 502, "message": "m", "city": "waco"}),
    (
        ServingError("m", city="waco", log_stream_arn="arn"),
        {"status": 502, "message": "m", "city": "waco", "log_stream_arn": "arn"},
    ),
    (
        NotReady("m", retry_after_seconds=5, attempts=2),
        {"status": 503, "message": "m", "retry_after_seconds": 5, "attempts": 2},
    ),
]


@pytest.mark.parametrize(("error", "expected"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_as_json(error: CityFleetError, expected: dict[str, Any]) -> None:
    assert json.loads(json.dumps(error.to_dict())) == {"error": type(error).__name__, **expected}
    assert str(error) == error.message


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=lambda value: type(value).__name__)
def test_an_error_survives_pickling_and_copying(error: CityFleetError) -> None:
    error.add_note("seen on the way")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert twin.to_dict() == error.to_dict()
        assert twin.__notes__ == error.__notes__


def test_every_kind_of_error_has_an_example() -> None:
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, CityFleetError) and not name.startswith("_")
    }
    assert kinds == {type(error).__name__ for error, _ in EXAMPLES}


def test_attributes_are_declared_so_that_a_wrong_one_is_found() -> None:
    error = JobError("m", job="j")
    assert (error.job, error.step) == ("j", None)
    with pytest.raises(AttributeError):
        _ = error.jobs  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="jobs"):
        JobError("m", jobs="j")  # type: ignore[call-arg]


def test_a_better_message_keeps_the_rest() -> None:
    error = BadRequest("m", mistakes=[{"feature": "a"}], features=["a"])
    assert replace(error, message="m. More.").to_dict() == {**error.to_dict(), "message": "m. More."}
