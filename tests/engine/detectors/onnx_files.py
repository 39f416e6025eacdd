"""Small ONNX files with the inputs and outputs of the real ones."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper


def write(path, nodes, shape_in, shape_out, **constants):
    """A network of these nodes from `in` to `out`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("in", shape_in), ("out", shape_out))]
    values = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = [helper.make_node(*node[:3], **node[3]) for node in nodes]
    graph = helper.make_graph(made, "net", ends[:1], ends[1:], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def segmenter(path, weights):
    """A network whose classes are sums of the colours: `weights` is `[classes, 3]`."""
    kernel = weights.astype("float32")[:, :, None, None]
    nodes = [("Conv", ["in", "kernel"], ["out"], {})]
    return write(path, nodes, [1, 3, "h", "w"], [1, len(weights), "h", "w"], kernel=kernel)


def tagger(path, weights, side=16):
    """A network whose scores are sums of the mean colours: `weights` is `[3, tags]`, blue first."""
    nodes = [
        ("ReduceMean", ["in"], ["mean"], {"axes": [1, 2], "keepdims": 0}),
        ("MatMul", ["mean", "weights"], ["out"], {}),
    ]
    tags = weights.shape[1]
    return write(path, nodes, [1, side, side, 3], [1, tags], weights=weights.astype("float32"))
