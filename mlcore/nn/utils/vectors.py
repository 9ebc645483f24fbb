"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.elementwise import astype
from mlcore.ops.shape import concat, reshape


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, one after the other, as one 1-d tensor.

    >>> from mlcore import nn
    >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    flat = [reshape(p, (-1,)) for p in parameters]
    if not flat:
        raise ArgumentError("parameters_to_vector: there are no parameters")
    return concat(flat, axis=0)


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Give the parameters, in order, the values of a 1-d tensor.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.Linear(2, 1)
    >>> nn.utils.vector_to_parameters(ml.zeros((3,)), layer.parameters()); layer.bias.tolist()
    [0.0]
    """
    owners = list(parameters)
    needed = sum(p.size for p in owners)
    if vec.shape != (needed,):
        raise ShapeError(
            f"vector_to_parameters: a vector of shape {vec.shape} for parameters of {needed} elements"
        )
    start = 0
    with dispatch.recording(False):
        for p in owners:
            part = reshape(vec.detach()[start : start + p.size], p.shape)
            p.rebind(part if part.dtype is p.dtype else astype(part, p.dtype))
            start += p.size
