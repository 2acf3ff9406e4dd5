"""What it takes to count and keep predictions: ``make bench-observers`` prints JSON.

The predict function's own handler answers through the shared endpoint over HTTP on this machine, warm. Asked is for a
row of features, the shortest question that there is, so that what is added weighs most. Of two ways to the handler:

``lambda``
    A call as API Gateway makes it, in this process. Lines of metrics go into a pipe, as Lambda's do.
``serve``
    ``make serve``'s own server with the page for Prometheus, asked over one connection by a bare socket.

Each kind of handler takes its turn call by call, in an order that is drawn anew every time, so that a busy moment is
everybody's. Twenty turns are a round: of each kind the processor time of its calls in it, of all threads of this
process, is divided by that of the kind without observers. Said are the median of those ratios over all rounds and the
limits within which half of them lie; ``plain again``, as bare as ``plain``, says how much of a ratio is noise. boto3's
share is in all, what the endpoint takes in none. What waits is written as by default, once a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from city_fleet import traffic_rules
from city_fleet.prediction.traffic_page import CONTENT_TYPE, TrafficPage
from city_fleet.traffic_rules import CaptureRule
from local.stack.lambda_http import LambdaServer, event_of
from tests.support.lambda_runtime import load_handler
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, Serving, serve

WARM_UP = 50
A_ROUND = 20
Ask = Callable[[], None]

METRICS = {traffic_rules.METRICS: traffic_rules.EMBEDDED}
#: A tenth is what docs/traffic.md shows; with all of them kept and masked nothing takes more.
TENTH, ALL = CaptureRule(share=0.1, mask=("trend",)), CaptureRule(share=1, mask=("trend",))
KINDS: dict[str, dict[str, dict[str, str]]] = {
    "lambda": {
        "plain": {},
        "plain again": {},
        "metrics": METRICS,
        "capture of a tenth": {traffic_rules.CAPTURE: TENTH.text()},
        "metrics, capture of a tenth": {**METRICS, traffic_rules.CAPTURE: TENTH.text()},
        "metrics, capture of all": {**METRICS, traffic_rules.CAPTURE: ALL.text()},
    },
    "serve": {
        "plain": {},
        "plain again": {},
        "page": {},
        "page, capture of all": {traffic_rules.CAPTURE: ALL.text()},
    },
}


class Context:
    """What Lambda says of a call."""

    def get_remaining_time_in_millis(self) -> int:
        return 28_000


def called(environment: Mapping[str, str], question: bytes) -> Ask:
    """Return what calls a handler as Lambda does."""
    function, context = load_handler("predict", environment), Context()

    def ask() -> None:
        answer = function.handler(event_of("POST", "/predict", {}, question), context)
        if answer["statusCode"] != 200:
            raise SystemExit(str(answer))

    return ask


@contextlib.contextmanager
def served(environment: Mapping[str, str], question: bytes, page: TrafficPage | None) -> Iterator[Ask]:
    """Give what asks a handler behind its server, as ``make serve`` has it."""
    function = load_handler("predict", environment)
    pages = {}
    if page is not None:
        function.OBSERVERS.append(page)
        pages = {"/metrics": lambda: (CONTENT_TYPE, page.text())}
    if function.CAPTURE is not None:
        function.CAPTURE.start()
    with LambdaServer(function.handler, 0, pages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with socket.create_connection(("127.0.0.1", server.server_port)) as line:
            head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(question)}\r\n\r\n"
            request = head.encode() + question

            def ask() -> None:
                line.sendall(request)
                got = b""
                while not got.endswith(b"}"):  # the answer is one JSON object, and ends with it
                    got += line.recv(65536)
                if not got.startswith(b"HTTP/1.1 200 "):
                    raise SystemExit(got.decode(errors="replace"))

            yield ask
        server.shutdown()
        thread.join(10)
    if function.CAPTURE is not None:
        function.CAPTURE.close()


def processor_ms(ask: Ask) -> float:
    """Return the processor time of one call, in milliseconds."""
    before = time.process_time()
    ask()
    return 1000 * (time.process_time() - before)


def measure(ask: Mapping[str, Ask], rounds: int) -> dict[str, list[float]]:
    """Return the processor time of each kind's calls by round: milliseconds a call."""
    for _ in range(WARM_UP):
        for each in ask.values():
            each()
    draw, order = random.Random(1), list(ask)  # noqa: S311
    took: dict[str, list[float]] = {kind: [] for kind in ask}
    for _ in range(rounds):
        spent = dict.fromkeys(ask, 0.0)
        for _ in range(A_ROUND):
            draw.shuffle(order)
            for kind in order:
                spent[kind] += processor_ms(ask[kind])
        for kind, milliseconds in spent.items():
            took[kind].append(milliseconds / A_ROUND)
    return took


def report(took: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return what rounds have shown: milliseconds a call, and per cent more than without observers."""
    plain = took["plain"]
    said = {}
    for kind, each in took.items():
        more = [100 * (own / bare - 1) for own, bare in zip(each, plain, strict=True)]
        low, median, high = statistics.quantiles(more, n=4)
        said[kind] = {
            "processor_ms_per_call": round(statistics.median(each), 3),
            "per_cent_more": round(median, 2),
            "half_of_the_rounds": [round(low, 2), round(high, 2)],
            "per_cent_more_of_all_calls": round(100 * (sum(each) / sum(plain) - 1), 2),
        }
    del said["plain"]["half_of_the_rounds"]
    return said


def _on_lambda(environment: Mapping[str, str], question: bytes, rounds: int, log: IO[str]) -> dict[str, Any]:
    ask = {kind: called({**environment, **more}, question) for kind, more in KINDS["lambda"].items()}
    with contextlib.redirect_stdout(log):
        return report(measure(ask, rounds))


def _on_serve(environment: Mapping[str, str], question: bytes, rounds: int) -> dict[str, Any]:
    with contextlib.ExitStack() as servers:
        ask = {}
        for kind, more in KINDS["serve"].items():
            page = TrafficPage(KEYS.fleet, KEYS.environment, ["waco"]) if "page" in kind else None
            ask[kind] = servers.enter_context(served({**environment, **more}, question, page))
        return report(measure(ask, rounds))


def ready(serving: Serving) -> tuple[dict[str, str], bytes]:
    """Publish a model; return the variables of a function that asks it, and a question."""
    serving.publish("waco", 0)
    row, _ = serving.expected(0)
    environment = {
        **serving.server.environment,
        "CITY_FLEET_BUCKET": KEYS.bucket,
        "CITY_FLEET_FLEET": KEYS.fleet,
        "CITY_FLEET_ENVIRONMENT": KEYS.environment,
        "CITY_FLEET_ENDPOINT": serving.endpoint,
    }
    return environment, json.dumps({"city": "waco", "features": row}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=150, help=f"of {A_ROUND} calls of each kind (default: 150)"
    )
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error("--rounds: at least 2")
    with tempfile.TemporaryDirectory() as temporary:
        home, models = Path(temporary) / "server", Path(temporary) / "models"
        home.mkdir()
        models.mkdir()
        # Another process reads the pipe, so that it is not this one's time.
        reader = subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with running_server(home) as server, reader:
            assert reader.stdin is not None
            server.client("s3").create_bucket(Bucket=KEYS.bucket)
            environment, question = ready(serve(server, models))
            found = {
                "lambda": _on_lambda(environment, question, given.rounds, reader.stdin),
                "serve": _on_serve(environment, question, given.rounds),
            }
            kept = server.client("s3").list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.capture_prefix())
            written, _ = reader.communicate(timeout=30)
    said = {
        "rounds": given.rounds,
        "calls_of_each_kind": given.rounds * A_ROUND,
        "lines_of_metrics": int(written),
        "objects_written": kept["KeyCount"],
        **found,
    }
    print(json.dumps(said, indent=2))


if __name__ == "__main__":
    main()
