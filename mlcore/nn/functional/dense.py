"""Linear maps, embeddings, dropout, and small helpers on vectors."""

from __future__ import annotations

from typing import Any

from mlcore import dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional._common import one_axis, probability, valid_indices
from mlcore.ops import nn, random
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import astype, maximum, where
from mlcore.ops.index import gather
from mlcore.ops.logic import equal
from mlcore.ops.reduce import norm
from mlcore.ops.shape import expand_dims


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


def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Any:
    """Rows of `weight` (num, dim) at integer `input` of any shape: (*input.shape, dim).

    The row `padding_idx` gets no gradient. An index outside 0..num-1 raises OutOfRangeError.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.embedding(ml.asarray([1, 0]), ml.asarray([[0.0], [10.0]])).tolist()
    [[10.0], [0.0]]
    """
    if weight.ndim != 2:
        raise ShapeError(
            f"embedding: weight of shape {weight.shape}", cause="expected (num_embeddings, embedding_dim)"
        )
    indices, _ = valid_indices("embedding", "index", input, weight.shape[0], "rows", weight.device)
    rows = gather(weight, indices, axis=0)
    if padding_idx is None:
        return rows
    if not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise ArgumentError(
            f"embedding: padding_idx {padding_idx} for {weight.shape[0]} rows", fix="use one of the rows"
        )
    padded = expand_dims(equal(indices, padding_idx % weight.shape[0]), axis=-1)
    return where(padded, rows.detach(), rows)


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
    input: Any, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, *, axis: Any = None
) -> Any:
    """`input / max(norm, eps)`, the p-norm taken along `dim`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 4) for v in F.normalize(ml.asarray([3.0, 4.0]), dim=0).tolist()]
    [0.6, 0.8]
    """
    place = dim if axis is None else one_axis("normalize", None, axis)
    return input / maximum(norm(input, p, axis=place, keepdims=True), eps)
