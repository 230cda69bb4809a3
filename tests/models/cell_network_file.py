"""A network of cells of one convolution, drawn by hand: what is bluish is nucleus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

REACH_PX = 4


def write_cell_network(folder: Path, outputs: int = 4) -> Path:
    """Write the network into a new `folder`, which may be named as --weights."""
    onnx = pytest.importorskip("onnx", reason="needs the onnx extra: pip install '.[onnx]'")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    away = np.arange(-REACH_PX, REACH_PX + 1)
    round_ = np.exp(-(away**2) / 8.0)[:, None] * np.exp(-(away**2) / 8.0)
    bluish = np.stack([round_, np.zeros_like(round_), -0.4 * round_]) / round_.sum()
    weight = np.stack([70 * bluish, 6 * bluish, 0 * bluish, 0 * bluish])[:outputs].astype(np.float32)
    bias = np.array([-5, 0, 0, 0], np.float32)[:outputs]
    node = helper.make_node("Conv", ["density", "weight", "bias"], ["maps"], pads=[REACH_PX] * 4)
    shapes = (("density", 3), ("maps", outputs))
    given, made = (helper.make_tensor_value_info(name, kind, ["n", many, "h", "w"]) for name, many in shapes)
    arrays = [onnx.numpy_helper.from_array(array, name) for array, name in ((weight, "weight"), (bias, "bias"))]
    graph = helper.make_graph([node], "cells", [given], [made], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(exist_ok=True)
    (folder / "cellnet.onnx").write_bytes(model.SerializeToString())
    return folder
