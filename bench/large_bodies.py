"""How long others wait while bodies of 6 MB are evaluated: ``make bench-bodies`` prints JSON.

24 bodies are sent at once, each to a model of its own, by a process of its own. What is asked meanwhile, one after
another: a ping, one row and twenty rows of another model. ``fastapi`` is the peer: what one writes in an hour, a
dictionary of boosters behind FastAPI, asked the same in the same run; ``against`` another clone of this project.

All are measured in turn, several times over; each figure is the median of its rounds. ``ratio`` is another's wait
divided by ours. ``load`` is what else the machine does: on one that others use only ratios say something.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE_PYTHON = REPOSITORY / ".venv-image" / "bin" / "python"
LARGE_BYTES = 6_200_000
MODEL = "model-6"  # a ratio to a feature, which the peer understands
START_SECONDS = 60
ANSWER_SECONDS = 600
WHAT = ("ping", "one_row", "twenty_rows")
CSV, JSON = "text/csv", "application/json"


def ask(port: int, method: str, path: str, body: bytes = b"", content_type: str = CSV) -> bytes:
    """Send one request on a connection of its own; its answer must be 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": content_type, "Accept": CSV})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
    return content


@contextlib.contextmanager
def started(command: list[str], port: int, variables: dict[str, str]) -> Iterator[None]:
    """Start a server, and end it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                ask(port, "GET", "/ping")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def server(name: str, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """How a server is started.

    :param name: ours, against, or fastapi.
    :param folder: of the clone.
    """
    if name == "fastapi":
        return [
            sys.executable,
            str(folder / "bench" / "serving_peers" / "fastapi_boosters.py"),
            str(port),
        ], {}
    variables = {
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(folder / "include" / "scripts"),
        "MODEL_SERVER_HOST": "127.0.0.1",
    }
    return [str(IMAGE_PYTHON), str(folder / "include" / "model_server" / "__main__.py")], variables


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send_all(port: int, names: list[str], body: bytes, content_type: str) -> None:
    """Send a body to each model at once, and wait for the answers: in a process of its own, so that no wait is ours."""
    threads = [
        threading.Thread(target=ask, args=(port, "POST", f"/models/{name}/invoke", body, content_type))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def large_body(row: str, content_type: str) -> bytes:
    """As many equal rows as fit."""
    if content_type == CSV:
        return f"{row}\n".encode() * (LARGE_BYTES // (len(row) + 1))
    values = f"[{row}]"
    return f'{{"instances": [{",".join([values] * (LARGE_BYTES // (len(values) + 1)))}]}}'.encode()


def measure(port: int, artifacts: Path, row: str, content_type: str, bodies: int) -> dict[str, Any]:
    """Measure a server that runs: waits by what was asked, in ms."""
    names = [f"busy-{number}" for number in range(bodies)]
    for name in ("quiet", *names):
        load = {"model_name": name, "url": str(artifacts / MODEL)}
        ask(port, "POST", "/models", json.dumps(load).encode())
    invoke = "/models/quiet/invoke"
    others = {
        "ping": ("GET", "/ping", b""),
        "one_row": ("POST", invoke, row.encode()),
        "twenty_rows": ("POST", invoke, f"{row}\n".encode() * 20),
    }
    waits: dict[str, list[float]] = {what: [] for what in others}
    arguments = (port, names, large_body(row, content_type), content_type)
    sending = multiprocessing.get_context("spawn").Process(target=send_all, args=arguments)
    began = time.monotonic()
    sending.start()
    while sending.is_alive():
        for what, request in others.items():
            asked = time.monotonic()
            ask(port, *request)
            waits[what].append((time.monotonic() - asked) * 1e3)
        time.sleep(0.005)
    sending.join()
    if sending.exitcode:
        raise RuntimeError(f"a body was not answered with 200: exit code {sending.exitcode}")
    found: dict[str, Any] = {"all_s": time.monotonic() - began}
    for what, each in waits.items():
        each.sort()
        tail = each[int(len(each) * 0.99)]
        found[what] = {"p50_ms": each[len(each) // 2], "p99_ms": tail, "max_ms": each[-1]}
    return found


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure."""
    found: dict[str, Any] = {"all_s": round(statistics.median(each["all_s"] for each in rounds), 1)}
    for what in WHAT:
        found[what] = {
            key: round(statistics.median(each[what][key] for each in rounds), 1) for key in rounds[0][what]
        }
    return found


def compare(chosen: argparse.Namespace, artifacts: Path, content_type: str) -> dict[str, Any]:
    """Measure all servers in turn with bodies of one type."""
    text = json.loads((artifacts / f"{MODEL}.expected.json").read_text())["rows"][0][0]
    row = ",".join(cell or "1" for cell in text.split(","))  # the peer knows no missing values
    servers = {"ours": REPOSITORY, "fastapi": REPOSITORY}
    if chosen.against is not None:
        servers["against"] = chosen.against
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for _ in range(chosen.rounds):
        for name, folder in servers.items():
            port = free_port()
            command, variables = server(name, folder, port)
            with started(command, port, variables):
                measured[name].append(measure(port, artifacts, row, content_type, chosen.bodies))
    found: dict[str, Any] = {name: medians(rounds) for name, rounds in measured.items()}
    ours = found["ours"]
    found["ratio"] = {
        name: {
            what: {key: round(found[name][what][key] / ours[what][key], 1) for key in ours[what]}
            for what in WHAT
        }
        for name in servers
        if name != "ours"
    }
    return found


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How long others wait while large bodies are evaluated.")
    parser.add_argument("--bodies", type=int, default=24, help="at a time (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each server, in turn (default %(default)s)")
    parser.add_argument("--against", type=Path, help="another clone of this project")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"cpus": os.cpu_count(), "bodies": chosen.bodies, "rounds": chosen.rounds}
    found["load"] = {"before": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder) / "artifacts"
        script = REPOSITORY / "tests" / "support" / "make_artifacts.py"
        scripts = REPOSITORY / "include" / "scripts"
        command = [str(IMAGE_PYTHON), str(script), str(scripts), str(artifacts), "7"]
        subprocess.run(command, check=True)
        for content_type in (CSV, JSON):
            found[content_type] = compare(chosen, artifacts, content_type)
    found["load"]["after"] = round(os.getloadavg()[0], 1)
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
