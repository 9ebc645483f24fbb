"""A backend from an array library: any namespace that is close to the Python Array API standard.

```python
def open(self, device, options):
    import mychiplib
    from mlcore.backends.array_library import ArrayLibraryBackend
    return ArrayLibraryBackend(mychiplib, device=device)
```

Kernels are looked up by the standard's names, a few structural ones are put together below, and what the library
lacks is composed by the core from the rest. Which dtypes a function takes is found by trying it once on one
element. Subclass to add kernels of your own: override `kernel`, and end it in ``super().kernel(op)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mlcore.backends.device import Device
from mlcore.backends.protocol import Array, Kernel, MemoryStats
from mlcore.dtype import DType
from mlcore.dtypes import all_dtypes, bool_, from_numpy, int64, uint8, uint32
from mlcore.errors import PluginError

# Names under which libraries older than the standard have its functions.
OLDER_NAMES = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2",
    "atanh": "arctanh", "bitwise_invert": "invert", "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift", "concat": "concatenate", "conj": "conjugate", "cumulative_prod": "cumprod",
    "cumulative_sum": "cumsum", "permute_dims": "transpose", "pow": "power",
}  # fmt: skip

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # Threefry-2x32 (Salmon et al. 2011), table 2


class LibraryKernel:
    """A function of the library as a kernel: quiet about overflow, and for the dtypes that it takes."""

    __slots__ = ("array_type", "call", "dtypes", "wrap")
    origin = "library"

    def __init__(self, call: Callable[..., Any], backend: ArrayLibraryBackend) -> None:
        self.call = call
        self.array_type, self.wrap = backend.array_type, backend.xp_asarray
        self.dtypes: frozenset[DType] = backend.dtypes

    def __call__(self, *args: Any) -> Any:
        with np.errstate(all="ignore"):
            made = self.call(*args)
        # NumPy and its kin return scalars, which are no arrays, for 0-d operands.
        return made if isinstance(made, (self.array_type, tuple)) else self.wrap(made)


class ArrayLibraryBackend:
    """One device of an array library.

    `xp` is the namespace; `library_device` is passed as ``device=`` when arrays are created, where given.

    >>> from mlcore.backends.device import Device
    >>> device = Device("toy")
    >>> device.backend = ArrayLibraryBackend(np, device=device)
    >>> device.backend.to_host(device.backend.from_host(np.ones(2))).tolist()
    [1.0, 1.0]
    """

    def __init__(self, xp: Any, device: Device, *, library_device: Any = None) -> None:
        self.xp = xp
        self.device = device
        self.xp_asarray: Callable[..., Any] = self._asarray(library_device)
        self._library_device = {} if library_device is None else {"device": library_device}
        self.array_type: type[Any] = type(self.xp_asarray(np.zeros(1, dtype=np.float32)))
        self._names: dict[DType, Any] = {}
        self.dtypes: frozenset[DType] = frozenset(d for d in all_dtypes if self._holds(d))
        if not self.dtypes:
            raise PluginError(
                f"{self._title} makes no array of any dtype", cause="asarray() fails for all of them"
            )

    # -- what the library is like ------------------------------------------------------------------------------

    @property
    def _title(self) -> str:
        return str(getattr(self.xp, "__name__", self.xp))

    def _asarray(self, library_device: Any) -> Callable[..., Any]:
        make = self.find("asarray", "array")
        if make is None:
            raise PluginError(
                f"{self._title} has neither asarray nor array", fix="pass the library's namespace"
            )
        if library_device is None:
            return make
        return lambda value, **how: make(value, device=library_device, **how)

    def find(self, *names: str) -> Callable[..., Any] | None:
        """The library's function of the first of these names that it has, also under its older name."""
        for name in names:
            for one in (name, OLDER_NAMES.get(name)):
                found = getattr(self.xp, one, None) if one else None
                if callable(found):
                    return found  # type: ignore[no-any-return]
        return None

    def _holds(self, dtype: DType) -> bool:
        """Whether an array of `dtype` goes there and comes back."""
        name = getattr(self.xp, dtype.name, None) or getattr(self.xp, f"{dtype.name}_", None)
        if name is None:
            return False
        self._names[dtype] = name
        try:
            back = self.to_host(self.from_host(np.ones(2, dtype=dtype.numpy)))
        except Exception:  # whatever a library raises for a dtype that it does not have
            return False
        return from_numpy(back.dtype) is dtype

    def native(self, dtype: DType) -> Any:
        """The library's own name of a dtype."""
        return self._names[dtype]

    # -- the protocol ------------------------------------------------------------------------------------------

    def from_host(self, array: np.ndarray[Any, Any]) -> Array:
        """A copy on the device: the library may share memory with the copy, never with the caller's array."""
        return self.xp_asarray(np.array(array, copy=True, order="C", ndmin=0))

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """The values: through the library's own way down where it has one, else the buffer, or DLPack."""
        down = getattr(self.xp, "asnumpy", None)
        if down is not None:
            return np.asarray(down(array))
        try:
            return np.asarray(array)
        except (TypeError, ValueError):
            return np.from_dlpack(array)

    def synchronize(self) -> None:
        """Wait for the library's queue, where the namespace has a `synchronize`."""
        wait = getattr(self.xp, "synchronize", None)
        if callable(wait):
            wait()

    def memory_stats(self) -> MemoryStats:
        """Unknown: the standard has no word for it. Override it for a library that counts."""
        return MemoryStats()

    def kernel(self, op: Any) -> Kernel | None:
        """The library's function for an operation, for the dtypes it takes; None composes it from others."""
        make = getattr(self, f"_{op.name}", None)
        if make is not None:
            call = make()
        elif op.family in ("unary", "binary"):
            call = self._formula(op)
        elif op.family == "reduction":
            call = self._reduction(op)
        else:
            call = None
        if call is None:
            return None
        made = LibraryKernel(call, self)
        if op.family in ("unary", "binary", "reduction", "contraction"):
            made.dtypes = frozenset(self._taken(op, made))
            return made if made.dtypes else None
        return made

    def _taken(self, op: Any, kernel: Kernel) -> Iterable[DType]:
        """The dtypes for which the library's function works and gives the declared dtype."""
        params = ((0,), False) if op.family == "reduction" else ()
        shape = (1, 1) if op.family == "contraction" else (1,)
        for dtype in op.accepts & self.dtypes:
            one = self.from_host(np.ones(shape, dtype=dtype.numpy))
            try:
                made = self.to_host(kernel(*[one] * op.n_inputs, *params))
            except Exception:  # a library says in its own way that it does not take a dtype
                continue
            wanted = op.result[dtype.index] or dtype
            if op.family != "reduction" and from_numpy(made.dtype) is not wanted:
                continue
            yield dtype

    # -- families ----------------------------------------------------------------------------------------------

    def _formula(self, op: Any) -> Callable[..., Any] | None:
        """An elementwise function. For bools, and tests of integers, the standard leaves gaps that are filled here."""
        call = self.find(op.standard)
        if call is None:
            return None
        gap = _GAPS.get(op.standard)
        return call if gap is None else gap(self, call)

    def _reduction(self, op: Any) -> Callable[..., Any] | None:
        call = self.find(op.standard)
        if call is None:
            return None
        keeps = op.standard in ("sum", "prod")  # these widen small integers unless told the dtype
        to_bool = op.standard in ("any", "all")

        def run(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
            if not axis:
                return x != self.zero(x) if to_bool else x
            if keeps:
                return call(x, axis=axis, keepdims=keepdims, dtype=x.dtype)
            return call(x, axis=axis, keepdims=keepdims)

        return run

    def zero(self, like: Any) -> Any:
        """A 0-d zero of an array's dtype."""
        return self._full()((), 0, dtype=like.dtype, **self._library_device)

    def _full(self) -> Callable[..., Any]:
        found = self.find("full")
        if found is None:
            raise PluginError(f"{self._title} has no function full")
        return found

    def cast(self, x: Any, dtype: DType) -> Any:
        """An array in another dtype."""
        name = self.native(dtype)
        if x.dtype == name:
            return x
        call = getattr(self.xp, "astype", None)
        return call(x, name) if call is not None else x.astype(name)

    # -- structure: one method an operation, called once; it returns the kernel, or None -------------------------

    def _fill(self) -> Callable[..., Any]:
        full = self._full()
        return lambda shape, value, dtype: full(
            shape, value, dtype=self.native(dtype), **self._library_device
        )

    def _iota(self) -> Callable[..., Any] | None:
        arange = self.find("arange")
        if arange is None or int64 not in self.dtypes:
            return None

        def run(start: Any, step: Any, size: int, dtype: DType) -> Any:
            kind = np.float64 if dtype.kind == "f" else np.int64
            wide = from_numpy(np.dtype(kind))
            if wide not in self.dtypes:
                return self.from_host((start + step * np.arange(size, dtype=kind)).astype(dtype.numpy))
            count = self.cast(arange(0, size, dtype=self.native(int64), **self._library_device), wide)
            first, stride = (self.xp_asarray(np.asarray(v, dtype=kind)) for v in (start, step))
            return self.cast(first + stride * count, dtype)

        return run

    def _astype(self) -> Callable[..., Any]:
        def run(x: Any, dtype: DType) -> Any:
            return (
                x != self.zero(x) if dtype is bool_ and x.dtype != self.native(bool_) else self.cast(x, dtype)
            )

        return run

    def _reshape(self) -> Callable[..., Any] | None:
        return self.find("reshape")

    def _permute_dims(self) -> Callable[..., Any] | None:
        return self.find("permute_dims")

    def _broadcast_to(self) -> Callable[..., Any] | None:
        return self.find("broadcast_to")

    def _where(self) -> Callable[..., Any] | None:
        return self.find("where")

    def _contract(self) -> Callable[..., Any] | None:
        return self.find("matmul")

    def _slice(self) -> Callable[..., Any]:
        return lambda x, key: x[tuple(slice(*one) for one in key)] if key else x

    def _slice_update(self) -> Callable[..., Any]:
        if hasattr(self.array_type, "at"):  # arrays that cannot be written have the functional form
            return lambda x, v, key: x.at[tuple(slice(*one) for one in key)].set(v) if key else v
        copy = self._copier()

        def run(x: Any, v: Any, key: Any) -> Any:
            if not key:
                return v
            y = copy(x)
            y[tuple(slice(*one) for one in key)] = v
            return y

        return run

    def _copier(self) -> Callable[[Any], Any]:
        """How to copy an array: the standard's way, or the method that most libraries have."""
        probe = self.xp_asarray(np.zeros(1, dtype=np.float32))
        try:
            self.xp_asarray(probe, copy=True)
        except TypeError:
            return lambda x: x.copy()
        return lambda x: self.xp_asarray(x, copy=True)

    def _concat(self) -> Callable[..., Any] | None:
        join = self.find("concat")
        return None if join is None else lambda *given: join(list(given[:-1]), axis=given[-1])

    def _gather(self) -> Callable[..., Any] | None:
        take, reshape = self.find("take"), self.find("reshape")
        if take is None or reshape is None:
            return None

        def run(x: Any, indices: Any, axis: int) -> Any:
            if len(indices.shape) == 1:
                return take(x, indices, axis=axis)
            picked = take(
                x, reshape(indices, (math.prod(indices.shape),)), axis=axis
            )  # the standard wants 1-d
            return reshape(picked, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

        return run

    def _index_add(self) -> Callable[..., Any] | None:
        if hasattr(self.array_type, "at"):

            def functional(x: Any, indices: Any, values: Any, axis: int) -> Any:
                return x.at[(*(slice(None),) * axis, indices)].add(values)

            return functional
        add_at = getattr(getattr(self.xp, "add", None), "at", None)
        if add_at is None:
            return None
        copy = self._copier()

        def run(x: Any, indices: Any, values: Any, axis: int) -> Any:
            y = copy(x)
            add_at(y, (*(slice(None),) * axis, indices), values)
            return y

        return run

    def _where_true(self) -> Callable[..., Any] | None:
        call = self.find("nonzero")
        return None if call is None else lambda x: tuple(self.cast(one, int64) for one in call(x))

    def _reduce_argmax(self) -> Callable[..., Any] | None:
        return self._extremum("argmax")

    def _reduce_argmin(self) -> Callable[..., Any] | None:
        return self._extremum("argmin")

    def _extremum(self, name: str) -> Callable[..., Any] | None:
        call = self.find(name)
        if call is None:
            return None
        return lambda x, axis, keepdims: self.cast(
            self._wrapped(call(x, axis=axis, keepdims=keepdims)), int64
        )

    def _wrapped(self, made: Any) -> Any:
        return made if isinstance(made, self.array_type) else self.xp_asarray(made)

    def _scan_sum(self) -> Callable[..., Any] | None:
        return self._scan("cumulative_sum")

    def _scan_prod(self) -> Callable[..., Any] | None:
        return self._scan("cumulative_prod")

    def _scan(self, name: str) -> Callable[..., Any] | None:
        call = self.find(name)
        return None if call is None else lambda x, axis: self.cast(call(x, axis=axis), self._dtype_of(x))

    def _dtype_of(self, x: Any) -> DType:
        return next(d for d, name in self._names.items() if x.dtype == name)

    def _sort_indices(self) -> Callable[..., Any] | None:
        argsort, flip = self.find("argsort"), self.find("flip")
        if argsort is None or flip is None:
            return None
        stable = self._stable(argsort)

        def run(x: Any, axis: int, descending: bool) -> Any:
            if not descending:
                return self.cast(argsort(x, axis=axis, **stable), int64)
            # The stable descending order is the ascending order of the reversed array, reversed.
            order = self.cast(argsort(flip(x, axis=axis), axis=axis, **stable), int64)
            last = self.xp_asarray(np.asarray(x.shape[axis] - 1, dtype=np.int64))
            return flip(last - order, axis=axis)

        return run

    def _stable(self, argsort: Callable[..., Any]) -> dict[str, Any]:
        probe = self.xp_asarray(np.zeros(2, dtype=np.float32))
        for how in ({"stable": True}, {"kind": "stable"}):
            try:
                argsort(probe, axis=0, **how)
            except (TypeError, ValueError):
                continue
            return how
        return {}

    def _searchsorted(self) -> Callable[..., Any] | None:
        call = self.find("searchsorted")
        return (
            None
            if call is None
            else lambda x1, x2, side: self.cast(self._wrapped(call(x1, x2, side=side)), int64)
        )

    def _random_bits(self) -> Callable[..., Any] | None:
        arange, reshape, shift = self.find("arange"), self.find("reshape"), self.find("bitwise_right_shift")
        left = self.find("bitwise_left_shift")
        if uint32 not in self.dtypes or not (arange and reshape and shift and left):
            return None

        def word(value: int) -> Any:
            return self.xp_asarray(np.asarray([value & 0xFFFFFFFF], dtype=np.uint32))

        def run(key: tuple[int, int], offset: int, shape: tuple[int, ...]) -> Any:
            count = arange(0, math.prod(shape), dtype=self.native(uint32), **self._library_device)
            low = word(offset)
            x1 = count + low
            x0 = self.cast(x1 < low, uint32) + word(offset >> 32)  # the carry into the counter's upper half
            words = [word(k) for k in (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)]
            x0, x1 = x0 + words[0], x1 + words[1]
            for block in range(5):
                for turn in _ROTATIONS[block % 2]:
                    x0 = x0 + x1
                    x1 = (left(x1, word(turn)) | shift(x1, word(32 - turn))) ^ x0
                x0 = x0 + words[(block + 1) % 3]
                x1 = x1 + words[(block + 2) % 3] + word(block + 1)
            return reshape(x0 ^ x1, shape)

        return run


# -- gaps of the standard: dtypes that our operations accept and its functions need not --------------------------


def _truths(backend: ArrayLibraryBackend, call: Callable[..., Any]) -> Callable[..., Any]:
    """Logical functions are for bools: compare anything else with 0 first."""

    def run(*inputs: Any) -> Any:
        name = backend.native(bool_)
        return call(*[x if x.dtype == name else x != backend.zero(x) for x in inputs])

    return run


def _bools_as_numbers(backend: ArrayLibraryBackend, call: Callable[..., Any]) -> Callable[..., Any]:
    """Order is for numbers: bools compare as 0 and 1."""

    def run(*inputs: Any) -> Any:
        name = backend.native(bool_)
        return call(*[backend.cast(x, uint8) if x.dtype == name else x for x in inputs])

    return run


def _floats_only(found: bool) -> Callable[..., Callable[..., Any]]:
    """Tests that are the same for every integer and bool."""

    def gap(backend: ArrayLibraryBackend, call: Callable[..., Any]) -> Callable[..., Any]:
        kinds = [backend.native(d) for d in backend.dtypes if d.kind in "biu"]
        full, answer = backend._full(), backend.native(bool_)
        return lambda x: full(x.shape, found, dtype=answer) if any(x.dtype == k for k in kinds) else call(x)

    return gap


def _itself(kinds: str) -> Callable[..., Callable[..., Any]]:
    """Functions that change nothing for some kinds of numbers."""

    def gap(backend: ArrayLibraryBackend, call: Callable[..., Any]) -> Callable[..., Any]:
        same = [backend.native(d) for d in backend.dtypes if d.kind in kinds]
        return lambda x: x if any(x.dtype == k for k in same) else call(x)

    return gap


def _any_count(backend: ArrayLibraryBackend, call: Callable[..., Any]) -> Callable[..., Any]:
    """The standard leaves shifts by less than 0 open: they count as the width, which moves every bit out."""
    where, signed = backend.find("where"), [(backend.native(d), d) for d in backend.dtypes if d.kind == "i"]

    def run(x: Any, count: Any) -> Any:
        dtype = next((d for name, d in signed if x.dtype == name), None)
        if dtype is None or where is None:
            return call(x, count)
        width = backend.xp_asarray(np.asarray(dtype.bits, dtype=dtype.numpy))
        return call(x, where(count < backend.zero(x), width, count))

    return run


_GAPS: dict[str, Callable[..., Callable[..., Any]]] = {
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not"), _truths),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), _bools_as_numbers),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), _any_count),
    "isnan": _floats_only(False), "isinf": _floats_only(False), "isfinite": _floats_only(True),
    "positive": _itself("biufc"), "conj": _itself("iuf"),
    **dict.fromkeys(("floor", "ceil", "trunc", "round"), _itself("iu")),
}  # fmt: skip
