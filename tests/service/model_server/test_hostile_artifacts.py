"""Nothing in an artifact is believed: whatever it holds, loading ends, the server lives, others are answered.

``make flips N=1000 SEED=7`` damages more artifacts, and others; what was wrong names its seed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import shutil
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_servers import ModelServer

FLIPS = int(os.environ.get("ARTIFACT_FLIPS", "80"))
SEED = int(os.environ.get("ARTIFACT_SEED", "20"))
BOOSTER, CARD = "xgboost-model.ubj", "city_fleet/model.json"
TREES, SAMPLES = "city_fleet/trees.bin", "city_fleet/samples.json"
SECONDS = 25
NODE = struct.Struct("<fHH")


def copy(artifacts: Path, name: str, folder: Path) -> Path:
    """An artifact that a test may spoil."""
    return Path(shutil.copytree(artifacts / name, folder / f"hostile-{name}"))


def sign(folder: Path, packed: bool = True, **changes: Any) -> None:
    """Give model.json the digests of what is there, as somebody would who wants it to be believed."""
    path = folder / CARD
    card = json.loads(path.read_text()) | changes
    card["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (BOOSTER, *([TREES] if packed else []))
    }
    path.write_text(json.dumps(card))


def packed(roots: list[int], nodes: list[tuple[float, int, int]], features: int, depth: int) -> bytes:
    """Packed trees that claim what a test wants them to."""
    head = struct.pack("<8s4IfI", b"CFTREES1", len(roots), len(nodes), features, depth, 0.0, 0)
    padded = roots + [0] * (len(roots) % 2)
    return head + struct.pack(f"<{len(padded)}I", *padded) + b"".join(NODE.pack(*node) for node in nodes)


def chain(length: int) -> list[tuple[float, int, int]]:
    """A tree that is one long path: every split has a leaf on its left and goes on to the right."""
    nodes: list[tuple[float, int, int]] = [(0.5, 0, 1)]
    for number in range(length):
        last = number == length - 1
        nodes += [(0.0, 0, 0), (0.0, 0, 0) if last else (0.5, 0, 1)]
    return nodes


@pytest.fixture
def others(plain_server: ModelServer, artifacts: Path) -> Callable[[], None]:
    """Makes sure that another model goes on answering."""
    case = json.loads((artifacts / "model-2.expected.json").read_text())
    plain_server.load_folder("neighbour", artifacts / "model-2")
    row, prediction = case["rows"][0]

    def check() -> None:
        assert plain_server.process.poll() is None, plain_server.log.read_text()[-3000:]
        assert plain_server.ask("neighbour", row.encode()) == (200, prediction)

    return check


def refused(server: ModelServer, folder: Path, *words: str) -> str:
    """The sentence of a load that is refused: soon, and without a path of this machine."""
    began = time.monotonic()
    status, answer = server.load_folder("hostile", folder)
    assert time.monotonic() - began < SECONDS
    assert status == 500, (status, answer)
    message = str(answer["message"])
    for word in words:
        assert word in message, message
    assert "Traceback" not in message
    assert str(folder) not in message
    assert len(message) < 1000
    return message


def test_trees_that_claim_work_are_refused(
    plain_server: ModelServer,
    artifacts: Path,
    tmp_path: Path,
    others: Callable[[], None],
    subtests: pytest.Subtests,
) -> None:
    folder = copy(artifacts, "model-1", tmp_path)
    features = len(json.loads((folder / CARD).read_text())["features"])
    hostile = {
        "a long chain that all trees share": packed([0] * 100_000, chain(50_000), features, 100_000),
        "depth alone": packed([0], chain(10_000), features, 10_000),
        "trees alone": packed(list(range(3_000)), [(0.0, 0, 0)] * 3_000, features, 1_000),
        "a shared root": packed([0, 0], chain(3), features, 3),
        "roots that go back": packed([2, 0], [(0.0, 0, 0)] * 3, features, 1),
        "a node of no tree": packed([1], [(0.0, 0, 0)] * 2, features, 1),
        "a child in the next tree": packed([0, 2], [(0.5, 0, 1), *[(0.0, 0, 0)] * 3], features, 1),
        "a child of two": packed(
            [0], [(0.5, 0, 1), (0.5, 0, 2), (0.5, 0, 1), (0.0, 0, 0), (0.0, 0, 0)], features, 3
        ),
        "deeper than said": packed([0], chain(40), features, 3),
        "an infinite leaf": packed([0], [(math.inf, 0, 0)], features, 1),
        "a threshold that is none": packed([0], [(math.nan, 0, 1), (1.0, 0, 0), (2.0, 0, 0)], features, 1),
    }
    for what, trees in hostile.items():
        with subtests.test(what):
            (folder / TREES).write_bytes(trees)
            sign(folder)
            refused(plain_server, folder, "packed trees")
            others()


def test_a_model_of_much_work_answers_beside_the_others(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, others: Callable[[], None]
) -> None:
    """Trees within the bounds, at their upper end: a request for them keeps nobody waiting."""
    folder = copy(artifacts, "model-1", tmp_path)
    card = json.loads((folder / CARD).read_text())
    depth, count = 500, 3_900
    tree = chain(depth)
    nodes = tree * count
    (folder / TREES).write_bytes(
        packed([number * len(tree) for number in range(count)], nodes, len(card["features"]), depth)
    )
    row = [1.0] * len(card["features"])
    samples = {"rows": [row], "predictions": [0.0 if card["target_transform"]["kind"] == "none" else 1.0]}
    (folder / SAMPLES).write_text(json.dumps(samples))
    sign(folder)
    assert plain_server.load_folder("heavy", folder)[0] == 200
    body = ("\n".join([",".join(map(str, row))] * 20)).encode()
    answers: list[int] = []
    asking = [
        threading.Thread(target=lambda: answers.append(plain_server.ask("heavy", body)[0])) for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    waits = []
    while any(thread.is_alive() for thread in asking):
        began = time.monotonic()
        others()
        waits.append(time.monotonic() - began)
    assert answers == [200] * 4
    assert sorted(waits)[len(waits) // 2] < 0.25, waits
    plain_server.call("DELETE", "/models/heavy")


JSON_DAMAGES = {
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "nothing": b"",
    "not UTF-8": b"\xff\xfe{}",
    "another type": b"[]",
    "a number": b"5",
    "too large": b" " * 5_000_000,
    "a long number": b"9" * 10_000,
}


def test_side_files_are_refused_by_a_sentence(
    plain_server: ModelServer,
    artifacts: Path,
    tmp_path: Path,
    others: Callable[[], None],
    subtests: pytest.Subtests,
) -> None:
    for file in (CARD, SAMPLES):
        folder = copy(artifacts, "model-1", tmp_path)
        for what, content in JSON_DAMAGES.items():
            with subtests.test(what, file=file):
                (folder / file).write_bytes(content)
                refused(plain_server, folder, file)
        shutil.rmtree(folder)
    others()


CARD_DAMAGES: list[dict[str, Any]] = [
    *({"features": value} for value in ("abc", [], [1], [["a"]], {"a": 1}, None, ["x" * 2000], [""])),
    *({"target_transform": value} for value in (None, "log", {"kind": []}, {"kind": "log", "window": 3})),
    *(
        {"target_transform": {"kind": "log_ratio_to_mean", "window": window, "reference": reference}}
        for window, reference in ((10**30, "price_mean_12"), (True, "price_mean_12"), (12, ["a"]), (12, "b"))
    ),
    *({"describe": value} for value in ("1", 5, None, [1])),
    *({"algorithm": value} for value in (5, "", "../train", "a.b", "__init__")),
    {"algorithm_digest": "0"},
    *({"schema": value} for value in (5, {}, {"format_version": 1}, None)),
    *({"rows": value} for value in (5, {"train": "x"}, {"train": 1.5}, {"train": -1}, [["train", 1]])),
    *({"city": value} for value in (5, "", "x" * 5000, ["austin"])),
    *({"centres": value} for value in (5, {"a": 1}, {"a": {"median": 10**400, "scale": 1}})),
    *({"format_version": value} for value in ("1", 1.5, True, 10**30, 3)),
    {"as_of": 5},
    {"target": None},
]


def test_members_of_the_card_have_their_type(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for with_trees in (True, False):
        folder = copy(artifacts, "model-1", tmp_path)
        good = (folder / CARD).read_bytes()
        for changes in CARD_DAMAGES:
            with subtests.test(str(changes)[:60], packed=with_trees):
                (folder / CARD).write_bytes(good)
                sign(folder, with_trees, **changes)
                refused(plain_server, folder, CARD)
        # Numbers that JSON does not know.
        (folder / CARD).write_bytes(good.replace(b'"validation": 0', b'"validation": NaN'))
        refused(plain_server, folder, CARD, "got NaN")
        shutil.rmtree(folder)


SAMPLE_DAMAGES: list[Any] = [
    {"rows": 5, "predictions": []},
    {"rows": [5], "predictions": [1.0]},
    {"rows": [["1"]], "predictions": [1.0]},
    {"rows": [[1.0]], "predictions": [1.0]},
    {"rows": [], "predictions": [1.0]},
    {"rows": {"a": 1}, "predictions": {"a": 1}},
    {"predictions": []},
    "many",
    "true",
    "huge",
]


def test_samples_are_bounded_and_of_their_type(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    folder = copy(artifacts, "model-1", tmp_path)
    row = json.loads((folder / SAMPLES).read_text())["rows"][0]
    made = {
        "many": {"rows": [row] * 2000, "predictions": [1.0] * 2000},
        "true": {"rows": [[True] * len(row)], "predictions": [1.0]},
        "huge": {"rows": [[10**400] * len(row)], "predictions": [1.0]},
    }
    for damage in SAMPLE_DAMAGES:
        with subtests.test(str(damage)[:60]):
            (folder / SAMPLES).write_text(json.dumps(made.get(str(damage), damage)))
            refused(plain_server, folder, SAMPLES)
    for text in ("NaN", "Infinity", "-Infinity", "1e999"):
        with subtests.test(text):
            (folder / SAMPLES).write_text(f'{{"rows": [{json.dumps(row)}], "predictions": [{text}]}}')
            refused(plain_server, folder, SAMPLES)


def test_what_is_no_file_is_not_opened(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for file in (CARD, SAMPLES, TREES, BOOSTER):
        for kind in ("pipe", "folder", "link"):
            with subtests.test(kind, file=file):
                folder = copy(artifacts, "model-1", tmp_path)
                if file == BOOSTER:
                    sign(folder, packed=False)
                path = folder / file
                path.unlink()
                if kind == "pipe":
                    os.mkfifo(path)
                elif kind == "folder":
                    path.mkdir()
                else:
                    path.symlink_to(artifacts / "model-1" / file)
                refused(plain_server, folder, file)
                shutil.rmtree(folder)


BOOSTERS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "cut": lambda good: good[: len(good) // 2],
    "no booster": lambda good: b"{L" * 99,
    "zeros": lambda good: bytes(len(good)),
    "deep JSON": lambda good: b'{"a":' * 100_000,
    "deep UBJSON": lambda good: b"[" * 1_000_000,
    "half a name": lambda good: good.replace(b"num_feature", b"num_featurx"),
    "another kind": lambda good: good.replace(b"gbtree", b"gbtrex", 1),
    "many features": lambda good: good.replace(b"split_indices", b"split_indicez"),
}


def test_a_booster_that_kills_xgboost_is_refused(
    plain_server: ModelServer,
    artifacts: Path,
    tmp_path: Path,
    others: Callable[[], None],
    subtests: pytest.Subtests,
) -> None:
    folder = copy(artifacts, "model-1", tmp_path)
    good = (folder / BOOSTER).read_bytes()
    for what, damage in BOOSTERS.items():
        with subtests.test(what):
            (folder / BOOSTER).write_bytes(damage(good))
            sign(folder, packed=False)
            message = refused(plain_server, folder, BOOSTER)
            assert "/" not in message, message
            others()


def damage(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, taken out or put in; mostly near the beginning, where a byte says most."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(min(chance.choice((64, 400, len(content))), len(content)))
        kind = chance.random()
        if kind < 0.75:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind < 0.9:
            damaged[at] = chance.choice(b'\x00\x01\x7f\x80\xff[]{}",:0-9eNI')
        elif kind < 0.95:
            del damaged[at : at + chance.randrange(1, 9)]
        else:
            damaged[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
    return bytes(damaged)


def test_no_flipped_byte_freezes_or_ends_the_server(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, others: Callable[[], None]
) -> None:
    """Every member in turn, the digests made right again; what still loads answers finite numbers or a sentence."""
    chance = random.Random(SEED)
    seen: dict[tuple[str, int], int] = {}
    for number in range(FLIPS):
        name = chance.choice(("model-0", "model-1", "model-2", "model-3", "model-4"))
        rows = [row for row, _ in json.loads((artifacts / f"{name}.expected.json").read_text())["rows"][:4]]
        folder = copy(artifacts, name, tmp_path)
        members = [member for member in (BOOSTER, CARD, TREES, SAMPLES) if (folder / member).exists()]
        member = members[number % len(members)]
        path = folder / member
        path.write_bytes(damage(path.read_bytes(), chance))
        with_trees = TREES in members and member != BOOSTER and chance.random() < 0.7
        if member != CARD:
            sign(folder, with_trees)
        where = f"ARTIFACT_SEED={SEED}, flip {number} of {member} of {name}"
        began = time.monotonic()
        try:
            status, answer = plain_server.load_folder("flipped", folder)
        except OSError as error:
            ended, said = plain_server.process.poll(), plain_server.log.read_text()[-3000:]
            pytest.fail(f"{where}: {error!r}; the server has ended with {ended}: {said}")
        assert time.monotonic() - began < SECONDS, where
        assert status in (200, 500), (where, answer)
        if status == 200:
            # As many rows as a caller may send: also those that no sample leads to.
            for body in ("\n".join(rows), *rows):
                status_of_row, text = plain_server.ask("flipped", body.encode())
                assert status_of_row in (200, 400), (where, text)
                if status_of_row == 200:
                    assert all(math.isfinite(float(value)) for value in text.split(",")), (where, text)
            plain_server.call("DELETE", "/models/flipped")
        else:
            assert "Traceback" not in answer["message"], where
            assert str(tmp_path) not in answer["message"], (where, answer)
        seen[member, status] = seen.get((member, status), 0) + 1
        others()
        shutil.rmtree(folder)
    print(json.dumps({f"{member} {status}": count for (member, status), count in sorted(seen.items())}))
    assert {status for _, status in seen} == {200, 500}
