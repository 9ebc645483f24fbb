"""mlcore and PyTorch under one set of names, where the libraries' own names differ."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from mlcore.bench.rows import Array, Task


class Library:
    """What the rows need from a library.

    `nn`, `functional` and `optim` have PyTorch's names in both libraries, so builders use them directly.
    """

    name: str
    nn: Any
    functional: Any
    optim: Any

    def tensor(self, array: Array, grad: bool = False, dtype: str | None = None) -> Any:
        """The library's own copy of an array."""
        raise TypeError(f"{type(self).__name__} does not define tensor()")

    def to_host(self, tensor: Any) -> Array:
        """A NumPy array of a result, float32 for what NumPy does not have."""
        raise TypeError(f"{type(self).__name__} does not define to_host()")

    def finish(self) -> None:
        """Wait until everything that was asked for is done."""

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        """A function by the name and arguments of mlcore, which are the Array API's."""
        raise TypeError(f"{type(self).__name__} does not define call()")

    def dtype(self, name: str) -> Any:
        """A dtype by its name."""
        raise TypeError(f"{type(self).__name__} does not define dtype()")

    def int8_product(self, a: Any, b: Any) -> Any:
        """The product of int8 matrices, summed in int32."""
        raise TypeError(f"{type(self).__name__} does not define int8_product()")

    def index_add(self, x: Any, indices: Any, values: Any) -> Any:
        """x, with values[i] added to row indices[i] for every i."""
        raise TypeError(f"{type(self).__name__} does not define index_add()")

    def no_grad(self) -> AbstractContextManager[Any]:
        """Nothing is recorded inside."""
        raise TypeError(f"{type(self).__name__} does not define no_grad()")

    def threads(self, count: int) -> None:
        """What the library does not take from the environment."""

    def stream(self, a: Any, b: Any) -> Callable[[], Any]:
        """What adds two arrays the way that costs the library least memory traffic."""
        return lambda: self.call("add", a, b)

    def warm(self) -> None:
        """What a library does once, with its first operations and gradients."""
        layer = self.nn.Linear(8, 8)
        x = self.tensor(np.ones((8, 8), np.float32))
        self.functional.softmax(layer(x), -1).sum().backward()

    def channels_last(self, value: Any) -> Any:
        """A tensor of images or weights, or a model, with the channels innermost in memory."""
        raise TypeError(f"{type(self).__name__} has no such option: it lays out tensors as it likes")

    def compiled(self, model: Any) -> Any:
        """What is called in place of the model; itself, where the library does not compile."""
        return model

    def inference(self, model: Any, inputs: Any) -> Task:
        """A task that calls a model, recording nothing."""
        run = self.compiled(model)

        def step() -> Any:
            with self.no_grad():
                return run(inputs)

        return self.task(step)

    def task(self, step: Callable[[], Any] | str, names: dict[str, Any] | None = None) -> Task:
        """A task of this library."""
        return Task(step, self.to_host, names, self.finish)

    def forward(self, function: Callable[..., Any], *inputs: Any) -> Task:
        """A task that calls a function of tensors."""
        return self.task(lambda: function(*inputs))

    def both_ways(self, function: Callable[..., Any], inputs: Sequence[Any], incoming: Any = None) -> Task:
        """A task that calls a function, and gets the gradients of every input that requires one.

        `incoming` is the gradient of its result; None where that is a scalar.
        """
        wanted = [one for one in inputs if getattr(one, "requires_grad", False)]

        def step() -> Any:
            for one in wanted:
                one.grad = None
            y = function(*inputs)
            y.backward() if incoming is None else y.backward(incoming)
            return (y, *(one.grad for one in wanted))

        return self.task(step)


class Mlcore(Library):
    """mlcore itself."""

    name = "mlcore"

    def __init__(self) -> None:
        self.ml = importlib.import_module("mlcore")
        self.nn, self.optim = self.ml.nn, self.ml.optim
        self.functional = self.ml.nn.functional
        self.add_at = importlib.import_module("mlcore.ops.index").index_add

    def tensor(self, array: Array, grad: bool = False, dtype: str | None = None) -> Any:
        kind = self.dtype(dtype) if dtype else None
        return self.ml.asarray(array, dtype=kind, requires_grad=grad)

    def to_host(self, tensor: Any) -> Array:
        tensor = tensor.detach()
        if tensor.dtype is self.ml.bfloat16:
            tensor = tensor.to(self.ml.float32)
        return np.asarray(tensor)

    def finish(self) -> None:
        self.ml.default_device().backend.synchronize()

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        return getattr(self.ml, name)(*args, **how)

    def dtype(self, name: str) -> Any:
        return self.ml.dtypes.as_dtype(name)

    def int8_product(self, a: Any, b: Any) -> Any:
        return self.ml.matmul(a, b, dtype=self.ml.int32)

    def index_add(self, x: Any, indices: Any, values: Any) -> Any:
        return self.add_at(x, indices, values, axis=0)

    def no_grad(self) -> AbstractContextManager[Any]:
        return self.ml.no_grad()  # type: ignore[no-any-return]  # the library is Any


class Torch(Library):
    """PyTorch, eager."""

    name = "torch"
    NAMES: ClassVar = {
        "multiply": "mul",
        "divide": "div",
        "subtract": "sub",
        "max": "amax",
        "take_along_axis": "gather",
        "cumulative_sum": "cumsum",
        "take": "index_select",
    }

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.nn, self.functional, self.optim = self.torch.nn, self.torch.nn.functional, self.torch.optim

    def tensor(self, array: Array, grad: bool = False, dtype: str | None = None) -> Any:
        made = self.torch.from_numpy(np.array(array))
        if dtype:
            made = made.to(self.dtype(dtype))
        return made.requires_grad_(grad)

    def to_host(self, tensor: Any) -> Array:
        tensor = tensor.detach()
        return np.asarray(tensor.float() if tensor.dtype is self.torch.bfloat16 else tensor)

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        how = {"dim" if key == "axis" else key: value for key, value in how.items()}
        match name:
            case "gelu":
                return self.functional.gelu(*args, **how)
            case "astype":
                return args[0].to(args[1])
            case "sort":
                return self.torch.sort(*args, **how)[0]
            case "take_along_axis" | "take":  # the axis comes second
                return getattr(self.torch, self.NAMES[name])(args[0], how["dim"], args[1])
        return getattr(self.torch, self.NAMES.get(name, name))(*args, **how)

    def dtype(self, name: str) -> Any:
        return getattr(self.torch, name)

    def int8_product(self, a: Any, b: Any) -> Any:
        return self.torch._int_mm(a, b)

    def index_add(self, x: Any, indices: Any, values: Any) -> Any:
        return x.index_add(0, indices, values)

    def no_grad(self) -> AbstractContextManager[Any]:
        return self.torch.no_grad()  # type: ignore[no-any-return]  # the library is Any

    def channels_last(self, value: Any) -> Any:
        if isinstance(value, self.torch.Tensor):
            made = value.detach().to(memory_format=self.torch.channels_last)
            return made.requires_grad_(value.requires_grad)
        return value.to(memory_format=self.torch.channels_last)

    def stream(self, a: Any, b: Any) -> Callable[[], Any]:
        out = self.torch.empty_like(a)
        return lambda: self.torch.add(a, b, out=out)

    def threads(self, count: int) -> None:
        self.torch.set_num_threads(count)
