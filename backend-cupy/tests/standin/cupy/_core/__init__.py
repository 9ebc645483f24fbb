"""The part of cupy._core that the backends use."""

from cupy._array import bare
from cupy._core import _routines_linalg

__all__ = ["_routines_linalg", "bare"]
