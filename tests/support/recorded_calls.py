"""What the code asks of AWS, by who asks: a recording that tests make, and policies are held against.

While tests of the library run, every request of boto3 is looked at. Of those that the library, a Lambda function or an
operator of Airflow's provider makes, not the test itself, what IAM would be asked is kept, with names and keys made
plain: ``F/E/runs/x`` for an object below ``runs/``. ``make calls`` writes ``tests/golden/calls.json``, which
``tests/quick/docs/test_policies.py`` holds against the policies.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.client import BaseClient

from tests.support.iam_policies import ACCOUNT, REGION, Need, needs
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "calls.json"
#: Set by ``make calls``.
VARIABLE = "CITY_FLEET_RECORD_CALLS"
#: What stands for names in the recording; fill in policies with the same.
PLACES = {
    "BUCKET": "bucket",
    "FLEET": "F",
    "ENVIRONMENT": "E",
    "NAMES": "names",
    "ENDPOINT": "names",
    "ENDPOINTS": "names",
    "ROLE": "role",
    "FUNCTION": "function",
    "QUEUE": "queue",
    "SECRET": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:login",
    "MWAA": "mwaa",
    "KEY": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/key",
    "CITY": "city",
}
FOLDERS = (
    "capture", "code", "forecasts", "functions", "history", "known", "live", "models", "outcomes", "runs", "state",
)  # fmt: skip
_LIBRARY = str(ROOT / "plugins" / "city_fleet") + os.sep
_FUNCTIONS = str(ROOT / "include" / "lambda") + os.sep
_PROVIDER = os.sep + os.path.join("airflow", "providers", "amazon") + os.sep
#: Rooms and modules whose requests others than Airflow make; the longest beginning counts.
_WHO = {
    "data/": "loader",
    "doctor/": "desk",
    "champions/layout_": "desk",
    "infrastructure/": "deployer",
    "prediction/": "predict",
    "prediction/night_forecasts.py": "airflow",
}
_OWN = re.compile(rf"[^/]+/[^/]+/({'|'.join(FOLDERS)})/")
_OLD = re.compile(rf"[^/]+/({'|'.join(FOLDERS)})/")
_RAW = re.compile(r"[^/]+/raw/")

Recorded = dict[str, list[list[Any]]]


def plain(need: Need) -> Need:
    """Return what IAM is asked with names that say no more than what kind of thing it is."""
    resource, context = need.resource, dict(need.context)
    if found := re.fullmatch(r"arn:aws:s3:::([^/]+)/(.*)", resource):
        resource = f"arn:aws:s3:::bucket/{_plain_key(found[2])}"
    elif resource.startswith("arn:aws:s3:::"):
        resource = "arn:aws:s3:::bucket"
    elif found := re.fullmatch(r"(arn:aws:sagemaker:[^:]+:\d+):([a-z-]+)/.*", resource):
        name = "names" if found[2] == "endpoint" else "names-x"
        resource = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{found[2]}/{name}"
    elif need.action.startswith("secretsmanager:"):
        resource = PLACES["SECRET"]
    elif need.action.startswith("sqs:"):
        resource = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"
    elif need.action == "iam:PassRole":
        resource = f"arn:aws:iam::{ACCOUNT}:role/role"
    if "s3:prefix" in context:
        context["s3:prefix"] = _plain_key(context["s3:prefix"])
    if "sagemaker:TargetModel" in context:
        context["sagemaker:TargetModel"] = "city/x"
    for key in context:
        if key.endswith("/city-fleet:fleet"):
            context[key] = "F"
        elif key.endswith("/city-fleet:environment"):
            context[key] = "E"
    # Other tags say of which city and run it is: no policy asks.
    named = {key: value for key, value in context.items() if "Tag/" not in key or value in ("F", "E")}
    return Need(need.action, resource, dict(sorted(named.items())))


def _plain_key(key: str) -> str:
    if found := _OWN.match(key):
        return f"F/E/{found[1]}/x"
    if _RAW.match(key):
        return "F/raw/x"
    if found := _OLD.match(key):
        return f"F/{found[1]}/x"
    return "F/E/" if key.endswith("/") and key.count("/") == 2 else "F/" if key.endswith("/") else key


def asked_by() -> str | None:
    """Return who makes the request that is under way: the nearest caller that is ours says; None for a test."""
    frame: Any = sys._getframe(2)
    provider = False
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_FUNCTIONS):
            return Path(name).parent.name
        if name.startswith(_LIBRARY):
            module = name.removeprefix(_LIBRARY)
            if not module.startswith("state/"):
                return next(
                    (who for beginning, who in _WHO.items() if module.startswith(beginning)), "airflow"
                )
            frame = frame.f_back  # everybody's objects are read and written there: who asked for it?
            continue
        provider = provider or _PROVIDER in name
        if name.startswith(str(ROOT)) and ".venv" not in name:
            return "airflow" if provider else None
        frame = frame.f_back
    return "airflow" if provider else None


@contextmanager
def recording() -> Iterator[Recorded]:
    """Record what the code asks until the block ends."""
    found: dict[str, set[str]] = {}
    make = BaseClient._make_api_call
    own = {"city-fleet:fleet": "F", "city-fleet:environment": "E"}

    def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
        who = asked_by()
        if who is not None:
            service = client.meta.service_model.service_name
            for need in needs(service, operation, params, own):
                each = plain(need)
                found.setdefault(who, set()).add(json.dumps([each.action, each.resource, each.context]))
        return make(client, operation, params)

    recorded: Recorded = {}
    BaseClient._make_api_call = call
    try:
        yield recorded
    finally:
        BaseClient._make_api_call = make
        recorded.update({who: [json.loads(each) for each in sorted(all_)] for who, all_ in found.items()})


def kept() -> Recorded:
    """Return the recording as it is kept."""
    return json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}


def recorded_needs(who: str) -> list[Need]:
    """Return what somebody was seen to need."""
    return [Need(action, resource, context) for action, resource, context in kept()[who]]


@contextmanager
def kept_recording() -> Iterator[None]:
    """Record until the block ends, and add that to what is kept; without ``make calls`` nothing is looked at."""
    if not os.environ.get(VARIABLE):
        yield
        return
    with recording() as recorded:
        yield
    before = kept()
    whole = {
        who: sorted({json.dumps(each) for each in [*before.get(who, []), *recorded.get(who, [])]})
        for who in sorted({*before, *recorded})
    }
    lines = [
        f' "{who}": [\n' + ",\n".join(f"  {each}" for each in found) + "\n ]" for who, found in whole.items()
    ]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
