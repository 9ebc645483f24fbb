"""Group: the collectives of a job as functions of tensors, checked before anything is sent."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mlcore.autograd import no_grad
from mlcore.distributed.protocol import REDUCTIONS, Collectives, Reduction
from mlcore.dtypes import from_numpy
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, did_you_mean
from mlcore.tensor import TensorBase, assign, wrap


class Group:
    """The processes of a job. Every one of them calls the same operation, in the same order."""

    def __init__(self, collectives: Collectives) -> None:
        self.collectives = collectives
        self.rank, self.size, self.name = collectives.rank, collectives.size, collectives.name

    def __repr__(self) -> str:
        return f"<Group {self.name}, rank {self.rank} of {self.size}>"

    def all_reduce(self, tensor: Any, op: Reduction = "sum") -> Any:
        """Give `tensor` the reduction of the tensors of all processes; returns it."""
        array = self._array("all_reduce", tensor, op)
        return self._renew(tensor, self.collectives.all_reduce(array, op))

    def all_gather(self, tensor: Any) -> Any:
        """A new tensor of shape (size, *tensor.shape): the tensors of all processes, by rank."""
        return self._tensor(tensor, self.collectives.all_gather(self._array("all_gather", tensor)))

    def broadcast(self, tensor: Any, src: int = 0) -> Any:
        """Give `tensor` the value that it has in process `src`; returns it."""
        root, array = self._root(src), self._array("broadcast", tensor)
        return self._renew(tensor, self.collectives.broadcast(array, root))

    def reduce_scatter(self, tensor: Any, op: Reduction = "sum") -> Any:
        """This process's share of the reduction: `tensor` is cut in `size` equal parts along its first axis."""
        self._check("reduce_scatter", tensor, op)
        if tensor.ndim == 0 or tensor.shape[0] % self.size:
            raise ShapeError(
                f"reduce_scatter: shape {tensor.shape} for {self.size} processes",
                cause="the first dimension is cut in equal parts, one for each process",
                fix=f"pad it to a multiple of {self.size}",
            )
        with no_grad():  # a tensor's reshape: its device knows where a copy has to run
            rows = tensor.reshape((self.size, tensor.shape[0] // self.size, *tensor.shape[1:]))
        array = self._array("reduce_scatter", rows, op)
        return self._tensor(tensor, self.collectives.reduce_scatter(array, op))

    def barrier(self) -> None:
        """Return when every process has come here."""
        self.collectives.barrier()

    # -- between tensors and arrays --------------------------------------------------------------------------------

    def _array(self, name: str, tensor: Any, op: Any = None) -> Any:
        self._check(name, tensor, op)
        return tensor.array if self._direct(tensor) else self._down(tensor)

    def _check(self, name: str, tensor: Any, op: Any) -> None:
        if not isinstance(tensor, TensorBase):
            raise ArgumentTypeError(f"{name}: {type(tensor).__name__}, expected a Tensor")
        if op is not None and op not in REDUCTIONS:
            hint = did_you_mean(str(op), REDUCTIONS)
            raise ArgumentError(f"{name}: op is {op!r}{hint}", fix=f"one of {', '.join(REDUCTIONS)}")
        if op in ("min", "max") and tensor.dtype.kind == "c":
            raise DTypeError(f"{name}: {op} of {tensor.dtype}", cause="complex numbers have no order")
        if op == "mean" and tensor.dtype.kind not in "fc":
            raise DTypeError(f"{name}: mean of {tensor.dtype}", fix="take the sum, or convert to a float")

    def _direct(self, tensor: Any) -> bool:
        return self.collectives.takes(tensor.device.type)

    def _down(self, tensor: Any) -> Any:
        return np.asarray(tensor.device.backend.to_host(tensor.array), order="C")

    def _up(self, tensor: Any, made: Any) -> Any:
        return made if self._direct(tensor) else tensor.device.backend.from_host(made)

    def _tensor(self, like: Any, made: Any) -> Any:
        return wrap(self._up(like, made), like.device, like.dtype, tuple(made.shape))

    def _renew(self, tensor: Any, made: Any) -> Any:
        if not self._direct(tensor) and from_numpy(made.dtype) is tensor.dtype:
            made = made.reshape(tensor.shape)
        with no_grad():
            gradient = tensor.grad if tensor.requires_grad and tensor.node is None else None
            assign(
                tensor,
                self._up(tensor, made),
                tensor.device,
                tensor.dtype,
                tensor.shape,
                None,
                tensor.requires_grad,
            )
            if gradient is not None:
                tensor.grad = gradient
        return tensor

    def _root(self, src: Any) -> int:
        try:
            root = operator.index(src)
        except TypeError:
            raise ArgumentTypeError(f"broadcast: src is {src!r}", fix="pass a rank") from None
        if not 0 <= root < self.size:
            raise ArgumentError(f"broadcast: src is {root}", fix=f"a rank from 0 to {self.size - 1}")
        return root
