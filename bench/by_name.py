"""What an application waits for a forecast by its city's name: ``make bench-by-name`` prints JSON.

The Lambda's own handler is asked in this process, warm, as Lambda asks it, and answers through the shared endpoint over
HTTP on this machine. Three kinds of questions take turns, so that a busy moment is every one's:

by_name    ``{"city": …, "horizon": 3}``: the rows are built behind the endpoint, of what is known of the city.
features   ``{"city": …, "features": …}`` to a small model: the peer that an application had before.
invoke     the same features straight to InvokeEndpoint by boto3, without the handler: what HTTP and the model cost.

``checked_again``: by name once more, with pointers that are believed for no time, so that S3 is asked at each question.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import forecast_city
from tests.support.lambda_runtime import load_handler
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, Serving, serve

WARM_UP = 20
HORIZON = 3


class Context:
    """What Lambda says of a call."""

    def get_remaining_time_in_millis(self) -> int:
        return 28_000


def questions(serving: Serving) -> dict[str, Callable[[], Any]]:
    """Return the kinds of questions by their names, each as what asks one."""
    environment = {
        **serving.server.environment,
        "CITY_FLEET_BUCKET": KEYS.bucket,
        "CITY_FLEET_FLEET": KEYS.fleet,
        "CITY_FLEET_ENVIRONMENT": KEYS.environment,
        "CITY_FLEET_ENDPOINT": serving.endpoint,
    }
    warm = load_handler("predict", environment)
    wary = load_handler("predict", environment | {"CITY_FLEET_POINTER_TTL_SECONDS": "0"})
    pointer = serving.publish("waco", 0)
    row, _ = serving.expected(0)
    runtime = serving.server.client("sagemaker-runtime")
    body = ",".join(str(row[name]) for name in pointer.features).encode()

    def invoke() -> Any:
        answer = runtime.invoke_endpoint(
            EndpointName=serving.endpoint, TargetModel=pointer.target_model, ContentType="text/csv", Body=body
        )
        return json.load(answer["Body"])

    by_name = {"city": "fort_worth", "horizon": HORIZON}
    return {
        "by_name": lambda: warm.handler(by_name, Context()),
        "features": lambda: warm.handler({"city": "waco", "features": row}, Context()),
        "invoke": invoke,
        "checked_again": lambda: wary.handler(by_name, Context()),
    }


def measure(ask: dict[str, Callable[[], Any]], calls: int) -> dict[str, dict[str, float]]:
    """Ask each kind in turn.

    :param calls: of each kind.
    :return: kind → milliseconds: median and 99th percentile.
    """
    took: dict[str, list[float]] = {kind: [] for kind in ask}
    for number in range(WARM_UP + calls):
        for kind, question in ask.items():
            started = time.perf_counter()
            answer = question()
            milliseconds = 1000 * (time.perf_counter() - started)
            if "error" in answer:
                raise SystemExit(f"{kind}: {answer}")
            if number >= WARM_UP:
                took[kind].append(milliseconds)
    return {
        kind: {
            "p50_ms": round(statistics.median(each), 2),
            "p99_ms": round(statistics.quantiles(each, n=100)[98], 2),
        }
        for kind, each in took.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1000, help="of each kind (default: 1000)")
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as temporary:
        home, models, made = (Path(temporary) / name for name in ("server", "models", "forecast"))
        for folder in (home, models, made):
            folder.mkdir()
        with running_server(home) as server:
            server.client("s3").create_bucket(Bucket=KEYS.bucket)
            serving = serve(server, models)
            forecast_city.make(made, city="fort_worth", name="Fort Worth").publish(serving)
            found = measure(questions(serving), calls)
    ratios = {
        f"by_name_to_{peer}": round(found["by_name"]["p50_ms"] / found[peer]["p50_ms"], 2)
        for peer in ("features", "invoke")
    }
    print(
        json.dumps(
            {"calls": calls, "horizon": HORIZON, "kinds": found, "ratios_of_medians": ratios}, indent=2
        )
    )


if __name__ == "__main__":
    main()
