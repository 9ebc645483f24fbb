"""Linear maps, embeddings, dropout, and small helpers on vectors."""

from __future__ import annotations

from typing import Any

from mlcore import dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional._common import one_axis, probability, valid_indices
from mlcore.ops import nn, random
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import astype, maximum
from mlcore.ops.linalg import matmul
from mlcore.ops.logic import equal
from mlcore.ops.reduce import norm
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import expand_dims, permute_dims, reshape


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """`input @ weight.mT + bias`: `input` (..., in), `weight` (out, in), `bias` (out,).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.linear(ml.ones((1, 3)), ml.ones((2, 3)), ml.ones((2,))).tolist()
    [[4.0, 4.0]]
    """
    return nn.linear(input, weight, bias)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each element 0 with probability `p`, the others divided by `1 - p`; the input itself unless `training`.

    Srivastava et al. 2014. The mask comes from mlcore's generator: the same on every device.
    """
    if not training:
        probability("dropout", p)
        return input
    return random.dropout(input, p)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """`x1 @ weight[o] @ x2 + bias[o]` for each o: (*, in1), (*, in2) and (out, in1, in2) to (*, out).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.bilinear(ml.asarray([[2.0]]), ml.asarray([[3.0]]), ml.asarray([[[1.0]], [[-1.0]]])).tolist()
    [[6.0, -6.0]]
    """
    out, first, second = weight.shape if weight.ndim == 3 else (0, 0, 0)
    same = input1.ndim and input2.ndim and input1.shape[:-1] == input2.shape[:-1]
    if weight.ndim != 3 or not same or (input1.shape[-1], input2.shape[-1]) != (first, second):
        raise ShapeError(f"bilinear: inputs {input1.shape} and {input2.shape} with weight {weight.shape}",
                         fix="(*, in1), (*, in2) and (out, in1, in2)")  # fmt: skip
    if bias is not None and bias.shape != (out,):
        raise ShapeError(f"bilinear: bias {bias.shape}", fix=f"use shape ({out},)")
    lead = input1.shape[:-1]
    table = reshape(permute_dims(weight, (1, 0, 2)), (first, out * second))
    left = reshape(matmul(reshape(input1, (-1, first)), table), (*lead, out, second))
    found = sum_(left * expand_dims(input2, axis=-2), axis=-1)
    return found if bias is None else found + bias


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 (*, num_classes) with 1 at each index; -1 takes the largest index plus one.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.one_hot(ml.asarray([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if num_classes < 0:
        host = tensor.numpy()
        if not host.size:
            raise ArgumentError(
                "one_hot: no indices to tell the number of classes from", fix="pass num_classes"
            )
        num_classes = int(host.max()) + 1
    indices, _ = valid_indices("one_hot", "index", tensor, num_classes, "classes", None)
    return astype(equal(expand_dims(indices, axis=-1), iota_on(indices, num_classes)), dtypes.int64)


def normalize(
    input: Any, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, out: Any = None, *,
    axis: Any = None,
) -> Any:  # fmt: skip
    """`input / max(norm, eps)`, the p-norm taken along `dim`; a tensor `out` takes it as its value.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 4) for v in F.normalize(ml.asarray([3.0, 4.0]), dim=0).tolist()]
    [0.6, 0.8]
    """
    place = dim if axis is None else one_axis("normalize", None, axis)
    found = input / maximum(norm(input, p, axis=place, keepdims=True), eps)
    return found if out is None else out.rebind(found)
