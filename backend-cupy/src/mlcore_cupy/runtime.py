"""One GPU through CuPy: its device, its stream, and the kernels that were compiled for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from mlcore.backends.device import Device
from mlcore.backends.failure import kernel_error
from mlcore_cupy.source import module_source

OPTIONS = ("-std=c++17",)
_SIGNATURE = r"^KERNEL(?:_OF\(\w+\))?\s+{name}\s*\(([^)]*)\)"
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "i64": np.int64, "u64": np.uint64, "int": np.int32, "u32": np.uint32, "double": np.float64,
}  # fmt: skip
THREADS = 256
MOST_BLOCKS = 1 << 16  # of kernels that take element after element


@cache
def signature(file: str, name: str) -> tuple[Callable[[Any], Any], ...]:
    """What turns Python values into the parameters of a hand-written kernel, read from its declaration.

    >>> [one.__name__ for one in signature("dropout", "dropout")[2:4]]
    ['int64', 'uint32']
    """
    text = module_source(file, "float32")
    shared = re.search(r"#define SHAPES ([^\n]*)", text)  # one macro names parameters of several kernels
    found = re.search(_SIGNATURE.format(name=name), text, re.MULTILINE)
    if found is None:
        raise LookupError(f"{file}.cu has no kernel {name}")
    params = found[1].replace("SHAPES", shared[1] if shared else "")
    kinds = [re.sub(r"\bconst\b|__restrict__", "", one).split() for one in params.split(",")]
    return tuple(_SCALARS.get(words[0], _as_is) if "*" not in "".join(words) else _as_is for words in kinds)


def _as_is(value: Any) -> Any:
    return value


class Runtime:
    """A device of CuPy, and how kernels get there.

    `cupy` is the module. Everything runs on one stream of the device, so work is done in the order of the calls.
    """

    def __init__(self, cupy: Any, device: Device) -> None:
        self.cupy, self.owner = cupy, device
        self.index = device.index
        self.device = cupy.cuda.Device(device.index)
        with self.device:
            self.stream = cupy.cuda.Stream(non_blocking=True)
        self._modules: dict[Any, Any] = {}
        self.held: list[Any] | None = None  # while a capture is on: arrays that only its kernels refer to
        self._functions: dict[Any, Any] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        """The device and its stream are those of this thread; as before afterwards."""
        with self.device, self.stream:
            yield

    def is_current(self) -> bool:
        """Whether they are that already: entering them again would cost more than a small kernel."""
        cuda = self.cupy.cuda
        return bool(cuda.runtime.getDevice() == self.index and cuda.get_current_stream() == self.stream)

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """A call with this device and stream current."""
        if self.is_current():
            return call(*args)
        with self.current():
            return call(*args)

    def synchronize(self) -> None:
        """Wait for everything on the stream; an error of earlier work is raised here."""
        with self.device:
            self.stream.synchronize()

    # -- compiling -----------------------------------------------------------------------------------------------

    def compiled(self, name: str, source: str, op: str) -> Any:
        """A kernel of a source text; raises KernelError with the line that the compiler does not take."""
        key = (name, source)
        found = self._functions.get(key)
        if found is None:
            found = self._functions[key] = self._compile(name, source, op)
        return found

    def _compile(self, name: str, source: str, op: str) -> Any:
        with self.current():
            try:
                module = self._modules.get(source)
                if module is None:
                    module = self.cupy.RawModule(code=source, options=OPTIONS)
                    module.compile()
                    self._modules[source] = module
                return module.get_function(name)
            except self.cupy.cuda.compiler.CompileException as error:
                raise kernel_error(op, self.owner, source, error.get_message()) from error

    # -- launching -----------------------------------------------------------------------------------------------

    def launch(
        self,
        file: str,
        name: str,
        dtype: Any,
        grid: Sequence[int],
        block: Sequence[int],
        *values: Any,
        shared: int = 0,
    ) -> None:
        """A hand-written kernel for elements of a dtype; `values` are arrays, None (no array) and numbers."""
        key = (file, name, dtype)
        kernel = self._functions.get(key)
        if kernel is None:
            kernel = self.compiled(name, module_source(file, np.dtype(dtype).name), name)
            self._functions[key] = kernel
        args = tuple([make(one) for make, one in zip(signature(file, name), values, strict=True)])
        kernel(tuple(grid), tuple(block), args, shared_mem=shared)

    def each(self, file: str, name: str, dtype: Any, total: int, *values: Any) -> None:
        """A kernel whose threads take element after element of `total`."""
        blocks = min(-(-total // THREADS), MOST_BLOCKS)
        self.launch(file, name, dtype, (blocks,), (THREADS,), *values)

    # -- arrays --------------------------------------------------------------------------------------------------

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """A new array, with anything in it."""
        return self.cupy.empty(tuple(shape), dtype=dtype)

    def dense(self, x: Any) -> Any:
        """The array itself where it is contiguous in row-major order, else a copy that is; None stays None."""
        return None if x is None else self.cupy.ascontiguousarray(x)
