"""The hand-written kernels as text: one C-like source for CUDA and HIP, a module for each file and element type."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Final

ELEMENTS: Final = {"float32": "float", "float64": "double", "float16": "half16", "bfloat16": "brain16"}
"""The type of an element in the kernels, by dtype: the dtypes that they cover."""

FILES: Final = ("rows", "norms", "channels", "attention", "convolution", "pooling", "update", "dropout")


@cache
def _text(name: str) -> str:
    return resources.files("mlcore_cupy").joinpath("kernels", name).read_text(encoding="utf-8")


@cache
def module_source(file: str, dtype: str) -> str:
    """The complete source of a file of kernels for elements of a dtype.

    >>> module_source("rows", "float32").splitlines()[0]
    '#define ELEMENT float'
    """
    return (
        f'#define ELEMENT {ELEMENTS[dtype]}\n#line 1 "prelude.h"\n{_text("prelude.h")}'
        f'#line 1 "{file}.cu"\n{_text(f"{file}.cu")}'
    )


def modules() -> Iterator[tuple[str, str, str]]:
    """(file, dtype, source) of every module there is.

    >>> len(list(modules())) == len(FILES) * len(ELEMENTS)
    True
    """
    for file in FILES:
        for dtype in ELEMENTS:
            yield file, dtype, module_source(file, dtype)
