"""Kernel sources from the operations' `c=` bodies, for every C-like language.

A **dialect** (`Dialect`, a table) belongs to a backend's package; its plugin names it by ``dialect = "module:NAME"``.
A **source** (`KernelSource`) is what the functions here make of it:

==================================  =====================================================================
``elementwise(dialect, op, dtype, form)``    an operation with a `c=` body; ``where`` and the like too
``expression(dialect, name, ...)``  one's own formulas, several outputs, numbers as arguments
``chain(dialect, name, steps, ...)``  several operations as one kernel
``cast``, ``copy``                  astype between any two dtypes; elements as they are
``combined(sources)``               several kernels as one source: one call of the compiler
==================================  =====================================================================

How a kernel is launched
------------------------

Its arguments are **the arrays, inputs first, then outputs** (``source.arrays``, of ``source.dtypes``), and **one struct
by value of 64-bit signed integers** (``source.words`` names them): ``np.array(words, dtype=np.int64).tobytes()``
where an interface wants bytes. Everything that varies is in there: sizes, offsets and strides in elements. Arrays are
whole buffers and never pointers into them, since OpenCL has no such pointers; a view is its offset.

``source.group == 0``: launch any number of work-items in one dimension, in groups of any size; each takes element
after element. ``source.group > 0``: groups of exactly so many, and as many groups as the planner says.

``layout.launches(shape, views)`` gives form and words of an elementwise launch:

    dims = broadcast shape; views = [(offset, strides broadcast to it) of each input and output]
    for form, words in launches(dims, views):
        run(elementwise(dialect, op, dtype, form), buffers, words, items=words[0])

mlcore.backends.kernel_library is a whole backend on these, from a dialect and a small runtime.
"""

from mlcore.codegen.dialect import Dialect
from mlcore.codegen.elementwise import RANK, cast, chain, copy, elementwise, expression
from mlcore.codegen.source import KernelSource, combined

__all__ = [
    "RANK",
    "Dialect",
    "KernelSource",
    "cast",
    "chain",
    "combined",
    "copy",
    "elementwise",
    "expression",
]
