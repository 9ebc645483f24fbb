"""Every layer of nn: captured, run again, exported at a fixed and at named sizes, and run by ONNX Runtime."""

# ruff: noqa: E501  (a table of cases)

import os

import numpy as np
import pytest
from mlcore_onnx import export

import mlcore as ml
from mlcore import nn
from mlcore.compile.capture import capture
from mlcore.errors import UnsupportedOpError

CONTAINERS = (
    "Container",
    "Module",
    "ModuleDict",
    "ModuleList",
    "ParameterDict",
    "ParameterList",
    "RNNBase",
    "RNNCellBase",
)


def f(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(*shape):
    return np.random.default_rng(1).uniform(0.05, 0.95, shape).astype(np.float32)


def i(high, *shape):
    return np.random.default_rng(2).integers(0, high, shape)


def signs(*shape):
    return np.where(f(*shape, seed=3) > 0, 1, -1).astype(np.float32)


IMAGE, LINE, SPACE = f(2, 4, 9, 8), f(2, 4, 11), f(2, 4, 5, 6, 4)
BY_RANK = {1: LINE, 2: IMAGE, 3: SPACE}

CASES = [
    *[(f"Conv{n}d", lambda n=n, how=how: getattr(nn, f"Conv{n}d")(4, 8, 3, **how), [BY_RANK[n]])
      for n in (1, 2, 3) for how in ({}, dict(padding=1, stride=2), dict(groups=2, dilation=2, padding="same", bias=False))],
    ("Conv2d", lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"), [IMAGE]),
    ("Conv2d", lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), [IMAGE]),
    ("Conv2d", lambda: nn.Conv2d(4, 6, 3), [f(4, 7, 7)]),
    *[(f"ConvTranspose{n}d", lambda n=n, how=how: getattr(nn, f"ConvTranspose{n}d")(4, 6, 3, **how), [BY_RANK[n]])
      for n in (1, 2, 3) for how in ({}, dict(stride=2, padding=1, output_padding=1), dict(groups=2, dilation=2, bias=False))],
    *[(f"LazyConv{n}d", lambda n=n: getattr(nn, f"LazyConv{n}d")(8, 3), [BY_RANK[n]]) for n in (1, 2, 3)],
    *[(f"LazyConvTranspose{n}d", lambda n=n: getattr(nn, f"LazyConvTranspose{n}d")(8, 3), [BY_RANK[n]]) for n in (1, 2, 3)],
    ("LazyLinear", lambda: nn.LazyLinear(3), [f(5, 4)]),
    *[(f"{lazy}BatchNorm{n}d", lambda n=n, lazy=lazy: getattr(nn, f"{lazy}BatchNorm{n}d")(*([] if lazy else [4])), [BY_RANK[n]])
      for n in (1, 2, 3) for lazy in ("", "Lazy")],
    ("BatchNorm2d", lambda: nn.BatchNorm2d(4, affine=False), [IMAGE]),
    ("BatchNorm2d", lambda: nn.BatchNorm2d(4, track_running_stats=False), [IMAGE]),
    *[(f"{lazy}InstanceNorm{n}d", lambda n=n, lazy=lazy: getattr(nn, f"{lazy}InstanceNorm{n}d")(*([] if lazy else [4]), affine=True), [BY_RANK[n]])
      for n in (1, 2, 3) for lazy in ("", "Lazy")],
    ("GroupNorm", lambda: nn.GroupNorm(2, 4), [IMAGE]),
    ("LayerNorm", lambda: nn.LayerNorm(8), [IMAGE]), ("LayerNorm", lambda: nn.LayerNorm((9, 8), elementwise_affine=False), [IMAGE]),
    ("LayerNorm", lambda: nn.LayerNorm(8, bias=False), [IMAGE]),
    ("RMSNorm", lambda: nn.RMSNorm(8), [IMAGE]), ("LocalResponseNorm", lambda: nn.LocalResponseNorm(3), [IMAGE]),
    *[(f"MaxPool{n}d", lambda n=n, how=how: getattr(nn, f"MaxPool{n}d")(3, **how), [BY_RANK[n]])
      for n in (1, 2, 3) for how in ({}, dict(stride=2, padding=1), dict(stride=2, ceil_mode=True))],
    ("MaxPool2d", lambda: nn.MaxPool2d(2, return_indices=True), [IMAGE]),
    *[(f"AvgPool{n}d", lambda n=n, how=how: getattr(nn, f"AvgPool{n}d")(3, **how), [BY_RANK[n]])
      for n in (1, 2, 3) for how in ({}, dict(stride=2, padding=1, count_include_pad=False), dict(stride=2, ceil_mode=True))],
    *[(f"AdaptiveAvgPool{n}d", lambda n=n, size=size: getattr(nn, f"AdaptiveAvgPool{n}d")(size), [BY_RANK[n]]) for n in (1, 2, 3) for size in (1, 3)],
    *[(f"AdaptiveMaxPool{n}d", lambda n=n, size=size: getattr(nn, f"AdaptiveMaxPool{n}d")(size), [BY_RANK[n]]) for n in (1, 2, 3) for size in (1, 3)],
    *[(f"LPPool{n}d", lambda n=n: getattr(nn, f"LPPool{n}d")(2, 2), [np.abs(BY_RANK[n])]) for n in (1, 2, 3)],
    *[(f"MaxUnpool{n}d", lambda n=n: getattr(nn, f"MaxUnpool{n}d")(2), [f(2, 3, *(2,) * n), np.broadcast_to(np.arange(2**n) * 2, (2, 3, 2**n)).reshape(2, 3, *(2,) * n)]) for n in (1, 2, 3)],
    *[(f"{kind}Pad{n}d", lambda n=n, kind=kind: getattr(nn, f"{kind}Pad{n}d")(1, *([0.5] if kind == "Constant" else [])), [BY_RANK[n]])
      for n in (1, 2, 3) for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")],
    *[(name, lambda name=name: getattr(nn, name)(), [f(4, 5) * 4]) for name in (
        "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid",
        "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink")],
    ("GELU", lambda: nn.GELU("tanh"), [f(4, 5) * 4]), ("GLU", lambda: nn.GLU(), [f(4, 6)]),
    ("Threshold", lambda: nn.Threshold(0.1, 20.0), [f(4, 5)]),
    *[(name, lambda name=name: getattr(nn, name)(dim=1), [f(3, 4, 5)]) for name in ("Softmax", "LogSoftmax", "Softmin")],
    ("Softmax2d", lambda: nn.Softmax2d(), [IMAGE]),
    *[(name, lambda name=name: getattr(nn, name)(), [IMAGE]) for name in ("AlphaDropout", "Dropout", "Dropout2d", "Dropout3d", "FeatureAlphaDropout", "Flatten")],
    ("Linear", lambda: nn.Linear(8, 5), [f(3, 8)]), ("Linear", lambda: nn.Linear(8, 5, bias=False), [IMAGE]), ("Linear", lambda: nn.Linear(8, 5), [f(8)]),
    ("Bilinear", lambda: nn.Bilinear(4, 5, 3), [f(6, 4), f(6, 5, seed=1)]),
    ("Embedding", lambda: nn.Embedding(10, 4), [i(10, 2, 5)]), ("EmbeddingBag", lambda: nn.EmbeddingBag(10, 4, mode="mean"), [i(10, 2, 5)]),
    ("EmbeddingBag", lambda: nn.EmbeddingBag(10, 4, mode="max"), [i(10, 2, 5)]),
    *[(kind, lambda kind=kind, how=how: getattr(nn, kind)(5, 7, **how), [f(6, 3, 5)])
      for kind in ("RNN", "GRU", "LSTM") for how in ({}, dict(num_layers=2, bidirectional=True), dict(bias=False, batch_first=True))],
    ("RNN", lambda: nn.RNN(5, 7, nonlinearity="relu"), [f(6, 3, 5)]), ("GRU", lambda: nn.GRU(5, 7), [f(6, 3, 5), f(1, 3, 7, seed=1)]),
    ("LSTM", lambda: nn.LSTM(5, 7, proj_size=3), [f(6, 3, 5)]), ("LSTM", lambda: nn.LSTM(5, 7), [f(6, 5)]),
    ("LSTM", lambda: nn.LSTM(5, 7), [f(6, 3, 5), (f(1, 3, 7, seed=1), f(1, 3, 7, seed=2))]),
    *[(kind, lambda kind=kind: getattr(nn, kind)(5, 7), [f(3, 5)]) for kind in ("RNNCell", "GRUCell", "LSTMCell")],
    *[("MultiheadAttention", lambda how=how: nn.MultiheadAttention(8, 2, **how), [f(3, 2, 8), f(5, 2, 8, seed=1), f(5, 2, 8, seed=2)])
      for how in ({}, dict(bias=False), dict(add_bias_kv=True, add_zero_attn=True))],
    ("TransformerEncoderLayer", lambda: nn.TransformerEncoderLayer(8, 2, 16), [f(4, 3, 8)]),
    ("TransformerEncoderLayer", lambda: nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, activation="gelu", batch_first=True), [f(4, 3, 8)]),
    ("TransformerEncoder", lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), [f(4, 3, 8)]),
    ("TransformerDecoderLayer", lambda: nn.TransformerDecoderLayer(8, 2, 16), [f(4, 3, 8), f(5, 3, 8, seed=1)]),
    ("TransformerDecoder", lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2), [f(4, 3, 8), f(5, 3, 8, seed=1)]),
    ("Transformer", lambda: nn.Transformer(8, 2, 1, 1, 16), [f(4, 3, 8), f(5, 3, 8, seed=1)]),
    ("LearnedPositionalEncoding", lambda: nn.LearnedPositionalEncoding(16, 8), [f(3, 4, 8)]),
    ("SinusoidalPositionalEncoding", lambda: nn.SinusoidalPositionalEncoding(8), [f(3, 4, 8)]),
    ("RotaryPositionalEncoding", lambda: nn.RotaryPositionalEncoding(8), [f(2, 3, 4, 8)]),
    ("SwiGLU", lambda: nn.SwiGLU(), [f(3, 8)]), ("Dropout1d", lambda: nn.Dropout1d(), [LINE]), ("SyncBatchNorm", lambda: nn.SyncBatchNorm(4), [IMAGE]),
    ("ChannelShuffle", lambda: nn.ChannelShuffle(2), [IMAGE]), ("PixelShuffle", lambda: nn.PixelShuffle(2), [IMAGE]),
    ("PixelUnshuffle", lambda: nn.PixelUnshuffle(2), [f(2, 3, 8, 6)]), ("Unflatten", lambda: nn.Unflatten(1, (2, 2)), [IMAGE]),
    ("Fold", lambda: nn.Fold((4, 5), 2), [f(2, 12, 12)]), ("Unfold", lambda: nn.Unfold(2, stride=2), [IMAGE]),
    *[("Upsample", lambda mode=mode: nn.Upsample(scale_factor=2, mode=mode), [IMAGE]) for mode in ("nearest", "bilinear", "bicubic")],
    ("Upsample", lambda: nn.Upsample(size=(5, 13), mode="bilinear", align_corners=True), [IMAGE]),
    ("UpsamplingBilinear2d", lambda: nn.UpsamplingBilinear2d(scale_factor=2), [IMAGE]), ("UpsamplingNearest2d", lambda: nn.UpsamplingNearest2d(scale_factor=2), [IMAGE]),
    ("Sequential", lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.Linear(168, 5)), [IMAGE]),
    ("CosineSimilarity", lambda: nn.CosineSimilarity(), [f(3, 4), f(3, 4, seed=1)]), ("PairwiseDistance", lambda: nn.PairwiseDistance(), [f(3, 4), f(3, 4, seed=1)]),
    *[(name, lambda name=name: getattr(nn, name)(), [unit(3, 4), unit(3, 4)[::-1].copy()]) for name in (
        "BCELoss", "BCEWithLogitsLoss", "HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss", "PoissonNLLLoss", "KLDivLoss", "MultiLabelSoftMarginLoss")],
    *[(name, lambda name=name: getattr(nn, name)(), [f(3, 4), signs(3, 4)]) for name in ("HingeEmbeddingLoss", "SoftMarginLoss")],
    *[(name, lambda name=name: getattr(nn, name)(), [f(5, 4), i(4, 5)]) for name in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss", "FocalLoss")],
    ("NLLLoss2d", lambda: nn.NLLLoss2d(), [f(2, 4, 3, 3), i(4, 2, 3, 3)]), ("CrossEntropyLoss", lambda: nn.CrossEntropyLoss(label_smoothing=0.1), [f(5, 4), i(4, 5)]),
    ("CrossEntropyLoss", lambda: nn.CrossEntropyLoss(), [f(5, 4), np.array([1, -100, 3, 0, -100])]),
    ("DiceLoss", lambda: nn.DiceLoss(), [f(2, 3, 4, 4), i(3, 2, 4, 4)]),
    ("GaussianNLLLoss", lambda: nn.GaussianNLLLoss(), [f(3, 4), f(3, 4, seed=1), unit(3, 4)]),
    ("CosineEmbeddingLoss", lambda: nn.CosineEmbeddingLoss(), [f(3, 4), f(3, 4, seed=1), signs(3)]), ("MarginRankingLoss", lambda: nn.MarginRankingLoss(), [f(3), f(3, seed=1), signs(3)]),
    ("TripletMarginLoss", lambda: nn.TripletMarginLoss(), [f(3, 4), f(3, 4, seed=1), f(3, 4, seed=2)]), ("TripletMarginWithDistanceLoss", lambda: nn.TripletMarginWithDistanceLoss(), [f(3, 4), f(3, 4, seed=1), f(3, 4, seed=2)]),
    ("LinearCrossEntropyLoss", lambda: nn.LinearCrossEntropyLoss(8, 4), [f(5, 8), i(4, 5)]),
]  # fmt: skip
WITHOUT = {  # what stops each, and its inputs
    "FractionalMaxPool2d": ("random numbers", lambda: nn.FractionalMaxPool2d(2, output_size=3), [f(2, 3, 8, 8)]),
    "FractionalMaxPool3d": ("random numbers", lambda: nn.FractionalMaxPool3d(2, output_size=3), [f(2, 3, 8, 8, 8)]),
    "AdaptiveLogSoftmaxWithLoss": ("input 'target'", lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]), [f(4, 8), i(20, 4)]),
    "CTCLoss": ("input 'input_lengths'", lambda: nn.CTCLoss(), [f(6, 2, 5), i(4, 2, 2) + 1, np.array([6, 6]), np.array([2, 2])]),
    "MultiLabelMarginLoss": ("input 'target'", lambda: nn.MultiLabelMarginLoss(), [f(3, 4), np.array([[1, -1, 2, 0]] * 3)]),
}  # fmt: skip
COUNT = {"layers": 0, "values": 0, "named": 0, "one size": 0}


def runtime():
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnxruntime

    return onnxruntime


def flat(found):
    return [one for held in found for one in flat(held)] if isinstance(found, (tuple, list)) else [found]


def session_of(model):
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tensors(held):
    return type(held)(map(tensors, held)) if isinstance(held, (tuple, list)) else ml.asarray(held)


def close(found, wanted, tolerance):
    """The error is held against the largest number: sums of many terms are."""
    largest = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0))
    np.testing.assert_allclose(found, wanted, rtol=10 * tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}-{i}")
def test_a_layer_exported_gives_the_same(number) -> None:
    _, make, inputs = CASES[number]
    ml.manual_seed(number)
    given = tensors(inputs)
    layer = make().eval()
    with ml.no_grad():
        wanted = [one for one in flat(layer(*given)) if one is not None]
    graph = capture(layer, tuple(given))
    with ml.no_grad():
        again = [one for one in flat(graph.run(*given)) if one is not None]
    # A Sequential does several layers at once where nobody watches; a loss looks whether any target is left out.
    other = isinstance(layer, (nn.Sequential, nn.CrossEntropyLoss, nn.NLLLoss))
    for a, b in zip(wanted, again, strict=True):
        close(np.asarray(b), np.asarray(a), 1e-6 if other else 0.0)
    model = export(layer, tuple(given), opset=17 + number % 5)
    hosts = dict(zip([one.name for one in model.graph.input], map(np.asarray, flat(inputs)), strict=True))
    found = session_of(model).run(None, hosts)
    for got, want in zip(found, wanted, strict=True):
        close(got, np.asarray(want), 1e-5)
        COUNT["values"] += got.size
    COUNT["layers"] += 1


# Where the first dimension cannot be named: it is none of a batch, or constants have a row for each of its elements.
ONE_SIZE = {
    "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "EmbeddingBag", "MaxUnpool1d", "MaxUnpool2d",
    "MaxUnpool3d", "Conv2d", "Linear",
}  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}-{i}")
def test_a_layer_exported_with_a_named_batch_takes_other_batches(number) -> None:
    name, make, inputs = CASES[number]
    ml.manual_seed(number)
    layer, given = make().eval(), tensors(inputs)
    with ml.no_grad():
        layer(*given)
    values = capture(layer, tuple(given)).inputs
    first = values[0].shape[0]
    named = {one.name: {0: "n"} for one in values if one.ndim and one.shape[0] == first}
    try:
        model = export(layer, tuple(given), dynamic_shapes=named)
    except UnsupportedOpError as error:
        if name not in ONE_SIZE or "the graph is another one when n differs" not in str(error):
            raise
        COUNT["one size"] += 1
        return
    other = [
        np.concatenate([one, one[:1]]) if one.ndim and one.shape[0] == first else one for one in flat(inputs)
    ]
    with ml.no_grad():
        wanted = [one for one in flat(layer(*nested(inputs, iter(other)))) if one is not None]
    found = session_of(model).run(
        None, dict(zip([one.name for one in model.graph.input], other, strict=True))
    )
    for got, want in zip(found, wanted, strict=True):
        close(got, np.asarray(want), 1e-5)
    COUNT["named"] += 1


def nested(held, left):
    return (
        type(held)(nested(one, left) for one in held)
        if isinstance(held, (tuple, list))
        else ml.asarray(next(left))
    )


def test_every_layer_is_there() -> None:
    known = {name for name, one in vars(nn).items() if isinstance(one, type) and issubclass(one, nn.Module)}
    assert known - set(CONTAINERS) == {name for name, *_ in CASES} | set(WITHOUT)


@pytest.mark.parametrize("name", WITHOUT)
def test_what_looks_at_values_is_refused(name) -> None:
    reason, make, inputs = WITHOUT[name]
    with pytest.raises(UnsupportedOpError, match=f"follows from {reason} was asked for"):
        export(make().eval(), tuple(tensors(inputs)))


def test_what_was_compared() -> None:
    print(f"\nlayers exported: {len(CASES)}; {COUNT}")
    assert COUNT["one size"] <= 10
