"""Which of a city's features a model's inputs are, and which of its classes the model's."""

from __future__ import annotations

from collections.abc import Sequence

from job_failure import listed, nearest
from refusal import Refused, shown
from table_schema import BINARY, REGRESSION, Schema

_NAMED = 12


def columns_of(
    schema: Schema, names: Sequence[str] | None, count: int | None, given: Sequence[str] | None
) -> list[int]:
    """Find the city's features that a model's inputs are.

    :param names: what the model calls its inputs; None where it does not say.
    :param count: how many it has; None where it does not say either.
    :param given: what whoever imports says that they are, in the model's order; None for what the model says.
    :return: for each input of the model the feature's number in the city's rows.
    :raises Refused: one is unknown or named twice, or nobody says which they are.
    """
    features = schema.names
    if given is not None and count is not None and len(given) != count:
        raise Refused(
            f"--features: got {len(given)} names; allowed: {count}, one for each input of the model, in its order"
        )
    said = given if given is not None else names
    if said is None:
        if count not in (None, len(features)):
            raise Refused(
                f"it has {count} inputs without names, and the city's rows have {len(features)} features "
                f"({listed(features, _NAMED)}): say with --features which of them, in the model's order"
            )
        return list(range(len(features)))
    whose = "--features" if given is not None else "the model"
    places = {name: at for at, name in enumerate(features)}
    for name in said:
        if name not in places:
            known = "" if given is not None else " (or name them with --features, in the model's order)"
            raise Refused(
                f"{whose}: got input '{shown(name)}'; allowed: the features of the city's rows: "
                f"{listed(features, _NAMED)}.{nearest(shown(name), features)}{known}"
            )
    if len(set(said)) != len(said):
        raise Refused(f"{whose}: names an input twice; allowed: different ones")
    return [places[name] for name in said]


def refuse_categories(schema: Schema, columns: Sequence[int], what: str) -> None:
    """Refuse a model that reckons with the numbers of categories.

    :param what: as a sentence calls the model.
    :raises Refused: naming the categories.
    """
    named = [schema.names[at] for at in columns if schema.features[at].kind == "category"]
    if named:
        raise Refused(
            f"{what} multiplies its inputs, and {listed(named, _NAMED)} is a category, whose numbers "
            "are names. Import "
            "trees, or train it here: the algorithms linear, mlp and knn take categories as they are"
        )


def class_order(schema: Schema, classes: Sequence[object]) -> list[int] | None:
    """Find which of a model's classes each of the city's is.

    :param classes: the model's, in the order of its answers: names, or 0, 1, … as ``target`` in the city's tables.
    :return: for each class of the city the model's column; None where they are the same ones in order.
    :raises Refused: they are not those of the city.
    """
    wanted = list(schema.classes)
    said = [str(name) if isinstance(name, str) else name for name in classes]
    if all(not isinstance(name, str) and float(name) == at for at, name in enumerate(said)):  # type: ignore[arg-type]
        if len(said) == len(wanted):
            return None
    elif all(isinstance(name, str) for name in said) and sorted(map(str, said)) == sorted(wanted):
        order = [said.index(name) for name in wanted]
        return None if order == list(range(len(order))) else order
    named = listed([shown(name) for name in said], _NAMED)
    numbers = f"0 to {len(wanted) - 1}, as in column target of its tables"
    raise Refused(
        f"it knows the classes {named}; allowed: the city's, by name ({listed(wanted, _NAMED)}) or number ({numbers})"
    )


def refuse_other_task(schema: Schema, classifies: bool, what: str) -> None:
    """Refuse a model of another task.

    :param classifies: whether the model answers classes.
    :raises Refused: the city's task is another one.
    """
    if classifies == (schema.task == REGRESSION):
        wanted = "a number" if schema.task == REGRESSION else "a class"
        got = "a class" if classifies else "a number"
        raise Refused(
            f"{what} predicts {got}, and the city's target '{shown(schema.target)}' is {wanted} (task {schema.task})"
        )


def outputs_of(schema: Schema) -> int:
    """How many numbers a model of the city's task answers, of a binary task one: the positive class's."""
    return 1 if schema.task in (REGRESSION, BINARY) else len(schema.classes)
