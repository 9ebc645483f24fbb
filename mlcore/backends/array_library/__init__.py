"""A backend from an array library: any namespace that is close to the Python Array API standard.

```python
def open(self, device, options):
    import mychiplib
    from mlcore.backends.array_library import ArrayLibraryBackend
    return ArrayLibraryBackend(mychiplib, device=device)
```

Kernels are looked up by the standard's names, a few structural ones are put together here, and what the library
lacks is composed by the core from the rest. Which dtypes a function takes is found by trying it once on one
element. Subclass to add kernels of your own: override `kernel`, and end it in ``super().kernel(op)``.
"""

from mlcore.backends.array_library.backend import ArrayLibraryBackend, LibraryKernel

__all__ = ["ArrayLibraryBackend", "LibraryKernel"]
