"""Configurations of modules: the round trip through dict and TOML for every layer, and what is refused."""

# ruff: noqa: E501, PT018  (tables of cases; facts that belong together)

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import tomllib
from typing import Any

import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError
from mlcore.nn import config
from mlcore.nn.toml import dump

# What a required parameter of a layer may be, by its name.
VALUES: dict[str, Any] = {
    "kernel_size": 3, "size": 2, "output_size": 2, "num_features": 4, "num_channels": 4, "num_groups": 2,
    "normalized_shape": (4,), "upscale_factor": 2, "downscale_factor": 2, "groups": 2, "padding": 1, "value": 1.5,
    "threshold": 0.1, "dim": 1, "unflattened_size": (2, 2), "cutoffs": [2, 4], "n_classes": 6, "num_heads": 2,
    "nhead": 2, "embed_dim": 4, "d_model": 4, "num_layers": 2, "bias": True, "num_embeddings": 7, "embedding_dim": 3,
}  # fmt: skip


class Block(nn.Module):
    def __init__(
        self,
        width: int,
        *sizes: int,
        activation: Any = nn.ReLU,
        inner: nn.Module | None = None,
        **rest: float,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, one) for one in sizes)
        self.act, self.inner, self.rest = activation(), inner, rest

    def forward(self, x: Any) -> Any:
        return x


def made() -> dict[str, Any]:
    """One of each layer that can be made from numbers."""
    found = {}
    for name in nn.__all__:
        cls = getattr(nn, name)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)) or cls in (nn.Module, nn.Container):
            continue
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        required = [
            p
            for p in parameters
            if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD
        ]
        if any(p.name in ("encoder_layer", "decoder_layer", "layer") for p in required):
            continue
        try:
            found[name] = cls(**{p.name: VALUES.get(p.name, 4) for p in required})
        except (ml.errors.MlcoreError, TypeError):
            continue
    return found


def test_every_layer_comes_back_from_dict_and_toml() -> None:
    layers = made()
    assert len(layers) > 120, sorted(layers)
    for name, layer in layers.items():
        if isinstance(layer, nn.ParameterList | nn.ParameterDict):
            continue
        described = config.of(layer)
        assert config.from_dict(described.to_dict()) == described, name
        assert config.from_toml(described.to_toml()) == described, name
        again = described.build()
        assert repr(again) == repr(layer)
        if "Lazy" not in name:
            assert {k: v.shape for k, v in again.state_dict().items()} == {
                k: v.shape for k, v in layer.state_dict().items()
            }
        assert config.of(again) == described
    print(f"{len(layers)} layers")


def networks() -> list[Any]:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    return [
        nn.Sequential(),
        nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Dropout(0.25))),
        nn.Sequential({"first": nn.Linear(2, 3), "a-b": nn.ReLU()}),
        nn.ModuleDict({"x": nn.Linear(2, 3), "y": nn.ModuleList([nn.ReLU(), nn.Identity()])}),
        nn.Embedding(4, 3, padding_idx=1, dtype=ml.float64),
        nn.Conv2d(1, 2, (3, 5), padding="same", bias=False),
        encoder,
        Block(4, 3, 2, activation=nn.GELU, inner=nn.Linear(1, 1), a=1.5),
        Block(4),
        nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    ]


@pytest.mark.parametrize("index", range(10))
def test_networks_come_back(index: int) -> None:
    network = networks()[index]
    described = config.of(network)
    text = described.to_toml()
    assert tomllib.loads(text) == described.to_dict()
    again = config.from_toml(text)
    assert again == described and repr(again.build()) == repr(network)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert config.of(copied) == described


def test_a_configuration_is_frozen_and_can_be_changed_into_another() -> None:
    described = config.of(nn.Linear(2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        described.in_features = 3  # type: ignore[attr-defined]
    assert described.replace(out_features=7).build().out_features == 7
    assert described == config.kind(nn.Linear)(2, 3) != described.replace(bias=False)
    assert described.to_dict() == {"type": "Linear", "in_features": 2, "out_features": 3}


def test_a_lazy_layer_is_described_as_what_it_became() -> None:
    layer = nn.LazyLinear(3)
    assert config.of(layer).to_dict() == {"type": "LazyLinear", "out_features": 3}
    layer(ml.ones((2, 5)))
    assert config.of(layer).to_dict()["in_features"] == 5


def test_a_container_is_described_by_what_it_holds_now() -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    network.append(nn.ReLU())
    assert len(config.of(network).args) == 2  # type: ignore[attr-defined]


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: config.of(3), ArgumentTypeError, "a int is not a Module"),
    (lambda: config.of(nn.CrossEntropyLoss(weight=ml.ones((3,)))), ArgumentTypeError, "weight is a Tensor"),
    (lambda: config.of(nn.Sequential(Block(1, activation=lambda: nn.ReLU()))), ArgumentTypeError, "activation is a function"),
    (lambda: config.kind(int), ArgumentTypeError, "is not a Module class"),
    (lambda: config.kind(nn.Linear)("3", 4), ArgumentTypeError, "Linear: in_features is a str: '3'"),
    (lambda: config.kind(nn.Linear)(3, 4, 1), ArgumentTypeError, "bias is a int: 1"),
    (lambda: config.of(nn.Linear(2, 3)).replace(in_feature=1), ArgumentError, "has no argument 'in_feature'; did you mean 'in_features'"),
    (lambda: config.from_dict({"type": "Linaer"}), ArgumentError, "no module 'Linaer'; did you mean 'Linear'"),
    (lambda: config.from_dict({"type": "os:system"}), ArgumentError, "no module 'os:system'"),
    (lambda: config.from_dict({"type": "Linear", "in_features": 3}), ArgumentTypeError, "Linear needs out_features"),
    (lambda: config.from_dict({"a": 3}), ArgumentTypeError, "describes no module"),
    (lambda: config.from_dict({"type": "Sequential", "args": [{"type": "ReLU"}, {"type": "Linear", "x": 1}]}), ArgumentError, "at args[1]: Linear has no argument 'x'"),
    (lambda: config.from_toml("a = "), FormatError, "not TOML"),
    (lambda: dump({"a": None}), ArgumentTypeError, "TOML cannot hold a NoneType"),
]  # fmt: skip


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[2])
def test_what_is_refused(row: Any) -> None:
    act, kind, text = row
    with pytest.raises(kind) as caught:
        act()
    assert text in str(caught.value)


def test_toml_holds_what_it_is_given() -> None:
    given = {
        "text": 'a "quoted"\n\x7f line', "number": -3, "far": float("inf"), "list": [1, [2.5, "x"], []],
        "mixed": [1, {"a": 2}], "sub": {"with space": True, "deep": {"er": 1e-30}}, "rows": [{"a": {"b": 1}}, {}],
    }  # fmt: skip
    assert tomllib.loads(dump(given)) == given
