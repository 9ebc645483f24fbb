"""The nine models of the training rows, written once for every library that has PyTorch's `nn`, and what they cost.

A definition takes the library's `nn` and `nn.functional`. Beside it stands the arithmetic of one forward pass and
the elements of its activations, counted from the same tables of sizes: the floor of a row is computed from them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from mlcore.bench.rows import Array, Inputs, Work

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """One forward pass: arithmetic in products, elements of activations between layers, parameters.

    `first` is the part of `flops` whose gradient with respect to the inputs nobody asks for.
    """

    flops: float
    activations: float
    parameters: float
    first: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.activations + other.activations,
            self.parameters + other.parameters,
            self.first or other.first,
        )


@dataclass(frozen=True)
class Model:
    """A model, its batch, and what a step costs at least."""

    name: str
    make: Callable[[Any, Any], Any]
    inputs: Callable[[np.random.Generator], Inputs]
    cost: Cost
    loss: str = "cross_entropy"
    rate: float = 1e-3
    small: bool = False  # runs in a few milliseconds
    images: bool = False

    @property
    def inference(self) -> Work:
        """Every activation written and read once, every parameter read."""
        return Work(self.cost.flops, 4 * (2 * self.cost.activations + self.cost.parameters), "float32")

    @property
    def training(self) -> Work:
        """Forward once and backward twice, but for the inputs' gradient. An activation is written, read by the next
        layer and by backward; its gradient is written and read. AdamW reads and writes a parameter and two moments;
        the gradient is written and read, the parameter read by both passes."""
        moved = 5 * self.cost.activations + 10 * self.cost.parameters
        return Work(3 * self.cost.flops - self.cost.first, 4 * moved, "float32")


def set_weights(lib: Any, model: Any) -> Any:
    """Give a model weights that depend on the names in its state_dict only: the same in every library."""
    state = {}
    for name, tensor in model.state_dict().items():
        state[name] = lib.tensor(_weight(name, tuple(tensor.shape)))
    model.load_state_dict(state)
    return model


def _weight(name: str, shape: Shape) -> Array:
    """Normal with the variance 2 / fan-in, ones for scales and variances, zeros for the rest."""
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if len(shape) >= 2:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        fan_in = math.prod(shape[1:])
        return rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_in))
    return np.full(shape, last in ("weight", "running_var"), np.float32)


# -- what layers cost --------------------------------------------------------------------------------------------


def linear_cost(rows: int, n_in: int, n_out: int) -> Cost:
    """A Linear layer and its result.

    >>> linear_cost(2, 3, 4)
    Cost(flops=48.0, activations=8, parameters=16, first=0.0)
    """
    return Cost(2.0 * rows * n_in * n_out, rows * n_out, (n_in + 1) * n_out)


def taps_inside(size: int, kernel: int, stride: int, padding: int) -> int:
    """How often a kernel's taps meet an element of a line of that size, over all its places: the padding is no work.

    >>> taps_inside(4, 3, 1, 1)  # 2 + 3 + 3 + 2
    10
    """
    places = range(-padding, size + padding - kernel + 1, stride)
    return sum(min(at + kernel, size) - max(at, 0) for at in places)


def conv_cost(
    batch: int,
    n_in: int,
    n_out: int,
    kernel: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
    norm: bool = False,
) -> Cost:
    """A convolution to images of size x size, and the batch norm behind it with its result."""
    out = batch * n_out * size * size
    weights = n_in // groups * n_out * kernel * kernel
    taps = taps_inside(size * stride, kernel, stride, kernel // 2) ** 2
    flops = 2.0 * batch * n_out * (n_in // groups) * taps
    return Cost(flops, out * (2 if norm else 1), weights + 2 * n_out)


def attention_cost(batch: int, length: int, width: int, causal: bool = False) -> Cost:
    """Scaled dot-product attention of all heads, without the projections; no score is kept."""
    pairs = batch * length * length * (0.5 if causal else 1.0)
    return Cost(4.0 * pairs * width, batch * length * width, 0)


def total(parts: Sequence[Cost]) -> Cost:
    """The sum; the first layer's gradient with respect to the inputs is not needed."""
    return sum(parts, Cost(0.0, 0.0, 0.0, parts[0].flops))


# -- plain networks ----------------------------------------------------------------------------------------------


def _mlp(sizes: Sequence[int]) -> Callable[[Any, Any], Any]:
    def make(nn: Any, functional: Any) -> Any:
        layers = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return make


def _mlp_cost(rows: int, sizes: Sequence[int]) -> Cost:
    return total([linear_cost(rows, n_in, n_out) for n_in, n_out in pairwise(sizes)])


def lenet(nn: Any, functional: Any) -> Any:
    """Two convolutions with pooling, two Linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def _lenet_cost(batch: int) -> Cost:
    return total(
        [
            conv_cost(batch, 1, 16, 5, 28),
            conv_cost(batch, 16, 32, 5, 14),
            linear_cost(batch, 32 * 7 * 7, 128),
            linear_cost(batch, 128, 10),
        ]
    )


# -- ResNet-18 with the stem for small images (He et al. 2016, section 4.2) --------------------------------------

RESNET: Final = [(64, 1), (128, 2), (256, 2), (512, 2)]  # channels and stride of the first of two blocks


def resnet18(nn: Any, functional: Any) -> Any:
    """Eight basic blocks on a 3x3 stem without pooling, ten classes."""

    class Block(nn.Module):  # type: ignore[misc]  # the base is one library's or the other's
        def __init__(self, n_in: int, n_out: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(n_out)
            self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(n_out)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut = nn.Identity()
            if stride != 1 or n_in != n_out:
                conv = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(n_out))

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    layers = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    n_in = 64
    for n_out, stride in RESNET:
        layers += [Block(n_in, n_out, stride), Block(n_out, n_out, 1)]
        n_in = n_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _resnet_cost(batch: int, size: int) -> Cost:
    parts = [conv_cost(batch, 3, 64, 3, size, norm=True)]
    n_in = 64
    for n_out, stride in RESNET:
        size //= stride
        parts += [conv_cost(batch, n_in, n_out, 3, size, stride, norm=True)]
        parts += [conv_cost(batch, n_out, n_out, 3, size, norm=True)] * 3
        if stride != 1:
            parts.append(conv_cost(batch, n_in, n_out, 1, size, stride, norm=True))
        n_in = n_out
    return total([*parts, linear_cost(batch, 512, 10)])


# -- MobileNetV2 (Sandler et al. 2018, table 2) ------------------------------------------------------------------

MOBILENET: Final = [  # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
]  # fmt: skip


def mobilenet_v2(nn: Any, functional: Any) -> Any:
    """Inverted residuals with depthwise convolutions, 1000 classes; no dropout, so that losses can be compared."""

    def conv(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
        how = dict(stride=stride, padding=kernel // 2, groups=groups, bias=False)
        return [nn.Conv2d(n_in, n_out, kernel, **how), nn.BatchNorm2d(n_out), nn.ReLU6(inplace=True)]

    class Inverted(nn.Module):  # type: ignore[misc]  # the base is one library's or the other's
        def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
            super().__init__()
            wide = n_in * expansion
            layers = conv(n_in, wide, 1) if expansion != 1 else []
            layers += conv(wide, wide, 3, stride, wide)
            self.conv = nn.Sequential(*layers, nn.Conv2d(wide, n_out, 1, bias=False), nn.BatchNorm2d(n_out))
            self.residual = stride == 1 and n_in == n_out

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.residual else self.conv(x)

    layers, n_in = conv(3, 32, 3, 2), 32
    for expansion, n_out, count, first in MOBILENET:
        for i in range(count):
            layers.append(Inverted(n_in, n_out, first if i == 0 else 1, expansion))
            n_in = n_out
    return nn.Sequential(
        *layers, *conv(n_in, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)
    )


def _mobilenet_cost(batch: int, size: int) -> Cost:
    size //= 2
    parts, n_in = [conv_cost(batch, 3, 32, 3, size, 2, norm=True)], 32
    for expansion, n_out, count, first in MOBILENET:
        for i in range(count):
            wide = n_in * expansion
            if expansion != 1:
                parts.append(conv_cost(batch, n_in, wide, 1, size, norm=True))
            stride = first if i == 0 else 1
            size //= stride
            parts.append(conv_cost(batch, wide, wide, 3, size, stride, wide, norm=True))
            parts.append(conv_cost(batch, wide, n_out, 1, size, norm=True))
            n_in = n_out
    parts.append(conv_cost(batch, n_in, 1280, 1, size, norm=True))
    return total([*parts, linear_cost(batch, 1280, 1000)])


# -- sequences ---------------------------------------------------------------------------------------------------


def transformer(nn: Any, functional: Any) -> Any:
    """Four encoder layers of width 256 with eight heads."""
    layer = nn.TransformerEncoderLayer(256, 8, 1024, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


def _layer_cost(batch: int, length: int, width: int, causal: bool) -> Cost:
    """A transformer layer with two norms and a hidden layer of four times the width."""
    rows = batch * length
    norms = Cost(0.0, 4 * rows * width, 4 * width)  # two norms and two residual sums
    products = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    parts = [linear_cost(rows, *sizes) for sizes in products]
    activation = Cost(0.0, rows * 4 * width, 0)
    return sum([*parts, attention_cost(batch, length, width, causal), norms, activation], Cost(0.0, 0.0, 0.0))


def gpt(nn: Any, functional: Any) -> Any:
    """A causal language model: six layers of width 384, six heads, norms first (Radford et al. 2019)."""
    width, heads, words, length = 384, 6, 1024, 256

    class Block(nn.Module):  # type: ignore[misc]  # the base is one library's or the other's
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            parts = self.qkv(self.norm1(x)).reshape((batch, length, 3, heads, width // heads))
            q, k, v = (parts[:, :, i].swapaxes(1, 2) for i in range(3))
            seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.swapaxes(1, 2).reshape((batch, length, width)))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Gpt(nn.Module):  # type: ignore[misc]  # the base is one library's or the other's
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(6)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.words(ids) + self.places.weight[: ids.shape[1]]
            return self.head(self.norm(self.blocks(x))).reshape((-1, words))

    return Gpt()


def _gpt_cost(batch: int, length: int) -> Cost:
    width, words = 384, 1024
    layers = [_layer_cost(batch, length, width, True)] * 6
    tables = Cost(0.0, batch * length * width, (words + 256) * width)
    return sum([*layers, tables, linear_cost(batch * length, width, words)], Cost(0.0, 0.0, 0.0))


def lstm(nn: Any, functional: Any) -> Any:
    """One LSTM layer of 64 to 128, and a classifier on its last step."""

    class Last(nn.Module):  # type: ignore[misc]  # the base is one library's or the other's
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    return Last()


def _lstm_cost(batch: int, steps: int) -> Cost:
    rows = batch * steps
    gates = Cost(
        2.0 * rows * 512 * (64 + 128), rows * (512 + 2 * 128), 512 * (64 + 128 + 2), 2.0 * rows * 512 * 64
    )
    return gates + linear_cost(batch, 128, 10)


# -- the table ---------------------------------------------------------------------------------------------------


def _classified(shape: Shape, classes: int) -> Callable[[np.random.Generator], Inputs]:
    return lambda rng: {
        "inputs": rng.standard_normal(shape, np.float32),
        "target": rng.integers(0, classes, shape[0]),
    }


def _regression(shape: Shape) -> Callable[[np.random.Generator], Inputs]:
    return lambda rng: {key: rng.standard_normal(shape, np.float32) for key in ("inputs", "target")}


def _autoencoded(rng: np.random.Generator) -> Inputs:
    """The target is the input."""
    x = rng.standard_normal((_AUTOENCODER[0], _AUTOENCODER[1][0]), np.float32)
    return {"inputs": x, "target": x}


def _text(rng: np.random.Generator) -> Inputs:
    ids = rng.integers(0, 1024, (4, 257))
    return {"inputs": ids[:, :-1].copy(), "target": ids[:, 1:].reshape(-1).copy()}


# An input of the autoencoder has a batch of 64 with 15625 features: 1e6 elements; a hidden layer of 32.
_AUTOENCODER: Final = (64, (15_625, 32, 15_625))

MODELS: Final = [
    Model("MLP 784-256-128-10, batch 64", _mlp((784, 256, 128, 10)), _classified((64, 784), 10),
          _mlp_cost(64, (784, 256, 128, 10)), small=True),
    Model("tiny MLP 4-64-64-2, batch 1", _mlp((4, 64, 64, 2)), _classified((1, 4), 2),
          _mlp_cost(1, (4, 64, 64, 2)), small=True),
    Model("LeNet-style CNN, 64x1x28x28", lenet, _classified((64, 1, 28, 28), 10), _lenet_cost(64), small=True,
          images=True),
    Model("ResNet-18, 32x3x32x32", resnet18, _classified((32, 3, 32, 32), 10), _resnet_cost(32, 32), rate=1e-5,
          images=True),
    Model("MobileNetV2, 4x3x224x224", mobilenet_v2, _classified((4, 3, 224, 224), 1000), _mobilenet_cost(4, 224),
          rate=1e-5, images=True),
    Model("transformer d256 x 4, 8x128 tokens", transformer, _regression((8, 128, 256)),
          total([_layer_cost(8, 128, 256, False)] * 4), loss="mse_loss", rate=1e-4),
    Model("GPT d384 x 6, 4x256 tokens", gpt, _text, _gpt_cost(4, 256), rate=1e-4),
    Model("LSTM 64 to 128, 64 steps, batch 32", lstm, _classified((32, 64, 64), 10), _lstm_cost(32, 64), small=True),
    Model("autoencoder 15625-32-15625, batch 64", _mlp(_AUTOENCODER[1]), _autoencoded,
          _mlp_cost(*_AUTOENCODER), loss="mse_loss", small=True),
]  # fmt: skip
