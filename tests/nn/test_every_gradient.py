"""Every layer and function of nn that can be differentiated, against central differences, twice.

One small case for each name; what has none stands in `NONE` with the reason. A name that is in neither fails.
"""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape)


def uniform(*shape: int) -> Array:
    return RNG.uniform(0.1, 0.9, size=shape)


def signs(*shape: int) -> Array:
    return np.where(RNG.uniform(size=shape) < 0.5, -1.0, 1.0)


def spread(*shape: int) -> Array:
    """Distinct values a good step apart, so that no maximum changes hands."""
    return np.asarray(RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.1)


class Fixed(np.ndarray):
    """An argument that is a target or a mask."""


def given(values: Any) -> Array:
    return np.asarray(values).view(Fixed)


def draws(*shape: int) -> Array:
    return given(np.random.default_rng(3).uniform(size=shape))


IMAGE, ROW, VOLUME = (2, 3, 4, 5), (2, 3, 6), (1, 2, 3, 4, 3)
BY_RANK = {1: ROW, 2: IMAGE, 3: VOLUME}
SAME_SHAPE = ["CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish",
              "PReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Identity", "Flatten",
              "Softmax2d", "Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout", "RReLU"]  # fmt: skip

# name: the arguments of the constructor, then those of the call (or several such pairs)
LAYERS: dict[str, Any] = {name: ((), (normal(2, 3, 4),)) for name in SAME_SHAPE}
LAYERS |= {name: ((-1,), (normal(2, 3, 4),)) for name in ("Softmax", "LogSoftmax", "Softmin")}
LAYERS |= {"Softmax2d": ((), (normal(*IMAGE),)), "Dropout3d": ((), (normal(*VOLUME),)), "Threshold": ((0.1, 20.0), (normal(2, 5),)), "SwiGLU": ((), (normal(3, 4),)),
           "ChannelShuffle": ((3,), (normal(1, 6, 2, 2),)), "PixelShuffle": ((2,), (normal(1, 4, 2, 3),)), "PixelUnshuffle": ((2,), (normal(1, 2, 4, 2),)),
           "Unflatten": ((1, (2, 3)), (normal(2, 6),)), "Fold": (((4, 5), 2), (normal(1, 8, 12),)), "Unfold": ((2,), (normal(*IMAGE),))}  # fmt: skip
for rank, shape in BY_RANK.items():
    lead = shape[1]
    LAYERS |= {
        f"{name}{rank}d": (args, (normal(*shape),))
        for name, args in {
            "Conv": (lead, 2, 2), "ConvTranspose": (lead, 2, 2), "LazyConv": (2, 2), "LazyConvTranspose": (2, 2), "AvgPool": (2,),
            "AdaptiveAvgPool": (2,), "LPPool": (2, 2), "BatchNorm": (lead,), "LazyBatchNorm": (), "InstanceNorm": (lead, 1e-5, 0.1, True),
            "LazyInstanceNorm": (), "ConstantPad": (1, 0.5), "ZeroPad": (1,), "CircularPad": (1,), "ReflectionPad": (1,), "ReplicationPad": (1,),
        }.items()
    }  # fmt: skip
    LAYERS |= {f"{name}{rank}d": ((2,), (spread(*shape),)) for name in ("MaxPool", "AdaptiveMaxPool")}
LAYERS |= {
    f"MaxUnpool{rank}d": (
        (2,),
        (normal(1, 1, *(2,) * rank), given(np.arange(2**rank).reshape((1, 1, *(2,) * rank)) * 2)),
    )
    for rank in (1, 2)
}
LAYERS["MaxUnpool3d"] = ((2,), (normal(1, 1, 1, 1, 2), given([[[[[0, 3]]]]])))
LAYERS |= {
    f"FractionalMaxPool{rank}d": ((2, 2), (spread(*shape),))
    for rank, shape in ((2, IMAGE), (3, (1, 2, 4, 4, 4)))
}
LAYERS |= {
    "Linear": ((4, 3), (normal(2, 4),)), "LazyLinear": ((3,), (normal(2, 4),)), "Bilinear": ((3, 4, 2), (normal(2, 3), normal(2, 4))),
    "GroupNorm": ((3, 6), (normal(2, 6, 4),)), "LayerNorm": ((4,), (normal(3, 4),)), "RMSNorm": ((4,), (normal(3, 4),)),
    "LocalResponseNorm": ((2,), (normal(*IMAGE),)), "SyncBatchNorm": ((3,), (normal(*IMAGE),)),
    "Embedding": ((5, 3), (given([[1, 4], [0, 1]]),)), "EmbeddingBag": ((5, 3), (given([[1, 4], [0, 1]]),)),
    "RNN": ((3, 2), (normal(3, 2, 3),)), "LSTM": ((3, 2), (normal(3, 2, 3),)), "GRU": ((3, 2), (normal(3, 2, 3),)),
    "RNNCell": ((3, 2), (normal(2, 3),)), "LSTMCell": ((3, 2), (normal(2, 3),)), "GRUCell": ((3, 2), (normal(2, 3),)),
    "MultiheadAttention": ((4, 2), (normal(3, 1, 4), normal(2, 1, 4), normal(2, 1, 4))),
    "TransformerEncoderLayer": ((4, 2, 6, 0.0), (normal(3, 1, 4),)), "TransformerDecoderLayer": ((4, 2, 6, 0.0), (normal(2, 1, 4), normal(3, 1, 4))),
    "TransformerEncoder": (lambda: (nn.TransformerEncoderLayer(4, 2, 6, 0.0), 2), (normal(3, 1, 4),)),
    "TransformerDecoder": (lambda: (nn.TransformerDecoderLayer(4, 2, 6, 0.0), 2), (normal(2, 1, 4), normal(3, 1, 4))),
    "Transformer": ((4, 2, 1, 1, 6, 0.0), (normal(2, 1, 4), normal(2, 1, 4))),
    "SinusoidalPositionalEncoding": ((4,), (normal(1, 3, 4),)), "LearnedPositionalEncoding": ((5, 4), (normal(1, 3, 4),)),
    "RotaryPositionalEncoding": ((4,), (normal(1, 2, 3, 4),)),
    "Sequential": (lambda: (nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (normal(2, 4),)),
    "Upsample": ((None, 2, "bilinear"), (normal(1, 2, 2, 3),)), "UpsamplingBilinear2d": ((None, 2), (normal(1, 2, 2, 3),)),
    "UpsamplingNearest2d": ((None, 2), (normal(1, 2, 2, 3),)),
    "CosineSimilarity": ((), (normal(3, 4), normal(3, 4))), "PairwiseDistance": ((), (normal(3, 4), normal(3, 4))),
    "AdaptiveLogSoftmaxWithLoss": ((4, 6, [2, 4]), (normal(5, 4), given([0, 1, 3, 5, 2]))),
    "LinearCrossEntropyLoss": ((4, 3), (normal(5, 4), given([0, 1, 2, 2, 0]))),
    # losses
    "MSELoss": ((), (normal(3, 2), normal(3, 2))), "L1Loss": ((), (normal(3, 2), normal(3, 2))), "SmoothL1Loss": ((), (normal(3, 2), normal(3, 2))),
    "HuberLoss": ((), (normal(3, 2), normal(3, 2))), "BCELoss": ((), (uniform(3, 2), uniform(3, 2))), "BCEWithLogitsLoss": ((), (normal(3, 2), uniform(3, 2))),
    "KLDivLoss": ((), (normal(3, 2), uniform(3, 2))), "PoissonNLLLoss": ((), (normal(3, 2), uniform(3, 2))),
    "GaussianNLLLoss": ((), (normal(3, 2), normal(3, 2), uniform(3, 2))), "HingeEmbeddingLoss": ((), (normal(3, 2), given(signs(3, 2)))),
    "CosineEmbeddingLoss": ((), (normal(3, 2), normal(3, 2), given(signs(3)))), "MarginRankingLoss": ((), (normal(3), normal(3), given(signs(3)))),
    "MultiMarginLoss": ((), (normal(3, 4), given([0, 3, 1]))), "MultiLabelMarginLoss": ((), (normal(2, 4), given([[1, 3, -1, 0], [2, -1, 0, 1]]))),
    "MultiLabelSoftMarginLoss": ((), (normal(2, 4), given(np.where(signs(2, 4) > 0, 1.0, 0.0)))), "SoftMarginLoss": ((), (normal(3), given(signs(3)))),
    "TripletMarginLoss": ((5.0,), (normal(3, 4), normal(3, 4), normal(3, 4))), "TripletMarginWithDistanceLoss": ((), (normal(3, 4), normal(3, 4), normal(3, 4))),
    "CrossEntropyLoss": ((), (normal(3, 4), given([0, 3, 1]))), "NLLLoss": ((), (normal(3, 4), given([0, 3, 1]))),
    "NLLLoss2d": ((), (normal(1, 3, 2, 2), given([[[0, 2], [1, 0]]]))), "FocalLoss": ((), (normal(2, 3), given([1, 0]))),
    "DiceLoss": ((), (normal(1, 2, 2), given([[1, 0]]))),
    "CTCLoss": ((), (F.log_softmax(ml.asarray(normal(4, 1, 3)), dim=2).numpy(), given([[1, 2]]), given([4]), given([2]))),
}  # fmt: skip

NONE = {
    **dict.fromkeys(("Module", "Container", "RNNBase", "RNNCellBase"), "a base class"),
    **dict.fromkeys(("ModuleDict", "ModuleList", "ParameterDict", "ParameterList"), "holds others and is not called"),
    "one_hot": "a table of whole numbers",
    "native_channel_shuffle": "another name of channel_shuffle",
    "gumbel_softmax": "its noise is drawn anew; the softmax of it is checked",
    **{name: f"{name[:-1]} that writes its result into the argument" for name in F.__all__ if name.endswith("_")},
    **{name: f"{name[0].lower()}... with its maxima's places, which are whole numbers" for name in F.__all__ if name.endswith("_with_indices")},
}  # fmt: skip
ONCE = {
    "LinearCrossEntropyLoss": "a checkpoint's gradient is not differentiable again",
    "linear_cross_entropy": "a checkpoint's gradient is not differentiable again",
}

# Functions whose layer has no other name are reached through it; these are the others.
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Array, ...]]] = {
    "affine_grid": (lambda t: F.affine_grid(t, (1, 1, 2, 3), align_corners=True), (normal(1, 2, 3),)),
    "grid_sample": (lambda x, g: F.grid_sample(x, g, align_corners=False), (normal(1, 2, 4, 4), RNG.uniform(-0.7, 0.7, (1, 2, 3, 2)))),
    "conv_tbc": (lambda x, w, b: F.conv_tbc(x, w, b), (normal(5, 2, 3), normal(2, 3, 4), normal(4))),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), (normal(1, 1, 3, 3),)),
    "multi_head_attention_forward": (
        lambda x, w, b, o, p: F.multi_head_attention_forward(x, x, x, 4, 2, w, b, None, None, False, 0.0, o, p)[0],
        (normal(3, 1, 4), normal(12, 4), normal(12), normal(4, 4), normal(4)),
    ),
    "normalize": (lambda x: F.normalize(x), (normal(3, 4),)),
    "pad": (lambda x: F.pad(x, (1, 2), mode="reflect"), (normal(2, 3, 5),)),
    "pdist": (lambda x: F.pdist(x), (normal(4, 3),)),
    "scaled_dot_product_attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (normal(1, 2, 3, 4),) * 3),
    "relu": (F.relu, (normal(2, 3),)), "sigmoid": (F.sigmoid, (normal(2, 3),)), "tanh": (F.tanh, (normal(2, 3),)),
    "upsample": (lambda x: F.upsample(x, scale_factor=2), (normal(1, 1, 3, 3),)),
    "upsample_bilinear": (lambda x: F.upsample_bilinear(x, scale_factor=2), (normal(1, 1, 3, 3),)),
    "upsample_nearest": (lambda x: F.upsample_nearest(x, scale_factor=2), (normal(1, 1, 3, 3),)),
}  # fmt: skip


def layers() -> list[str]:
    classes = [(name, getattr(nn, name)) for name in nn.__all__]
    return [n for n, one in classes if inspect.isclass(one) and issubclass(one, nn.Module) and n not in NONE]


def functions() -> list[str]:
    found = [n for n in F.__all__ if inspect.isfunction(getattr(F, n)) or not inspect.isclass(getattr(F, n))]
    return [n for n in found if callable(getattr(F, n)) and n not in NONE and not has_layer(n)]


def has_layer(function: str) -> bool:
    """Whether a layer of the table is this function: their names differ in case, underlines and the word Loss."""
    plain = function.replace("_", "").lower()
    return any(name.lower() in (plain, plain + "loss", plain.removesuffix("loss") + "loss") for name in LAYERS) or function in (
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "multilabel_margin_loss", "hinge_embedding_loss", "instance_norm", "batch_norm",
    )  # fmt: skip


def check(function: Callable[..., Any], arguments: tuple[Array, ...], more: list[Any], twice: bool) -> None:
    """Gradients of all arguments that are not fixed, and of `more` (a module's parameters)."""
    tensors = [
        ml.asarray(np.asarray(one), requires_grad=not isinstance(one, Fixed) and one.dtype.kind == "f") for one in arguments
    ]  # fmt: skip
    assert gradcheck(function, [*tensors, *more])
    if twice:
        assert gradgradcheck(function, [*tensors, *more], directions=1)


@pytest.mark.parametrize("name", layers())
def test_layer(name: str, device: str) -> None:
    assert name in LAYERS, f"nn.{name} needs a row in LAYERS, or a reason in NONE"
    args, inputs = LAYERS[name]
    ml.manual_seed(0)
    module = getattr(nn, name)(*(args() if callable(args) else args))
    tensors = [ml.asarray(np.asarray(one)) for one in inputs]
    module(
        *[one.astype(ml.float32) if one.dtype is ml.float64 else one for one in tensors]
    )  # lazy layers learn their shapes
    module.to(dtype="float64")
    state = {key: value.detach() for key, value in module.named_buffers()}
    names = [key for key, _ in module.named_parameters()]
    weights = [ml.asarray(value.detach().numpy(), requires_grad=True) for _, value in module.named_parameters()]  # fmt: skip

    def run(*at: Any) -> Any:
        ml.manual_seed(0)  # the same masks each time
        held = {key: value * 1 for key, value in state.items()}  # running statistics start where they were
        held |= dict(zip(names, at[len(inputs) :], strict=True))
        made = ml.func.functional_call(module, held, at[: len(inputs)])
        return made.loss if name == "AdaptiveLogSoftmaxWithLoss" else flat(made)

    check(run, inputs, weights, name not in ONCE)


def flat(made: Any) -> Any:
    """The tensors of a result that has tuples in tuples."""
    if not isinstance(made, tuple):
        return made
    return tuple(leaf for one in made if one is not None for leaf in (flat(one) if isinstance(one, tuple) else (one,)))  # fmt: skip


@pytest.mark.parametrize("name", functions())
def test_function(name: str, device: str) -> None:
    assert name in FUNCTIONS, f"F.{name} needs a row in FUNCTIONS, or a reason in NONE"
    function, inputs = FUNCTIONS[name]
    check(function, inputs, [], name not in ONCE)


def test_tables_name_nothing_that_is_not_there() -> None:
    assert set(LAYERS) <= set(nn.__all__)
    assert set(FUNCTIONS) <= set(F.__all__)
    assert set(NONE) <= set(nn.__all__) | set(F.__all__)
