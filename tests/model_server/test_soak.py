"""Mixed load for a while: loads, unloads, evictions, good and bad requests side by side; memory stays flat.

``SOAK_SECONDS`` says how long; ``make soak`` takes half an hour.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.model_server.servers import SCRIPTS, ModelServer

SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
THREADS = 4
NAMES = 60


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is told by Linux alone")
def test_mixed_load_without_an_error_and_without_growth(
    start: Callable[..., ModelServer], artifacts: Path
) -> None:
    folders = sorted(path for path in artifacts.iterdir() if path.is_dir())[:12]
    cases = [json.loads((artifacts / f"{folder.name}.expected.json").read_text()) for folder in folders]
    server = start(
        MODEL_SERVER_MEMORY_BYTES="1500000",  # a third of what all models would take
        SAGEMAKER_SUBMIT_DIRECTORY=str(SCRIPTS),
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv",
    )
    for number in range(NAMES):
        assert server.load_folder(f"m{number}", folders[number % len(folders)])[0] == 200
    done = threading.Event()

    def ask(seed: int) -> int:
        """Ask, and compare every answer with XGBoost's own."""
        chance = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        count = 0
        while not done.is_set():
            number = chance.randrange(NAMES)
            row, prediction = chance.choice(cases[number % len(cases)]["rows"])
            path = f"/models/m{number}/invoke"
            body, expected = row.encode(), 200
            if chance.random() < 0.05:
                body, expected = b"not,numbers", 400
            status, text = server.on(connection, "POST", path, body, Content_Type="text/csv")
            assert status == expected, (status, text)
            assert expected != 200 or text == prediction
            count += 1
        connection.close()
        return count

    def publish() -> int:
        """New models come, are asked for, and old ones go, as with a publish every moment."""
        chance = random.Random(0)
        count = 0
        while not done.is_set():
            number = chance.randrange(len(folders))
            name = f"new-{count}"
            assert server.load_folder(name, folders[number])[0] == 200
            row, prediction = cases[number]["rows"][0]
            assert server.ask(name, row.encode()) == (200, prediction)
            assert server.call("DELETE", f"/models/{name}")[0] == 200
            assert name not in server.names()
            count += 1
        return count

    sizes: list[int] = []
    end = time.monotonic() + SECONDS
    with concurrent.futures.ThreadPoolExecutor(THREADS + 1) as pool:
        running = [pool.submit(ask, seed) for seed in range(THREADS)] + [pool.submit(publish)]
        while time.monotonic() < end and not any(each.done() for each in running):
            sizes.append(server.resident_bytes())
            time.sleep(SECONDS / 60)
        done.set()
        counts = [each.result(60) for each in running]
    assert all(counts)
    assert server.metric("evictions_total") > 0
    assert server.metric("models_bytes") <= 1_500_000
    # The first third warms up: interpreter, XGBoost for dart's artifact, the C library's arenas.
    third = len(sizes) // 3
    early, late = max(sizes[third : 2 * third]), max(sizes[2 * third :])
    print(f"soak: {sum(counts)} requests in {SECONDS:.0f} s, {early / 1e6:.1f} MB, then {late / 1e6:.1f} MB")
    assert late <= early * 1.05 + 2_000_000
