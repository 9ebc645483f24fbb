"""What layers and functions do that PyTorch cannot be asked: randomness, refusals and their texts."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, MlcoreError, ShapeError
from mlcore.nn import functional as F


def test_same_seed_same_layers_on_every_device() -> None:
    found = []
    for where in dict.fromkeys(["reference:0", ml.default_device().id]):
        ml.manual_seed(11)
        with ml.device(where):
            layers = [nn.Linear(5, 3), nn.Conv2d(3, 4, 3), nn.MultiheadAttention(8, 2)]
            dropped = nn.Dropout(0.3)(ml.ones((100,)))
        found.append([*(p.detach().numpy() for m in layers for p in m.parameters()), dropped.numpy()])
    for one in found[1:]:
        for a, b in zip(found[0], one, strict=True):
            np.testing.assert_array_equal(a, b)


def test_dropout(device: str) -> None:
    ml.manual_seed(0)
    x = ml.ones((20_000,), requires_grad=True)
    y = nn.Dropout(0.25)(x)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(y.detach().numpy()[kept], 4 / 3, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())  # the same mask backwards
    assert F.dropout(x, 0.5, training=False) is x
    assert not np.array_equal(nn.Dropout(0.25)(x).detach().numpy(), y.detach().numpy())


def test_attention_dropout(device: str) -> None:
    ml.manual_seed(0)
    v = ml.ones((1, 64, 1))
    weights = ml.zeros((1, 64, 4))
    y = F.scaled_dot_product_attention(weights, weights, v, dropout_p=0.5)
    assert abs(y.mean().item() - 1) < 0.1
    assert y.numpy().std() > 0.05


def test_embedding_padding_row_starts_at_zero_and_stays() -> None:
    table = nn.Embedding(4, 3, padding_idx=-2)
    assert table.weight.tolist()[2] == [0.0, 0.0, 0.0]
    table(ml.asarray([2, 1, 2])).sum().backward()
    assert table.weight.grad.tolist()[2] == [0.0, 0.0, 0.0]
    assert table.weight.grad.tolist()[1] == [1.0, 1.0, 1.0]
    frozen = nn.Embedding.from_pretrained(ml.ones((3, 2)))
    assert not frozen.weight.requires_grad
    assert repr(table) == "Embedding(4, 3, padding_idx=2)"


def test_batch_norm_in_eval_does_not_change_its_statistics() -> None:
    norm = nn.BatchNorm2d(2)
    norm(ml.random.normal((3, 2, 4, 4)))
    state = {k: v.tolist() for k, v in norm.state_dict().items()}
    norm.eval()(ml.random.normal((1, 2, 4, 4)))
    assert {k: v.tolist() for k, v in norm.state_dict().items()} == state
    assert state["num_batches_tracked"] == 1


def test_trunc_normal_stays_inside() -> None:
    ml.manual_seed(0)
    x = nn.init.trunc_normal_(ml.zeros((5000,)), mean=1.0, std=2.0, a=0.0, b=1.5).numpy()
    assert x.min() >= 0
    assert x.max() <= 1.5
    assert abs(x.mean() - 0.76) < 0.02  # scipy.stats.truncnorm(-0.5, 0.25, 1, 2).mean()


@pytest.mark.parametrize("dtype", [ml.float16, ml.bfloat16, ml.float32, ml.float64])
def test_layers_take_a_dtype(dtype: Any) -> None:
    for make in (lambda: nn.Linear(4, 4, dtype=dtype), lambda: nn.Conv2d(4, 4, 1, dtype=dtype), lambda: nn.LayerNorm(4, dtype=dtype),
                 lambda: nn.Embedding(4, 4, dtype=dtype), lambda: nn.MultiheadAttention(4, 2, dtype=dtype),
                 lambda: nn.BatchNorm1d(4, dtype=dtype)):  # fmt: skip
        assert {p.dtype for p in make().parameters()} == {dtype}
    y = nn.Linear(4, 3, dtype=dtype)(ml.ones((2, 4), dtype=dtype))
    assert y.dtype is dtype


def test_clip_grad_norm_refuses_nan_if_asked() -> None:
    p, q = nn.Parameter(ml.zeros((2,))), nn.Parameter(ml.zeros((3,)))
    p.grad, q.grad = ml.ones((2,)), ml.asarray([1.0, float("nan"), 2.0])
    with pytest.raises(
        MlcoreError, match=r"the norm of the gradients is nan(.|\n)*parameter 1, shape \(3,\)"
    ):
        nn.utils.clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    assert p.grad.tolist() == [1.0, 1.0]
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == pytest.approx(2**0.5)


def test_vector_of_parameters_and_back() -> None:
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(a.parameters()), b.parameters())
    assert a.weight.tolist() == b.weight.tolist()
    assert a.bias.tolist() == b.bias.tolist()


X = ml.zeros((6, 3))
H3 = ml.zeros((2, 3, 5, 4))
Y = ml.asarray([0, 1, 2, 5, 1, 0])

# (call, class of the built-in, part of the text)
WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: F.cross_entropy(X, Y), IndexError, "cross_entropy: target 5 at row 3 out of range for 3 classes"),
    (lambda: F.cross_entropy(X, -Y), IndexError, "target -1 at row 1 out of range for 3 classes"),
    (lambda: F.cross_entropy(ml.zeros((1, 3, 2)), ml.asarray([[0, 3]])), IndexError, r"target 3 at \(0, 1\) out of range for 3 classes"),
    (lambda: F.nll_loss(X, Y), IndexError, "nll_loss: target 5 at row 3"),
    (lambda: F.cross_entropy(X, Y.reshape(6, 1)), ValueError, r"input \(6, 3\) with target \(6, 1\)(.|\n)*squeeze"),
    (lambda: F.cross_entropy(X, ml.zeros((6, 2))), ValueError, "probabilities need the shape of the input"),
    (lambda: F.cross_entropy(X, ml.zeros((6,))), TypeError, "the target is float32, expected integers"),
    (lambda: F.cross_entropy(X, ml.ones((6,), dtype=ml.bool)), TypeError, "the target is bool, expected integers"),
    (lambda: F.cross_entropy(X, Y * 0, reduction="avg"), ValueError, "cross_entropy: reduction='avg'"),
    (lambda: F.cross_entropy(X, Y * 0, label_smoothing=2), ValueError, "label_smoothing is 2"),
    (lambda: F.cross_entropy(X, Y * 0, weight=ml.ones((4,))), ValueError, r"weight of shape \(4,\) for 3 classes"),
    (lambda: F.cross_entropy(X, Y * 0 - 100), ValueError, "all 6 targets are ignore_index"),
    (lambda: F.mse_loss(ml.zeros((4, 1)), ml.zeros((4,))), ValueError, r"mse_loss: input \(4, 1\) with target \(4,\)"),
    (lambda: F.l1_loss(ml.zeros((4,)), ml.zeros((5,))), ValueError, r"l1_loss: input \(4,\)"),
    (lambda: F.binary_cross_entropy_with_logits(ml.zeros((2,)), ml.asarray([0, 1])), TypeError, "the target is int64"),
    (lambda: F.embedding(ml.asarray([[1, 10]]), ml.zeros((5, 2))), IndexError, r"embedding: index 10 at \(0, 1\) out of range for 5 rows"),
    (lambda: F.embedding(ml.asarray([1, -1]), ml.zeros((5, 2))), IndexError, "embedding: index -1 at row 1"),
    (lambda: F.embedding(ml.zeros((2,)), ml.zeros((5, 2))), TypeError, "the index is float32, expected integers"),
    (lambda: F.one_hot(Y, 3), IndexError, "one_hot: index 5 at row 3 out of range for 3 classes"),
    (lambda: F.softmax(X), TypeError, "softmax: no dimension given"),
    (lambda: F.softmax(X, dim=0, axis=1), ValueError, "dim=0 and axis=1"),
    (lambda: F.softmax(X, dim=2), IndexError, "2"),
    (lambda: nn.Softmax()(X), TypeError, r"softmax: no dimension given(.|\n)*in: +Softmax"),
    (lambda: nn.Dropout(2.0), ValueError, "Dropout: p is 2"),
    (lambda: F.dropout(X, float("nan")), ValueError, "p is nan"),
    (lambda: nn.Linear(-1, 2), ValueError, "Linear: -1 to 2 features"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "3 to 4 channels in 2 groups"),
    (lambda: nn.Conv2d(3, 4, 0), ValueError, r"kernel_size \(0, 0\)"),
    (lambda: nn.Conv2d(3, 4, 3, stride=0), ValueError, r"stride \(0, 0\)"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "for 2 dimensions"),
    (lambda: nn.Conv2d(3, 4, 3, padding="some"), ValueError, "padding='some'"),
    (lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2), ValueError, "padding='same' with stride"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), ValueError, "padding_mode='mirror'"),
    (lambda: nn.Conv2d(3, 4, 3)(ml.zeros((1, 2, 8, 8))), ValueError, "input has 2 channels, the weight .* expects 3"),
    (lambda: nn.Conv2d(3, 4, 9)(ml.zeros((1, 3, 8, 8))), ValueError, "kernel of 9 .* larger than the input of 8"),
    (lambda: nn.Conv2d(3, 4, 3)(ml.zeros((8, 8))), ValueError, r"conv2d: expected \(N, C, H, W\)"),
    (lambda: F.max_pool2d(ml.zeros((1, 1, 4, 4)), 5), ValueError, "kernel of 5"),
    (lambda: F.max_pool2d(ml.zeros((4, 4)), 2), ValueError, r"max_pool2d: expected \(N, C, H, W\) or \(C, H, W\), got \(4, 4\)"),
    (lambda: F.max_pool2d(ml.zeros((1, 1, 4, 4)), 2, padding=2), ValueError, "more than half"),
    (lambda: F.avg_pool2d(ml.zeros((1, 1, 4, 4)), 2, divisor_override=0), ValueError, "divisor_override is 0"),
    (lambda: F.adaptive_avg_pool2d(ml.zeros((1, 1, 4, 4)), 0), ValueError, "output_size 0"),
    (lambda: nn.BatchNorm2d(3)(ml.zeros((2, 4, 2, 2))), ValueError, "BatchNorm2d: expected .* with 3 channels, got"),
    (lambda: nn.BatchNorm2d(3)(ml.zeros((2, 3))), ValueError, "BatchNorm2d: expected"),
    (lambda: nn.BatchNorm1d(3)(ml.zeros((1, 3))), ValueError, "1 value per channel in training"),
    (lambda: F.batch_norm(ml.zeros((2, 3)), None, None), ValueError, "training=False without running statistics"),
    (lambda: nn.LayerNorm(5)(ml.zeros((2, 4))), ValueError, r"expected the last dimensions \(5,\), got \(2, 4\)"),
    (lambda: nn.MultiheadAttention(7, 2), ValueError, "embed_dim 7 with 2 heads"),
    (lambda: F.scaled_dot_product_attention(X, X, X, ml.zeros((6, 6)), is_causal=True), ValueError, "attn_mask together with is_causal"),
    (lambda: F.scaled_dot_product_attention(X, X, ml.zeros((5, 3))), ValueError, "k and v one length"),
    (lambda: F.scaled_dot_product_attention(H3, H3[:, :2], H3[:, :2], enable_gqa=True), ValueError, "3 heads of q, 2 of k and 2 of v"),
    (lambda: F.scaled_dot_product_attention(H3, H3, H3[:, :1], enable_gqa=True), ValueError, "3 heads of q, 3 of k and 1 of v"),
    (lambda: F.scaled_dot_product_attention(X, X, X, enable_gqa=True), ValueError, "enable_gqa with q"),
    (lambda: F.pad(X, (1,)), ValueError, "pad: "),
    (lambda: F.pad(X, (3, 0), mode="reflect"), ValueError, "use widths from 0 to 2"),
    (lambda: F.pad(X, (1, 1), mode="mirror"), ValueError, "mode='mirror'"),
    (lambda: nn.init.kaiming_uniform_(ml.zeros((3,))), ValueError, "no fan in and fan out"),
    (lambda: nn.init.calculate_gain("relv"), ValueError, "unknown nonlinearity 'relv'"),
    (lambda: nn.init.normal_(ml.zeros((3,)), std=-1), ValueError, "std is -1"),
    (lambda: nn.utils.clip_grad_norm_([], float("nan")), ValueError, "max_norm nan"),
    (lambda: nn.utils.clip_grad_value_([], -1), ValueError, "clip_value is -1"),
    (lambda: nn.utils.vector_to_parameters(ml.zeros((3,)), nn.Linear(2, 2).parameters()), ValueError, "for parameters of 6 elements"),
    (lambda: nn.TransformerEncoderLayer(8, 2, activation="tahn"), ValueError, "activation='tahn'"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "padding_idx 3 for 3 rows"),
    (lambda: nn.MSELoss(reduction="all"), ValueError, "MSELoss: reduction='all'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_refusals(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, MlcoreError)
    assert str(caught.value).count("\n") < 8


def test_output_size_of_a_transposed_convolution(device: str) -> None:
    up = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = ml.ones((1, 2, 4, 4))
    assert up(x).shape == (1, 3, 7, 7)
    assert up(x, output_size=(8, 7)).shape == up(x, output_size=(1, 3, 8, 7)).shape == (1, 3, 8, 7)
    with pytest.raises(ShapeError, match="dimension 0 can have 7 to 8"):
        up(x, output_size=(9, 7))
    with pytest.raises(ArgumentError, match="output_padding"):
        nn.ConvTranspose1d(2, 3, 3, output_padding=1)(ml.ones((1, 2, 4)))
