"""What a model of a table is asked and answers: raw values by the kind of their feature, classes with probabilities."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import inference
from request_rows import BadRequest
from table_schema import Feature, Schema
from target_transform import TargetTransform

FEATURES = (
    Feature("sqft"),
    Feature("type", "category", ("Condo", "House, large")),
    Feature("pool", "boolean"),
    Feature("listed", "date"),
)
ROW = {"sqft": 1200, "type": "Condo", "pool": True, "listed": "1970-01-11"}


class Echo:
    """A model whose prediction shows what it was given: the sum of the row, or probabilities by class."""

    def __init__(self, *classes: str) -> None:
        task = {0: "regression", 2: "binary"}.get(len(classes), "multiclass")
        schema = Schema(
            "table", task, "austin", "20150801T000000Z", "y", TargetTransform("none"), FEATURES, classes
        )
        self.card = SimpleNamespace(
            city="austin", schema=schema, features=schema.names, transform=schema.transform
        )
        self.seen: list[list[float]] = []

    def predict(self, values: np.ndarray) -> np.ndarray:
        self.seen += values.tolist()
        if not self.card.schema.classes:
            return np.nan_to_num(values).sum(axis=1)
        count = len(self.card.schema.classes)
        weights = np.arange(1.0, count + 1) + (np.nan_to_num(values[:, :1]) % count)
        return weights / weights.sum(axis=1, keepdims=True)


def ask(
    model: Echo, body: str, kind: str = inference.JSON, accept: str = inference.JSON, context: Any = None
) -> str:
    request = inference.input_fn(body.encode(), kind, context)
    return inference.output_fn(inference.predict_fn(request, model), accept)[0]  # type: ignore[arg-type]


def instances(*rows: Any, **more: Any) -> str:
    return json.dumps({"instances": rows, **more})


def test_each_kind_of_value_is_read_alike_by_name_in_order_and_as_csv() -> None:
    by_name, in_order, as_csv = Echo(), Echo(), Echo()
    ask(
        by_name,
        instances(dict(reversed(ROW.items())), dict.fromkeys(ROW), {**ROW, "type": "Tent", "pool": False}),
    )
    ask(in_order, instances(list(ROW.values()), [None] * 4, [1200, "Tent", False, "1970-01-11"]))
    ask(as_csv, "1200,Condo,true,1970-01-11\n,,,\r\n1.2e3,Tent,False,1970-01-11", inference.CSV)
    expected = [[1200.0, 0.0, 1.0, 10.0], [math.nan] * 4, [1200.0, 2.0, 0.0, 10.0]]
    for model in (by_name, in_order, as_csv):
        np.testing.assert_array_equal(model.seen, expected)
    quoted = Echo()
    ask(quoted, '0,"House, large",,', inference.CSV)
    assert quoted.seen[0][1] == 1.0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            instances({**ROW, "pool": "yes"}),
            "Row 1, feature 'pool': got \"yes\"; allowed: true or false, or null",
        ),
        (instances(ROW, {**ROW, "pool": 1}), "Row 2, feature 'pool': got 1; allowed: true or false, or null"),
        (instances({**ROW, "type": 5}), "Row 1, feature 'type': got 5; allowed: text, or null"),
        (instances({**ROW, "sqft": True}), "Row 1, feature 'sqft': got true; allowed: a number, or null"),
        (instances({**ROW, "sqft": [[1]]}), "Row 1, feature 'sqft': got [[1]]; allowed: a number"),
        (instances({**ROW, "sqft": 10**400}), "Row 1, feature 'sqft': got 1000"),
        (
            instances({**ROW, "listed": "soon"}),
            "Row 1, feature 'listed': got \"soon\"; allowed: a date such as 2015",
        ),
        (
            instances({**ROW, "sqrt": 5}),
            "Row 1: got feature 'sqrt', which the model of austin does not have; allowed: sqft, type, pool, "
            "listed. Did you mean 'sqft'?",
        ),
        (instances({"sqft": 5}), "Row 1: feature type, pool, listed is not there; allowed: all 4 features"),
        (
            instances([1, "Condo"]),
            "Row 1: got 2 values; allowed: 4, the features of the model of austin in this order",
        ),
        (instances(5), "Row 1: got 5; allowed: a list of values or an object."),
        (instances(), "The request holds no rows"),
    ],
)
def test_another_kind_of_value_is_refused_with_its_row_and_feature(body: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(Echo(), body)
    assert str(refused.value).startswith(sentence)
    assert refused.value.status_code == 400


@pytest.mark.parametrize("depth", [100, 900, 990, 100_000])
def test_a_value_in_lists_without_end_is_refused_however_deep(depth: int) -> None:
    value = "[" * depth + "]" * depth
    body = instances({**ROW, "sqft": "HERE"}).replace('"HERE"', value)
    with pytest.raises(BadRequest) as refused:
        ask(Echo(), body)
    assert len(str(refused.value)) < 300


def test_csv_refuses_another_kind_of_value_too() -> None:
    for body, sentence in [
        (
            "a,Condo,true,2015-07-31",
            "Row 1, feature 'sqft': got 'a'; allowed: a number, or empty where missing.",
        ),
        ("1,Condo,1,2015-07-31", "Row 1, feature 'pool': got '1'; allowed: true or false, or empty"),
        ("inf,Condo,true,2015-07-31", "Row 1, feature 'sqft': got 'inf'; allowed: a number"),
    ]:
        with pytest.raises(BadRequest) as refused:
            ask(Echo(), body, inference.CSV)
        assert str(refused.value).startswith(sentence)


def test_a_classification_answers_a_label_and_the_probabilities() -> None:
    answer = json.loads(ask(Echo("a", 'b"x'), instances(ROW)))
    assert answer == {"predictions": [{"label": 'b"x', "probabilities": {"a": 1 / 3, 'b"x': 2 / 3}}]}
    lines = ask(Echo("a", "b, c"), instances(ROW, {**ROW, "sqft": 1}), accept=inference.CSV)
    assert lines == f'"b, c",{2 / 3!r}\n"b, c",{3 / 5!r}'


@pytest.mark.parametrize("first", [True, False])
def test_the_most_probable_classes_may_be_asked_for_before_or_behind_the_rows(first: bool) -> None:
    rows = {"instances": [ROW, ROW]}
    body = json.dumps({"top_k": 2, **rows} if first else {**rows, "top_k": 2})
    expected = [{"label": "c", "probability": 0.5}, {"label": "b", "probability": 2 / 6}]
    for answer in json.loads(ask(Echo("a", "b", "c"), body))["predictions"]:
        assert answer == {"label": "c", "top_k": expected}
    assert ask(Echo("a", "b", "c"), body, accept=inference.CSV).split("\n") == [f"c,0.5,b,{2 / 6!r}"] * 2


def test_csv_asks_by_a_header_that_only_some_containers_hand_on_or_by_the_content_type() -> None:
    class Context:
        def get_request_header(self, _index: int, name: str) -> str | None:
            return {inference.CUSTOM_ATTRIBUTES: "trace=5; top_k=1"}.get(name)

    line, model = "1200,Condo,true,", Echo("a", "b", "c")
    assert ask(model, line, inference.CSV, inference.CSV, Context()) == "c,0.5"
    assert json.loads(ask(model, line, "text/csv; top_k=1"))["predictions"][0]["top_k"] == [
        {"label": "c", "probability": 0.5}
    ]
    assert (
        len(
            json.loads(ask(model, instances(ROW, top_k=3), "application/json;top_k=1"))["predictions"][0][
                "top_k"
            ]
        )
        == 3
    )
    assert len(json.loads(ask(model, instances(ROW, top_k=10**9)))["predictions"][0]["top_k"]) == 3


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", [3]])
def test_a_top_k_that_is_no_count_is_refused_by_a_classification_alone(value: object) -> None:
    with pytest.raises(BadRequest, match=r"^top_k: got .*; allowed: a whole number from 1\.$"):
        ask(Echo("a", "b"), instances(ROW, top_k=value))
    assert json.loads(ask(Echo(), instances(ROW, top_k=value)))["predictions"] == [1211.0]


def test_equally_probable_classes_stand_in_their_order() -> None:
    model = Echo("a", "b", "c")
    model.predict = lambda values: np.full((len(values), 3), 1 / 3)  # type: ignore[method-assign]
    assert json.loads(ask(model, instances(ROW)))["predictions"][0]["label"] == "a"
    top = json.loads(ask(model, instances(ROW, top_k=2)))["predictions"][0]["top_k"]
    assert [each["label"] for each in top] == ["a", "b"]


def test_an_answer_that_nobody_can_receive_is_refused_unless_it_is_cut() -> None:
    names = [f"c{number}" for number in range(60_000)]
    body = "\n".join(["1,Condo,true,"] * 40)
    with pytest.raises(BadRequest, match="more than 1000000 probabilities; send the rows in parts"):
        ask(Echo(*names), body, inference.CSV)
    assert len(ask(Echo(*names), body, "text/csv;top_k=2", inference.CSV).split("\n")) == 40
