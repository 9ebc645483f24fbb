"""Compile a Metal source's body as C++ with `metal_shim.hpp`, and run it over NumPy arrays.

What MLX writes around a body is written here as MLX does it: the parameters from the arrays' names and dtypes, arrays
of fewer than 8 elements in `constant` memory, `template` arguments as names of types.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

TYPES = {
    "bool": "bool", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t", "uint8": "uint8_t",
    "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t", "float16": "float16_t",
    "bfloat16": "bfloat16_t", "float32": "float",
}  # fmt: skip
HERE = Path(__file__).parent


def compiler() -> list[str]:
    """The C++ compiler; in CI its absence is a failure, elsewhere a skip."""
    found = os.environ.get("CXX", "").split() or next(
        ([path] for name in ("clang++", "g++", "c++") if (path := shutil.which(name))), []
    )
    if not found:
        if os.environ.get("MLCORE_LEG"):
            pytest.fail("no C++ compiler to try the Metal sources with")
        pytest.skip("no C++ compiler")
    return found


def signature(source, inputs, outputs) -> str:
    """The parameters as MLX declares them."""
    params = []
    for name, array in zip(source.inputs, inputs, strict=True):
        space = "constant" if array.size < 8 else "device"
        params.append(f"const {space} {TYPES[array.dtype.name]}* {name}")
    for name, array in zip(source.outputs, outputs, strict=True):
        params.append(f"device {TYPES[array.dtype.name]}* {name}")
    return ", ".join([*params, "uint3 thread_position_in_grid", "uint3 threads_per_grid"])


def program(source, inputs, outputs, template) -> str:
    """The whole C++ program: the kernel, and a loop that stands for the grid."""
    names = [*source.inputs, *source.outputs]
    types = [TYPES[a.dtype.name] for a in (*inputs, *outputs)]
    casts = ", ".join(f"({t}*)arrays[{i}]" for i, t in enumerate(types))
    using = "\n".join(f"using {name} = {TYPES[value]};" for name, value in template.items())
    assert len(names) == len(types)
    return f"""#include "metal_shim.hpp"
{source.header}
{using}
static void kernel({signature(source, inputs, outputs)}) {{
{source.source}
}}
extern "C" void launch(void** arrays, unsigned count) {{
    for (unsigned i = 0; i < count; ++i) kernel({casts}, uint3{{i, 0, 0}}, uint3{{count, 1, 1}});
}}
"""


def run(source, inputs, outputs, count, folder, **template):
    """Fill `outputs` (NumPy arrays) by running the kernel's body `count` times."""
    text = program(source, inputs, outputs, template)
    stem = Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
    library = stem.with_suffix(".so")
    if not library.exists():
        stem.with_suffix(".cpp").write_text(text)
        build = subprocess.run(
            [*compiler(), "-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unused-variable",
             "-Wno-unused-function", "-Wno-parentheses", "-fPIC", "-shared", f"-I{HERE}",
             "-o", str(library), str(stem.with_suffix(".cpp"))],
            capture_output=True, text=True,
        )  # fmt: skip
        assert build.returncode == 0, f"{source.name}: {build.stderr}"
    arrays = [np.ascontiguousarray(one) for one in inputs]
    pointers = (ctypes.c_void_p * (len(arrays) + len(outputs)))(
        *(one.ctypes.data for one in (*arrays, *outputs))
    )
    ctypes.CDLL(str(library)).launch(pointers, ctypes.c_uint(count))
    return outputs


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
