"""Looks through an ONNX file before anything is made of it: one graph of known operators, with all numbers inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from job_failure import listed
from refusal import Refused, shown

MOST_OPERATORS = 2000
MOST_NUMBERS = 20_000_000
#: Operators that are read; what they may do is said where each is.
ML_OPERATORS = {
    *(
        "Scaler",
        "Imputer",
        "LinearRegressor",
        "LinearClassifier",
        "TreeEnsembleRegressor",
        "TreeEnsembleClassifier",
    ),
    *("ZipMap", "ArrayFeatureExtractor", "Normalizer", "FeatureVectorizer", "LabelEncoder"),
}
OPERATORS = {
    *(
        "Identity",
        "Cast",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Constant",
        "Dropout",
        "Gemm",
    ),
    *("MatMul", "Add", "Sub", "Mul", "Div", "Neg", "Relu", "Tanh", "Sigmoid", "Softmax", "ArgMax", "Gather"),
}
_DOMAINS = {"": OPERATORS, "ai.onnx": OPERATORS, "ai.onnx.ml": ML_OPERATORS}
_KINDS = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.DOUBLE: 8,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.INT32: 4,
    onnx.TensorProto.BOOL: 1,
}


def read_graph(content: bytes) -> Any:
    """Read a file, and look at all that is in it.

    :return: ``onnx.ModelProto``.
    :raises Refused: it holds what is not read, or refers to what lies outside.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's own kinds differ by how it was built
        raise Refused(f"it is no ONNX model ({shown(error)}); allowed: what onnx.save writes") from None
    graph = model.graph
    if not graph.node:
        raise Refused("it is no ONNX model: its graph has no operator")
    if model.functions or model.training_info:
        raise Refused("it holds functions or training of its own; allowed: one graph of operators")
    if graph.sparse_initializer:
        raise Refused("it holds sparse tensors; allowed: plain ones")
    if len(graph.node) > MOST_OPERATORS:
        raise Refused(f"it has {len(graph.node)} operators; allowed: {MOST_OPERATORS}")
    _check_operators(graph)
    numbers = 0
    for tensor in _tensors(graph):
        numbers += _checked(tensor)
        if numbers > MOST_NUMBERS:
            raise Refused(f"it holds more than {MOST_NUMBERS} numbers, far more than a server takes")
    return model


def _check_operators(graph: Any) -> None:
    foreign: dict[str, None] = {}
    for node in graph.node:
        if node.op_type not in _DOMAINS.get(node.domain, ()):
            foreign[f"{node.op_type} of {node.domain}" if node.domain else node.op_type] = None
        for attribute in node.attribute:
            if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                raise Refused(
                    f"operator {shown(node.op_type)} holds a graph of its own (control flow); allowed: none"
                )
    if foreign:
        every = listed(sorted(OPERATORS | ML_OPERATORS), 60)
        raise Refused(f"it uses {listed([shown(name) for name in foreign], 8)}; allowed: {every}")


def _tensors(graph: Any) -> list[Any]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                found.append(attribute.t)
            elif attribute.type in (onnx.AttributeProto.TENSORS, onnx.AttributeProto.SPARSE_TENSOR):
                raise Refused(f"attribute {shown(attribute.name)} holds tensors that are not read")
    return found


def _checked(tensor: Any) -> int:
    """Look at a tensor, and return how many numbers it holds."""
    name = shown(tensor.name) or "a constant"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise Refused(
            f"tensor '{name}' lies in another file (external data), which is not read; save the model in one file: "
            "onnx.save(model, path, save_as_external_data=False)"
        )
    if tensor.data_type == onnx.TensorProto.STRING:
        return len(tensor.string_data)
    size = _KINDS.get(tensor.data_type)
    if size is None:
        raise Refused(
            f"tensor '{name}' is of type {tensor.data_type}; allowed: float, double, int64, int32 and bool"
        )
    count = 1
    for each in tensor.dims:
        if each < 0:
            raise Refused(f"tensor '{name}' has a negative size")
        count *= each
    held = len(tensor.raw_data) // size or max(
        len(tensor.float_data), len(tensor.double_data), len(tensor.int64_data), len(tensor.int32_data)
    )
    if count != held:
        raise Refused(f"tensor '{name}' says that it holds {count} numbers, and holds {held}")
    return count


def array_of(tensor: Any) -> np.ndarray:
    """The numbers of a checked tensor."""
    return np.asarray(numpy_helper.to_array(tensor))


def attributes_of(node: Any) -> dict[str, Any]:
    """An operator's attributes by name: numbers, texts, lists of either, arrays."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = array_of(value)
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [each.decode("utf-8", "replace") for each in value]
        found[attribute.name] = value
    return found
