"""ONNX Runtime: a graph of one operator, weights as constants, inputs and outputs bound."""

import numpy as np

from . import Way, way

FLOAT, INT32 = 1, 6


def session(node, inputs, constants, output_type, result):
    """A way that runs the graph of a node whose output is `y`."""
    import onnxruntime
    from onnx import helper, numpy_helper

    onnxruntime.set_default_logger_severity(3)
    infos = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for k, a in inputs.items()
    ]
    graph = helper.make_graph(
        [node],
        "row",
        infos,
        [helper.make_tensor_value_info("y", output_type, None)],
        [numpy_helper.from_array(np.ascontiguousarray(a), k) for k, a in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    bound = run.io_binding()
    for name, array in inputs.items():
        bound.bind_cpu_input(name, array)
    bound.bind_output("y")
    return Way(lambda: run.run_with_iobinding(bound), lambda _: result(bound.copy_outputs_to_cpu()[0]))


def node(kind, inputs, **attributes):
    from onnx import helper

    return helper.make_node(kind, inputs, ["y"], **attributes)


@way("onnxruntime", "gemm_f32_*", "batched_matmul")
def _(d):
    return session(node("MatMul", ["a", "b"]), {"a": d.A}, {"b": d.B}, FLOAT, lambda y: {"C": y})


@way("onnxruntime", "gemm_i8")
def _(d):
    return session(node("MatMulInteger", ["a", "b"]), {"a": d.A}, {"b": d.B}, INT32, lambda y: {"C": y})


@way("onnxruntime", "softmax")
def _(d):
    return session(node("Softmax", ["x"], axis=-1), {"x": d.X}, {}, FLOAT, lambda y: {"Y": y})


@way("onnxruntime", "int4_gemv", name="exact")
def _(d):
    # Accuracy level 0 keeps the activations as they are; level 4 would round them to eight bits.
    packed = d.Wq[:, 0::2] | (d.Wq[:, 1::2] << 4)
    matmul = node(
        "MatMulNBits",
        ["x", "w", "s"],
        domain="com.microsoft",
        K=d.K,
        N=d.M,
        bits=4,
        block_size=d.G,
        accuracy_level=0,
    )
    constants = {"w": packed.reshape(d.M, d.K // d.G, d.G // 2), "s": d.S.reshape(-1)}
    return session(matmul, {"x": d.x[None].copy()}, constants, FLOAT, lambda y: {"y": y[0]})
