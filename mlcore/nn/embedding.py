"""Embedding and EmbeddingBag: tables of vectors."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty


class _Table(Module):
    """What both share: the table, and how its rows are looked up."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, max_norm: float | None,
        norm_type: float, scale_grad_by_freq: bool, sparse: bool, weight: Any, freeze: bool, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        name, shape = type(self).__name__, (num_embeddings, embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                f"{name}: padding_idx {padding_idx} for {num_embeddings} rows", fix="use one of the rows"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if weight is None:
            self.weight = Parameter(empty(shape, dtype=dtype, device=device), not freeze)
            self.reset_parameters()
        elif weight.shape != shape:
            raise ShapeError(f"{name}: weight of shape {weight.shape} for {shape}")
        else:
            self.weight = Parameter(weight, not freeze)

    def reset_parameters(self) -> None:
        """Draw the table again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            value = self.weight.detach()
            value[self.padding_idx] = 0.0
            self.weight.rebind(value)

    def extra_repr(self) -> str:
        found = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            found += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            found += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            found += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            found += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return found + (", sparse=True" if self.sparse else "")


def _values(name: str, embeddings: Any) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise ShapeError(f"{name}.from_pretrained: expected (num, dim), got {embeddings.shape}")
    return embeddings.shape  # type: ignore[no-any-return]  # what it comes from is Any


class Embedding(_Table):
    """A table of `num_embeddings` vectors: integers of any shape to (*, embedding_dim).

    `weight` starts normal; the row `padding_idx` starts at zero and gets no gradient. `functional.embedding` says what
    the other arguments do.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Embedding(10, 3)(ml.asarray([[1, 2], [4, 9]])).shape
    (2, 2, 3)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Any = None,
        _freeze: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                         _weight, _freeze, device, dtype)  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """A table with the given values (num, dim)."""
        num, dim = _values("Embedding", embeddings)
        return cls(num, dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq)  # fmt: skip


class EmbeddingBag(_Table):
    """The sum, mean or maximum of bags of vectors; `functional.embedding_bag` says how bags are given.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.EmbeddingBag(10, 3, mode="sum")(ml.asarray([1, 2, 4, 9]), ml.asarray([0, 3])).shape
    (2, 3)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Any = None,
        include_last_offset: bool = False, padding_idx: int | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                         _weight, False, device, dtype)  # fmt: skip
        if mode not in ("sum", "mean", "max"):
            raise ArgumentError(f"EmbeddingBag: mode={mode!r}", fix="use 'sum', 'mean' or 'max'")
        self.mode, self.include_last_offset = mode, include_last_offset

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:  # fmt: skip
        """A table with the given values (num, dim)."""
        num, dim = _values("EmbeddingBag", embeddings)
        made = cls(num, dim, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset,
                   padding_idx)  # fmt: skip
        made.weight.requires_grad_(not freeze)
        return made

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            per_sample_weights=per_sample_weights, include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}" + (
            "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        )
