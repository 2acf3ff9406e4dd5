"""What it takes to count and keep predictions: ``make bench-observers`` prints JSON.

The Lambda's own handler is asked in this process, warm, and answers through the shared endpoint over HTTP on this
machine. Two of it take turns, block by block, so that a busy moment is both's: one that neither counts nor keeps, and
one that writes a line of metrics for every call and keeps every prediction, with a mask, and writes them as often as by
default, once a minute. Measured is the processor time of this process, by ``getrusage``: boto3's share is in both,
what the endpoint takes in neither. Asked is for a row of features, the shortest question that there is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import statistics
import sys
import tempfile
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
    """Return what asks the handler without observers, and with all of them."""
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
    return {
        "plain": lambda: plain.handler(question, Context()),
        "observed": lambda: observed.handler(question, Context()),
    }


def block(ask: Callable[[], Any], calls: int) -> float:
    """Return the processor time of a call, in milliseconds, on average over some."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(calls):
        answer = ask()
        if answer["status"] != 200:
            raise SystemExit(str(answer))
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * seconds / calls


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=40, help="of each kind (default: 40)")
    parser.add_argument("--calls", type=int, default=100, help="of each block (default: 100)")
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
                for question in ask.values():
                    block(question, WARM_UP)
                for number in range(given.blocks):
                    kinds = list(ask.items())
                    for kind, question in kinds if number % 2 else reversed(kinds):
                        took[kind].append(block(question, given.calls))
            found = server.client("s3").list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.capture_prefix())
    ratios = [observed / plain for plain, observed in zip(took["plain"], took["observed"], strict=True)]
    medians = {kind: statistics.median(each) for kind, each in took.items()}
    low, _, high = statistics.quantiles(ratios, n=4)
    report = {
        "blocks": given.blocks,
        "calls": given.calls,
        "objects_written": found["KeyCount"],
        "lines_of_metrics": log.getvalue().count("\n"),
        "processor_ms_per_call": {kind: round(each, 3) for kind, each in medians.items()},
        "ratio_of_medians": round(medians["observed"] / medians["plain"], 3),
        "ratio_of_blocks": {
            "median": round(statistics.median(ratios), 3),
            "quartiles": [round(low, 3), round(high, 3)],
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
