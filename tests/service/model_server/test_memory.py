"""Memory: bounded, the least recently used model makes room, what answers stays, and the system gets it back."""

from __future__ import annotations

import concurrent.futures
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.model_servers import ModelServer
from tests.support.paths import SCRIPTS
from tests.support.waiting import wait_until

OURS = {"SAGEMAKER_SUBMIT_DIRECTORY": str(SCRIPTS), "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}


@pytest.fixture(scope="module")
def artifact(artifacts: Path) -> tuple[Path, str, int]:
    """An artifact, a row for it, and what it takes in memory."""
    folder = artifacts / "model-7"
    import json

    row = json.loads((artifacts / "model-7.expected.json").read_text())["rows"][0][0]
    return folder, row, (folder / "city_fleet" / "trees.bin").stat().st_size + 16 * 1024 + 100


def test_the_least_recently_used_makes_room_and_comes_back_when_it_is_asked_for(
    start: Callable[..., ModelServer], artifact: tuple[Path, str, int]
) -> None:
    folder, row, size = artifact
    server = start(MODEL_SERVER_MEMORY_BYTES=str(size * 3), **OURS)
    for name in "abc":
        assert server.load_folder(name, folder)[0] == 200
    answer = server.ask("a", row.encode())
    assert server.load_folder("d", folder)[0] == 200
    assert server.names() == ["a", "c", "d"]  # b was used longest ago
    assert server.call("GET", "/models/b")[0] == 404
    assert server.ask("b", row.encode()) == answer
    assert server.names() == ["a", "d", "b"]
    assert server.metric("evictions_total") == 2
    assert server.metric("models_bytes") <= size * 3
    assert server.call("DELETE", "/models/c")[0] == 200  # gone from memory, but still the host's to unload
    assert server.ask("c", row.encode())[0] == 404


def test_a_host_that_decides_itself_is_told_that_there_is_no_room(
    start: Callable[..., ModelServer], artifact: tuple[Path, str, int]
) -> None:
    folder, row, size = artifact
    server = start(MODEL_SERVER_MEMORY_BYTES=str(size * 2), MODEL_SERVER_EVICTION="refuse", **OURS)
    assert [server.load_folder(name, folder)[0] for name in "abc"] == [200, 200, 507]
    assert server.names() == ["a", "b"]
    assert server.call("DELETE", "/models/a")[0] == 200
    assert server.load_folder("c", folder)[0] == 200
    assert server.ask("c", row.encode())[0] == 200
    tiny = start(MODEL_SERVER_MEMORY_BYTES="1000", **OURS)
    status, answer = tiny.load_folder("a", folder)
    assert status == 507
    assert "1000" in answer["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is told by Linux alone")
def test_what_answers_is_never_evicted(start: Callable[..., ModelServer]) -> None:
    server = start(MODEL_SERVER_MEMORY_BYTES="50000000")
    assert server.load("one", "heavy 1")[0] == 200
    assert server.load("two", "heavy 2")[0] == 200
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(server.ask, name, b"sleep") for name in ("one", "two")]
        wait_until(lambda: server.metric("running") == 2, 10, "both answer")
        assert server.load("three", "heavy 3")[0] == 507
        assert all(answer.result(10)[0] == 200 for answer in running)
    assert server.load("three", "heavy 3")[0] == 200
    assert "three" in server.names()
    assert len(server.names()) == 2


def test_a_model_is_loaded_once_however_many_ask(start: Callable[..., ModelServer]) -> None:
    server = start(MODEL_SERVER_MEMORY_BYTES="45000000")
    server.load("slow", "slow")
    for name in ("one", "two", "three"):
        server.load(name, f"heavy {name}")
    assert "slow" not in server.names()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(server.ask, "slow", b"1") for _ in range(8)]
        assert server.call("GET", "/ping")[0] == 200  # not in the way of others
        assert {caller.result(20)[1] for caller in callers} == {"slow:1:None"}
    assert server.log.read_text().count("loaded slow") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is told by Linux alone")
def test_memory_goes_back_to_the_system(
    start: Callable[..., ModelServer], artifact: tuple[Path, str, int]
) -> None:
    folder, row, size = artifact
    server = start(**OURS)
    server.load_folder("first", folder)
    server.ask("first", row.encode())
    before = server.resident_bytes()
    count = 400
    for number in range(count):
        assert server.load_folder(f"m{number}", folder)[0] == 200
    grown = server.resident_bytes() - before
    assert grown <= count * size * 1.2  # what is accounted for is what is taken
    assert grown <= count * 250_000
    for number in range(count):
        assert server.call("DELETE", f"/models/m{number}")[0] == 200
    wait_until(lambda: server.resident_bytes() - before < 0.2 * grown, 20, "memory is given back")


def test_an_artifact_that_is_gone_when_it_is_needed_again(
    start: Callable[..., ModelServer], artifact: tuple[Path, str, int], tmp_path: Path
) -> None:
    folder, row, size = artifact
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    server = start(MODEL_SERVER_MEMORY_BYTES=str(size * 1), **OURS)
    server.load_folder("a", copy)
    server.load_folder("b", folder)
    shutil.rmtree(copy)
    status, text = server.ask("a", row.encode())
    assert (status, "url must be a folder that exists" in text) == (400, True)
    assert server.ask("b", row.encode())[0] == 200


def test_a_load_that_fails_makes_nobody_go(
    start: Callable[..., ModelServer], artifact: tuple[Path, str, int], tmp_path: Path
) -> None:
    """The new one is there before an old one goes: what cannot be loaded costs no other model its place."""
    folder, row, size = artifact
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "city_fleet" / "trees.bin").write_bytes(b"")
    server = start(MODEL_SERVER_MEMORY_BYTES=str(size * 2), **OURS)
    for name in "ab":
        server.load_folder(name, folder)
    assert server.load_folder("broken", broken)[0] == 500
    assert server.names() == ["a", "b"]
    assert server.metric("evictions_total") == 0
    assert server.ask("a", row.encode())[0] == 200
    assert server.metric("misses_total") == 0


def test_too_many_that_wait_for_a_load_are_told_so(start: Callable[..., ModelServer]) -> None:
    server = start(MODEL_SERVER_MEMORY_BYTES="45000000", MODEL_SERVER_QUEUE="2")
    gate = server.base / "models" / "gated" / "open"
    gate.parent.mkdir(parents=True)
    gate.touch()
    server.load("gated", "gated")
    for name in ("one", "two", "three"):
        server.load(name, f"heavy {name}")
    assert "gated" not in server.names()
    gate.unlink()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.ask, "gated", b"1") for _ in range(8)]
        wait_until(lambda: sum(each.done() for each in asked) == 6, 20, "all but two are refused")
        assert {each.result()[0] for each in asked if each.done()} == {503}
        gate.touch()
        answers = [each.result(20) for each in asked]
    assert [text for status, text in answers if status == 200] == ["gated:1:None"] * 2
    assert server.metric("rejected_total") == 6
