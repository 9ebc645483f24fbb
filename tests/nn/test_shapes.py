"""Shapes without values: each operation's rule beside what it really makes, summaries, and annotations on forward."""

# ruff: noqa: PT018  (tables of cases; facts that belong together)

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.backends import detect
from mlcore.cli import main
from mlcore.compile.shape_only import blank, shape_only, twin_of
from mlcore.errors import ArgumentError, ArgumentTypeError, ShapeError, UnsupportedOpError
from mlcore.nn.annotated import parse
from mlcore.ops import registry
from mlcore.tensor import Tensor
from mlcore.testing.inputs import call, cases, outputs

IMAGE = Annotated[Tensor, "B C H W"]


def test_every_operation_gives_the_shapes_it_would_really_give() -> None:
    device, compared, open_ = detect.resolve("reference"), 0, set()
    for op in registry.all_ops():
        if op.name == "transfer" or not op.inputs:
            continue
        dtype = next(
            (d for d in (ml.float32, *sorted(op.accepts, key=lambda d: d.index)) if d in op.accepts), None
        )
        for case in cases(op, dtype, quick=True, device=device):
            real = case.on(device)
            total = [0]
            with shape_only(lambda flops, total=total: total.__setitem__(0, total[0] + flops)):
                given = [None if one is None else blank(one.shape, one.dtype) for one in real]
                try:
                    made = outputs(call(op, given, case.params, given[0].device))
                except UnsupportedOpError:
                    open_.add(op.name)
                    continue
            with ml.no_grad():
                wanted = outputs(call(op, real, case.params, device))
            assert [(a.shape, a.dtype) for a in made] == [(b.shape, b.dtype) for b in wanted], str(case)
            assert total[0] >= 0
            compared += 1
    assert open_ == {"where_true"}
    assert compared > 300
    print(f"{compared} calls compared")


LAYERS: list[tuple[Any, tuple[Any, ...], int | None]] = [
    (lambda: nn.Linear(4, 8), (3, 4), 2 * 3 * 4 * 8 + 3 * 8),
    (lambda: nn.Conv2d(3, 8, 3, padding=1), (2, 3, 5, 5), 2 * 2 * 8 * 25 * 27 + 2 * 8 * 25),
    (lambda: nn.Conv1d(4, 6, 3, groups=2, bias=False), (2, 4, 9), 2 * 2 * 6 * 7 * 6),
    (lambda: nn.ConvTranspose2d(3, 5, 2, stride=2), (2, 3, 4, 4), None),
    (lambda: nn.BatchNorm2d(3), (2, 3, 5, 5), None),
    (lambda: nn.GroupNorm(2, 4), (2, 4, 5), None),
    (lambda: nn.LayerNorm(5), (2, 5), None),
    (lambda: nn.MaxPool2d(2), (2, 3, 6, 6), None),
    (lambda: nn.AdaptiveAvgPool2d(1), (2, 3, 6, 6), None),
    (lambda: nn.Dropout(0.5), (2, 3), 0),
    (lambda: nn.ReLU(), (2, 3), 6),
    (lambda: nn.Flatten(), (2, 3, 4), 0),
    (lambda: nn.LSTM(4, 5, 2, batch_first=True), (2, 3, 4), None),
    (lambda: nn.GRU(4, 5, bidirectional=True), (3, 2, 4), None),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 3), None),
    (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 3, 8), None),
    (lambda: nn.LazyConv2d(4, 3), (1, 2, 5, 5), None),
]


@pytest.mark.parametrize("row", LAYERS, ids=lambda row: type(row[0]()).__name__)
def test_a_summary_says_what_a_run_gives(row: Any) -> None:
    make, shape, flops = row
    layer = make().eval()
    before = (
        {name: np.array(one) for name, one in layer.state_dict().items()} if "Lazy" not in str(layer) else {}
    )
    found = nn.summary(layer, shape)
    assert all(np.array_equal(np.array(layer.state_dict()[name]), one) for name, one in before.items())
    made = layer(ml.ones(shape))
    flat = []
    for one in made if isinstance(made, tuple) else (made,):
        flat += list(one) if isinstance(one, tuple) else [one]
    assert found.rows[0].outputs == tuple(one.shape for one in flat)
    assert found.parameters == sum(one.size for one in layer.parameters())
    assert found.parameter_bytes == sum(one.nbytes for one in layer.parameters())
    assert flops is None or found.flops == flops


def test_a_network_of_a_terabyte_takes_no_memory() -> None:
    with shape_only():
        model = nn.Sequential(nn.Linear(500_000, 500_000), nn.ReLU(), nn.Linear(500_000, 10))
    found = nn.summary(model, (64, 500_000))
    assert found.parameters == 500_000 * 500_001 + 500_000 * 10 + 10
    assert found.rows[-1].outputs == ((64, 10),)
    assert "931.4 GiB" in str(found)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = self.one
        self.unused = nn.Linear(2, 2)
        self.list = nn.ModuleList([nn.Linear(4, 4)])
        self.one.bias.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.list[0](self.two(self.one(x))) @ self.list[0].weight


def test_shared_and_unused_parameters_count_once() -> None:
    found = nn.summary(Shared(), (2, 4))
    assert found.parameters == 20 + 6 + 20 and found.trainable == found.parameters - 4
    assert [row.path for row in found.rows] == ["", "one", "one", "list.0"]
    assert [row.parameters for row in found.rows] == [6, 20, 0, 20]
    assert found.rows[0].flops == 2 * 2 * 4 * 4
    assert "list.0" in str(found) and "4 of them not trained" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["flops"] == found.flops


def test_the_random_numbers_and_the_mode_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    state = ml.random.get_state()
    nn.summary(model, (2, 3), training=True)
    assert ml.random.get_state() == state and model.training


def test_inputs_may_be_tensors_lists_and_keywords() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    found = nn.summary(
        layer, [(2, 3, 8), (2, 5, 8), (2, 5, 8)], key_padding_mask=ml.zeros((2, 5), dtype=ml.bool)
    )
    assert found.rows[0].outputs == ((2, 3, 8), (2, 3, 5))
    assert nn.summary(nn.Embedding(10, 4), ml.zeros((2, 3), dtype=ml.int64)).rows[0].outputs == ((2, 3, 4),)
    with pytest.raises(ArgumentTypeError, match="is not a Module"):
        nn.summary(3, (2, 3))


class Reads(nn.Module):
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


def test_a_model_that_looks_at_values_is_told_so() -> None:
    with pytest.raises(UnsupportedOpError, match="a value was asked for, where only shapes are known"):
        nn.summary(Reads(), (2, 3))
    with pytest.raises(UnsupportedOpError, match="depends on values"), shape_only():
        ml.nonzero(blank((3,)))


def test_a_twin_shares_what_the_model_shares() -> None:
    twin = twin_of(Shared())
    assert (
        twin.one is twin.two and twin.one.weight.shape == (4, 4) and str(twin.one.weight.device) == "shapes"
    )


# -- annotations -------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Identity(), Pairs())

    def forward(self, x: IMAGE, y: Any) -> Annotated[Tensor, "B C ..."]:
        return self.inner[1](x, y)


class Pairs(nn.Module):
    def forward(self, x: Annotated[Tensor, "B 3 _ W"], y: Annotated[Tensor, "... W"] | None = None) -> Any:
        return x


WRONG: list[tuple[tuple[int, ...], tuple[int, ...], list[str]]] = [
    ((2, 3, 4), (5,), ["argument 'x' has the shape (2, 3, 4), 'B C H W' wanted", "3 dimensions, 4 wanted"]),
    (
        (2, 4, 4, 5),
        (5,),
        ["argument 'x'", "dimension 1 is 4, 3 wanted", "in:    Net.inner.1, Pairs", "bound: B=2"],
    ),
    (
        (2, 3, 4, 5),
        (6,),
        ["'... W' wanted", "dimension 0 (W) is 6, but W is 5 in argument 'x'", "bound: B=2, W=5"],
    ),
    ((2, 3, 4, 5), (), ["0 dimensions, 1 or more wanted"]),
]


@pytest.mark.parametrize("row", WRONG, ids=str)
def test_a_shape_that_does_not_fit_is_refused(row: Any) -> None:
    x, y, texts = row
    with pytest.raises(ShapeError) as caught:
        Net()(ml.ones(x), ml.ones(y))
    assert all(text in str(caught.value) for text in texts), str(caught.value)


def test_shapes_that_fit_pass() -> None:
    assert Net()(ml.ones((2, 3, 4, 5)), ml.ones((7, 7, 5))).shape == (2, 3, 4, 5)
    assert Net()(x=ml.ones((2, 3, 4, 5)), y=None).shape == (2, 3, 4, 5)
    with pytest.raises(ArgumentTypeError, match="argument 'x' is a list"):
        Net()([1], None)


class Returns(nn.Module):
    def forward(self, x: Annotated[Tensor, "B T"]) -> tuple[Annotated[Tensor, "T B"], int]:
        return x, 1


def test_the_result_is_checked_too() -> None:
    assert Returns()(ml.ones((3, 3)))[1] == 1
    with pytest.raises(ShapeError, match=r"the result \[0\] has the shape"):
        Returns()(ml.ones((2, 3)))


class Plain(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


def test_without_annotations_forward_is_the_function_itself() -> None:
    assert not hasattr(nn.Linear.forward, "__wrapped__")
    Plain()(ml.ones((2,)))
    assert not hasattr(Plain.forward, "__wrapped__")
    assert hasattr(Pairs.forward, "__wrapped__")


@pytest.mark.parametrize("text", ["B-1", "... C ...", "2*B"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        parse(text)


# -- mlcore check ------------------------------------------------------------------------------------------------

SOURCE = """
from typing import Annotated
from mlcore import Tensor, nn

class Model(nn.Module):
    def __init__(self, width=8, classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(width * 36, classes)
    def forward(self, x: Annotated[Tensor, "B 3 H W"]):
        return self.head(self.body(x))

def orthogonal():
    made = nn.Linear(4, 4)
    nn.init.orthogonal_(made.weight)
    return made

embedder = nn.Embedding(5, 2)
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "checked_models.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "checked_models", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["check", *words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def test_check_prints_the_layers(check: Any) -> None:
    status, out, err = check("checked_models:Model", "--in", "B 3 8 8")
    assert status == 0 and not err
    assert "B = 2" in out and "(2, 8, 6, 6)" in out and "the shapes fit" in out and "parameters: 3,114" in out
    status, out, _ = check("checked_models:Model", "width=4", "--in", "B 3 8 8", "--size", "B=9", "--json")
    assert json.loads(out)["layers"][-1]["outputs"] == [[9, 10]]
    assert check("checked_models:orthogonal", "--in", "B 4")[0] == 0
    assert check("checked_models:embedder", "--in", "B T int64")[0] == 0


def test_check_names_the_first_mismatch(check: Any) -> None:
    status, out, err = check("checked_models:Model", "--in", "B 3 9 9")
    assert status == 2 and "body.2" not in err
    assert (
        "in:    Model.head, Linear(in_features=288" in err
        and "(2, 8, 7, 7)" in out
        and "ends here" in out.splitlines()[-5]
    )
    status, _, err = check("checked_models:Model", "--in", "B 1 8 8")
    assert status == 2 and "argument 'x' has the shape (2, 1, 8, 8), 'B 3 H W' wanted" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["checked_models"], "names no model"),
        (["checked_models:Nothing"], "has no attribute"),
        (["checked_models:Model", "--in", "B ... 3"], "leaves a dimension open"),
        (["checked_models:Model", "--size", "B"], "write NAME=N"),
        (["checked_models:SOURCE_"], "has no attribute"),
        (["checked_models:Model", "width"], "write name=value"),
        (["checked_models:embedder", "a=1"], "is a module already"),
    ],
)  # fmt: skip
def test_check_refuses(check: Any, words: list[str], text: str) -> None:
    status, _, err = check(*words)
    assert status == 2 and text in err
