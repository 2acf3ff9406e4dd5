"""What it takes to count and keep predictions: ``make bench-observers`` prints JSON.

The Lambda's own handler is asked in this process, warm, and answers through the shared endpoint over HTTP on this
machine. Two of it take turns, call by call and each as often the first, so that a busy moment is both's: one that
neither counts nor keeps, and one that writes a line of metrics for every call and keeps every prediction, with a mask,
and writes them as often as by default, once a minute. Measured is the processor time of this process, all of its
threads: boto3's share is in both, what the endpoint takes in neither. Asked is for a row of features, the shortest
question that there is. A third, as bare as the first, says how much of a difference is noise.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from city_fleet import traffic_rules
from tests.support.lambda_runtime import load_handler
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, Serving, serve

WARM_UP = 50


class Context:
    """What Lambda says of a call."""

    def get_remaining_time_in_millis(self) -> int:
        return 28_000


def questions(serving: Serving) -> dict[str, Callable[[], Any]]:
    """Return what asks the handler without observers, with all of them, and without again."""
    environment = {
        **serving.server.environment,
        "CITY_FLEET_BUCKET": KEYS.bucket,
        "CITY_FLEET_FLEET": KEYS.fleet,
        "CITY_FLEET_ENVIRONMENT": KEYS.environment,
        "CITY_FLEET_ENDPOINT": serving.endpoint,
    }
    rule = traffic_rules.CaptureRule(share=1, mask=("trend",))
    observed = load_handler(
        "predict",
        {
            **environment,
            traffic_rules.METRICS: traffic_rules.EMBEDDED,
            traffic_rules.CAPTURE: rule.text(),
        },
    )
    plain = load_handler("predict", environment)
    serving.publish("waco", 0)
    row, _ = serving.expected(0)
    question = {"city": "waco", "features": row}
    again = load_handler("predict", environment)
    return {
        "plain": lambda: plain.handler(question, Context()),
        "observed": lambda: observed.handler(question, Context()),
        "plain again": lambda: again.handler(question, Context()),
    }


def processor_ms(ask: Callable[[], Any]) -> float:
    """Return the processor time of one call, in milliseconds."""
    before = time.process_time()
    answer = ask()
    took = time.process_time() - before
    if answer["status"] != 200:
        raise SystemExit(str(answer))
    return 1000 * took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=3000, help="of each kind (default: 3000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home, models = Path(temporary) / "server", Path(temporary) / "models"
        home.mkdir()
        models.mkdir()
        with running_server(home) as server:
            server.client("s3").create_bucket(Bucket=KEYS.bucket)
            serving = serve(server, models)
            ask, log = questions(serving), io.StringIO()
            took: dict[str, list[float]] = {kind: [] for kind in ask}
            with contextlib.redirect_stdout(log):
                for _ in range(WARM_UP):
                    for question in ask.values():
                        processor_ms(question)
                order = list(ask.items())
                for _ in range(given.calls):
                    order = [*order[1:], order[0]]
                    for kind, question in order:
                        took[kind].append(processor_ms(question))
            found = server.client("s3").list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.capture_prefix())
    medians = {kind: statistics.median(each) for kind, each in took.items()}
    means = {kind: statistics.fmean(each) for kind, each in took.items()}
    report = {
        "calls": given.calls,
        "objects_written": found["KeyCount"],
        "lines_of_metrics": log.getvalue().count("\n"),
        "processor_ms_per_call": {
            "median": {kind: round(each, 3) for kind, each in medians.items()},
            "mean": {kind: round(each, 3) for kind, each in means.items()},
        },
        "beside_plain": {
            kind: {
                "median": round(medians[kind] / medians["plain"], 3),
                "mean": round(means[kind] / means["plain"], 3),
            }
            for kind in ("observed", "plain again")
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
