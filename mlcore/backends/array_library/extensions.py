"""The standard's extensions: factorisations and Fourier transforms, where the library has `linalg` and `fft`.

What it lacks runs on the host, as those operations are declared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore.backends.array_library.library import Library
from mlcore.dtypes import complex64, complex128, float32, float64
from mlcore.errors import LinAlgError

Call = Callable[..., Any] | None
_COMPLEX = {float32: complex64, float64: complex128}


class Extensions(Library):
    """linalg and fft, by their names in the standard."""

    def extension(self, space: str, name: str) -> Call:
        """A function of one of the library's extensions, its LinAlgError told as ours; None where it has none.

        Override it for a library that has the names and cannot run them everywhere.
        """
        call = getattr(getattr(self.xp, space, None), name, None)
        if not callable(call):
            return None
        found: Callable[..., Any] = call

        def run(*args: Any, **how: Any) -> Any:
            try:
                return found(*args, **how)
            except Exception as error:
                if type(error).__name__ != "LinAlgError":
                    raise
                raise LinAlgError(
                    f"{name}: a matrix of shape {tuple(args[0].shape)} cannot be inverted or factored",
                    cause=str(error), fix="add a small multiple of eye(n), or use pinv",
                ) from None  # fmt: skip

        return run

    def _linalg_inv(self) -> Call:
        return self.extension("linalg", "inv")

    def _linalg_solve(self) -> Call:
        return self.extension("linalg", "solve")

    def _linalg_det(self) -> Call:
        return self.extension("linalg", "det")

    def _linalg_slogdet(self) -> Call:
        call = self.extension("linalg", "slogdet")
        return None if call is None else lambda x: tuple(call(x))[::-1]

    def _linalg_cholesky(self) -> Call:
        return self.extension("linalg", "cholesky")

    def _linalg_qr(self) -> Call:
        call = self.extension("linalg", "qr")
        return None if call is None else lambda x, mode: tuple(call(x, mode=mode))

    def _linalg_svd(self) -> Call:
        call = self.extension("linalg", "svd")
        return None if call is None else lambda x, full: tuple(call(x, full_matrices=full))

    def _linalg_svdvals(self) -> Call:
        call = self.extension("linalg", "svdvals")
        if call is not None:
            return call
        call = self.extension("linalg", "svd")
        return None if call is None else lambda x: call(x, compute_uv=False)

    def _linalg_eigh(self) -> Call:
        call = self.extension("linalg", "eigh")
        return None if call is None else lambda x: tuple(call(x))

    def _linalg_eigvalsh(self) -> Call:
        return self.extension("linalg", "eigvalsh")

    def _linalg_eig(self) -> Call:
        call = self.extension("linalg", "eig")
        if call is None:
            return None

        def run(x: Any) -> Any:
            dtype = self._dtype_of(x)
            return tuple(self.cast(one, _COMPLEX.get(dtype, dtype)) for one in call(x))

        return run

    def _fourier(self) -> Call:
        there, back = self.extension("fft", "fft"), self.extension("fft", "ifft")
        if there is None or back is None:
            return None

        def run(x: Any, axis: int, inverse: bool) -> Any:
            return back(x, axis=axis, norm="forward") if inverse else there(x, axis=axis)

        return run

    def _fourier_real(self) -> Call:
        call = self.extension("fft", "rfft")
        return None if call is None else lambda x, axis: call(x, axis=axis)

    def _fourier_to_real(self) -> Call:
        call = self.extension("fft", "irfft")
        return None if call is None else lambda x, axis, n: call(x, axis=axis, n=n, norm="forward")
