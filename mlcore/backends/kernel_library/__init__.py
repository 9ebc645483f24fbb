"""A backend of generated kernels: from a dialect and a runtime.

```python
def open(self, device, options):
    from mlcore.backends.kernel_library import KernelLibraryBackend
    from mlcore_mychip.dialect import DIALECT
    from mlcore_mychip.runtime import MyChipRuntime
    return KernelLibraryBackend(MyChipRuntime(device), DIALECT, device)
```

The dialect (`mlcore.codegen.Dialect`) says how the chip's C-like language spells things; the runtime (`Runtime`) has
seven methods around its driver. That is a complete backend: arrays with views by strides, every operation from the
kernels of mlcore.codegen, compiled when first used; what has none is composed from the others. Subclass to go faster:
override `kernel`, and end it in ``super().kernel(op)``, or write methods ``_NAME`` for single operations.

A device's limits go into the dialect that it is opened with: ``dataclasses.replace(DIALECT, group=64, tile=8)`` for
small groups or little local memory, `types` without float64 where it has none.

A runtime to start from, complete and short, is tests/backends/dists/mlcore-hostc: it compiles with g++ and launches
through ctypes.
"""

from mlcore.backends.kernel_library.arrays import KernelArray
from mlcore.backends.kernel_library.backend import Generated, KernelLibraryBackend
from mlcore.backends.kernel_library.runtime import CompileError, Runtime

__all__ = ["CompileError", "Generated", "KernelArray", "KernelLibraryBackend", "Runtime"]
