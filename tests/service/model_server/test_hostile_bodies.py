"""Bodies of megabytes that hold no row: refused before they cost anything, and nobody waits for them."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServer

NAME = "model-1"
LARGE_BYTES = 6_200_000
CSV, JSON = "text/csv", "application/json"
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def row(artifacts: Path, plain_server: ModelServer) -> str:
    for name in ("quiet", *(f"busy-{number}" for number in range(24))):
        plain_server.load_folder(name, artifacts / NAME)
    return str(json.loads((artifacts / f"{NAME}.expected.json").read_text())["rows"][0][0])


def filled(head: str, part: str, tail: str) -> bytes:
    """A body of the largest size."""
    return f"{head}{part * ((LARGE_BYTES - len(head) - len(tail)) // len(part))}{tail}".encode()


def bodies(row: str) -> dict[str, tuple[bytes, str, str]]:
    """What may be sent, its type, and a part of what is said to it."""
    values = f"[{','.join(cell or 'null' for cell in row.split(','))}]"
    many = "got more than 500000 characters"
    return {
        "empty rows without a name": (filled("[", "[],", "[]]"), JSON, "has no list of instances"),
        "empty rows": (filled('{"instances": [', "[],", "[]]}"), JSON, "Row 1: got 0 values"),
        "empty rows in a row": (filled('{"instances": [[', "[],", "[]]]}"), JSON, "Row 1, value 1: got []"),
        "rows of objects": (filled('{"instances": [[1,', "{},", "{}]]}"), JSON, "Row 1, value 2: got {}"),
        "empty rows in an object": (filled('{"instances": [{"a":[', "[],", "[]]}]}"), JSON, many),
        "a value twice": (filled('{"instances": [{', '"a":1,', '"a":1}]}'), JSON, many),
        "numbers without end": (filled('{"instances": [[', "1,", "1]]}"), JSON, many),
        "texts without end": (filled('{"instances": [[', '"",', "1]]}"), JSON, many),
        "lists in lists": (filled('{"instances": ', "[", ""), JSON, "Row 1, value 1: got [["),
        "lists in lists alone": (filled("", "[", ""), JSON, "not JSON"),
        "objects in objects": (filled("", '{"a":', "1"), JSON, "not JSON"),
        "much before": (filled('{"a": [', "[],", '[]], "instances": [[1]]}'), JSON, "beside the instances"),
        "much behind": (
            filled(f'{{"instances": [{values}], "b": [', "[],", "[]]}"),
            JSON,
            "beside the instances",
        ),
        "many members": (filled("{", '"a":1,', '"b":1}'), JSON, "'a' twice"),
        "a text": (filled('"', "a", '"'), JSON, "has no list of instances"),
        "a name": (filled('{"', "a", '":1}'), JSON, "not JSON"),
        "spaces": (filled("", " ", "{}"), JSON, "has no list of instances"),
        "spaces in it": (filled('{"instances":', " ", "[[1]]}"), JSON, ""),
        "spaces between": (filled(f'{{"instances": [{values}', " ", "]}"), JSON, "not JSON"),
        "a number": (filled('{"instances": [[', "9", "]]}"), JSON, ""),
        "commas": (filled("", ",", ""), CSV, many),
        "empty lines": (filled("", "\n", row), CSV, "got 1001 empty lines before it"),
        "empty lines behind": (filled(f"{row}\n", "\r\n", ""), CSV, "Row 2: got 1001 empty lines"),
        "a quote that does not end": (filled('"', "1\n", ""), CSV, "not CSV"),
        "a row of many lines": (filled("", '"\n",', ""), CSV, many),
        "NUL": (filled("", "\0", ""), CSV, ""),
        "no text": (b"\xff" * LARGE_BYTES, CSV, "not UTF-8"),
    }


def seconds(server: ModelServer, name: str, body: bytes, kind: str) -> tuple[int, str, float]:
    """Status and text of an answer, and what it took of the server's processor."""

    def used() -> float:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / TICKS

    before = used()
    status, text = server.ask(name, body, kind)
    return status, text, used() - before


def test_what_is_no_row_is_refused_before_it_costs_anything(
    plain_server: ModelServer, row: str, subtests: pytest.Subtests
) -> None:
    """A good body of this size is the measure: it costs as much as a caller may cost."""
    good = seconds(plain_server, "quiet", filled("", f"{row}\n", ""), CSV)
    assert good[0] == 200
    for what, (body, kind, words) in bodies(row).items():
        with subtests.test(what):
            status, text, used = seconds(plain_server, "quiet", body, kind)
            assert (status, words in text) == (400, True), text
            assert len(text) < 1000
            assert "Traceback" not in text
            assert used < max(good[2] / 2, 0.2), (used, good[2])


def test_24_at_once_starve_nobody(plain_server: ModelServer, row: str) -> None:
    """As long as this took minutes, a one-row request had to wait for each of them."""
    body, kind, _ = bodies(row)["empty rows without a name"]
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda name=f"busy-{number}": answers.append(plain_server.ask(name, body, kind)[0])
        )
        for number in range(24)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    waits = []
    while any(thread.is_alive() for thread in threads):
        asked = time.monotonic()
        assert plain_server.ask("quiet", row.encode())[0] == 200
        waits.append(time.monotonic() - asked)
    assert answers == [400] * 24
    good = seconds(plain_server, "quiet", filled("", f"{row}\n", ""), CSV)[2]
    assert time.monotonic() - began < 24 * max(good, 0.5), "24 good bodies take longer"
    assert sorted(waits)[len(waits) // 2] < 1, waits
