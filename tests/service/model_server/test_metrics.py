"""What can be observed: metrics of a fixed number, a log that programs can read."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.support.model_servers import ModelServer


def test_metrics_count_what_happens_and_name_no_model(start: Callable[..., ModelServer]) -> None:
    server = start()
    for number in range(20):
        server.load(f"m{number}")
        server.ask(f"m{number}", b"1")
    server.ask("m0", b"teapot")
    server.ask("nobody", b"1")
    server.load("broken", "broken")
    server.call("DELETE", "/models/m1")
    _, text = server.call("GET", "/metrics")
    found = server.metrics()
    assert found['model_server_requests_total{kind="invoke",status="2xx"}'] == 20
    assert found['model_server_requests_total{kind="invoke",status="4xx"}'] == 2
    assert found['model_server_requests_total{kind="unload",status="2xx"}'] == 1
    assert found['model_server_loads_total{path="module",outcome="ok"}'] == 20
    assert found['model_server_loads_total{path="none",outcome="5xx"}'] == 1
    assert found["model_server_hits_total"] == 21
    assert found["model_server_misses_total"] == 1
    assert found["model_server_models"] == 19
    assert found["model_server_invoke_seconds_count"] == 22
    assert found['model_server_invoke_seconds_bucket{le="+Inf"}'] == 22
    assert found["model_server_invoke_seconds_sum"] > 0
    assert "m0" not in text
    assert len(found) < 60
    described = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(described) == len(set(described))


def test_the_log_is_one_object_a_line(start: Callable[..., ModelServer]) -> None:
    server = start()
    server.load("broken", "broken")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    events = {line["event"]: line for line in lines}
    assert {"listening", "load_failed", "draining", "stopped"} <= events.keys()
    assert events["load_failed"]["model"] == "broken"
    assert events["load_failed"]["reason"].startswith("ValueError: this model is broken.")
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
