"""Linear, Identity, Embedding, Flatten and Dropout."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.functional._common import probability
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty
from mlcore.ops.nn import linear
from mlcore.ops.shape import flatten, reshape


class Identity(Module):
    """The input itself; any arguments are accepted and ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Linear(Module):
    """`x @ weight.mT + bias`: (..., in_features) to (..., out_features).

    `weight` (out, in) and `bias` (out,) start uniform in ±1 / sqrt(in_features).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Linear(20, 30)(ml.zeros((128, 20))).shape
    (128, 30)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if in_features < 0 or out_features < 0:
            raise ArgumentError(f"Linear: {in_features} to {out_features} features", fix="use sizes >= 0")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty((out_features, in_features), dtype=dtype, device=device))
        self.bias = Parameter(empty((out_features,), dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Any:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of `num_embeddings` vectors: integers of any shape to (*, embedding_dim).

    `weight` starts normal; the row `padding_idx` starts at zero and gets no gradient.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Embedding(10, 3)(ml.asarray([[1, 2], [4, 9]])).shape
    (2, 2, 3)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, _weight: Any = None,
        _freeze: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                f"Embedding: padding_idx {padding_idx} for {num_embeddings} rows", fix="use one of the rows"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        if _weight is None:
            self.weight = Parameter(
                empty((num_embeddings, embedding_dim), dtype=dtype, device=device), not _freeze
            )
            self.reset_parameters()
        else:
            if _weight.shape != (num_embeddings, embedding_dim):
                raise ShapeError(
                    f"Embedding: weight of shape {_weight.shape} for {(num_embeddings, embedding_dim)}"
                )
            self.weight = Parameter(_weight, not _freeze)

    def reset_parameters(self) -> None:
        """Draw the table again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            value = self.weight.detach()
            value[self.padding_idx] = 0.0
            self.weight.rebind(value)

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """A table with the given values (num, dim)."""
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding.from_pretrained: expected (num, dim), got {embeddings.shape}")
        return cls(
            embeddings.shape[0],
            embeddings.shape[1],
            padding_idx=padding_idx,
            _weight=embeddings,
            _freeze=freeze,
        )

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Flatten(Module):
    """Dimensions `start_dim` to `end_dim` merged into one; by default all but the batch.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Flatten()(ml.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Dimension `dim` taken apart into the shape `unflattened_size`, where one size may be -1."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Any) -> Any:
        axis = self.dim % input.ndim
        return reshape(input, (*input.shape[:axis], *self.unflattened_size, *input.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Dropout(Module):
    """In training, each element 0 with probability `p` and the others divided by `1 - p` (Srivastava et al. 2014).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Dropout(0.5).eval()(ml.ones((2,))).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = probability("Dropout", p), inplace

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
