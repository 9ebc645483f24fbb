"""Transformer, its encoder and decoder against PyTorch; decoding with a cache; encodings of positions."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, MlcoreError, OutOfRangeError, ShapeError
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import results, shared_weights

RNG = np.random.default_rng(0)
D, HEADS, S, T, N = 8, 2, 5, 4, 3
SETUPS: list[dict[str, Any]] = [
    {**norm, **bias, **activation}
    for norm, bias, activation in itertools.product(
        ({}, dict(norm_first=True)), ({}, dict(bias=False, layer_norm_eps=1e-3)), ({}, dict(activation="gelu"), dict(activation="tanh"))
    )
]  # fmt: skip
LAYOUTS = ["first", "second", "none"]


def arguments(lib: Any, functional: Any, how: dict[str, Any], layout: str) -> dict[str, Any]:
    found = {**how, "batch_first": layout == "first", "dropout": 0.0}
    if found.get("activation") == "tanh":  # by function, and by module
        found["activation"] = functional.tanh if layout == "first" else lib.Tanh()
    return found


def sequence(steps: int, layout: str, dtype: str) -> Any:
    shape = {"first": (N, steps, D), "second": (steps, N, D), "none": (steps, D)}[layout]
    return RNG.normal(size=shape).astype(dtype)


def hidden(steps: int, layout: str) -> Any:
    found = np.zeros((N, steps), bool)
    found[1, -1] = found[2, -2:] = True
    return found[2] if layout == "none" else found


def causal(steps: int) -> Any:
    return np.triu(np.ones((steps, steps), bool), 1)


def pair(torch: Any, make: Any, dtype: str) -> tuple[Any, Any]:
    ours, theirs = make(nn, F), make(torch.nn, torch.nn.functional)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    ours, theirs = ours.to(dtype=dtype), theirs.to(getattr(torch, dtype))
    shared_weights(ours, theirs, torch)
    return ours, theirs


def compare(torch: Any, ours: Any, theirs: Any, inputs: list[Any], masks: dict[str, Any], dtype: str) -> int:
    x, t = (
        [ml.asarray(one, requires_grad=True) for one in inputs],
        [torch.tensor(one, requires_grad=True) for one in inputs],
    )
    ours.zero_grad()
    theirs.zero_grad()
    mine = {key: ml.asarray(one) if isinstance(one, np.ndarray) else one for key, one in masks.items()}
    other = {key: torch.tensor(one) if isinstance(one, np.ndarray) else one for key, one in masks.items()}
    leaves = [*x, *ours.parameters()], [*t, *theirs.parameters()]
    return results(
        ours(*x, **mine), theirs(*t, **other), *leaves, torch, 1e-9 if dtype == "float64" else 5e-4
    )


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", SETUPS, ids=str)
def test_encoder_layer(how: dict[str, Any], layout: str, dtype: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = pair(
        torch,
        lambda lib, f: lib.TransformerEncoderLayer(D, HEADS, 12, **arguments(lib, f, how, layout)),
        dtype,
    )
    x = sequence(S, layout, dtype)
    for masks in ({}, dict(src_mask=causal(S), is_causal=True), dict(src_key_padding_mask=hidden(S, layout)),
                  dict(src_mask=RNG.normal(size=(S, S)).astype(dtype), src_key_padding_mask=np.where(hidden(S, layout), -np.inf, 0).astype(dtype))):  # fmt: skip
        compare(torch, ours, theirs, [x], masks, dtype)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", SETUPS, ids=str)
def test_decoder_layer(how: dict[str, Any], layout: str, dtype: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = pair(
        torch,
        lambda lib, f: lib.TransformerDecoderLayer(D, HEADS, 12, **arguments(lib, f, how, layout)),
        dtype,
    )
    inputs = [sequence(T, layout, dtype), sequence(S, layout, dtype)]
    for masks in ({}, dict(tgt_mask=causal(T), tgt_is_causal=True, memory_key_padding_mask=hidden(S, layout)),
                  dict(memory_mask=RNG.normal(size=(T, S)).astype(dtype), tgt_key_padding_mask=hidden(T, layout))):  # fmt: skip
        compare(torch, ours, theirs, inputs, masks, dtype)


@pytest.mark.parity
@pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor:UserWarning", "ignore:Support for mismatched key_padding_mask:UserWarning"
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("norm", [False, True])
def test_stacks(norm: bool, layout: str, device: str) -> None:
    torch = pytest.importorskip("torch")

    def encoder(lib: Any, f: Any) -> Any:
        layer = lib.TransformerEncoderLayer(D, HEADS, 12, **arguments(lib, f, {}, layout))
        return lib.TransformerEncoder(layer, 2, lib.LayerNorm(D) if norm else None)

    def decoder(lib: Any, f: Any) -> Any:
        layer = lib.TransformerDecoderLayer(D, HEADS, 12, **arguments(lib, f, {}, layout))
        return lib.TransformerDecoder(layer, 3, lib.LayerNorm(D) if norm else None)

    src, tgt = sequence(S, layout, "float64"), sequence(T, layout, "float64")
    pairs = pair(torch, encoder, "float64")
    for masks in (
        {},
        dict(mask=causal(S), is_causal=True),
        dict(mask=causal(S)),
        dict(src_key_padding_mask=hidden(S, layout)),
    ):
        compare(torch, *pairs, [src], masks, "float64")
    pairs = pair(torch, decoder, "float64")
    for masks in (
        {},
        dict(tgt_mask=causal(T), memory_key_padding_mask=hidden(S, layout)),
        dict(memory_mask=np.zeros((T, S)), tgt_mask=causal(T), tgt_is_causal=True),
    ):
        compare(torch, *pairs, [tgt, src], masks, "float64")


@pytest.mark.parity
@pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor:UserWarning", "ignore:Support for mismatched key_padding_mask:UserWarning"
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", [SETUPS[0], SETUPS[4], SETUPS[7]], ids=str)
def test_the_whole(how: dict[str, Any], layout: str, dtype: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = pair(
        torch, lambda lib, f: lib.Transformer(D, HEADS, 2, 1, 12, **arguments(lib, f, how, layout)), dtype
    )
    inputs = [sequence(S, layout, dtype), sequence(T, layout, dtype)]
    everything = dict(src_mask=causal(S), tgt_mask=causal(T), memory_mask=RNG.normal(size=(T, S)).astype(dtype), src_key_padding_mask=hidden(S, layout),
                      tgt_key_padding_mask=hidden(T, layout), memory_key_padding_mask=hidden(S, layout))  # fmt: skip
    for masks in ({}, dict(tgt_mask=causal(T), tgt_is_causal=True), everything):
        compare(torch, ours, theirs, inputs, masks, dtype)
    assert (ours.d_model, ours.nhead, ours.batch_first) == (theirs.d_model, theirs.nhead, theirs.batch_first)


@pytest.mark.parity
def test_the_mask_and_the_start() -> None:
    torch = pytest.importorskip("torch")
    for size in (0, 1, 4):
        mine, other = (
            nn.Transformer.generate_square_subsequent_mask(size),
            torch.nn.Transformer.generate_square_subsequent_mask(size),
        )
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
        assert str(mine.dtype) == "float32"
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=ml.float64).dtype is ml.float64
    ml.random.manual_seed(0)
    model = nn.Transformer(16, 2, 1, 1, 32)
    for name, one in model.named_parameters():
        if one.ndim > 1:
            bound = np.sqrt(6 / sum(one.shape))
            assert bound * 0.8 < np.abs(one.detach().numpy()).max() <= bound, name
    custom = nn.Transformer(8, 2, custom_encoder=nn.Identity(), custom_decoder=nn.Identity())
    assert (custom.encoder, custom.decoder) != (None, None)


def test_dropout_and_eval(device: str) -> None:
    ml.random.manual_seed(0)
    model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.4)
    x = ml.ones((3, 1, 8))
    assert not np.array_equal(model(x, x).detach().numpy(), model(x, x).detach().numpy())
    model.eval()
    assert np.array_equal(model(x, x).detach().numpy(), model(x, x).detach().numpy())
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model(x, x).detach().numpy(), again(x, x).detach().numpy())


# -- decoding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[1] * 6, [3, 1, 2], [6], [1, 5], [2, 2, 2]], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_by_steps_equals_the_whole(
    norm_first: bool, layout: str, pieces: list[int], device: str
) -> None:
    axis = 1 if layout == "first" else 0
    layer = nn.TransformerEncoderLayer(
        D, HEADS, 12, dropout=0.0, norm_first=norm_first, batch_first=layout == "first", dtype=ml.float64
    )
    encoder = nn.TransformerEncoder(layer, 2)
    x = ml.asarray(sequence(6, layout, "float64"))
    cache, found, at = nn.KVCache(), [], 0
    for n in pieces:
        assert cache.length == at
        piece = ml.take(x, ml.arange(at, at + n), axis=axis)
        found.append(encoder(piece, is_causal=True, cache=cache))
        at += n
    wanted = encoder(x, mask=ml.asarray(causal(6)))
    np.testing.assert_allclose(
        ml.concat(found, axis=axis).detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        encoder(x, is_causal=True).detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("pieces", [[1] * 6, [3, 1, 2]], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_decoder_by_steps_equals_the_whole(layout: str, pieces: list[int], device: str) -> None:
    """With padding in the memory and in the prefix, which masks cover."""
    axis = 1 if layout == "first" else 0
    layer = nn.TransformerDecoderLayer(
        D, HEADS, 12, dropout=0.0, batch_first=layout == "first", dtype=ml.float64
    )
    decoder = nn.TransformerDecoder(layer, 2, nn.LayerNorm(D, dtype=ml.float64))
    x, memory = ml.asarray(sequence(6, layout, "float64")), ml.asarray(sequence(S, layout, "float64"))
    padding = np.zeros((6,) if layout == "none" else (N, 6), bool)
    padding[..., 1] = True
    how = dict(memory_key_padding_mask=ml.asarray(hidden(S, layout)), tgt_is_causal=True)
    cache, found, at = nn.KVCache(), [], 0
    for n in pieces:
        piece, at = ml.take(x, ml.arange(at, at + n), axis=axis), at + n
        found.append(
            decoder(piece, memory, tgt_key_padding_mask=ml.asarray(padding[..., :at]), cache=cache, **how)
        )
    wanted = decoder(x, memory, tgt_key_padding_mask=ml.asarray(padding), **how)
    np.testing.assert_allclose(
        ml.concat(found, axis=axis).detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12
    )


def test_what_a_cache_can_do(device: str) -> None:
    layer = nn.TransformerEncoderLayer(D, HEADS, 12, dropout=0.0, batch_first=True, dtype=ml.float64)
    x = ml.asarray(RNG.normal(size=(2, 5, D)))
    cache = nn.KVCache()
    layer(x, is_causal=True, cache=cache)
    assert (cache.length, cache.nbytes, repr(cache)) == (
        5,
        2 * 2 * 5 * D * 8,
        f"KVCache(length=5, attentions=1, nbytes={2 * 2 * 5 * D * 8})",
    )
    cache.truncate(3)
    again = layer(x[:, 3:], is_causal=True, cache=cache)
    whole = layer(x, is_causal=True)
    np.testing.assert_allclose(again.detach().numpy(), whole[:, 3:].detach().numpy(), rtol=1e-9)
    cache.truncate(4)
    cache.reorder(ml.asarray([1, 1, 0]))
    beams = ml.take(x, ml.asarray([1, 1, 0]), axis=0)
    np.testing.assert_allclose(
        layer(beams[:, 4:], cache=cache).detach().numpy(),
        ml.take(whole, ml.asarray([1, 1, 0]), axis=0)[:, 4:].detach().numpy(),
        rtol=1e-9,
    )
    cache.clear()
    assert cache.length == 0
    layer(x[:1], is_causal=True, cache=cache)
    with pytest.raises(ShapeError, match=r"after \(1, 2, 5, 4\)(.*\n)*.*one batch of sequences"):
        layer(x, is_causal=True, cache=cache)


class Attention(nn.Module):
    """Rotary positions, fewer heads of keys, and a cache: what today's language models are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(D, 4 * 4, dtype=ml.float64), nn.Linear(D, 2 * 2 * 4, dtype=ml.float64)
        self.rotary = nn.RotaryPositionalEncoding(4)

    def forward(self, x: Any, cache: nn.KVCache | None = None) -> Any:
        q = self.q(x).reshape((x.shape[0], x.shape[1], 4, 4)).permute_dims((0, 2, 1, 3))
        kv = self.kv(x).reshape((x.shape[0], x.shape[1], 4, 4)).permute_dims((0, 2, 1, 3))
        k, v, past = kv[:, :2], kv[:, 2:], 0 if cache is None else cache.length
        q, k = self.rotary(q, past), self.rotary(k, past)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        return F.scaled_dot_product_attention(q, k, v, is_causal=cache is None, enable_gqa=True)


def test_attention_of_ones_own_with_a_cache(device: str) -> None:
    model, x, cache = Attention(), ml.asarray(RNG.normal(size=(2, 6, D))), nn.KVCache()
    steps = ml.concat([model(x[:, i : i + 1], cache) for i in range(6)], axis=2)
    np.testing.assert_allclose(steps.detach().numpy(), model(x).detach().numpy(), rtol=1e-9, atol=1e-12)


# -- positions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("float16", 2e-3)])
def test_sinusoidal(dtype: str, tolerance: float, device: str) -> None:
    position, feature = np.arange(20)[:, None], np.arange(6)
    angles = position / 10000 ** (2 * (feature // 2) / 6)
    wanted = np.where(feature % 2 == 0, np.sin(angles), np.cos(angles))
    encode = nn.SinusoidalPositionalEncoding(6)
    x = ml.zeros((17, 2, 6), dtype=getattr(ml, dtype))
    for one in (
        encode(x, 3)[:, 1],
        encode(x[:, 0], offset=3),
        nn.SinusoidalPositionalEncoding(6, batch_first=True)(ml.permute_dims(x, (1, 0, 2)), 3)[0],
    ):
        assert str(one.dtype) == dtype
        np.testing.assert_allclose(one.numpy(), wanted[3:], atol=tolerance)
    assert not encode.state_dict()


def test_learned(device: str) -> None:
    encode = nn.LearnedPositionalEncoding(10, 4)
    x = ml.asarray(RNG.normal(size=(3, 2, 4)).astype("float32"))
    y = encode(x, 5)
    np.testing.assert_allclose(
        (y - x).detach().numpy(),
        np.broadcast_to(encode.weight.detach().numpy()[5:8, None], (3, 2, 4)),
        atol=1e-6,
    )
    y.sum().backward()
    assert encode.weight.grad.sum(axis=1).tolist() == [0.0] * 5 + [8.0] * 3 + [0.0] * 2
    assert (list(encode.state_dict()), repr(encode).split("\n")[1].strip()) == (["weight"], "10, 4")


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("dim", "width"), [(8, 8), (4, 10), (2, 3)])
def test_rotary(dim: int, width: int, interleaved: bool, device: str) -> None:
    """Against a product of complex numbers; lengths stay, and products depend on distances alone."""
    rotary = nn.RotaryPositionalEncoding(dim, interleaved=interleaved)
    x = RNG.normal(size=(2, 3, 7, width))
    half = dim // 2
    first, second = (
        (slice(0, dim, 2), slice(1, dim, 2)) if interleaved else (slice(0, half), slice(half, dim))
    )
    turned = (x[..., first] + 1j * x[..., second]) * np.exp(
        1j * (np.arange(7)[:, None] + 4) * 10000 ** (-2 * np.arange(half) / dim)
    )
    wanted = x.copy()
    wanted[..., first], wanted[..., second] = turned.real, turned.imag
    y = rotary(ml.asarray(x), offset=4)
    np.testing.assert_allclose(y.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(rotary(ml.asarray(x), positions=ml.arange(4, 11)).numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(y.numpy(), axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-12)
    k = ml.asarray(RNG.normal(size=x.shape))
    near, far = (ml.matmul(rotary(ml.asarray(x), p), rotary(k, p).mT).numpy() for p in (0, 100))
    np.testing.assert_allclose(near, far, atol=1e-9)
    assert rotary(ml.zeros((1, 3, width), dtype=ml.float16)).dtype is ml.float16


def test_gradients_by_differences() -> None:
    rng = np.random.default_rng(2)
    x, m = (ml.asarray(rng.normal(size=(n, 1, 4)), requires_grad=True) for n in (3, 2))
    encoder = nn.TransformerEncoderLayer(4, 2, 3, 0.0, "gelu", norm_first=True, dtype=ml.float64)
    decoder = nn.TransformerDecoderLayer(4, 2, 3, 0.0, "gelu", dtype=ml.float64)
    learned, rotary = (
        nn.LearnedPositionalEncoding(5, 4, dtype=ml.float64),
        nn.RotaryPositionalEncoding(4, interleaved=True),
    )

    def cached(x: Any) -> Any:
        cache = nn.KVCache()
        return ml.concat([encoder(x[i : i + 1], is_causal=True, cache=cache) for i in range(3)])

    functions: list[tuple[Any, list[Any]]] = [
        (lambda x: encoder(x, is_causal=True), [x]), (lambda x, m: decoder(x, m, tgt_is_causal=True), [x, m]), (cached, [x]),
        (lambda x: learned(nn.SinusoidalPositionalEncoding(4)(x)) ** 2, [x]), (lambda x: rotary(x.permute_dims((1, 0, 2))) ** 2, [x]),
    ]  # fmt: skip
    for function, inputs in functions:
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


def z(*shape: int) -> Any:
    return ml.zeros(shape)


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: nn.TransformerEncoderLayer(8, 3), ArgumentError, "embed_dim 8 with 3 heads"),
    (lambda: nn.TransformerDecoderLayer(8, 2, activation="swish"), ArgumentError, "TransformerDecoderLayer: activation='swish'"),
    (lambda: nn.TransformerEncoderLayer(8, 2, dropout=2.0), ArgumentError, "p is 2.0"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 4), -1), ArgumentError, "num_layers -1"),
    (lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer, 2), ArgumentError, "num_layers 2 of type"),
    (lambda: nn.Transformer(8, 2, 1, 1, 4)(z(3, 2, 8), z(3, 1, 8)), ShapeError, r"src \(3, 2, 8\), tgt \(3, 1, 8\)"),
    (lambda: nn.Transformer(8, 2, 1, 1, 4)(z(3, 2, 8), z(3, 2, 7)), ShapeError, r"tgt \(3, 2, 7\)(.*\n)*.*8 features"),
    (lambda: nn.Transformer(8, 2, 1, 1, 4)(z(3, 2, 8), z(3, 8)), ShapeError, r"tgt \(3, 8\)"),
    (lambda: nn.TransformerEncoderLayer(8, 2, 4)(z(3, 2, 8), z(2, 2)), ShapeError, r"attn_mask of shape \(2, 2\)"),
    (lambda: nn.SinusoidalPositionalEncoding(5), ArgumentError, "width 5"),
    (lambda: nn.SinusoidalPositionalEncoding(4)(z(3, 5)), ShapeError, r"input \(3, 5\)"),
    (lambda: nn.SinusoidalPositionalEncoding(4)(z(3, 4), -1), ShapeError, "offset -1"),
    (lambda: nn.LearnedPositionalEncoding(4, 4)(z(3, 4), 2), OutOfRangeError, "positions 2 to 4 of 4"),
    (lambda: nn.LearnedPositionalEncoding(0, 4), ArgumentError, "0 positions of 4"),
    (lambda: nn.RotaryPositionalEncoding(4, base=0.0), ArgumentError, "base 0.0"),
    (lambda: nn.RotaryPositionalEncoding(4)(z(3, 2)), ShapeError, r"input \(3, 2\)"),
    (lambda: nn.RotaryPositionalEncoding(4)(z(3, 4), positions=ml.arange(2)), ShapeError, r"positions \(2,\)"),
    (lambda: nn.KVCache().truncate(1), ArgumentError, "1 of 0 positions"),
    (lambda: nn.KVCache().extend("a", z(1, 2, 3), z(1, 3, 3)), ShapeError, r"keys \(1, 2, 3\), values \(1, 3, 3\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
