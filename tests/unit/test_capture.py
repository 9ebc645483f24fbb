"""Graphs of whole models: what is captured, and that running it again gives what the model gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.bench import models as bench
from mlcore.compile.capture import capture
from mlcore.compile.outline import outline
from mlcore.errors import ArgumentError, ArgumentTypeError, ShapeError, UnsupportedOpError
from mlcore.nn import functional as F
from mlcore.ops import random
from mlcore.testing.models import MODELS


def close(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(
        found, wanted, rtol=tolerance, atol=tolerance * max(1.0, np.abs(wanted).max(initial=0))
    )


# -- running again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", bench.MODELS, ids=lambda model: model.name)
def test_the_models_of_the_benchmarks_run_again_at_any_batch(model: Any) -> None:
    net = bench.set_weights(ml, model.make(nn, F)).eval()
    x = model.inputs(np.random.default_rng(0))["inputs"]
    name = capture(net, (ml.asarray(x[:2]),)).inputs[0].name
    graph = capture(net, (ml.asarray(x[:2]),), dynamic={name: {0: "batch"}})
    assert [str(one) for one in graph.inputs[0].dims[:1]] == ["batch"]
    held = {one.name for one in graph.held if one.kind == "parameter"}
    assert held == {key for key, _ in net.named_parameters()}
    for count in (1, 3) if x.shape[0] > 2 else (1,):
        with ml.no_grad():
            close(graph.run(ml.asarray(x[:count])), net(ml.asarray(x[:count])))


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_models_of_the_kit_run_again(name: str) -> None:
    net: Any = MODELS[name](ml.default_device())
    net.noise = random.Generator(9)
    wanted = net.loss()
    net.noise = random.Generator(9)
    graph = capture(net.loss)
    assert not graph.inputs
    close(graph.run(), wanted.detach())
    parts = capture(net.loss, keep=lambda op, inputs, params: False)
    assert len(parts.nodes) > 2 * len(graph.nodes)
    if name != "transformer":  # whose dropout has drawn since
        close(parts.run(), wanted.detach(), 1e-4)


# -- what is in a graph ------------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Found:
    sums: dict[str, Any]
    point: Point
    note: str = "kept"


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("shift", ml.ones((3,)))
        self.plain = ml.full((3,), 2.0)

    def forward(self, pair: Any, *, scale: Any, flag: bool = True) -> Found:
        left, right = pair["left"], pair["right"]
        made = self.second(self.first(left)) * scale + self.shift - self.plain
        made[0] = right
        made += 1
        return Found({"made": made, "left": left}, Point(made.sum(), right if flag else left))


def test_arguments_results_and_weights_keep_their_names() -> None:
    net = Nested()
    pair = {"left": ml.random.normal((2, 3)), "right": ml.random.normal((3,))}
    scale = ml.asarray(0.5)
    graph = capture(net, (pair,), {"scale": scale})
    assert [one.name for one in graph.inputs] == ["pair.left", "pair.right", "scale"]
    assert [path for path, _ in graph.outputs] == ["sums.made", "sums.left", "point.x", "point.y"]
    kinds = {one.name: one.kind for one in graph.held}
    assert kinds["first.weight"] == "parameter"
    assert kinds["shift"] == "buffer"
    assert "second.weight" not in kinds
    assert sum(kind == "constant" for kind in kinds.values()) >= 1
    found, wanted = graph.run(pair, scale=scale), net(pair, scale=scale)
    assert isinstance(found, Found)
    assert isinstance(found.point, Point)
    assert found.note == "kept"
    close(found.sums["made"], wanted.sums["made"].detach(), 0)
    close(found.point.x, wanted.point.x.detach(), 0)
    assert found.point.y is pair["right"]


def test_nodes_say_where_they_come_from() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())

        def forward(self, x: Any) -> Any:
            return self.body(x) * 2

    net = Net()
    graph = capture(net, (1, 1, 6, 6))
    assert [(one.op.name, one.path, one.kind) for one in graph.nodes] == [
        ("convolution", "body.0", "Conv2d"), ("batch_norm_scale", "body.1", "BatchNorm2d"), ("relu", "body.2", "ReLU"),
        ("multiply", "", "Net"),
    ]  # fmt: skip
    assert "test_capture.py" in graph.nodes[-1].line
    assert graph.nodes[-1].line.endswith("in forward")
    top = outline(graph)
    assert [(one.path, one.name) for one in top.parts[0].parts] == [
        ("body.0", "0"),
        ("body.1", "1"),
        ("body.2", "2"),
    ]
    assert top.parameters == sum(one.size for one in net.parameters())
    assert top.flops == nn.summary(net, (1, 1, 6, 6)).flops
    assert net.training
    assert not any(one._hooks for one in net.modules())


def test_capture_leaves_random_numbers_and_the_model_alone() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    before, state = ml.random.get_state(), {key: np.array(one) for key, one in net.state_dict().items()}
    graph = capture(net, (4, 3), training=True)
    assert ml.random.get_state() == before
    assert "dropout_mask" in [one.op.name for one in graph.nodes]
    assert all(np.array_equal(state[key], np.array(one)) for key, one in net.state_dict().items())


def test_what_follows_from_constants_may_be_looked_at() -> None:
    def shifted(x: Any) -> Any:
        table = ml.arange(4) * 2
        return x * table[3].item() if bool((table > 5).any()) else x

    graph = capture(shifted, (ml.zeros((2,)),))
    close(graph.run(ml.ones((2,))), [6.0, 6.0], 0)


# -- sizes -------------------------------------------------------------------------------------------------------


def test_sizes_follow_named_dimensions() -> None:
    def model(x: Any, y: Any) -> Any:
        n, t, d = x.shape
        flat = x.reshape((n * t, d)) / n
        ramp = ml.arange(t, dtype=ml.float32)
        whole = ml.concat([x.mean(axis=2) + ramp, y], axis=1)
        return flat, whole, x[:, : t // 2], F.max_pool1d(x, 2, stride=2), ml.zeros((t, n)) + 1

    names = {"x": ("batch", "time", None), "y": {0: "batch"}}
    graph = capture(model, (ml.zeros((3, 8, 4)), ml.zeros((3, 2))), dynamic=names)
    assert [one.spec for _, one in graph.outputs] == [
        "float32[batch * time, 4]", "float32[batch, time + 2]", "float32[batch, time // 2, 4]",
        "float32[batch, time, 2]", "float32[time, batch]",
    ]  # fmt: skip
    for n, t in ((1, 2), (5, 7), (2, 30)):
        x, y = ml.random.normal((n, t, 4)), ml.random.normal((n, 2))
        for found, wanted in zip(graph.run(x, y), model(x, y), strict=True):
            close(found, wanted, 1e-6)


def test_sizes_that_no_formula_gives_get_names_of_their_own() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Flatten(2))
    graph = capture(net, (1, 1, 9, 12), dynamic={"input": {2: "h", 3: "w"}})
    assert graph.outputs[0][1].spec == "float32[1, 2, size_2 * size_3]"
    for h, w in ((3, 4), (20, 9)):
        x = ml.random.normal((1, 1, h, w))
        close(graph.run(x), net(x).detach(), 1e-6)


def test_a_graph_that_depends_on_the_size_is_refused() -> None:
    def model(x: Any) -> Any:
        return x.relu() if x.shape[0] % 2 else x.tanh()

    with pytest.raises(UnsupportedOpError, match="the graph is another one when n differs") as caught:
        capture(model, (ml.zeros((3,)),), dynamic={"x": {0: "n"}})
    assert "relu or tanh, by the size" in str(caught.value)

    table = ml.zeros((3, 2))
    with pytest.raises(UnsupportedOpError, match="m differs"):
        capture(lambda x: x @ table, (ml.zeros((2, 3)),), dynamic={"x": {1: "m"}})


def test_a_model_that_takes_only_multiples_is_asked_for_no_others() -> None:
    net = nn.Sequential(nn.PixelUnshuffle(4), nn.ReLU())
    graph = capture(net, (1, 1, 8, 12), dynamic={"input": {2: "h", 3: "w"}})
    x = ml.random.normal((1, 1, 16, 4))
    close(graph.run(x), net(x), 0)


@pytest.mark.parametrize("length", [9, 15])
def test_sizes_stay_below_what_a_model_takes(length: int) -> None:
    net = nn.LearnedPositionalEncoding(16, 4)
    graph = capture(net, (length, 4), dynamic={"input": {0: "length"}})
    for size in (1, 16):
        x = ml.random.normal((size, 4))
        close(graph.run(x), net(x).detach(), 0)


def test_an_example_of_size_1_is_none() -> None:
    def model(x: Any) -> Any:
        return x.reshape((4,)) if x.shape[0] == 1 else x.sum(axis=0)

    graph = capture(model, (ml.zeros((1, 4)),), dynamic={"x": {0: "n"}})
    close(graph.run(ml.ones((3, 4))), [3.0] * 4, 0)


# -- what is refused ---------------------------------------------------------------------------------------------


def test_values_may_not_decide() -> None:
    class Branch(nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    with pytest.raises(
        UnsupportedOpError, match=r"a value that follows from input '0.input'|from input 'input'"
    ):
        capture(nn.Sequential(Branch()), (2, 3))
    with pytest.raises(UnsupportedOpError, match="the shape of what where_true gives depends on values"):
        capture(lambda x: ml.nonzero(x)[0], (ml.zeros((3,)),))
    with pytest.raises(UnsupportedOpError, match="random numbers"):
        capture(lambda x: x * ml.random.uniform(()).item(), (ml.zeros((3,)),))


def test_wrong_calls_say_so() -> None:
    with pytest.raises(ArgumentTypeError, match="cannot be called"):
        capture(3, (2, 3))
    with pytest.raises(ArgumentTypeError, match="too many positional arguments"):
        capture(nn.ReLU(), [(2, 3), (4,)])
    net = nn.ReLU()
    with pytest.raises(ArgumentError, match="name an input 'z'"):
        capture(net, (2, 3), dynamic={"z": {0: "n"}})
    with pytest.raises(ArgumentError, match="axes from 0 to 1"):
        capture(net, (2, 3), dynamic={"input": {5: "n"}})
    with pytest.raises(ArgumentError, match="n is 2 and 3 in the example"):
        capture(net, (2, 3), dynamic={"input": ("n", "n")})
    with pytest.raises(ArgumentError, match="has no shape yet"):
        capture(nn.LazyLinear(3), (2, 3))
    with pytest.raises(ShapeError, match="for a graph of"):
        capture(net, (2, 3)).run(ml.zeros((2, 4)))
