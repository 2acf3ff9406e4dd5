"""Mixed load for a while: loads, unloads, evictions, good and bad requests side by side; memory stays flat.

``SOAK_SECONDS`` says how long; ``make soak`` takes two minutes, ``make soak MINUTES=30`` half an hour.
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

from tests.support.model_servers import ModelServer
from tests.support.paths import SCRIPTS

SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
THREADS = 4
NAMES = 60
MEMORY_BYTES = 1_500_000


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is told by Linux alone")
def test_mixed_load_without_an_error_and_without_growth(
    start: Callable[..., ModelServer], artifacts: Path
) -> None:
    folders = sorted(path for path in artifacts.iterdir() if path.is_dir())[:12]
    cases = [json.loads((artifacts / f"{folder.name}.expected.json").read_text()) for folder in folders]
    server = start(
        MODEL_SERVER_MEMORY_BYTES=str(MEMORY_BYTES),  # a third of what all models would take
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
        """A city's new model comes and is asked, then the one before goes; again and again."""
        chance = random.Random(0)
        count = 0
        while not done.is_set():
            number = chance.randrange(len(folders))
            name = f"new-{count}"
            assert server.load_folder(name, folders[number])[0] == 200
            row, prediction = cases[number]["rows"][0]
            assert server.ask(name, row.encode()) == (200, prediction)
            if count:
                before = f"new-{count - 1}"
                assert server.call("DELETE", f"/models/{before}")[0] == 200
                assert before not in server.names()
            count += 1
        return count

    at_start = server.resident_bytes()
    sizes: list[int] = []
    end = time.monotonic() + SECONDS
    with concurrent.futures.ThreadPoolExecutor(THREADS + 1) as pool:
        running = [pool.submit(ask, seed) for seed in range(THREADS)] + [pool.submit(publish)]
        while time.monotonic() < end and not any(each.done() for each in running):
            sizes.append(server.resident_bytes())
            time.sleep(SECONDS / 60)
        done.set()
        counts = [each.result(60) for each in running]
    *asked, publishes = counts
    assert all(counts)
    assert server.metric("evictions_total") > 0
    assert server.metric("models_bytes") <= MEMORY_BYTES
    # The first third warms up: interpreter, XGBoost for dart's artifact, the C library's arenas.
    third = len(sizes) // 3
    early, late = max(sizes[third : 2 * third]), max(sizes[2 * third :])
    told = {
        "seconds": SECONDS,
        "requests": sum(asked),
        "publishes": publishes,
        "loads": sum(value for name, value in server.metrics().items() if "loads_total" in name),
        "evictions": server.metric("evictions_total"),
        "resident_mb_at_start": at_start / 1e6,
        "resident_mb_most_in_each_third": [max(sizes[:third]) / 1e6, early / 1e6, late / 1e6],
        "resident_mb_at_end": sizes[-1] / 1e6,
    }
    print("soak:", json.dumps(told))
    failed = [name for name in server.metrics() if "loads_total" in name and 'outcome="ok"' not in name]
    assert not failed
    assert late <= early * 1.05 + 2_000_000
