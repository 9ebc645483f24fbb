"""Every error mlcore raises: what happened, the actual values, the cause, and what to do.

Each kind also derives from the built-in exception that people already catch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from numpy.linalg import LinAlgError as LapackError


class MlcoreError(Exception):
    """Base of all mlcore errors.

    ``MlcoreError("what happened", cause="why", fix="what to do")`` renders the details as aligned lines
    below the first one; details that are None or empty are left out.

    >>> print(MlcoreError("it broke", cause="a value of 3", fix="use 4"))
    it broke
      cause: a value of 3
      fix:   use 4
    """

    def __init__(self, what: str, **details: object) -> None:
        self.what = what
        texts = {name: str(value) for name, value in details.items() if value is not None}
        self.details = {name: text for name, text in texts.items() if text}
        super().__init__(render(what, self.details))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.details)


def _rebuild(kind: type[MlcoreError], what: str, details: dict[str, str]) -> MlcoreError:
    return kind(what, **details)


def render(what: str, details: dict[str, str]) -> str:
    """Lay out a message: the first line, then one aligned line for each detail."""
    width = max((len(name) for name in details), default=0) + 1
    return "\n".join([what, *(f"  {name + ':':<{width}} {value}" for name, value in details.items())])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A ``; did you mean 'x'?`` suffix, or nothing when no known name is near.

    >>> did_you_mean("relv", ["relu", "tanh"])
    "; did you mean 'relu'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class ShapeError(MlcoreError, ValueError):
    """Shapes that do not fit together, or a size that cannot exist."""


class DTypeError(MlcoreError, TypeError):
    """A dtype that an operation does not accept, or dtypes that do not promote."""


class ArgumentError(MlcoreError, ValueError):
    """An argument whose value makes no sense, such as a NaN learning rate."""


class ArgumentTypeError(MlcoreError, TypeError):
    """An argument of the wrong Python type, or a call with missing or unknown arguments."""


class LinAlgError(MlcoreError, LapackError):
    """A matrix that cannot be inverted or factored: singular, not positive definite, or not finite."""


class OutOfRangeError(MlcoreError, IndexError):
    """An index or axis outside its range."""


class ValueRangeError(MlcoreError, OverflowError):
    """A number that its dtype cannot hold."""


class DivisionError(MlcoreError, ZeroDivisionError):
    """An integer division by zero."""


class DeviceError(MlcoreError, RuntimeError):
    """A device that is unknown, unusable, or not the one the other operand lives on."""


class DeviceLostError(DeviceError):
    """A device that stopped working in mid-run: what lies on it cannot be read any more."""


class DeviceBusyError(DeviceError):
    """A device that somebody else holds, or has filled, at the moment: it may work later."""


class KernelError(DeviceError):
    """A kernel that a device cannot compile or start; the operation is composed from others instead."""


class CollectiveError(MlcoreError, RuntimeError):
    """Processes of one job that do not do the same thing, or one of them that is gone."""


class PluginError(MlcoreError, RuntimeError):
    """A plugin that cannot be loaded or does not keep the contract."""


class UnsupportedOpError(MlcoreError, NotImplementedError):
    """An operation that a device has no way to run, or a host fallback that was forbidden."""


class AutogradError(MlcoreError, RuntimeError):
    """A gradient that cannot be computed as asked."""


class OutOfMemoryError(MlcoreError, MemoryError):
    """An allocation that failed; the process stays usable."""


class FormatError(MlcoreError, ValueError):
    """A file that is corrupt, truncated, or not of the format it claims."""


class UnsafeFileError(MlcoreError, ValueError):
    """A file that would run code or reach outside its folder."""


class CheckpointError(MlcoreError, RuntimeError):
    """A checkpoint that does not match the model or fails verification."""


class StateDictError(MlcoreError, RuntimeError, KeyError):
    """A state_dict whose names or shapes differ from the module's; lists all of them."""

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


class ExchangeError(MlcoreError, BufferError):
    """Memory that one library does not give and another does not take: wrong device, read-only, no such dtype."""


class DataError(MlcoreError, ValueError):
    """A dataset or loader that was set up or behaves wrongly."""


class FallbackWarning(UserWarning):
    """An operation ran on the host because its device has no kernel for it."""


class KernelWarning(UserWarning):
    """An operation takes another way because its device's kernel for it does not compile."""
