"""Bodies of megabytes do not keep anybody else waiting, and nothing is read behind a bad row."""

from __future__ import annotations

import json
import statistics
import threading
import time
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServer

NAME = "model-1"
BODIES = 8
LARGE_BYTES = 6_000_000


@pytest.fixture(scope="module")
def row(artifacts: Path) -> str:
    return str(json.loads((artifacts / f"{NAME}.expected.json").read_text())["rows"][0][0])


def large_body(row: str, content_type: str) -> bytes:
    if content_type == "text/csv":
        line = f"{row}\n"
        return (line * (LARGE_BYTES // len(line))).encode()
    values = f"[{', '.join(cell or 'null' for cell in row.split(','))}]"
    return f'{{"instances": [{",".join([values] * (LARGE_BYTES // len(values)))}]}}'.encode()


@pytest.mark.parametrize("content_type", ["text/csv", "application/json"])
def test_others_are_answered_while_large_bodies_are(
    plain_server: ModelServer, artifacts: Path, row: str, content_type: str
) -> None:
    """Bounds are wide, for a machine that does other things too: without turns these were seconds."""
    names = ["quiet", *(f"busy-{number}" for number in range(BODIES))]
    for name in names:
        plain_server.load_folder(name, artifacts / NAME)
    body, answers = large_body(row, content_type), {}

    def ask(name: str) -> None:
        answers[name] = plain_server.ask(name, body, content_type)

    threads = [threading.Thread(target=ask, args=(name,)) for name in names[1:]]
    waits: dict[str, list[float]] = {"ping": [], "one row": [], "twenty rows": []}
    twenty = (f"{row}\n" * 20).encode()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for what, seconds in waits.items():
            began = time.monotonic()
            if what == "ping":
                status = plain_server.call("GET", "/ping")[0]
            else:  # the last is a busy model's own
                name, some = ("quiet", row.encode()) if what == "one row" else (names[-1], twenty)
                status = plain_server.ask(name, some)[0]
            seconds.append(time.monotonic() - began)
            assert status == 200
    assert len(waits["ping"]) > 20
    medians = {what: statistics.median(seconds) for what, seconds in waits.items()}
    assert max(medians.values()) < 0.25, medians
    assert max(waits["ping"]) < 2, "SageMaker gives a ping two seconds"
    assert {status for status, _ in answers.values()} == {200}
    expected = plain_server.ask("quiet", row.encode())[1]
    assert all(set(text.split(",")) == {expected} for _, text in answers.values())
    for name in names:
        plain_server.call("DELETE", f"/models/{name}")


def test_a_smaller_body_overtakes_larger_ones(plain_server: ModelServer, artifacts: Path, row: str) -> None:
    names = [f"large-{number}" for number in range(8)]
    for name in [*names, "medium"]:
        plain_server.load_folder(name, artifacts / NAME)
    body, ended = large_body(row, "text/csv"), []

    def ask(name: str, body: bytes) -> None:
        assert plain_server.ask(name, body)[0] == 200
        ended.append(name)

    threads = [threading.Thread(target=ask, args=(name, body)) for name in names]
    for thread in threads:
        thread.start()
    while plain_server.metric("running") < 4:
        assert any(thread.is_alive() for thread in threads)
    ask("medium", body[: body.index(b"\n", 100_000)])
    for thread in threads:
        thread.join()
    assert ended.index("medium") < len(names) - 2, ended


@pytest.mark.parametrize(
    ("content_type", "bad"),
    [("text/csv", "1,2\n"), ("text/csv", "x\n"), ("application/json", "[1]"), ("application/json", "5")],
)
def test_nothing_is_read_behind_the_first_bad_row(
    plain_server: ModelServer, artifacts: Path, row: str, content_type: str, bad: str
) -> None:
    """The seconds are of the server's own processor: a whole body of this size takes it several tenths."""
    plain_server.load_folder("strict", artifacts / NAME)
    body = large_body(row, content_type)
    if content_type == "text/csv":
        wrong = bad.encode() + body
    else:
        wrong = body.replace(b"[[", f"[{bad},[".encode(), 1)

    def seconds(body: bytes) -> tuple[int, str, float]:
        clock = Path(f"/proc/{plain_server.process.pid}/stat")
        before = sum(map(int, clock.read_text().rsplit(")", 1)[1].split()[11:13]))
        status, text = plain_server.ask("strict", body, content_type)
        after = sum(map(int, clock.read_text().rsplit(")", 1)[1].split()[11:13]))
        return status, text, after - before

    whole, refused = seconds(body), seconds(wrong)
    assert whole[0] == 200
    assert (refused[0], refused[1][:5]) == (400, "Row 1")
    assert refused[2] < whole[2] / 2, (refused, whole[2])
    plain_server.call("DELETE", "/models/strict")
