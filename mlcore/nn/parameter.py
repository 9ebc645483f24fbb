"""Parameter: a tensor that a Module owns and an optimizer changes."""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.ops.creation import zeros
from mlcore.tensor import Tensor, TensorBase, assign


class Parameter(Tensor):
    """A tensor that, as an attribute of a `Module`, belongs to its `parameters()`.

    `data` is a Tensor (its values are taken over, its history is not) or anything `mlcore.asarray` accepts.
    Operations on a Parameter give plain tensors.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> p = nn.Parameter(ml.ones((2, 3)))
    >>> p.shape, p.requires_grad, p.is_leaf
    ((2, 3), True, True)
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is None:
            data = zeros((0,))
        elif not isinstance(data, TensorBase):
            data = dispatch.from_data(data)
        assign(self, data.array, data.device, data.dtype, data.shape, None, False)
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that, as an attribute of a `Module`, is one of its `buffers()`: it moves and is saved, but not trained.

    The same as `register_buffer`; with persistent=False it is not saved. What is assigned to the attribute later is
    the buffer then.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> m = nn.Module(); m.mean = nn.Buffer(ml.zeros((2,))); list(m.state_dict())
    ['mean']
    """

    __slots__ = ()
    persistent: bool = True

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        return super().__new__(cls if persistent else _PassingBuffer)

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        if data is None:
            data = zeros((0,))
        elif not isinstance(data, TensorBase):
            data = dispatch.from_data(data)
        assign(self, data.array, data.device, data.dtype, data.shape, None, False)


class _PassingBuffer(Buffer):
    """A buffer that is not saved."""

    __slots__ = ()
    persistent = False
