"""The picture of an explanation is one well-formed SVG, whatever names stand in it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from city_fleet.desk.explanation_picture import draw

SVG = "{http://www.w3.org/2000/svg}"


def explanation(**changed: Any) -> dict[str, Any]:
    return {
        "name": "Austin <script>alert(1)</script>",
        "model": "v3 & friends",
        "as_of": "20150801T000000Z",
        "algorithm": "xgboost",
        "unit": "US$",
        "importances": {"kind": "gain", "features": {"a<b": 0.75, "c": 0.25}},
        "row": {
            "period": "2015-06-01",
            "class": None,
            "method": "tree_shap",
            "scale": "target",
            "prediction": 12.0,
            "base_prediction": 10.0,
            "features": [
                {"name": "a<b", "value": 1, "contribution": 3.0, "amount": 3.0},
                {"name": "c", "value": None, "contribution": -1.0, "amount": -1.0},
            ],
        },
        "residuals": {
            "of_rows": 2,
            "rows": [{"period": "2015-05-01", "residual": -1.0}, {"period": "2015-06-01", "residual": 2.0}],
        },
        "curve": {
            "metric": "rmse",
            "unit": "round",
            "best": 2,
            "of_rounds": 3,
            "rounds": [1, 2, 3],
            "train": [3.0, 2.0, 1.0],
            "validation": [3.0, 2.0, None],
        },
        **changed,
    }


def test_every_part_is_drawn_and_text_of_others_stays_text() -> None:
    root = ElementTree.fromstring(draw(explanation()))
    assert [each.get("class") for each in root.iter(f"{SVG}rect")] == ["bar", "bar", "up", "down"]
    assert len(list(root.iter(f"{SVG}circle"))) == 2
    assert [each.get("class") for each in root.iter(f"{SVG}path")] == ["train", "validation"]
    assert not list(root.iter(f"{SVG}script"))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert "Austin <script>alert(1)</script>: v3 & friends" in texts
    assert "a<b" in texts
    width, height = (float(root.get(name) or 0) for name in ("width", "height"))
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x") or -1) <= width
        assert 0 <= float(text.get("y") or -1) <= height


def test_what_nobody_knows_is_left_out() -> None:
    bare = explanation(
        curve=None,
        residuals={"of_rows": 0, "rows": []},
        importances={"kind": "permutation", "features": {}},
    )
    root = ElementTree.fromstring(draw(bare))
    assert [each.get("class") for each in root.iter(f"{SVG}rect")] == ["up", "down"]
    assert not list(root.iter(f"{SVG}circle"))
