"""How long others wait at the model server while bodies of 6 MB are evaluated: prints JSON.

``python bench/large_bodies.py [--bodies 24] [--against FOLDER]``: FOLDER is another clone of this project, measured in
turn with this one; ``ratio`` is its waits divided by ours. What is asked meanwhile, one after another: a ping, one row
and twenty rows of another model.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LARGE_BYTES = 6_200_000
MODEL = "model-1"
START_SECONDS = 30


def ask(port: int, method: str, path: str, body: bytes = b"", content_type: str = "text/csv") -> bytes:
    """Send one request on a connection of its own; its answer must be 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body, {"Content-Type": content_type, "Accept": "text/csv"})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
    return content


def start(project: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a clone's model server; return it and its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = os.environ | {
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(project / "include" / "scripts"),
        "MODEL_SERVER_HOST": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        str(project / ".venv-image" / "bin" / "python"),
        str(project / "include" / "model_server" / "__main__.py"),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            ask(port, "GET", "/ping")
        except OSError:
            time.sleep(0.05)
        else:
            return process, port
    process.kill()
    raise TimeoutError(f"{project}: the model server does not answer")


def measure(project: Path, artifacts: Path, content_type: str, bodies: int) -> dict[str, Any]:
    """Measure one clone's server with bodies of one type."""
    row = json.loads((artifacts / f"{MODEL}.expected.json").read_text())["rows"][0][0]
    if content_type == "text/csv":
        body = f"{row}\n".encode() * (LARGE_BYTES // (len(row) + 1))
    else:
        values = f"[{','.join(cell or 'null' for cell in row.split(','))}]"
        body = f'{{"instances": [{",".join([values] * (LARGE_BYTES // len(values)))}]}}'.encode()
    process, port = start(project)
    try:
        names = [f"busy-{number}" for number in range(bodies)]
        for name in ("quiet", *names):
            load = {"model_name": name, "url": str(artifacts / MODEL)}
            ask(port, "POST", "/models", json.dumps(load).encode())
        threads = [
            threading.Thread(target=ask, args=(port, "POST", f"/models/{name}/invoke", body, content_type))
            for name in names
        ]
        invoke = "/models/quiet/invoke"
        others = {
            "ping": ("GET", "/ping", b""),
            "one_row": ("POST", invoke, row.encode()),
            "twenty_rows": ("POST", invoke, f"{row}\n".encode() * 20),
        }
        waits: dict[str, list[float]] = {what: [] for what in others}
        began = time.monotonic()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for what, request in others.items():
                asked = time.monotonic()
                ask(port, *request)
                waits[what].append((time.monotonic() - asked) * 1e3)
            time.sleep(0.005)
        found: dict[str, Any] = {"all_s": round(time.monotonic() - began, 1)}
        for what, each in waits.items():
            each.sort()
            middle, tail = each[len(each) // 2], each[int(len(each) * 0.99)]
            found[what] = {"p50_ms": round(middle, 1), "p99_ms": round(tail, 1), "max_ms": round(each[-1], 1)}
        return found
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="How long others wait while large bodies are evaluated.")
    parser.add_argument("--bodies", type=int, default=24, help="at a time (default %(default)s)")
    parser.add_argument("--against", type=Path, help="another clone of this project")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder) / "artifacts"
        image = REPOSITORY / ".venv-image" / "bin" / "python"
        script = REPOSITORY / "tests" / "support" / "make_artifacts.py"
        scripts = REPOSITORY / "include" / "scripts"
        subprocess.run([str(image), str(script), str(scripts), str(artifacts)], check=True)
        for content_type in ("text/csv", "application/json"):
            ours = measure(REPOSITORY, artifacts, content_type, chosen.bodies)
            found[content_type] = {"ours": ours}
            if chosen.against is not None:
                theirs = measure(chosen.against, artifacts, content_type, chosen.bodies)
                ratio = {
                    what: {key: round(theirs[what][key] / ours[what][key], 1) for key in ours[what]}
                    for what in ("ping", "one_row", "twenty_rows")
                }
                found[content_type] |= {"against": theirs, "ratio": ratio}
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
