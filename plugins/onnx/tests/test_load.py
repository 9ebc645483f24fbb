"""Models made by hand, loaded: names, inputs, devices, training, control flow, functions, types."""

from __future__ import annotations

import copy

import mlcore_onnx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcore as ml
from mlcore import optim
from mlcore.errors import ArgumentError, ArgumentTypeError, MlcoreError, UnsupportedOpError

F, INT, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind=F, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def graph_of(nodes, inputs, outputs, stored=(), name="g"):
    held = [numpy_helper.from_array(np.asarray(array), key) for key, array in dict(stored).items()]
    return helper.make_graph(nodes, name, inputs, outputs, held)


def model_of(nodes, inputs, outputs, stored=(), opset=17, functions=(), **others):
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(k, v) for k, v in others.items())]
    return helper.make_model(
        graph_of(nodes, inputs, outputs, stored), opset_imports=imports, functions=functions, ir_version=10
    )


def linear(weight="w", bias="b"):
    stored = {weight: np.arange(6, dtype=np.float32).reshape(3, 2), bias: np.ones(3, np.float32)}
    node = helper.make_node("Gemm", ["x", weight, bias], ["y"], transB=1)
    return model_of([node], [value("x", F, ["n", 2])], [value("y")], stored)


def test_inputs_by_position_and_name_and_what_comes_back() -> None:
    device = "cpu"
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Sub", ["a", "b"], ["d"])]
    net = mlcore_onnx.load(model_of(nodes, [value("a"), value("b")], [value("s"), value("d")]), device=device)
    assert (net.input_names, net.output_names) == (("a", "b"), ("s", "d"))
    for found in (
        net([1.0, 2.0], [3.0, 4.0]),
        net(b=np.float32([3, 4]), a=ml.asarray([1.0, 2.0], device=device)),
    ):
        assert isinstance(found, tuple)
        assert [one.tolist() for one in found] == [[4.0, 6.0], [-2.0, -2.0]]
    assert net.outputs_of(1.0, b=2.0)["d"].tolist() == -1.0
    for args, names in (((1.0,), {}), ((1.0, 2.0, 3.0), {}), ((1.0,), {"a": 1.0}), ((1.0,), {"c": 1.0})):
        with pytest.raises(ArgumentTypeError, match=r"a, b|missing inputs: b"):
            net(*args, **names)
    with pytest.raises(ArgumentTypeError, match="input 'a'"):
        net(object(), 1.0)


def test_names_become_paths() -> None:
    net = mlcore_onnx.load(linear("layers.0.weight", "layers.0.bias"))
    assert list(net.state_dict()) == ["layers.0.weight", "layers.0.bias"]
    assert net.renamed == {}
    odd = mlcore_onnx.load(linear("onnx::MatMul_12", "forward"))
    assert odd.renamed == {"onnx::MatMul_12": "onnx__MatMul_12", "forward": "forward_1"}
    x = np.float32([[1, 2]])
    np.testing.assert_array_equal(np.asarray(net(x)), np.asarray(odd(x)))
    clash = mlcore_onnx.load(linear("a", "a.b"))
    assert sorted(clash.state_dict()) == ["a", "a_b"]
    deep = mlcore_onnx.load(linear("." * 3000 + "w", "training"))
    assert all(len(one) <= 210 for one in deep.state_dict())
    np.testing.assert_array_equal(np.asarray(net(x)), np.asarray(deep(x)))


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_it_is_a_module(device) -> None:
    net = mlcore_onnx.load(linear(), device=device)
    assert {name: one.shape for name, one in net.named_parameters()} == {"w": (3, 2), "b": (3,)}
    copied = copy.deepcopy(net)
    net.load_state_dict({"w": np.ones((3, 2), np.float32), "b": np.zeros(3, np.float32)})
    assert net([[1.0, 2.0]]).tolist() == [[3.0, 3.0, 3.0]]
    assert copied([[1.0, 2.0]]).tolist() == [[3.0, 9.0, 15.0]]  # the values it was made with
    target = ml.asarray([[1.0, -1.0, 2.0]], device=device)
    steps = optim.SGD(copied.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = ((copied(ml.asarray([[1.0, 2.0]], device=device)) - target) ** 2).sum()
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-6 < losses[0]
    net.to("reference")
    assert str(net([[1.0, 2.0]]).device).startswith("reference")


def test_what_is_a_parameter_and_what_a_buffer() -> None:
    stored = {
        "scale": np.ones(2, np.float32), "bias": np.zeros(2, np.float32), "mean": np.zeros(2, np.float32),
        "var": np.ones(2, np.float32), "eps": np.float32(0.5), "shape": np.int64([-1]),
        "table": np.arange(100),
    }  # fmt: skip
    nodes = [
        helper.make_node("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["n"], epsilon=0.0),
        helper.make_node("Add", ["n", "eps"], ["e"]),
        helper.make_node("Reshape", ["e", "shape"], ["y"]),
        helper.make_node("Gather", ["table", "i"], ["z"]),
    ]
    net = mlcore_onnx.load(model_of(nodes, [value("x"), value("i", INT)], [value("y"), value("z")], stored))
    assert [name for name, _ in net.named_parameters()] == ["scale", "bias"]
    assert [name for name, _ in net.named_buffers()] == ["mean", "var", "eps", "table"]
    y, z = net(np.float32([[1, 2]]), [7])
    assert (y.tolist(), z.tolist()) == ([1.5, 2.5], [7])


def test_shapes_are_worked_out_on_the_host() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Mul", ["n", "two"], ["m"]),
        helper.make_node("Concat", ["m", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    stored = {"zero": np.int64([0]), "two": np.int64([2]), "rest": np.int64([-1])}
    net = mlcore_onnx.load(model_of(nodes, [value("x", F, ["n", 4])], [value("y")], stored), device="cpu")
    seen = []

    def watch(op, inputs, params, proceed):
        seen.append((op.name, {str(one.device).split(":")[0] for one in inputs}))
        return proceed()

    from mlcore.modes import intercept

    with intercept(watch):
        assert net(np.zeros((3, 4), np.float32)).shape == (6, 2)
    assert {name for name, where in seen if where != {"reference"}} == {"reshape"}


def test_constants_are_worked_out_once() -> None:
    nodes = [
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Exp", ["one"], ["e"]),
        helper.make_node("Mul", ["x", "e"], ["y"]),
        helper.make_node("Sin", ["x"], ["nobody_reads_this"]),
    ]
    net = mlcore_onnx.load(model_of(nodes, [value("x")], [value("y")]))
    assert len(net._plan.steps) == 1
    assert net(2.0).item() == pytest.approx(2 * np.e)


def branch(name, op, *inputs):
    return graph_of([helper.make_node(op, list(inputs), [f"{name}_y"])], [], [value(f"{name}_y")], name=name)


def test_if_takes_values_from_around() -> None:
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "Mul", "x", "w"),
                         else_branch=branch("e", "Neg", "x")),
    ]  # fmt: skip
    net = mlcore_onnx.load(
        model_of(nodes, [value("c", B, []), value("x")], [value("y")], {"w": np.float32([3])})
    )
    assert net(True, [2.0]).tolist() == [6.0]
    assert net(False, [2.0]).tolist() == [-2.0]
    net(True, [2.0]).sum().backward()
    assert net.w.grad.tolist() == [2.0]


def test_loop_and_its_gradient() -> None:
    body = graph_of(
        [helper.make_node("Mul", ["v", "w"], ["v2"]), helper.make_node("Identity", ["c"], ["c2"]),
         helper.make_node("Identity", ["v2"], ["kept"])],
        [value("i", INT, []), value("c", B, []), value("v")], [value("c2", B, []), value("v2"), value("kept")],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["last", "all"], body=body)]
    net = mlcore_onnx.load(
        model_of(
            nodes, [value("n", INT, []), value("x")], [value("last"), value("all")], {"w": np.float32([2])}
        )
    )
    last, kept = net(3, [1.0])
    assert (last.tolist(), kept.tolist()) == ([8.0], [[2.0], [4.0], [8.0]])
    last.sum().backward()
    assert net.w.grad.tolist() == [12.0]  # of w ** 3


def test_functions_with_attributes() -> None:
    scaled = helper.make_function(
        "mine", "Scaled", ["a"], ["b"],
        [helper.make_node("LeakyRelu", ["a"], ["b"])], [helper.make_opsetid("", 17)], ["slope"],
    )  # fmt: skip
    scaled.node[0].attribute.append(
        onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    )
    nodes = [
        helper.make_node("Scaled", ["x"], ["h"], domain="mine", slope=0.5),
        helper.make_node("Scaled", ["h"], ["y"], domain="mine"),
    ]
    net = mlcore_onnx.load(model_of(nodes, [value("x")], [value("y")], functions=[scaled], mine=1))
    np.testing.assert_allclose(np.asarray(net([-2.0, 2.0])), [-0.01, 2.0], rtol=1e-6)


def test_a_function_with_stored_values_and_two_attributes() -> None:
    """Made ready twice: what it has stored is read again."""
    body = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32([1, 2, 3]))),
        helper.make_node("LeakyRelu", ["a"], ["l"]),
        helper.make_node("Mul", ["l", "k"], ["b"]),
    ]
    body[1].attribute.append(
        onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    )
    function = helper.make_function("mine", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)], ["slope"])
    nodes = [
        helper.make_node("F", ["x"], ["h"], domain="mine", slope=0.5),
        helper.make_node("F", ["h"], ["y"], domain="mine", slope=2.0),
    ]
    model = model_of(nodes, [value("x")], [value("y")], functions=[function], mine=1)
    for given in (model, model.SerializeToString()):
        assert mlcore_onnx.load(given)([-1.0, 1.0, 1.0]).tolist() == [-1.0, 4.0, 9.0]


def test_an_operator_of_ones_own() -> None:
    from mlcore_onnx.ops.declare import _table, onnx_op

    @onnx_op("Twice", domain="com.example.test")
    def twice(x, *, plus=0.0):
        return x + x + plus

    try:
        node = helper.make_node("Twice", ["x"], ["y"], domain="com.example.test", plus=0.5)
        model = model_of([node], [value("x")], [value("y")], **{"com.example.test": 1})
        net = mlcore_onnx.load(model)
        x = ml.asarray([1.0, 2.0], requires_grad=True)
        net(x).sum().backward()
        assert (net(x).tolist(), x.grad.tolist()) == ([2.5, 4.5], [2.0, 2.0])
        model.graph.node[0].attribute[0].name = "minus"
        with pytest.raises(UnsupportedOpError, match="minus"):
            mlcore_onnx.load(model)
        model.graph.node[0].input.extend(["x", "x"])
        with pytest.raises(MlcoreError, match="3 inputs"):
            mlcore_onnx.load(model)
    finally:
        del _table["com.example.test", "Twice"]


def test_sequences_and_optionals_go_in_and_out() -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(F, None))
    info = [helper.make_value_info("s", kind)]
    nodes = [
        helper.make_node("SequenceInsert", ["s", "x"], ["t"]),
        helper.make_node("ConcatFromSequence", ["t"], ["y"], axis=0),
    ]
    net = mlcore_onnx.load(
        model_of(nodes, [*info, value("x")], [helper.make_value_info("t", kind), value("y")])
    )
    t, y = net([np.float32([1]), ml.asarray([2.0])], np.float32([3]))
    assert [one.tolist() for one in t] == [[1.0], [2.0], [3.0]]
    assert y.tolist() == [1.0, 2.0, 3.0]


def test_texts_and_narrow_types() -> None:
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["c"], axis=0),
        helper.make_node("Gather", ["c", "last"], ["y"]),
    ]
    kinds = [value("a", TensorProto.STRING), value("b", TensorProto.STRING)]
    net = mlcore_onnx.load(
        model_of(nodes, kinds, [value("y", TensorProto.STRING)], {"last": np.int64([-1, 0])})
    )
    assert net(np.array(["x", "y"], object), np.array(["z"], object)).tolist() == ["z", "x"]
    import ml_dtypes

    nodes = [helper.make_node("Add", ["a", "a"], ["y"])]
    kind = value("a", TensorProto.FLOAT8E4M3FN)
    net = mlcore_onnx.load(model_of(nodes, [kind], [value("y", TensorProto.FLOAT8E4M3FN)]))
    with pytest.raises(UnsupportedOpError, match=r"Add of float8_e4m3fn.*node 0 Add"):
        net(np.ones(2, ml_dtypes.float8_e4m3fn))


def test_an_error_while_running_names_the_node() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="/head/MatMul")
    net = mlcore_onnx.load(model_of([node], [value("x")], [value("y")], {"w": np.ones((3, 2), np.float32)}))
    with pytest.raises(MlcoreError, match="/head/MatMul"):
        net(np.ones((2, 4), np.float32))
    node = helper.make_node("Slice", ["x", "s", "e"], ["y"])
    stored = {"s": np.int64([0, 0]), "e": np.int64([1])}
    net = mlcore_onnx.load(model_of([node], [value("x")], [value("y")], stored))
    with pytest.raises(ArgumentError, match="node 0 Slice"):
        net(np.ones((2, 4), np.float32))


def test_a_convolution_with_its_norm_and_activation_is_one_step() -> None:
    rng = np.random.default_rng(0)
    stored = {
        "w": rng.normal(size=(4, 3, 3, 3)), "scale": rng.normal(size=4), "bias": rng.normal(size=4),
        "mean": rng.normal(size=4), "var": rng.uniform(1, 2, size=4),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    model = model_of(nodes, [value("x")], [value("y")], {k: v.astype(np.float32) for k, v in stored.items()})
    net = mlcore_onnx.load(model)
    assert len(net._plan.steps) == 1
    x = ml.asarray(rng.normal(size=(2, 3, 8, 8)).astype(np.float32))
    recorded = net(x)
    assert recorded.requires_grad
    with ml.no_grad():
        np.testing.assert_allclose(np.asarray(net(x)), np.asarray(recorded.detach()), rtol=1e-5, atol=1e-5)
    both = model_of(
        nodes, [value("x")], [value("y"), value("n")], {k: v.astype(np.float32) for k, v in stored.items()}
    )
    assert len(mlcore_onnx.load(both)._plan.steps) == 2


def test_every_opset_from_seven_on() -> None:
    for opset in range(7, onnx.defs.onnx_opset_version() + 1):
        net = mlcore_onnx.load(
            model_of([helper.make_node("Relu", ["x"], ["y"])], [value("x")], [value("y")], opset=opset)
        )
        assert net([-1.0, 1.0]).tolist() == [0.0, 1.0]


def test_a_loop_that_is_not_run_gives_nothing_of_its_type() -> None:
    body = graph_of(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["i"], ["kept"])],
        [value("i", INT, []), value("c", B, [])], [value("c2", B, []), value("kept", INT, [])],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["n", ""], ["all"], body=body)]
    net = mlcore_onnx.load(model_of(nodes, [value("n", INT, [])], [value("all", INT)]), device="cpu")
    assert net(3).tolist() == [0, 1, 2]
    empty = net(0)
    assert (empty.shape, empty.dtype) == ((0,), ml.int64)


def test_a_definition_of_onnx_serves_all_sizes() -> None:
    """RotaryEmbedding runs by ONNX's own definition, made ready once for a rank."""
    node = helper.make_node("RotaryEmbedding", ["x", "cos", "sin"], ["y"])
    model = model_of([node], [value("x"), value("cos"), value("sin")], [value("y")], opset=23)
    net = mlcore_onnx.load(model, device="cpu")
    rng = np.random.default_rng(0)
    for size in (3, 5, 8):
        x, angle = rng.normal(size=(2, 4, size, 6)).astype(np.float32), rng.normal(size=(2, size, 3))
        cos, sin = np.cos(angle).astype(np.float32)[:, None], np.sin(angle).astype(np.float32)[:, None]
        a, b = x[..., :3], x[..., 3:]
        wanted = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
        np.testing.assert_allclose(np.asarray(net(x, cos[:, 0], sin[:, 0])), wanted, rtol=1e-5, atol=1e-6)


def test_what_came_in_goes_out_again() -> None:
    net = mlcore_onnx.load(linear("layers.0.weight", "layers.0.bias"), device="cpu")
    x = ml.asarray([[1.0, 2.0]], device="cpu")
    again = mlcore_onnx.export(net, (x,))
    assert [one.name for one in again.graph.initializer] == ["layers.0.weight", "layers.0.bias"]
    assert mlcore_onnx.load(again, device="cpu")(x).tolist() == net(x).tolist()
    inside = mlcore_onnx.export(lambda x: net(x) * 2, (x,))
    assert mlcore_onnx.load(inside, device="cpu")(x).tolist() == (net(x) * 2).tolist()
