"""Operators as older opsets have them, and what onnx's own tests leave out, beside ONNX Runtime."""

from __future__ import annotations

import itertools
import os

import mlcore_onnx
import numpy as np
import onnx
import pytest
from onnx import helper

import mlcore as ml

RNG = np.random.default_rng(0)


def runtime():
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnxruntime

    return onnxruntime


def f(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def i(*values):
    return np.asarray(values, np.int64)


def positive(*shape):
    return RNG.uniform(0.5, 2, size=shape).astype(np.float32)


def case(op, inputs, opsets, outputs=1, constant=(), **attributes):
    """A node, its inputs (those in `constant` stored in the model), and the opsets to stamp it with."""
    return op, inputs, tuple(opsets), outputs, frozenset(constant), attributes


OLD, ALL = range(7, 13), (7, 9, 11, 13, 17, 21)
X = f(2, 3, 5, 6)

CASES = [
    # what an axis meant before opset 13
    *(case(op, [X], OLD, axis=a) for op in ("Softmax", "LogSoftmax", "Hardmax") for a in (0, 1, 3)),
    *(case(op, [X], (13, 17), axis=a) for op in ("Softmax", "LogSoftmax", "Hardmax") for a in (0, 1, -1)),
    case("Flatten", [X], ALL, axis=2),
    case("Flatten", [X], (11, 13), axis=-1), case("Flatten", [X], ALL, axis=0),
    # attributes that became inputs
    case("Clip", [X], (7, 10), min=-0.5, max=0.25),
    case("Clip", [X], (7,), max=0.25), case("Clip", [X], (7,)),
    case("Clip", [X, np.float32(-0.5), np.float32(0.5)], (11, 13), constant=(1, 2)),
    case("Clip", [X, None, np.float32(0.5)], (11, 13), constant=(2,)),
    case("Clip", [i(1, 5, 9), np.int64(2), np.int64(7)], (12, 13)),
    case("Squeeze", [f(1, 3, 1)], (7, 11), axes=[0]), case("Squeeze", [f(1, 3, 1)], (7, 11)),
    case("Squeeze", [f(1, 3, 1), i(-1)], (13,), constant=(1,)),
    case("Unsqueeze", [f(3)], (7, 11), axes=[0, 2]),
    case("Unsqueeze", [f(3), i(-1, 0)], (13, 17), constant=(1,)),
    case("Split", [X], (7, 11), 2, axis=3, split=[2, 4]), case("Split", [X], (7, 11), 3, axis=3),
    case("Split", [X, i(2, 4)], (13, 17), 2, constant=(1,), axis=3),
    case("Split", [X], (18,), 3, axis=2, num_outputs=3),
    case("Slice", [X], (7, 9), axes=[1, 3], starts=[1, -3], ends=[9, -1]),
    case("Slice", [X], (7,), starts=[1], ends=[2]),
    case("Slice", [X, i(-1, 5), i(-9, 0), i(0, 3), i(-1, -2)], (10, 13), constant=(1, 2, 3, 4)),
    case("Slice", [X, i(3), i(-100), i(2), i(-1)], (10, 13), constant=(1, 2, 3, 4)),
    case("Slice", [X, i(100), i(200), i(2)], (10, 13)),
    *(case("Pad", [X], (7,), pads=[0, 0, 1, 2, 0, 0, 2, 1], mode=m) for m in ("constant", "reflect", "edge")),
    case("Pad", [X], (7,), pads=[0, 0, 1, -2, 0, 0, 2, 1], value=3.0),
    *(case("Pad", [X, i(0, 0, 1, 2, 0, 0, 2, 1)], (11, 13, 18), constant=(1,),
         mode=m) for m in ("constant", "edge")),
    case("Pad", [X, i(1, 2), np.float32(7), i(-1)], (18, 19), constant=(1, 3)),
    case("TopK", [X], (7, 9), 2, axis=2, k=3), case("TopK", [X, i(2)], (10,), 2, axis=1, constant=(1,)),
    *(case("TopK", [X, i(3)], (11, 17), 2, axis=a, largest=b, constant=(1,)) for a in (-1, 1) for b in (0,
         1)),
    case("Dropout", [X], (7, 10), ratio=0.3), case("Dropout", [X, np.float32(0.3)], (12, 13)),
    *(case(op, [positive(2, 3, 4)], (7, 11, 13), axes=[0, 2], keepdims=k)
      for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
                 "ReduceLogSumExp", "ReduceSumSquare") for k in (0, 1)),
    case("ReduceSum", [X], (7, 11), axes=[1]),
    case("ReduceSum", [X, i(-1, 1)], (13, 17), constant=(1,), keepdims=0),
    case("ReduceSum", [X], (13,), noop_with_empty_axes=1), case("ReduceSum", [X], (13,)),
    case("ReduceMax", [X, i(-2)], (18,), constant=(1,)), case("ReduceMean", [X], (18,), keepdims=0),
    case("ArgMax", [np.round(X)], ALL, axis=2, keepdims=0),
    case("ArgMin", [np.round(X)], (12, 13), select_last_index=1),
    # normalisation
    *(case("BatchNormalization", [X, f(3), f(3), f(3), positive(3)], (7, 9, 14, 15),
         epsilon=1e-3) for _ in (1,)),
    case("InstanceNormalization", [X, f(3), f(3)], ALL),
    case("LRN", [f(2, 7, 3, 3)], ALL, size=5, alpha=0.1, bias=2.0),
    *(case("LpNormalization", [X], (7, 13), axis=a, p=p) for a in (1, -1) for p in (1, 2)),
    case("MeanVarianceNormalization", [X], (9, 13)),
    case("LayerNormalization", [X, f(6), f(6)], (17,)),
    case("LayerNormalization", [X, f(5, 6)], (17,), axis=2, epsilon=1e-2),
    case("GroupNormalization", [f(2, 4, 3), f(4), f(4)], (21,), num_groups=2),
    # resizing
    *(case("Upsample", [X], (7, 8), mode=m, scales=[1.0, 1.0, 2.0, 1.5]) for m in ("nearest", "linear")),
    *(case("Upsample", [X, np.float32([1, 1, 2, 3])], (9,), mode=m, constant=(1,)) for m in ("nearest",
         "linear")),
    *(case("Resize", [X, np.float32([1, 1, s, t])], (10,), mode=m, constant=(1,))
      for m in ("nearest", "linear") for s, t in ((2, 3), (0.6, 0.5))),
    *(case("Resize", [X, None, np.float32([1, 1, s, t])], (13, 18), mode=m, constant=(2,),
           coordinate_transformation_mode=c, **({"nearest_mode": "floor"} if m == "nearest" else {}))
      for m in ("nearest", "linear", "cubic") for s, t in ((2, 1.5), (0.6, 0.5))
      for c in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")),
    *(case("Resize", [X, np.zeros(0, np.float32), np.float32([1, 1, 2, 0.5])], (11,), mode=m, constant=(1, 2))
      for m in ("nearest", "linear", "cubic")),
    *(case("Resize", [X, None, None, i(2, 3, 8, 4)], (13, 19), mode=m, constant=(3,)) for m in ("nearest",
         "linear", "cubic")),
    case("Resize", [X, None, None, i(2, 3, 8, 4)], (13,), mode="cubic", exclude_outside=1,
         cubic_coeff_a=-0.5, constant=(3,)),
    # convolutions and pools
    *(case("Conv", [X, f(4, 3, 3, 2), f(4)], (7, 11, 17), strides=[2, 1], auto_pad=a)
      for a in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    case("Conv", [X, f(6, 1, 3, 3)], ALL, group=3, pads=[1, 0, 2, 1], dilations=[2, 1]),
    case("Conv", [f(1, 2, 9), f(3, 2, 4)], ALL, strides=[3], pads=[2, 1]),
    case("Conv", [f(1, 2, 4, 5, 6), f(3, 2, 2, 3, 2)], ALL),
    *(case("ConvTranspose", [f(1, 4, 5, 6), f(4, 2, 3, 2), f(2 * g)], (7, 11, 17), group=g, strides=[2, 3],
           output_padding=[1, 2], pads=[1, 0, 2, 1]) for g in (1, 2)),
    *(case("ConvTranspose", [f(1, 2, 5, 6), f(2, 3, 3, 4)], (11,), strides=[2, 3],
         auto_pad=a) for a in ("SAME_UPPER", "SAME_LOWER")),
    case("ConvTranspose", [f(1, 2, 5, 6), f(2, 3, 3, 3)], (11,), strides=[2, 2], output_shape=[12, 11]),
    case("ConvTranspose", [f(1, 2, 5), f(2, 3, 3)], (11,), dilations=[2]),
    *(case("MaxPool", [X], (8, 11, 12), 2, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1],
         storage_order=s)
      for s in (0, 1)),
    *(case("MaxPool", [f(2, 3, 7, 8)], (10, 12), kernel_shape=[3, 3], strides=[2, 3], ceil_mode=c,
         dilations=d, pads=p)
      for c in (0, 1) for d in ([1, 1], [2, 1]) for p in ([0, 0, 0, 0], [1, 1, 1, 1])),
    *(case("AveragePool", [f(2, 3, 7, 8)], (10, 11), kernel_shape=[3, 3], strides=[2, 3], ceil_mode=c, pads=p,
           count_include_pad=n) for c in (0, 1) for n in (0, 1) for p in ([0, 0, 0, 0], [1, 0, 1, 1])),
    *(case("AveragePool", [X], (7, 11), kernel_shape=[2, 3], auto_pad=a) for a in ("SAME_UPPER",
         "SAME_LOWER", "VALID")),
    case("AveragePool", [f(2, 3, 7, 8)], (19,), kernel_shape=[2, 3], dilations=[2, 1]),
    case("LpPool", [X], (7, 11), kernel_shape=[2, 3], strides=[2, 1], p=3),
    case("GlobalLpPool", [X], ALL, p=3),
    case("GlobalAveragePool", [X], ALL), case("GlobalMaxPool", [X], ALL),
    # whole numbers
    case("Div", [i(7, -7, 7, -7, 0), i(2, 2, -2, -2, 5)], ALL),
    *(case("Mod", [i(7, -7, 7, -7), i(3, 3, -3, -3)], (10, 13), fmod=m) for m in (0, 1)),
    case("Mod", [f(9), f(9)], (10, 13), fmod=1), case("Pow", [positive(4), f(4)], ALL),
    case("Pow", [positive(4), i(2, -1, 0, 3)], (12, 15)),
    case("Pow", [i(2, 3), np.float32([2, 3])], (12, 15)),
    # places
    case("Gather", [X, i(-1, 0, 2)], (11, 13), axis=1), case("Gather", [X, i(1)], ALL, axis=3),
    case("GatherElements", [f(3, 4), RNG.integers(-4, 4, (2, 4))], (11, 13), axis=1),
    case("GatherND", [f(3, 4, 5), RNG.integers(-3, 3, (2, 6, 2))], (11, 13)),
    case("GatherND", [f(3, 4, 5), RNG.integers(0, 3, (3, 2, 1))], (12,), batch_dims=1),
    case("ScatterElements", [f(3, 4), RNG.permuted(np.tile(np.arange(4), (3, 1)), axis=1), f(3, 4)], (11,
         13), axis=1),
    *(case("ScatterElements", [f(3, 4), RNG.integers(-3, 3, (5, 4)), f(5, 4)], (18,), reduction=r)
      for r in ("add", "mul", "max", "min")),
    *(case("ScatterND", [f(4, 3), i(0, 2, -1).reshape(3, 1), f(3, 3)], o, **r)
      for o, r in (((11, 13), {}), ((16, 18), {"reduction": "add"}), ((18,), {"reduction": "max"}))),
    case("OneHot", [i(0, 2, -1), np.int64(3), f(2)], (9, 11), axis=0),
    case("CumSum", [X, np.int64(2)], (11, 14), reverse=1, exclusive=1),
    case("Tile", [f(2, 3), i(2, 3)], ALL), case("Expand", [f(3, 1), i(2, 1, 4)], (8, 13)),
    case("Gemm", [f(3, 4), f(3, 5), f(5)], ALL, alpha=0.5, beta=2.0, transA=1),
    case("Gemm", [f(4, 3), f(5, 3), f(5)], ALL, transB=1),
    case("PRelu", [X, f(3, 1, 1)], (7, 9, 16)),
    case("Einsum", [f(2, 3), f(3, 4)], (12,), equation="ij, jk -> ik"),
    case("DepthToSpace", [f(1, 8, 2, 3)], (7, 11), blocksize=2),
    case("SpaceToDepth", [f(1, 2, 4, 6)], (7, 13), blocksize=2),
    case("Range", [np.float32(1), np.float32(5), np.float32(0.7)], (11,)),
    case("Range", [np.int64(9), np.int64(1), np.int64(-3)], (11,)),
    case("EyeLike", [f(3, 5)], (9,), k=1), case("Trilu", [f(4, 5), np.int64(-1)], (14,), upper=0),
    case("RoiAlign", [f(2, 3, 8, 9), np.float32([[0, 0, 5, 6], [1.5, 2, 7.5, 7]]), i(0, 1)], (10, 16),
         output_height=3, output_width=2,
         sampling_ratio=2, spatial_scale=0.9),
    case("MaxRoiPool", [f(2, 3, 8, 9), np.float32([[0, 0, 0, 5, 6], [1, 1.5, 2, 9.5, 7], [0, 20, 20, 30, 30]])],
         (7, 13), pooled_shape=[3, 2], spatial_scale=0.8),
    case("GridSample", [X, RNG.uniform(-1.2, 1.2, (2, 4, 3, 2)).astype(np.float32)], (16,),
         padding_mode="border"),
    case("MatMulInteger", [RNG.integers(0, 255, (3, 4)).astype(np.uint8), RNG.integers(-128, 127, (4,
         5)).astype(np.int8),
         np.uint8(7), np.int8(3)], (10,)),
    *(case("QuantizeLinear", [f(2, 3, 4) * 50, positive(3), np.asarray([3, 1, 2], t)], (13, 19),
         axis=1) for t in (np.uint8, np.int8)),
    *(case("DequantizeLinear", [RNG.integers(0, 100, (2, 3, 4)).astype(t), positive(3), np.asarray([3, 1,
         2], t)], (13, 19), axis=1)
      for t in (np.uint8, np.int8)),
    case("QuantizeLinear", [f(5) * 50, np.float32(0.5), np.uint8(100)], (10, 13)),
    # recurrent layers
    *(case(op, [f(4, 2, 3), f(d, k * 5, 3), f(d, k * 5, 5), f(d, 2 * k * 5)], o, 3 if op == "LSTM" else 2,
         hidden_size=5,
           direction=w)
      for op, k in (("RNN", 1), ("GRU", 3), ("LSTM", 4)) for d, w in ((1, "forward"), (1, "reverse"), (2,
         "bidirectional"))
      for o in ((7, 14),)),
    *(case(op, [f(4, 2, 3), f(1, k * 5, 3), f(1, k * 5, 5), f(1, 2 * k * 5), np.int32([4, 2])], (7, 14),
           3 if op == "LSTM" else 2, hidden_size=5) for op, k in (("RNN", 1), ("GRU", 3), ("LSTM", 4))),
    case("GRU", [f(4, 2, 3), f(1, 15, 3), f(1, 15, 5), f(1, 30), None, f(1, 2, 5)], (7, 14), 2,
         hidden_size=5, linear_before_reset=1),
    case("LSTM", [f(4, 2, 3), f(1, 20, 3), f(1, 20, 5), f(1, 40), None, f(1, 2, 5), f(1, 2, 5), f(1, 15)],
         (7, 14), 3, hidden_size=5),
    case("LSTM", [f(4, 2, 3), f(1, 20, 3), f(1, 20, 5)], (7, 14), 3, hidden_size=5, clip=0.3,
         activations=["HardSigmoid", "Softsign", "Tanh"]),
    case("RNN", [f(4, 2, 3), f(1, 5, 3), f(1, 5, 5)], (7, 14), 2, hidden_size=5, activations=["LeakyRelu"],
         activation_alpha=[0.2]),
]  # fmt: skip


def model_of(op, inputs, opset, outputs, constant, attributes):
    names = ["" if one is None else f"i{k}" for k, one in enumerate(inputs)]
    made = [f"o{k}" for k in range(outputs)]
    given = [(n, a) for k, (n, a) in enumerate(zip(names, inputs, strict=True)) if n and k not in constant]
    stored = [onnx.numpy_helper.from_array(np.asarray(inputs[k]), names[k]) for k in sorted(constant)]
    info = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), None)
        for n, a in given
    ]
    graph = helper.make_graph(
        [helper.make_node(op, names, made, **attributes)], "g", info,
        [onnx.ValueInfoProto(name=one) for one in made], stored,
    )  # fmt: skip
    ir = 3 if opset < 9 else 8
    if ir == 3:  # stored tensors were inputs too
        graph.input.extend(
            helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)) for one in stored
        )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    return onnx.shape_inference.infer_shapes(model), dict(given)


def test_as_onnx_runtime_has_it() -> None:
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    compared, wrong, left = 0, [], []
    for op, inputs, opsets, outputs, constant, attributes in CASES:
        for opset in opsets:
            what = f"{op}-{opset} {attributes}"
            model, given = model_of(op, inputs, opset, outputs, constant, attributes)
            try:
                session = ort.InferenceSession(
                    model.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
                wanted = session.run(None, {k: np.asarray(v) for k, v in given.items()})
            except Exception as error:  # ONNX Runtime does not have every version of every operator
                left.append(f"{what}: {str(error).splitlines()[0][:120]}")
                continue
            for device in ("reference", "cpu"):
                try:
                    check(mlcore_onnx.load(model, device=device), list(given.values()), wanted)
                    compared += 1
                except Exception as error:  # all that differ are named at the end
                    text = " ".join(str(error).split())[:200]
                    wrong.append(f"{what} on {device}: {type(error).__name__} {text}")
    print(f"\noperators of opsets 7 to 21, on reference and on cpu: {compared} compared")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)
    assert not left, f"not run by ONNX Runtime: {left}"
    assert compared >= 1000


def check(module, inputs, wanted) -> None:
    with ml.no_grad():
        found = module.run(inputs)
    for one, other in itertools.zip_longest(found, wanted):
        one = np.asarray(one)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
