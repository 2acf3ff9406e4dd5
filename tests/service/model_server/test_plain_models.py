"""An artifact gives the same predictions by XGBoost and by packed trees, in the target's own unit, digit for digit."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_servers import ModelServer

HEAD_BYTES = 32


def expected(artifacts: Path, name: str) -> dict[str, Any]:
    """What XGBoost answers with an artifact."""
    return dict(json.loads((artifacts / f"{name}.expected.json").read_text()))


def names(artifacts: Path) -> list[str]:
    """All artifacts."""
    return sorted(path.name for path in artifacts.iterdir() if path.is_dir())


def answers(server: ModelServer, name: str, case: dict[str, Any]) -> None:
    """Ask all rows one by one, all at once, and by name; each answer must be XGBoost's."""
    for row, prediction in case["rows"]:
        assert server.ask(name, row.encode()) == (200, prediction), (
            name,
            case["kind"],
            case["objective"],
            row,
        )
    rows = [row for row, _ in case["rows"]]
    everything = ",".join(prediction for _, prediction in case["rows"])
    assert server.ask(name, "\n".join(rows).encode()) == (200, everything)
    cells = [[None if cell == "" else float(cell) for cell in row.split(",")] for row in rows]
    named = {"instances": [dict(zip(case["features"], row, strict=True)) for row in cells]}
    assert server.ask(name, json.dumps(named).encode(), "application/json") == (200, everything)


def test_many_random_models_give_the_same_predictions_to_the_last_digit(
    plain_server: ModelServer, artifacts: Path
) -> None:
    before = plain_server.metric("plain_total")
    plain = 0
    for name in names(artifacts):
        case = expected(artifacts, name)
        assert plain_server.load_folder(name, artifacts / name)[0] == 200
        answers(plain_server, name, case)
        if case["kind"] != "dart":
            plain += len(case["rows"])
    # Not one of them went another way: all but dart's were answered from packed trees.
    assert plain_server.metric("plain_total") - before == plain
    for name in names(artifacts):
        assert plain_server.call("DELETE", f"/models/{name}")[0] == 200


def copy(artifacts: Path, name: str, folder: Path) -> Path:
    """An artifact that a test may spoil."""
    return Path(shutil.copytree(artifacts / name, folder / "artifact"))


def change_card(folder: Path, **values: Any) -> None:
    """Change an artifact's model.json; None removes a member."""
    path = folder / "city_fleet" / "model.json"
    card = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def sign(folder: Path) -> None:
    """Give the packed trees' sha256 to model.json, as somebody would who wants them to be believed."""
    import hashlib

    files = json.loads((folder / "city_fleet" / "model.json").read_text())["files"]
    digest = hashlib.sha256((folder / "city_fleet" / "trees.bin").read_bytes()).hexdigest()
    change_card(folder, files=files | {"city_fleet/trees.bin": digest})


def drop_trees(folder: Path) -> None:
    """Leave an artifact without packed trees, as an algorithm writes it that has none."""
    (folder / "city_fleet" / "trees.bin").unlink()
    files = json.loads((folder / "city_fleet" / "model.json").read_text())["files"]
    del files["city_fleet/trees.bin"]
    change_card(folder, files=files)


def test_an_artifact_without_packed_trees_is_served_by_its_booster(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path
) -> None:
    folder = copy(artifacts, "model-0", tmp_path)
    drop_trees(folder)
    before = plain_server.metric("plain_total")
    assert plain_server.load_folder("old", folder)[0] == 200
    answers(plain_server, "old", expected(artifacts, "model-0"))
    assert plain_server.metric("plain_total") == before
    plain_server.call("DELETE", "/models/old")


def test_a_damaged_booster_is_refused_where_it_serves(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path
) -> None:
    folder = copy(artifacts, "model-0", tmp_path)
    drop_trees(folder)
    path = folder / "xgboost-model.ubj"
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0x10
    for damage in (content[: len(content) // 2], b"", bytes(flipped), gzip.compress(content)):
        path.write_bytes(damage)
        status, answer = plain_server.load_folder("damaged", folder)
        assert (status, path.name in answer["message"]) == (500, True)
    path.unlink()
    assert plain_server.load_folder("damaged", folder)[0] == 500


def test_trees_that_contradict_the_samples_are_not_used(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path
) -> None:
    folder = copy(artifacts, "model-0", tmp_path)
    path = folder / "city_fleet" / "trees.bin"
    content = bytearray(path.read_bytes())
    (base_score,) = struct.unpack_from("<f", content, 24)
    struct.pack_into("<f", content, 24, base_score + 0.01)
    path.write_bytes(content)
    sign(folder)
    before = plain_server.metric("plain_total")
    assert plain_server.load_folder("differs", folder)[0] == 200
    answers(plain_server, "differs", expected(artifacts, "model-0"))
    assert plain_server.metric("plain_total") == before
    assert '"event": "samples_differ"' in plain_server.log.read_text()
    plain_server.call("DELETE", "/models/differs")


@pytest.mark.parametrize("file", ["city_fleet/trees.bin", "city_fleet/model.json", "city_fleet/samples.json"])
def test_a_missing_or_damaged_file_is_refused_and_named(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, file: str
) -> None:
    folder = copy(artifacts, "model-0", tmp_path)
    path = folder / file
    content = path.read_bytes()
    damages = [content[: len(content) // 2], b"", b"\x00" * len(content)]
    if file.endswith(".bin"):
        flipped = bytearray(content)
        flipped[len(content) // 3] ^= 0x10
        damages += [bytes(flipped), content + b"\x00" * 8, gzip.compress(content)]
    for number, damage in enumerate(damages):
        path.write_bytes(damage)
        status, answer = plain_server.load_folder("damaged", folder)
        assert status == 500, (file, number)
        assert file in answer["message"]
    path.unlink()
    status, answer = plain_server.load_folder("damaged", folder)
    assert status == 500
    assert file in answer["message"]
    assert "damaged" not in plain_server.names()


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"CFTREES9"),
        (8, struct.pack("<I", 1 << 30)),  # trees
        (12, struct.pack("<I", 3)),  # nodes
        (28, struct.pack("<I", 2)),
        (28, struct.pack("<I", 7)),  # link
        (HEAD_BYTES, struct.pack("<I", 1 << 31)),  # a root
        (-2, struct.pack("<H", 9)),  # the last leaf gets children
        (-4, struct.pack("<H", 0x7FFF)),  # a feature that no row has
    ],
)
def test_trees_that_lead_anywhere_else_are_never_evaluated(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path, offset: int, value: bytes
) -> None:
    folder = copy(artifacts, "model-1", tmp_path)
    path = folder / "city_fleet" / "trees.bin"
    content = bytearray(path.read_bytes())
    at = offset if offset >= 0 else len(content) + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)
    sign(folder)
    status, answer = plain_server.load_folder("hostile", folder)
    assert status == 500, answer
    assert "packed trees" in answer["message"]


def test_no_damage_that_is_signed_ends_the_server(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path
) -> None:
    """Random bytes changed, the digest made right: refused, or the booster answers, or the samples still come out."""
    case = expected(artifacts, "model-1")
    folder = copy(artifacts, "model-1", tmp_path)
    path = folder / "city_fleet" / "trees.bin"
    content = path.read_bytes()
    chance = random.Random(5)
    seen = set()
    for _ in range(150):
        damaged = bytearray(content)
        # Mostly in the head and the roots, where a byte says most.
        end = chance.choice((HEAD_BYTES, 300, len(content)))
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(end)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(damaged)
        sign(folder)
        status, answer = plain_server.load_folder("damaged", folder)
        seen.add(status)
        assert status in (200, 500), answer
        if status == 200:
            for row, _ in case["rows"][:3]:
                assert plain_server.ask("damaged", row.encode())[0] == 200
            plain_server.call("DELETE", "/models/damaged")
    assert seen == {200, 500}


def test_trees_of_other_features_than_the_card_names_are_refused(
    plain_server: ModelServer, artifacts: Path, tmp_path: Path
) -> None:
    folder = copy(artifacts, "model-1", tmp_path)
    change_card(folder, features=["price_mean_12"] * 31)
    status, answer = plain_server.load_folder("other", folder)
    assert (status, "features: not those of its schema" in answer["message"]) == (500, True)


def test_what_cannot_be_answered_is_said_as_inference_py_says_it(
    plain_server: ModelServer, artifacts: Path
) -> None:
    name = "model-6"
    case = expected(artifacts, name)
    assert plain_server.load_folder(name, artifacts / name)[0] == 200
    count = len(case["features"])
    good, prediction = case["rows"][0]
    assert count > 2
    wrong = {
        b"1": "Row 1: got 1 values; allowed:",
        ("1," * count + "1").encode(): f"Row 1: got {count + 1} values; allowed: {count}",
        b"": "The request holds no rows",
        b"\n\n": "The request holds no rows",
        ("x" + "," * (count - 1)).encode(): "Row 1, value 1: got 'x'",
        ("inf" + "," * (count - 1)).encode(): "Row 1, value 1: got 'inf'",
        ("1e999" + "," * (count - 1)).encode(): "Row 1, value 1: got '1e999'",
        ("-1" + "," * (count - 1)).encode(): "allowed: a number above 0",
        ("nan" + "," * (count - 1)).encode(): "got nothing; allowed: a number above 0",
        ("1\r" + "," * (count - 1)).encode(): "Row 1: got 1 values",
        b"\xff\xfe": "not UTF-8",
        b"1" * 200_000: "Row 1: not CSV (field larger than field limit (131072)); allowed:",
        (good + "\n").encode() + b"1" * 200_000: "Row 2: not CSV (",
        (good + '\n"').encode() + b"1,1\n" * 50_000: "Row 2: not CSV (",
        b"y" * 100_000: f"Row 1, value 1: got '{'y' * 50}…'; allowed: a number",
        ",".join(case["features"]).encode(): "no header row",
    }
    for body, words in wrong.items():
        status, text = plain_server.ask(name, body)
        assert (status, words in text) == (400, True), (body, status, text)
        assert "Traceback" not in text
    for content_type in ("text/plain", "application/x-npy", "text/csv2"):
        status, text = plain_server.ask(name, good.encode(), content_type)
        assert (status, "Content-Type: got" in text) == (400, True)
    status, text = plain_server.ask(name, good.encode(), Accept="image/png")
    assert (status, "Accept: got 'image/png'" in text) == (400, True)
    for accept in ("application/json;q=0.1, text/csv", "text/*", "image/png,  text/csv; header=absent"):
        for body in (good, f"{good}\n{good}"):
            answer = plain_server.answer(name, body.encode(), accept)
            assert (answer.status, answer.headers["Content-Type"]) == (
                200,
                "application/json" if accept.startswith("app") else "text/csv",
            )
    bom = "\ufeff".encode()
    for content_type in ("text/csv", "text/csv; charset=utf-8"):
        assert plain_server.ask(name, bom + good.encode(), content_type) == (200, prediction)
    values = ", ".join(cell or "null" for cell in good.split(","))
    document = f'{{"instances": [[{values}]]}}'.encode()
    for content_type in ("application/json", "application/json; charset=utf-8"):
        assert plain_server.ask(name, bom + document, content_type) == (200, prediction)
    named = "".join(f', "{feature}": 1' for feature in case["features"])
    first = case["features"][0]
    for text, twice in (
        (f'{{"instances": [{{"{first}": 1{named}}}]}}', first),
        (f'{{"instances": [[{values}]], "instances": [[{values}]]}}', "instances"),
        (f'{{"a": 1, "instances": [[{values}]], "a": 2}}', "a"),
    ):
        said = plain_server.ask(name, text.encode(), "application/json")
        assert said == (400, f"The request has '{twice}' twice in one object; allowed: once.")
    for body in (
        b"{}",
        b"[1]",
        b"{",
        b'{"instances": [[]]}',
        b'{"instances": [{"x": 1}]}',
        b"[" * 100_000,
        document[:-1],
        document + b"]",
    ):
        assert plain_server.ask(name, body, "application/json")[0] == 400, body[:50]
    for spelling in (f" {good} ", f"{good}\r\n", f"\n{good}\n", good.replace(",", " ,")):
        assert plain_server.ask(name, spelling.encode()) == (200, prediction)
    assert plain_server.ask(name, good.encode(), "text/csv; charset=utf-8") == (200, prediction)
    # Two rows go through inference.py, one row alone does not.
    first, _, _, *rest = good.split(",")
    for values in (("", "1"), ("nan", "NaN"), ("1.7e308", "1.7e308"), ("-1.7e308", "")):
        row = ",".join([first, *values, *rest])
        before = plain_server.metric("plain_total")
        status, text = plain_server.ask(name, row.encode())
        assert (status, plain_server.metric("plain_total")) == (200, before + 1)
        assert plain_server.ask(name, f"{row}\n{row}".encode()) == (200, f"{text},{text}")
    plain_server.call("DELETE", f"/models/{name}")
